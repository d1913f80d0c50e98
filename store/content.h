/*
 * store/content.h - values that lie in records of their own: chunks, extents,
 * holes; and reading them.
 *
 * The record of a key with LOC_CONTENT holds a reference:
 *
 *    0     8  content id     0..: its bytes lie under "\0c" id
 *    8     8  bytes          the size of the value
 *   16     4  chunk_bytes    0: the id is an inode's, whose record has more
 *   20     4  flags          CONTENT_SPARSE
 *
 * Without CONTENT_SPARSE every chunk is there and whole but for the last, which
 * ends with the value. With it a chunk may be missing (a hole), shorter (zeros
 * follow), and overlaid by extents:
 *
 *     chunk      |aaaaaaaaaaaaaaaaaaaaa|                 version 5
 *     extents         |bbbb|       |----------|          6: bytes, 7: zeros
 *                             |cccccccccccccc|           8
 *     reads as   |aaaaabbbbaaaccccccccccccccc--0000...|
 *
 * An extent lies inside one chunk; which of two was written later is told by
 * their versions. One whose record has no value stands for zeros.
 *
 * Whatever changes a content writes the record that names it in the same
 * entry. So what was held of a content belongs to one revision when that
 * record is still the same afterwards (content_is_still).
 */
#ifndef STORE_CONTENT_H
#define STORE_CONTENT_H

#include "engine/engine.h"
#include "store/store.h"

enum { CONTENT_SPARSE = 1 };

struct content_ref {
	uint64_t id, bytes;
	uint32_t chunk_bytes, flags;
};

/* ERR_CORRUPT: it is none. */
MUST_CHECK enum err content_ref_decode(struct bytes value,
				       struct content_ref *ref);
void content_ref_encode(uint8_t dst[RECORD_CONTENT_BYTES],
			const struct content_ref *ref);

/* How many chunks bytes take. */
static inline uint32_t content_chunks(uint64_t bytes)
{
	return (uint32_t)((bytes + STORE_CHUNK_BYTES - 1) / STORE_CHUNK_BYTES);
}

/* One record held: a chunk (begin 0, extent false) or an extent. */
struct content_piece {
	struct engine_pin pin;
	uint32_t chunk, begin, bytes;
	bool extent;
};

enum { CONTENT_PIECES_FEW = 12 };

/*
 * Records of a content, held. Not to be moved in memory. With CONTENT_SPARSE
 * ordered by chunk, then version; else one for each chunk from first on.
 */
struct content_pins {
	struct engine *engine;
	uint16_t partition;
	struct content_ref ref;
	uint32_t first, count, cap;
	uint32_t ahead; /* of pieces, the disk was asked for those below     */
	struct content_piece *pieces;
	struct content_piece few[CONTENT_PIECES_FEW];
};

/*
 * Hold the records of the chunks first .. end - 1 of ref, as they are now.
 * lock: a walk that the caller has begun and does not step itself, so that
 * nothing is applied meanwhile; NULL: the content may change meanwhile.
 * OK: release with content_pins_done; they belong to one revision only if
 * content_is_still. ERR_NOT_FOUND, ERR_BUSY: the content goes, or something of
 * it is lost. ERR_CORRUPT, ERR_NOMEM. Errors hold nothing. Thread: any.
 */
MUST_CHECK enum err content_pin(struct engine *e, uint16_t partition,
				const struct content_ref *ref, uint32_t first,
				uint32_t end, struct engine_iter *lock,
				struct content_pins *pins);
void content_pins_done(struct content_pins *pins);

/*
 * True: the record of key has that version, and no entry is half applied.
 * lock: as content_pin.
 */
bool content_is_still(struct engine *e, uint16_t partition, struct bytes key,
		      uint64_t version, const struct engine_iter *lock);

/*
 * n bytes from off on of what is held to dst: chunks held, below ref.bytes.
 * ERR_CORRUPT, ERR_IO, ERR_NOMEM: dst holds garbage.
 */
MUST_CHECK enum err content_copy(const struct content_pins *pins, uint64_t off,
				 void *dst, size_t n);

/*
 * A view of one chunk from begin on: the chunk's record, pinned by *held, or
 * memory made up in room (STORE_CHUNK_BYTES), or zeros. Valid until *held is
 * released and room used again. The disk is asked for the chunks that follow.
 * Errors as content_copy.
 */
MUST_CHECK enum err content_view(struct content_pins *pins, uint32_t chunk,
				 uint32_t begin, struct engine_value *held,
				 uint8_t *room, struct bytes *view);

/* Does view need room? */
bool content_needs_room(const struct content_pins *pins, uint32_t chunk);

/*
 * n bytes from off on of a content that is not sparse, without holding
 * anything. ERR_NOT_FOUND as content_pin, others as content_copy.
 */
MUST_CHECK enum err content_copy_dense(struct engine *e, uint16_t partition,
				       const struct content_ref *ref,
				       uint64_t off, void *dst, size_t n);

#endif
