/*
 * store/value.h - from a key to the record that has its value. Thread: any.
 */
#ifndef STORE_VALUE_H
#define STORE_VALUE_H

#include "store/content.h"
#include "store/store_internal.h"

/* So often readers race with writers before they make them wait. */
enum { VALUE_RACES_FEW = 3, VALUE_RACES_MAX = 1000 };

/*
 * The record of a key, and the inode record that it may only name; both held.
 * Found by its number, a file has an inode record alone.
 */
struct value_source {
	struct engine_value record, inode; /* version 0: there is none       */
	uint64_t ino;			   /* of inode                       */
};

/*
 * ERR_BUSY: it changed meanwhile, try again. ERR_NOT_FOUND, ERR_CORRUPT,
 * ERR_IO, ERR_NOMEM. OK: release with value_source_done.
 */
MUST_CHECK enum err value_source_open(struct store *s, uint32_t partition,
				      struct bytes key,
				      struct value_source *src);
void value_source_done(struct value_source *src);

/* The record that has attributes and value. */
static inline const struct engine_value *
value_source_data(const struct value_source *src)
{
	return src->inode.version ? &src->inode : &src->record;
}

/* The reference of a source with LOC_CONTENT. ERR_CORRUPT. */
MUST_CHECK enum err value_source_ref(const struct value_source *src,
				     struct content_ref *ref);

/* True: its records are still those. lock: as content_is_still. */
bool value_source_is_still(struct store *s, uint32_t partition,
			   struct bytes key, const struct value_source *src,
			   const struct engine_iter *lock);

/*
 * Reading what src names gave err: the same, or ERR_BUSY when src is no longer
 * what key is; what is not there although it should be is ERR_CORRUPT.
 */
MUST_CHECK enum err value_source_error(struct store *s, uint32_t partition,
				       struct bytes key,
				       const struct value_source *src,
				       enum err err);

/*
 * Hold the chunks first .. end - 1 of src, as of the revision that src is.
 * patient: without a race that can be lost, but writers wait meanwhile.
 * ERR_BUSY: src is no longer what key is. Else as content_pin.
 */
MUST_CHECK enum err value_source_pin(struct store *s, uint32_t partition,
				     struct bytes key,
				     const struct value_source *src,
				     const struct content_ref *ref,
				     uint32_t first, uint32_t end, bool patient,
				     struct content_pins *pins);

#endif
