/*
 * engine/loc.h - where a record lies, and which of two records is newer.
 *
 * A location packs into 64 bits:   63..40 file id | 39..11 offset/8 | 10..0 flags
 * A version packs into 64 bits:    63..16 Raft index | 15..0 position in entry
 */
#ifndef ENGINE_LOC_H
#define ENGINE_LOC_H

#include <stdint.h>

#define LOC_FILE_ID_MAX	   ((1u << 24) - 1)
#define LOC_OFFSET_MAX	   (((1ull << 29) - 1) * 8) /* files up to 4 GiB */
#define VERSION_INDEX_MAX  ((1ull << 48) - 1)
#define ENTRY_POSITION_MAX 65535u

/*
 * Flags of a record that readers need without touching the disk; the low byte
 * of them is the record header's flags byte without RECORD_LAST.
 */
enum loc_flags {
	LOC_CONTENT = 1,  /* value only names a content: chunks lie elsewhere */
	LOC_EXPIRES = 2,  /* the record carries an expiry                     */
	LOC_DAMAGED = 4,  /* value known lost: reads answer ERR_CORRUPT       */
	LOC_LINK = 8,	  /* symbolic link                                    */
	LOC_SPECIAL = 16, /* fifo, socket or device node                     */
	LOC_INODE = 32,	  /* the key's record only names an inode             */
	LOC_FLAGS_MAX = 2047,
};

static inline uint64_t loc_pack(uint32_t file_id, uint64_t off, unsigned flags)
{
	return (uint64_t)file_id << 40 | off >> 3 << 11 | flags;
}

static inline uint32_t loc_file_id(uint64_t loc)
{
	return (uint32_t)(loc >> 40);
}

static inline uint64_t loc_off(uint64_t loc)
{
	return (loc >> 11 & ((1ull << 29) - 1)) << 3;
}

static inline unsigned loc_flags(uint64_t loc)
{
	return loc & LOC_FLAGS_MAX;
}

static inline uint64_t version_pack(uint64_t index, uint32_t position)
{
	return index << 16 | position;
}

static inline uint64_t version_index(uint64_t version)
{
	return version >> 16;
}

#endif
