/*
 * store/entry.c - one log entry while it is put together.
 *
 * A decision turns into records: puts, deletes, and what large values drag
 * along (chunks, staging markers, the deletion of a replaced content). Keys
 * and small values that exist only here lie in the builder's own room until
 * the engine has copied them; everything else is borrowed from the request.
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/hidden.h"
#include "store/store_internal.h"

enum { SCRATCH_BLOCK_BYTES = 16 << 10, RECORDS_FIRST = 16 };

static void scratch_trim(struct scratch *s)
{
	/* The last block in the list is the first made: it stays. */
	while (s->blocks && s->blocks->next) {
		struct scratch_block *next = s->blocks->next;

		free(s->blocks);
		s->blocks = next;
	}
	if (s->blocks)
		s->blocks->used = 0;
}

void entry_begin(struct entry_builder *b)
{
	b->count = 0;
	b->bytes = 0;
	scratch_trim(&b->scratch);
}

void entry_done(struct entry_builder *b)
{
	scratch_trim(&b->scratch);
	free(b->scratch.blocks);
	free(b->records);
	*b = (struct entry_builder){ 0 };
}

uint8_t *entry_room(struct entry_builder *b, size_t n)
{
	struct scratch_block *block = b->scratch.blocks;
	uint8_t *p;

	if (!block || block->cap - block->used < n) {
		size_t cap = n > SCRATCH_BLOCK_BYTES ? n : SCRATCH_BLOCK_BYTES;

		block = malloc(sizeof(*block) + cap);
		if (!block)
			return NULL;
		block->next = b->scratch.blocks;
		block->used = 0;
		block->cap = cap;
		b->scratch.blocks = block;
	}
	p = block->p + block->used;
	block->used += n;
	return p;
}

struct engine_record *entry_record(struct entry_builder *b)
{
	if (b->count == b->cap) {
		uint32_t cap = b->cap ? 2 * b->cap : RECORDS_FIRST;
		void *records = realloc(b->records, cap * sizeof(*b->records));

		if (!records)
			return NULL;
		b->records = records;
		b->cap = cap;
	}
	b->records[b->count] = (struct engine_record){ 0 };
	return &b->records[b->count++];
}

enum err entry_chunks(struct entry_builder *b, uint64_t content_id,
		      uint32_t first, struct bytes data)
{
	for (size_t off = 0; off < data.n; off += STORE_CHUNK_BYTES) {
		size_t n = data.n - off < STORE_CHUNK_BYTES ? data.n - off
							    : STORE_CHUNK_BYTES;
		struct engine_record *r = entry_record(b);
		uint8_t *key = entry_room(b, CHUNK_KEY_BYTES);

		if (!r || !key)
			return ERR_NOMEM;
		r->type = RECORD_PUT;
		r->key = chunk_key(key, content_id, first++);
		r->value = bytes_of(data.p + off, n);
	}
	return OK;
}

enum err entry_drop_content(struct entry_builder *b, uint64_t content_id)
{
	struct engine_record *r = entry_record(b);
	uint8_t *key = entry_room(b, CHUNK_KEY_BYTES);

	if (!r || !key)
		return ERR_NOMEM;
	r->type = RECORD_DELETE_PREFIX;
	r->key = chunk_prefix(key, content_id);
	return OK;
}

enum err entry_marker(struct entry_builder *b, uint64_t content_id, bool put)
{
	struct engine_record *r = entry_record(b);
	uint8_t *key = entry_room(b, MARKER_KEY_BYTES);

	if (!r || !key)
		return ERR_NOMEM;
	r->type = put ? RECORD_PUT : RECORD_DELETE;
	r->key = marker_key(key, content_id);
	return OK;
}

enum err entry_append(struct store *s, struct partition *p, uint64_t *index)
{
	struct entry_builder *b = &s->entry;
	struct engine_entry entry = {
		.partition = p->id,
		.index = p->last_index + 1,
		.term = p->term,
		.mtime_ns = clock_wall_ns(s->o.clock),
		.records = b->records,
		.record_count = b->count,
	};
	enum err err;

	CHECK(b->count > 0);
	entry.stamp_ns = log_clock_stamp(s, p);
	err = engine_append(s->engine, &entry);
	if (err) {
		pending_rollback(&p->pending);
		return err;
	}
	pending_keep(&p->pending);
	p->last_index = entry.index;
	p->touched = true;
	s->appended = true;
	for (uint32_t i = 0; i < b->count; i++)
		s->batch_bytes +=
			record_bytes(b->records[i].key.n, b->records[i].attrs.n,
				     b->records[i].value.n);
	*index = entry.index;
	return OK;
}
