/*
 * store/view.h - one partition as it will be when everything appended so far
 * is applied: the key directory under the pending overlay. Decisions are made
 * against it. Thread: core.
 */
#ifndef STORE_VIEW_H
#define STORE_VIEW_H

#include "engine/engine.h"
#include "store/pending.h"

struct view {
	struct engine *engine;
	const struct pending *pending;
	uint16_t partition;
	uint32_t partitions; /* of the store                              */
};

/* What is known of a key; rev 0 when it is absent. */
struct key_state {
	bool present;
	bool pending;	     /* set by an entry that is not applied yet      */
	unsigned flags;	     /* enum loc_flags                               */
	uint64_t rev, bytes; /* bytes: logical size of the value             */
	uint64_t version;    /* loc.h                                        */
	uint16_t attr_bytes; /* of its record's attributes                   */
	/* with pending only; attrs valid until the key is set again */
	uint64_t content_id, content_shape; /* LOC_CONTENT                   */
	uint64_t expiry_ns, mtime_ns;
	struct bytes attrs;
};

/* What key will be. Touches no disk; cannot fail. */
void view_get(const struct view *v, struct bytes key, struct key_state *state);

/*
 * A walk over the keys that are present and begin with prefix, in order. The
 * key directory is locked from begin to end. Keys are valid until the next
 * step. The caller's memory.
 */
struct view_iter {
	const struct view *view;
	struct bytes prefix;
	struct engine_iter it;
	struct bytes applied_key;
	struct engine_info applied_info;
	bool applied;
	const struct pending_node *node;
	uint8_t key[RECORD_KEY_BYTES_MAX], skip_to[RECORD_KEY_BYTES_MAX];
};

/*
 * Begin, at the first key >= from if given (it begins with prefix); the next
 * key, false: no more; end, which unlocks.
 */
void view_begin(const struct view *v, struct bytes prefix,
		struct view_iter *it);
void view_begin_from(const struct view *v, struct bytes prefix,
		     struct bytes from, struct view_iter *it);
bool view_next(struct view_iter *it, struct bytes *key,
	       struct key_state *state);
void view_end(struct view_iter *it);

/*
 * Write the least string above every string that begins with prefix to dst
 * (prefix.n bytes of room); its length, 0 when there is none.
 */
size_t prefix_successor(struct bytes prefix, uint8_t *dst);

/*
 * The tree rules: may key be put, or deleted, now?
 * OK, ERR_NOT_DIR, ERR_IS_DIR, ERR_NOT_EMPTY. state: what view_get said of it.
 */
MUST_CHECK enum err tree_check_put(const struct view *v, struct bytes key,
				   const struct key_state *state);
MUST_CHECK enum err tree_check_delete(const struct view *v, struct bytes key,
				      const struct key_state *state);

/* Is any key present that begins with prefix? Is a file on the way to key? */
bool tree_exists_under(const struct view *v, struct bytes prefix);
bool tree_below_file(const struct view *v, struct bytes key);

#endif
