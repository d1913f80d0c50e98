/*
 * engine/datafile.h - one file of records: a log segment or a merged file.
 *
 * Owns the file header, the mapping, the counters and the pins of one open
 * file. Knows nothing of the key directory or of the order of files.
 *
 *  off  size  file header, little-endian, FILE_HEADER_BYTES long
 *    0     4  header_crc  crc32c(0, bytes 4..512)
 *    4     4  magic       DATAFILE_MAGIC
 *    8     2  format      DATAFILE_FORMAT_VERSION
 *   10     2  kind        enum datafile_kind
 *   12     4  file_id
 *   16    16  cluster_id
 *   32     8  node_id
 *   40     8  salt        random, fresh for each use of the file
 *   48     4  partition   merged files; 0 in log segments
 *   52     -  zero
 *
 * The file seed, with which every checksum in the file starts, is
 * crc32c(0, bytes 4..64): what belongs to another file, node, cluster or to
 * an earlier use of a recycled file never passes.
 *
 * Names in the directory: 0000001f.log, 0000001f.dat, and the hint beside it
 * with ".hint" added. While made: with ".tmp" added.
 *
 * Threads: any may read and pin; one appends.
 */
#ifndef ENGINE_DATAFILE_H
#define ENGINE_DATAFILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/vfs.h"
#include "engine/manifest.h"
#include "engine/marks.h"
#include "engine/record.h"

enum {
	FILE_HEADER_BYTES = 512,
	DATAFILE_MAGIC = 0x4b534352, /* "RCSK" */
	DATAFILE_FORMAT_VERSION = 1,
	DATAFILE_NAME_BYTES = 40, /* with the final NUL */
	DATAFILE_PATH_BYTES = 4096 + DATAFILE_NAME_BYTES,
};

enum datafile_kind { DATAFILE_LOG = 1, DATAFILE_MERGED = 2 };

/* Whose files these are. */
struct datafile_owner {
	struct vfs *vfs;
	const char *dir; /* borrowed, longer-lived than the files */
	uint8_t cluster_id[16];
	uint64_t node_id;
	bool map; /* map files for reading (mmap mode) */
};

/* Memory of an appended, perhaps not yet written frame. */
struct tail_buf {
	uint64_t file_off; /* where p[0] will stand in the file */
	uint64_t cap;	   /* that the frame may fill                        */
	uint64_t room;	   /* bytes at p                                     */
	uint8_t *p;
	struct tail_buf *next_free;
};

/* Copies of entries first..last in a log segment (engine/unsettled.h). */
struct again {
	uint64_t first, last;
	uint16_t partition;
};

struct datafile {
	const struct datafile_owner *owner;
	enum datafile_kind kind;
	uint32_t id;
	uint16_t partition;  /* merged */
	bool header_damaged; /* its own header is bad; identity by manifest  */
	uint64_t salt;
	uint32_t seed;	/* of every checksum in the file                      */
	uint64_t bytes; /* length: allocated (log) or exact (merged)         */
	uint64_t min_index, max_index; /* merged: over all records           */
	struct vfs_file *f;
	uint64_t zero_off;  /* log: below it the file holds no hole          */
	const uint8_t *map; /* NULL in pread mode */
	uint64_t map_bytes;
	/*
	 * Bytes below written are in the file; a record that ends above lies
	 * in tail (log segments only). Written is raised after the write and
	 * before tail is replaced.
	 */
	_Atomic uint64_t written;
	_Atomic(struct tail_buf *) tail;
	_Atomic uint64_t
		live_bytes; /* of records the key directory points at */
	_Atomic uint64_t last_sequence;	 /* log: of its last frame          */
	_Atomic uint64_t unreadable_off; /* highest sector the disk refused  */
	/*
	 * Log: bytes of entries that tails point at, and the frame that must
	 * be durable before those are gone that left it; the keeper wants them
	 * elsewhere; copies listed, under terms_lock.
	 */
	_Atomic uint64_t unsettled_bytes, left_sequence;
	_Atomic bool carry;
	_Atomic bool healed; /* log: holds frames FRAME_HEALED             */
	struct again *again;
	uint32_t again_count, again_cap;
	struct marks marks; /* log: where entries lie; writer              */
	bool marked;	    /* log: all of it has its marks                 */
	_Atomic uint32_t pins;
	_Atomic bool retired; /* out of the table and no reader can find it  */
};

/* dir/0000001f.log and so on; suffix "" or ".hint" or ".tmp". */
void datafile_path(const struct datafile_owner *o, enum datafile_kind kind,
		   uint32_t id, const char *suffix,
		   char path[DATAFILE_PATH_BYTES]);

/* The name alone, as shown to people. */
void datafile_name(enum datafile_kind kind, uint32_t id,
		   char name[DATAFILE_NAME_BYTES]);

/* The seed of a file with this identity; also without opening it. */
uint32_t datafile_seed(const struct datafile_owner *o, enum datafile_kind kind,
		       uint32_t id, uint16_t partition, uint64_t salt);

/*
 * Make a log segment of bytes with the given id and salt: under its .tmp name
 * the header is written and, when zero, everything after it filled with
 * zeros; synced, renamed, directory synced. from: NULL, or the path of a file
 * to recycle (renamed to the .tmp name first; its length is changed to
 * bytes, and what it holds stays: the salt makes it dead).
 * Any error: the file is removed, as far as that succeeds; from is gone.
 */
MUST_CHECK enum err datafile_create_log(const struct datafile_owner *o,
					uint32_t id, uint64_t salt,
					uint64_t bytes, bool zero,
					const char *from, struct datafile **df);

/*
 * Open a listed file. bytes, salt and indices are taken from *m.
 * ERR_NOT_FOUND: missing. ERR_FOREIGN: the header is sound and says another
 * owner, id, kind, partition or salt. ERR_VERSION. ERR_CORRUPT: shorter than
 * m says. A damaged header is no error: see header_damaged.
 */
MUST_CHECK enum err datafile_open(const struct datafile_owner *o,
				  enum datafile_kind kind, uint16_t partition,
				  const struct manifest_file *m,
				  struct datafile **df);

/* Unmap, close, free. No pins, no readers. NULL is accepted. */
void datafile_close(struct datafile *df);

/* Hold df against removal; inside an epoch section or with a pin already. */
static inline void datafile_pin(struct datafile *df)
{
	atomic_fetch_add_explicit(&df->pins, 1, memory_order_relaxed);
}

static inline void datafile_unpin(struct datafile *df)
{
	atomic_fetch_sub_explicit(&df->pins, 1, memory_order_release);
}

/* True: nobody reads df any more and nobody can begin to. Thread: keeper. */
static inline bool datafile_idle(struct datafile *df)
{
	return atomic_load_explicit(&df->retired, memory_order_acquire) &&
	       atomic_load_explicit(&df->pins, memory_order_acquire) == 0;
}

/*
 * Read n written bytes at off to dst. ERR_CORRUPT: the file ends before, or
 * (mapped) the page cannot be read. ERR_IO. Thread: any, with a pin.
 */
MUST_CHECK enum err datafile_read(struct datafile *df, uint64_t off, uint64_t n,
				  uint8_t *dst);

/*
 * Read the record at off whole into buf (replaced). size_hint: its bytes if
 * known, else 0. *r views buf. state says what is proved of it.
 * OK with any state; on RECORD_BAD_HEADER *r is not set. ERR_IO, ERR_NOMEM.
 */
MUST_CHECK enum err datafile_read_record(struct datafile *df, uint64_t off,
					 uint64_t size_hint, struct buf *buf,
					 enum record_state *state,
					 struct record *r);

/* ------------------------------------------------------ merged files ---- */

/* A merged file while it is made. */
struct datafile_maker;

/*
 * Begin a merged file under its .tmp name. ERR_EXISTS cannot happen: a
 * leftover is cut. Errors: nothing kept but the .tmp file.
 */
MUST_CHECK enum err datafile_make(const struct datafile_owner *o, uint32_t id,
				  uint64_t salt, uint16_t partition,
				  struct datafile_maker **m);

/*
 * Append one record (checksums are made anew with the file's seed); *off is
 * where it lies. ERR_NOSPC, ERR_IO: abandon the maker.
 * ERR_TOO_LARGE: the file would pass LOC_OFFSET_MAX; begin another.
 */
MUST_CHECK enum err datafile_make_add(struct datafile_maker *m,
				      const struct record *r, uint64_t *off);

/* Bytes so far, header included. */
uint64_t datafile_make_bytes(const struct datafile_maker *m);

/*
 * Write the rest, sync, rename to the final name, sync the directory, and
 * open it for reading: *df. The maker is gone, whatever the result.
 */
MUST_CHECK enum err datafile_make_seal(struct datafile_maker *m,
				       struct datafile **df);

/* Give up: close and unlink the .tmp file. NULL is accepted. */
void datafile_make_abandon(struct datafile_maker *m);

#endif
