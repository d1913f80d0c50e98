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
#include "store/forward.h"
#include "store/hidden.h"
#include "store/group_internal.h"

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
	b->mtime_ns = 0;
	scratch_trim(&b->scratch);
}

uint64_t entry_mtime(struct store *s)
{
	if (!s->entry.mtime_ns)
		s->entry.mtime_ns = clock_wall_ns(s->o.clock);
	return s->entry.mtime_ns;
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

/* e is in the log, at its end now. */
static void note_appended(struct store *s, struct partition *p,
			  const struct engine_entry *e, uint64_t bytes)
{
	p->last_index = e->index;
	p->last_stamp_ns = e->stamp_ns;
	s->batch_bytes += bytes;
	cache_put(s, p, e);
}

static uint64_t bytes_of_records(const struct engine_entry *e)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < e->record_count; i++)
		bytes +=
			record_bytes(e->records[i].key.n, e->records[i].attrs.n,
				     e->records[i].value.n);
	return bytes;
}

enum err entry_append_at(struct store *s, struct partition *p, uint64_t index,
			 uint64_t term)
{
	struct entry_builder *b = &s->entry;
	struct engine_entry entry = {
		.partition = p->id,
		.index = index,
		.term = term,
		.mtime_ns = entry_mtime(s),
		.records = b->records,
		.record_count = b->count,
	};
	uint64_t bytes;
	enum err err;

	CHECK(b->count > 0);
	CHECK(index == p->last_index + 1);
	entry.stamp_ns = log_clock_stamp(s, p);
	err = engine_append(s->engine, &entry);
	if (err)
		return err;
	bytes = bytes_of_records(&entry);
	note_appended(s, p, &entry, bytes);
	p->unapplied_bytes += bytes;
	p->unapplied_to = index;
	return OK;
}

enum err entry_take_over(struct store *s, struct partition *p, uint64_t index,
			 const struct engine_entry *from)
{
	struct engine_entry entry = *from;
	enum err err;

	entry.partition = p->id;
	entry.index = index;
	err = engine_append(s->engine, &entry);
	if (!err)
		note_appended(s, p, &entry, bytes_of_records(&entry));
	return err;
}

enum err entry_append(struct store *s, struct partition *p, uint64_t *index)
{
	enum err err = s->forwarding ? forward_record(s, p) : OK;

	if (err) {
		pending_rollback(&p->pending);
		return err;
	}
	return group_propose(s, p, NULL, index);
}
