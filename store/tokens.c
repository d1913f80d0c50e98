/*
 * store/tokens.c - see token.h and tokens.h.
 *
 * The table is made anew with every change and never altered; readers hold a
 * reference, so a lookup takes the lock only to get one. A token that is being
 * removed is not found from the moment when the removal is applied: the table
 * is exchanged before anyone is told so.
 */
#include "store/tokens.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "store/hidden.h"

enum { RETRY_NS = 1000 * 1000 * 1000 };

struct entry {
	struct store_token token; /* first: what callers hold                */
	struct table *table;
};

struct table {
	_Atomic int refs;
	uint32_t count;
	struct buf prefixes; /* of all of them, one after the other          */
	struct entry entry[];
};

struct tokens {
	pthread_mutex_t lock; /* of table                                    */
	struct table *table;
	struct table *nobody; /* an empty one, always there                  */
	_Atomic uint64_t version;
	bool changed, retry;
	uint64_t looked_ns;
};

/* -------------------------------------------------------------- the table */

static struct table *table_new(uint32_t room)
{
	struct table *t = calloc(1, sizeof(*t) + room * sizeof(t->entry[0]));

	if (t)
		t->refs = 1;
	return t;
}

static void table_unref(struct table *t)
{
	int old = atomic_fetch_sub(&t->refs, 1);

	CHECK(old >= 1);
	if (old > 1)
		return;
	buf_done(&t->prefixes);
	free(t);
}

static struct table *table_get(struct store *s)
{
	struct tokens *ts = s->tokens;
	struct table *t;

	pthread_mutex_lock(&ts->lock);
	t = ts->table;
	atomic_fetch_add(&t->refs, 1);
	pthread_mutex_unlock(&ts->lock);
	return t;
}

static void table_set(struct store *s, struct table *t)
{
	struct tokens *ts = s->tokens;
	struct table *old;

	pthread_mutex_lock(&ts->lock);
	old = ts->table;
	ts->table = t;
	pthread_mutex_unlock(&ts->lock);
	/* After it is in force: who sees the new version finds the new table. */
	atomic_fetch_add(&ts->version, 1);
	table_unref(old);
}

/* --------------------------------------------------------------- records - */

enum err token_check(const struct store_token *t)
{
	return store_token_name_is_sound(t->name) &&
			       t->right > STORE_RIGHT_NONE &&
			       t->right <= STORE_RIGHT_ADMIN &&
			       t->prefix.n <= STORE_TOKEN_PREFIX_BYTES_MAX
		       ? OK
		       : ERR_INVALID;
}

enum err token_encode(struct buf *b, const struct store_token *t)
{
	uint8_t head[TOKEN_HEAD_BYTES] = { TOKEN_FORMAT };
	enum err err;

	head[1] = (uint8_t)t->right;
	put_u16(head + 2, (uint16_t)t->prefix.n);
	memcpy(head + 8, t->hash, sizeof(t->hash));
	err = buf_add(b, head, sizeof(head));
	if (!err && t->prefix.n)
		err = buf_add(b, t->prefix.p, t->prefix.n);
	return err;
}

enum err token_decode(struct bytes value, struct store_token *t)
{
	const uint8_t *p = value.p;

	if (value.n >= 1 && p[0] > TOKEN_FORMAT)
		return ERR_VERSION;
	if (value.n < TOKEN_HEAD_BYTES || p[0] != TOKEN_FORMAT ||
	    p[1] == STORE_RIGHT_NONE || p[1] > STORE_RIGHT_ADMIN ||
	    get_u32(p + 4) || get_u16(p + 2) > STORE_TOKEN_PREFIX_BYTES_MAX ||
	    value.n != TOKEN_HEAD_BYTES + (size_t)get_u16(p + 2))
		return ERR_CORRUPT;
	t->right = (enum store_right)p[1];
	memcpy(t->hash, p + 8, sizeof(t->hash));
	t->prefix = bytes_of(p + TOKEN_HEAD_BYTES, get_u16(p + 2));
	return OK;
}

/* --------------------------------------------------------------- reading - */

/* Names of all records into t, as far as there is room. */
static void read_names(struct store *s, struct table *t)
{
	struct engine_iter it;
	struct engine_info info;
	struct bytes key;
	bool more;

	engine_iter_begin(s->engine, 0, &it);
	more = engine_iter_seek(&it, token_prefix(), &key, &info);
	while (more && t->count < STORE_TOKENS_MAX &&
	       bytes_begins(key, token_prefix())) {
		char *name = t->entry[t->count].token.name;
		size_t n = key.n - token_prefix().n;

		if (n < STORE_TOKEN_NAME_BYTES_MAX) {
			memcpy(name, key.p + token_prefix().n, n);
			name[n] = 0;
			t->count += store_token_name_is_sound(name);
		}
		more = engine_iter_next(&it, &key, &info);
	}
	engine_iter_end(&it);
}

/* The record of t->name; its prefix goes to prefixes, where it may move. */
static enum err read_token(struct store *s, struct store_token *t,
			   struct buf *prefixes)
{
	uint8_t key[TOKEN_KEY_BYTES_MAX];
	struct engine_value v;
	size_t off = prefixes->n;
	enum err err;

	err = engine_get(s->engine, 0, token_key(key, t->name), ENGINE_VERIFY,
			 &v);
	if (err)
		return err;
	err = token_decode(v.value, t);
	if (!err && t->prefix.n)
		err = buf_add(prefixes, t->prefix.p, t->prefix.n);
	if (!err)
		t->prefix = bytes_of(NULL, prefixes->n - off);
	engine_value_done(&v);
	return err;
}

/* Read the records of the names; those that cannot be read are left out. */
static enum err read_all(struct store *s, struct table *t, uint32_t *bad)
{
	uint32_t kept = 0;
	size_t off = 0;
	enum err err;

	for (uint32_t i = 0; i < t->count; i++) {
		struct entry *e = &t->entry[kept];

		if (kept < i)
			*e = t->entry[i];
		e->table = t;
		err = read_token(s, &e->token, &t->prefixes);
		if (err == ERR_NOMEM)
			return err;
		*bad += err != OK;
		kept += err == OK;
	}
	t->count = kept;
	for (uint32_t i = 0; i < kept; i++) {
		struct bytes *prefix = &t->entry[i].token.prefix;

		*prefix = bytes_of(t->prefixes.p + off, prefix->n);
		off += prefix->n;
	}
	return OK;
}

static struct table *read_table(struct store *s, uint32_t *bad)
{
	struct table *t = table_new(STORE_TOKENS_MAX), *fit;

	if (!t)
		return NULL;
	read_names(s, t);
	if (read_all(s, t, bad)) {
		table_unref(t);
		return NULL;
	}
	fit = realloc(t, sizeof(*t) + t->count * sizeof(t->entry[0]));
	if (fit) {
		t = fit;
		for (uint32_t i = 0; i < t->count; i++)
			t->entry[i].table = t;
	}
	return t;
}

void tokens_refresh(struct store *s)
{
	struct tokens *ts = s->tokens;
	uint64_t now_ns = clock_mono_ns(s->o.clock);
	struct table *t;
	uint32_t bad = 0;

	if (!ts->changed && !(ts->retry && now_ns - ts->looked_ns > RETRY_NS))
		return;
	ts->looked_ns = now_ns;
	ts->changed = false;
	t = read_table(s, &bad);
	/* Without memory for it nobody is let in: a removed one might be. */
	if (t) {
		table_set(s, t);
	} else {
		atomic_fetch_add(&ts->nobody->refs, 1);
		table_set(s, ts->nobody);
	}
	if ((bad || !t) && !ts->retry)
		log_error("store", "tokens_unreadable count=%u", bad);
	ts->retry = bad || !t;
}

void tokens_applied(struct store *s, const struct engine_applied *a)
{
	if (bytes_begins(a->record->key, token_prefix()))
		s->tokens->changed = true;
}

void tokens_installed(struct store *s)
{
	s->tokens->changed = true;
	tokens_refresh(s);
}

/* -------------------------------------------------------------- deciding - */

static const struct store_token *find_name(const struct table *t,
					   const char *name)
{
	for (uint32_t i = 0; i < t->count; i++) {
		if (strcmp(t->entry[i].token.name, name) == 0)
			return &t->entry[i].token;
	}
	return NULL;
}

static enum err add_record(struct store *s, const struct store_token *t,
			   uint8_t type)
{
	struct engine_record *r = entry_record(&s->entry);
	uint8_t *room = entry_room(&s->entry, TOKEN_KEY_BYTES_MAX);
	struct buf value = BUF_INIT;
	uint8_t *copy = NULL;
	enum err err = OK;

	if (type == RECORD_PUT)
		err = token_encode(&value, t);
	if (!err && value.n)
		copy = entry_room(&s->entry, value.n);
	if (!r || !room || (value.n && !copy))
		err = ERR_NOMEM;
	if (!err) {
		if (value.n)
			memcpy(copy, value.p, value.n);
		r->type = type;
		r->key = token_key(room, t->name);
		r->value = bytes_of(copy, value.n);
	}
	buf_done(&value);
	return err;
}

enum err tokens_decide(struct store *s, struct store_change *c)
{
	const struct store_token *have;
	struct table *t;

	tokens_refresh(s);
	if (s->tokens->retry)
		return ERR_CORRUPT;
	t = s->tokens->table;
	have = find_name(t, c->token.name);
	if (c->kind == STORE_TOKEN_REMOVE) {
		if (!have || !bytes_begins(have->prefix, c->token.prefix))
			return ERR_NOT_FOUND;
		return add_record(s, have, RECORD_DELETE);
	}
	if (have && c->kind == STORE_TOKEN_ADD)
		return ERR_EXISTS;
	if (!have && t->count == STORE_TOKENS_MAX)
		return ERR_FULL;
	return add_record(s, &c->token, RECORD_PUT);
}

/* ----------------------------------------------------------- front ends -- */

static bool is_same(const uint8_t *a, const uint8_t *b)
{
	uint8_t differ = 0;

	for (int i = 0; i < STORE_TOKEN_HASH_BYTES; i++)
		differ |= (uint8_t)(a[i] ^ b[i]);
	return differ == 0;
}

const struct store_token *
store_token_find(struct store *s, const uint8_t hash[STORE_TOKEN_HASH_BYTES])
{
	struct table *t = table_get(s);
	const struct store_token *found = NULL;

	for (uint32_t i = 0; i < t->count; i++) {
		if (is_same(t->entry[i].token.hash, hash))
			found = &t->entry[i].token;
	}
	if (!found)
		table_unref(t);
	return found;
}

void store_token_done(const struct store_token *t)
{
	if (t)
		table_unref(((const struct entry *)t)->table);
}

uint64_t store_tokens_version(struct store *s)
{
	return atomic_load_explicit(&s->tokens->version, memory_order_acquire);
}

enum err store_tokens_each(struct store *s,
			   enum err (*fn)(void *ctx,
					  const struct store_token *),
			   void *ctx)
{
	struct table *t = table_get(s);
	enum err err = OK;

	for (uint32_t i = 0; !err && i < t->count; i++)
		err = fn(ctx, &t->entry[i].token);
	table_unref(t);
	return err;
}

enum err tokens_new(struct store *s)
{
	struct tokens *ts = calloc(1, sizeof(*ts));

	if (!ts)
		return ERR_NOMEM;
	ts->table = ts->nobody = table_new(0);
	if (!ts->table) {
		free(ts);
		return ERR_NOMEM;
	}
	ts->nobody->refs = 2;
	ts->changed = true;
	pthread_mutex_init(&ts->lock, NULL);
	ts->version = 1;
	s->tokens = ts;
	return OK;
}

void tokens_free(struct store *s)
{
	struct tokens *ts = s->tokens;

	if (!ts)
		return;
	table_unref(ts->table);
	table_unref(ts->nobody);
	pthread_mutex_destroy(&ts->lock);
	free(ts);
	s->tokens = NULL;
}
