/*
 * tests/sim/model.c - a partition's state as it follows from its entries.
 *
 * Of each key all versions are kept, so that the state after any entry can be
 * told: nodes apply at their own pace.
 */
#include <stdlib.h>

#include "base/check.h"
#include "tests/sim/sim.h"

static void *must(void *p)
{
	CHECK(p);
	return p;
}

uint64_t model_hash(struct bytes b)
{
	uint64_t h = 0x9e3779b97f4a7c15 + b.n, word = 0;
	size_t i = 0;

	for (; i + 8 <= b.n; i += 8) {
		h = (h ^ get_u64(b.p + i)) * 0xbf58476d1ce4e5b9;
		h ^= h >> 29;
	}
	for (; i < b.n; i++)
		word = word << 8 | b.p[i];
	h = (h ^ word) * 0x94d049bb133111eb;
	return h ^ h >> 31;
}

static uint64_t stir(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0xbf58476d1ce4e5b9;
	return h ^ h >> 29;
}

/* Four stretches at a time: one waits for its multiplication less. */
uint64_t model_value_hash(struct bytes b)
{
	uint64_t h[4] = { 1, 2, 3, 4 };
	size_t i = 0;

	for (; i + 32 <= b.n; i += 32)
		for (size_t k = 0; k < 4; k++)
			h[k] = stir(h[k], get_u64(b.p + i + 8 * k));
	return stir(
		stir(stir(stir(model_hash(bytes_of(b.p + i, b.n - i)), h[0]),
			  h[1]),
		     h[2]),
		h[3] + b.n);
}

static uint32_t *slot_of(const struct sim_model *m, struct bytes key)
{
	uint64_t at = model_hash(key);

	for (;; at++) {
		uint32_t *slot = &m->slots[at % m->slot_count];

		if (!*slot || bytes_equal(m->keys[*slot - 1].key, key))
			return slot;
	}
}

static void rehash(struct sim_model *m)
{
	free(m->slots);
	m->slot_count = m->slot_count ? 2 * m->slot_count : 256;
	m->slots = must(calloc(m->slot_count, sizeof(*m->slots)));
	for (uint32_t i = 0; i < m->key_count; i++)
		*slot_of(m, m->keys[i].key) = i + 1;
}

uint32_t model_find(const struct sim_model *m, struct bytes key)
{
	return m->slot_count ? *slot_of(m, key) - 1 : UINT32_MAX;
}

uint32_t model_key(struct sim_model *m, struct bytes key)
{
	uint32_t *slot;
	uint8_t *copy;

	if (2 * (m->key_count + 1) > m->slot_count)
		rehash(m);
	slot = slot_of(m, key);
	if (*slot)
		return *slot - 1;
	if (m->key_count == m->key_cap) {
		m->key_cap = m->key_cap ? 2 * m->key_cap : 128;
		m->keys = must(realloc(m->keys, m->key_cap * sizeof(*m->keys)));
	}
	copy = must(malloc(key.n + 1));
	if (key.n)
		memcpy(copy, key.p, key.n);
	m->keys[m->key_count] =
		(struct sim_key){ .key = bytes_of(copy, key.n) };
	*slot = ++m->key_count;
	return m->key_count - 1;
}

static void add_version(struct sim_model *m, uint32_t k, struct sim_version v)
{
	struct sim_key *key = &m->keys[k];

	if (!v.present && (!key->count || !key->v[key->count - 1].present))
		return;
	if (key->count == key->cap) {
		key->cap = key->cap ? 2 * key->cap : 4;
		key->v = must(realloc(key->v, key->cap * sizeof(*key->v)));
	}
	key->v[key->count++] = v;
}

static void apply_record(struct sim_model *m, const struct sim_entry *e,
			 const struct sim_record *r, uint64_t version)
{
	struct sim_version v = { .version = version };

	switch ((enum record_type)r->type) {
	case RECORD_PUT:
		v.present = true;
		v.value_hash = r->value_hash;
		v.expiry_ns = r->expiry_ns;
		v.mtime_ns = e->mtime_ns;
		add_version(m, r->key, v);
		return;
	case RECORD_DELETE:
	case RECORD_EXPIRE:
		add_version(m, r->key, v);
		return;
	case RECORD_DELETE_PREFIX:
		for (uint32_t k = 0; k < m->key_count; k++)
			if (bytes_begins(m->keys[k].key, m->keys[r->key].key))
				add_version(m, k, v);
		return;
	default:
		return;
	}
}

/* By the clock of the entry itself, the log clock. */
static bool expires_too_soon(const struct sim_model *m,
			     const struct sim_entry *e,
			     const struct sim_record *r)
{
	const struct sim_key *key = &m->keys[r->key];
	const struct sim_version *v =
		key->count ? &key->v[key->count - 1] : NULL;

	return r->type == RECORD_EXPIRE && v && v->present &&
	       (!v->expiry_ns || v->expiry_ns > e->stamp_ns);
}

const char *model_apply(struct sim_model *m, uint64_t index,
			const struct sim_entry *e)
{
	CHECK(index == m->applied + 1);
	for (uint32_t i = 0; i < e->record_count; i++)
		if (expires_too_soon(m, e, &e->records[i]))
			return "a key expires before its time";
	for (uint32_t i = 0; i < e->record_count; i++)
		apply_record(m, e, &e->records[i], version_pack(index, i));
	m->applied = index;
	if (e->stamp_ns <= m->stamp_ns)
		return "its stamp does not rise";
	m->stamp_ns = e->stamp_ns;
	return NULL;
}

bool model_before(const struct sim_model *m, uint32_t k, uint64_t version)
{
	const struct sim_key *key = &m->keys[k];

	for (uint32_t i = key->count; i > 0; i--)
		if (key->v[i - 1].version < version)
			return key->v[i - 1].present;
	return false;
}

const struct sim_version *model_at(const struct sim_model *m, uint32_t k,
				   uint64_t index)
{
	const struct sim_key *key = &m->keys[k];

	for (uint32_t i = key->count; i > 0; i--)
		if (version_index(key->v[i - 1].version) <= index)
			return key->v[i - 1].present ? &key->v[i - 1] : NULL;
	return NULL;
}

void model_done(struct sim_model *m)
{
	for (uint32_t k = 0; k < m->key_count; k++) {
		free(m->keys[k].v);
		free((void *)(uintptr_t)m->keys[k].key.p);
	}
	free(m->keys);
	free(m->slots);
	*m = (struct sim_model){ 0 };
}
