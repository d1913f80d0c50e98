/*
 * tests/httpd/mem_store.h - a store in memory, for tests of the front end.
 *
 * Implements store/store.h as far as the front end calls it, with one thread
 * that completes writes, and knobs for what a real store does only in
 * trouble: keep silent, refuse, complete late, show damage. Included by one
 * .c file of a test program, which then links none of store/.
 */
#ifndef TESTS_HTTPD_MEM_STORE_H
#define TESTS_HTTPD_MEM_STORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "store/file.h"
#include "store/report.h"

struct mem_item {
	struct buf key, value;
	uint64_t rev, mtime_ns, ttl_ns;
	bool is_link, is_special;
};

struct mem_change {
	struct mem_change *next;
	enum store_event_kind kind;
	struct buf key, value;
	uint64_t rev;
};

struct store_watch {
	struct store *s;
	struct store_watch *next;
	struct buf prefix;
	bool exact, hungry;
	struct mem_change *at; /* the last one shown                        */
	void (*notify)(void *user);
	void *user;
};

struct store_upload {
	struct store *s;
	struct buf bytes;
	void (*done)(void *user, enum err err);
	void *user;
	struct store_upload *next;
	bool pending;
};

struct store_value {
	struct buf bytes;
	struct store_info info;
	uint64_t corrupt_from; /* UINT64_MAX: sound                          */
};

enum { MEM_TOKENS = 16 };

struct mem_token {
	struct store_token token;
	char prefix[STORE_TOKEN_PREFIX_BYTES_MAX];
	bool used;
};

struct store {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t thread;
	bool stop;
	struct mem_item *items; /* sorted by key                             */
	size_t count;
	uint64_t rev;
	struct store_write *head, *tail;
	struct store_upload *uploads; /* with a piece pending                */
	struct store_watch *watches;
	struct mem_change *first, *last; /* first: a sentinel               */
	uint64_t floor; /* changes up to it are forgotten                    */
	/* knobs, set under lock */
	bool silent;		 /* complete nothing                        */
	bool gathers;		 /* not a knob: the same until store_go     */
	enum err write_err;	 /* of every write                          */
	enum err barrier_err;	 /* ERR_PENDING: completed by the thread    */
	enum err upload_err;	 /* of every piece, through done            */
	uint64_t corrupt_from;	 /* offset in every value                   */
	uint64_t corrupt_backup; /* after so many bytes                     */
	uint64_t max_value_bytes;
	uint32_t watches_max;
	enum store_readiness unready; /* why not ready                       */
	bool tokens_unknown; /* it has no state of its cluster yet           */
	enum err change_err; /* of every change of members              */
	struct store_barrier *barriers;
	int barriers_asked; /* ever, stale reads' too                       */
	struct store_change *changes;
	struct store_file_op *file_ops;
	struct store_file_op last_file_op; /* as it was handed in            */
	struct store_change last_change; /* as it was handed in              */
	struct mem_token tokens[MEM_TOKENS];
	_Atomic uint64_t tokens_version; /* 0 stands for 1                   */
	int open_uploads, open_values, open_watches;
	_Atomic int open_tokens;
};

static struct mem_token *mem_token_named(struct store *s, const char *name)
{
	for (int i = 0; i < MEM_TOKENS; i++) {
		if (s->tokens[i].used &&
		    strcmp(s->tokens[i].token.name, name) == 0)
			return &s->tokens[i];
	}
	return NULL;
}

/* A place is used once only: who holds a removed token keeps it whole. */
static enum err mem_add_token(struct store *s, const struct store_token *t)
{
	if (mem_token_named(s, t->name))
		return ERR_EXISTS;
	for (int i = 0; i < MEM_TOKENS; i++) {
		struct mem_token *m = &s->tokens[i];

		if (m->token.name[0])
			continue;
		m->token = *t;
		memcpy(m->prefix, t->prefix.p ? (char *)t->prefix.p : "",
		       t->prefix.n);
		m->token.prefix = bytes_of(m->prefix, t->prefix.n);
		m->used = true;
		atomic_fetch_add(&s->tokens_version, 1);
		return OK;
	}
	return ERR_FULL;
}

static enum err mem_remove_token(struct store *s, const struct store_token *t)
{
	struct mem_token *m = mem_token_named(s, t->name);

	if (!m || !bytes_begins(m->token.prefix, t->prefix))
		return ERR_NOT_FOUND;
	m->used = false;
	atomic_fetch_add(&s->tokens_version, 1);
	return OK;
}

static enum err mem_change(struct store *s, const struct store_change *c)
{
	switch (c->kind) {
	case STORE_TOKEN_ADD:
		return mem_add_token(s, &c->token);
	case STORE_TOKEN_REMOVE:
		return mem_remove_token(s, &c->token);
	default:
		return OK;
	}
}

/* The queue runs through the store's private link. */
static struct store_write *mem_next(struct store_write *w)
{
	return (struct store_write *)(void *)w->queued.next;
}

static struct bytes mem_copy(struct buf *b, struct bytes p)
{
	CHECK(buf_add(b, p.p, p.n) == OK);
	return buf_bytes(b);
}

/* Where key is, or would be. */
static size_t mem_find(struct store *s, struct bytes key, bool *found)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t mid = (low + high) / 2;
		int c = bytes_compare(buf_bytes(&s->items[mid].key), key);

		if (c == 0) {
			*found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*found = false;
	return low;
}

static void mem_changed(struct store *s, enum store_event_kind kind,
			struct bytes key, struct bytes value)
{
	struct mem_change *c = calloc(1, sizeof(*c));

	c->kind = kind;
	c->rev = s->rev;
	mem_copy(&c->key, key);
	mem_copy(&c->value, value);
	s->last->next = c;
	s->last = c;
}

static void mem_put(struct store *s, struct bytes key, struct bytes value,
		    uint64_t ttl_ns)
{
	bool found;
	size_t at = mem_find(s, key, &found);
	struct mem_item *item;

	if (!found) {
		s->items =
			realloc(s->items, (s->count + 1) * sizeof(*s->items));
		memmove(s->items + at + 1, s->items + at,
			(s->count - at) * sizeof(*s->items));
		s->count++;
		s->items[at] = (struct mem_item){ 0 };
		mem_copy(&s->items[at].key, key);
	}
	item = s->items + at;
	item->value.n = 0;
	mem_copy(&item->value, value);
	item->rev = s->rev;
	item->mtime_ns = 784111777ull * 1000000000;
	item->ttl_ns = ttl_ns;
	mem_changed(s, STORE_EVENT_PUT, key, value);
}

static void mem_delete(struct store *s, size_t at)
{
	mem_changed(s, STORE_EVENT_DELETE, buf_bytes(&s->items[at].key),
		    bytes_of(NULL, 0));
	buf_done(&s->items[at].key);
	buf_done(&s->items[at].value);
	memmove(s->items + at, s->items + at + 1,
		(s->count - at - 1) * sizeof(*s->items));
	s->count--;
}

/* Whether a key lies strictly below dir + "/". */
static bool mem_has_below(struct store *s, struct bytes dir)
{
	for (size_t i = 0; i < s->count; i++) {
		struct bytes k = buf_bytes(&s->items[i].key);

		if (k.n > dir.n + 1 && bytes_begins(k, dir) &&
		    k.p[dir.n] == '/')
			return true;
	}
	return false;
}

static enum err mem_tree_rule(struct store *s, const struct store_op *op)
{
	bool found;

	if (op->kind == STORE_GET)
		return OK;
	for (size_t i = 1; op->kind == STORE_PUT && i + 1 < op->key.n; i++) {
		if (op->key.p[i] != '/')
			continue;
		mem_find(s, bytes_of(op->key.p, i), &found);
		if (found)
			return ERR_NOT_DIR;
	}
	return mem_has_below(s, op->key) ? ERR_IS_DIR : OK;
}

static struct store_value *mem_value(struct store *s, size_t at)
{
	struct store_value *v = calloc(1, sizeof(*v));
	struct mem_item *item = s->items + at;

	mem_copy(&v->bytes, buf_bytes(&item->value));
	v->corrupt_from = s->corrupt_from;
	v->info = (struct store_info){ .rev = item->rev,
				       .bytes = item->value.n,
				       .mtime_ns = item->mtime_ns,
				       .has_ttl = item->ttl_ns > 0,
				       .ttl_ns = item->ttl_ns,
				       .is_link = item->is_link,
				       .is_special = item->is_special };
	s->open_values++;
	return v;
}

static bool mem_met(struct store *s, const struct store_condition *c)
{
	bool found;
	size_t at = mem_find(s, c->key, &found);

	switch (c->kind) {
	case STORE_IF_REV:
		return found && s->items[at].rev == c->rev;
	case STORE_IF_EXISTS:
		return found;
	case STORE_IF_ABSENT:
		return !found;
	case STORE_IF_VALUE:
		return found &&
		       bytes_equal(buf_bytes(&s->items[at].value), c->value);
	}
	return false;
}

static void mem_ops(struct store *s, struct store_write *w)
{
	const struct store_op *ops = w->succeeded ? w->then_ops : w->else_ops;
	uint32_t n = w->succeeded ? w->then_count : w->else_count;

	for (uint32_t i = 0; i < n; i++) {
		w->err = mem_tree_rule(s, ops + i);
		w->failed_op = i;
		if (w->err)
			return;
	}
	s->rev++;
	for (uint32_t i = 0; i < n; i++) {
		struct store_result *r = w->results + i;
		size_t at = mem_find(s, ops[i].key, &r->existed);

		if (ops[i].kind == STORE_GET && r->existed) {
			r->found = true;
			r->rev = s->items[at].rev;
			r->value = mem_value(s, at);
		} else if (ops[i].kind == STORE_DELETE && r->existed) {
			mem_delete(s, at);
		} else if (ops[i].kind == STORE_PUT) {
			mem_put(s, ops[i].key,
				w->upload ? buf_bytes(&w->upload->bytes)
					  : ops[i].value,
				ops[i].ttl_ns);
			r->rev = s->rev;
		}
	}
	w->revision = s->rev;
}

static void mem_run(struct store *s, struct store_write *w)
{
	bool found;
	size_t at;

	w->err = s->write_err;
	w->revision = s->rev;
	w->succeeded = true;
	if (w->err)
		return;
	if (w->delete_prefix) {
		s->rev++;
		w->revision = s->rev;
		w->atomic = true;
		for (size_t i = s->count; i-- > 0;) {
			if (!bytes_begins(buf_bytes(&s->items[i].key),
					  w->prefix))
				continue;
			mem_delete(s, i);
			w->deleted++;
		}
		return;
	}
	for (uint32_t i = 0; i < w->condition_count; i++) {
		if (mem_met(s, w->conditions + i))
			continue;
		w->succeeded = false;
		at = mem_find(s, w->conditions[i].key, &found);
		w->rev_now = found ? s->items[at].rev : 0;
		if (!w->is_txn) {
			w->err = ERR_PRECONDITION;
			return;
		}
	}
	mem_ops(s, w);
}

static bool mem_wants(const struct store_watch *w, struct bytes key)
{
	return w->exact ? bytes_equal(key, buf_bytes(&w->prefix))
			: bytes_begins(key, buf_bytes(&w->prefix));
}

static void mem_notify(struct store *s)
{
	for (struct store_watch *w = s->watches; w; w = w->next) {
		if (!w->hungry)
			continue;
		for (struct mem_change *c = w->at->next; c; c = c->next) {
			if (!mem_wants(w, buf_bytes(&c->key)))
				continue;
			w->hungry = false;
			w->notify(w->user);
			break;
		}
	}
}

static void mem_append(struct store *s, struct store_file_op *op)
{
	struct buf b = BUF_INIT;
	bool found;
	size_t at = mem_find(s, op->path, &found);

	if (found)
		mem_copy(&b, buf_bytes(&s->items[at].value));
	op->found_off = b.n;
	mem_copy(&b, op->data);
	op->bytes = b.n;
	mem_put(s, op->path, buf_bytes(&b), 0);
	buf_done(&b);
}

static void mem_rename(struct store *s, struct store_file_op *op)
{
	struct buf b = BUF_INIT;
	bool found, there;
	size_t at;

	mem_find(s, op->path2, &there);
	at = mem_find(s, op->path, &found);
	if (!found)
		op->err = ERR_NOT_FOUND;
	else if (there && op->flags & STORE_FILE_NOREPLACE)
		op->err = ERR_EXISTS;
	if (op->err)
		return;
	mem_copy(&b, buf_bytes(&s->items[at].value));
	mem_delete(s, at);
	mem_put(s, op->path2, buf_bytes(&b), 0);
	buf_done(&b);
}

static void mem_file_op(struct store *s, struct store_file_op *op)
{
	op->err = s->write_err;
	if (!op->err) {
		s->rev++;
		if (op->kind == STORE_FILE_WRITE)
			mem_append(s, op);
		else
			mem_rename(s, op);
	}
	op->revision = s->rev;
}

/* One round of completions; called and returns with the lock held. */
static void mem_step(struct store *s)
{
	struct store_file_op *file_ops = s->file_ops;
	struct store_write *writes = s->head;
	struct store_upload *uploads = s->uploads;
	struct store_barrier *barriers = s->barriers;
	struct store_change *changes = s->changes;
	enum err change_err = s->change_err;
	enum err upload_err = s->upload_err;
	enum err barrier_err =
		s->barrier_err == ERR_PENDING ? OK : s->barrier_err;

	s->head = NULL;
	s->uploads = NULL;
	s->barriers = NULL;
	s->changes = NULL;
	for (struct store_write *w = writes; w; w = mem_next(w))
		mem_run(s, w);
	s->file_ops = NULL;
	for (struct store_file_op *op = file_ops; op;
	     op = (void *)op->queued.next)
		mem_file_op(s, op);
	mem_notify(s);
	pthread_mutex_unlock(&s->lock);
	while (writes) {
		struct store_write *next = mem_next(writes);

		writes->done(writes);
		writes = next;
	}
	while (uploads) {
		struct store_upload *next = uploads->next;

		uploads->pending = false;
		uploads->done(uploads->user, upload_err);
		uploads = next;
	}
	while (barriers) {
		struct store_barrier *next = barriers->next;

		barriers->done(barriers, barrier_err);
		barriers = next;
	}
	while (file_ops) {
		struct store_file_op *next = (void *)file_ops->queued.next;

		file_ops->done(file_ops);
		file_ops = next;
	}
	while (changes) {
		struct store_change *next = (void *)changes->queued.next;

		changes->err = change_err ? change_err : mem_change(s, changes);
		changes->id = 4;
		changes->done(changes);
		changes = next;
	}
	pthread_mutex_lock(&s->lock);
}

static void *mem_thread(void *arg)
{
	struct store *s = arg;

	pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		if (s->silent || s->gathers ||
		    (!s->head && !s->uploads && !s->barriers && !s->changes &&
		     !s->file_ops))
			pthread_cond_wait(&s->more, &s->lock);
		else
			mem_step(s);
	}
	mem_step(s); /* nobody is left waiting */
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static struct store *mem_store_new(void)
{
	struct store *s = calloc(1, sizeof(*s));

	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->more, NULL);
	s->corrupt_from = s->corrupt_backup = UINT64_MAX;
	s->max_value_bytes = 64 << 20;
	s->watches_max = 100000;
	s->first = s->last = calloc(1, sizeof(*s->first));
	CHECK(pthread_create(&s->thread, NULL, mem_thread, s) == 0);
	return s;
}

static void mem_store_free(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	CHECK(s->open_uploads == 0);
	CHECK(s->open_values == 0);
	CHECK(s->open_watches == 0);
	CHECK(s->open_tokens == 0);
	for (size_t i = 0; i < s->count; i++) {
		buf_done(&s->items[i].key);
		buf_done(&s->items[i].value);
	}
	while (s->first) {
		struct mem_change *next = s->first->next;

		buf_done(&s->first->key);
		buf_done(&s->first->value);
		free(s->first);
		s->first = next;
	}
	free(s->items);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->more);
	free(s);
}

/* -------------------------------------------------- store/store.h ------ */

enum err store_key_check(struct bytes key)
{
	size_t start = 0;

	if (key.n > STORE_KEY_BYTES_MAX)
		return ERR_KEY_TOO_LONG;
	if (key.n == 0 || memchr(key.p, 0, key.n))
		return ERR_BAD_KEY;
	for (size_t i = 0; i <= key.n; i++) {
		size_t n = i - start;

		if (i < key.n && key.p[i] != '/')
			continue;
		if ((n == 0 && (i < key.n || i == 0)) ||
		    n > STORE_COMPONENT_BYTES_MAX ||
		    (n == 1 && key.p[start] == '.') ||
		    (n == 2 && memcmp(key.p + start, "..", 2) == 0))
			return ERR_BAD_KEY;
		start = i + 1;
	}
	return OK;
}

uint32_t store_partition_of(const struct store *s, struct bytes key)
{
	return 0;
}

/* Something was handed in. s->lock is held. */
static void mem_push(struct store *s, bool gather)
{
	s->gathers = gather;
	pthread_cond_signal(&s->more);
}

void store_go(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	mem_push(s, false);
	pthread_mutex_unlock(&s->lock);
}

enum err store_barrier(struct store *s, int32_t partition,
		       enum store_consistency consistency,
		       struct store_barrier *b)
{
	enum err err;

	pthread_mutex_lock(&s->lock);
	s->barriers_asked++;
	err = consistency == STORE_STALE ? OK : s->barrier_err;
	if (err == ERR_PENDING) {
		b->next = s->barriers;
		s->barriers = b;
		mem_push(s, b->gather);
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

bool store_lease_holds(struct store *s, int32_t partition)
{
	return false;
}

enum err store_get(struct store *s, struct bytes key, struct store_value **v)
{
	bool found;
	size_t at;

	pthread_mutex_lock(&s->lock);
	at = mem_find(s, key, &found);
	if (found)
		*v = mem_value(s, at);
	pthread_mutex_unlock(&s->lock);
	return found ? OK : ERR_NOT_FOUND;
}

static struct store *the_store; /* values do not know theirs */

void store_value_done(struct store_value *v)
{
	if (!v)
		return;
	pthread_mutex_lock(&the_store->lock);
	the_store->open_values--;
	pthread_mutex_unlock(&the_store->lock);
	buf_done(&v->bytes);
	free(v);
}

const struct store_info *store_value_info(const struct store_value *v)
{
	return &v->info;
}

enum err store_value_read(struct store_value *v, uint64_t off,
			  struct bytes *piece)
{
	uint64_t end = (off / STORE_CHUNK_BYTES + 1) * STORE_CHUNK_BYTES;

	if (end > v->bytes.n)
		end = v->bytes.n;
	if (end > v->corrupt_from)
		return ERR_CORRUPT;
	*piece = bytes_of(v->bytes.p + off, end - off);
	return OK;
}

enum err store_stat(struct store *s, struct bytes key, struct store_info *info)
{
	bool found;
	size_t at;

	pthread_mutex_lock(&s->lock);
	at = mem_find(s, key, &found);
	if (found)
		*info = (struct store_info){ .rev = s->items[at].rev,
					     .bytes = s->items[at].value.n,
					     .is_link = s->items[at].is_link,
					     .is_special =
						     s->items[at].is_special };
	pthread_mutex_unlock(&s->lock);
	return found ? OK : ERR_NOT_FOUND;
}

uint64_t store_revision(struct store *s, uint32_t partition)
{
	uint64_t rev;

	pthread_mutex_lock(&s->lock);
	rev = s->rev;
	pthread_mutex_unlock(&s->lock);
	return rev;
}

/* Where the fold of key ends, or 0. */
static size_t mem_fold(const struct store_list *l, struct bytes key)
{
	for (size_t i = l->prefix.n;
	     l->delimiter.n && i + l->delimiter.n <= key.n; i++)
		if (memcmp(key.p + i, l->delimiter.p, l->delimiter.n) == 0)
			return i + l->delimiter.n;
	return 0;
}

static bool mem_in_page(const struct store_list *l, struct bytes key)
{
	int after = bytes_compare(key, l->after);

	return bytes_begins(key, l->prefix) &&
	       bytes_compare(key, l->start) >= 0 &&
	       (l->end.n == 0 || bytes_compare(key, l->end) < 0) &&
	       (l->after.n == 0 || (l->reverse ? after < 0 : after > 0));
}

enum err store_list(struct store *s, struct store_list *l,
		    enum err (*fn)(void *ctx, const struct store_list_item *),
		    void *ctx)
{
	struct bytes last = { 0 };
	uint32_t n = 0;
	enum err err = OK;

	pthread_mutex_lock(&s->lock);
	l->more = false;
	l->next = l->revision = BUF_INIT;
	for (size_t k = 0; !err && k < s->count; k++) {
		struct mem_item *m =
			s->items + (l->reverse ? s->count - 1 - k : k);
		struct store_list_item item = { .key = buf_bytes(&m->key) };
		size_t fold = mem_fold(l, item.key);

		if (!mem_in_page(l, item.key))
			continue;
		if (fold && last.n >= fold &&
		    bytes_begins(last, bytes_of(item.key.p, fold)))
			continue;
		if (n++ == l->limit) {
			l->more = true;
			mem_copy(&l->next, last);
			break;
		}
		last = item.key;
		item.is_prefix = fold > 0;
		if (fold)
			item.key.n = fold;
		item.info.rev = m->rev;
		item.info.bytes = m->value.n;
		item.value = buf_bytes(&m->value);
		if (m->value.n > STORE_INLINE_BYTES_MAX)
			item.value_err = ERR_TOO_LARGE;
		err = fn(ctx, &item);
	}
	CHECK(buf_addf(&l->revision, "%lu", s->rev) == OK);
	pthread_mutex_unlock(&s->lock);
	return err;
}

enum err store_write(struct store *s, struct store_write *w)
{
	for (uint32_t i = 0; i < w->then_count; i++) {
		enum err err = store_key_check(w->then_ops[i].key);

		if (err)
			return err;
		for (uint32_t k = 0; k < i; k++)
			if (w->then_ops[i].kind != STORE_GET &&
			    w->then_ops[k].kind != STORE_GET &&
			    bytes_equal(w->then_ops[i].key, w->then_ops[k].key))
				return ERR_DUPLICATE;
	}
	pthread_mutex_lock(&s->lock);
	w->queued.next = NULL;
	if (s->head)
		s->tail->queued.next = (struct store_queued *)(void *)w;
	else
		s->head = w;
	s->tail = w;
	mem_push(s, w->gather);
	pthread_mutex_unlock(&s->lock);
	return OK;
}

enum err store_upload_open(struct store *s, struct bytes key,
			   void (*done)(void *user, enum err err), void *user,
			   struct store_upload **u)
{
	*u = calloc(1, sizeof(**u));
	(*u)->s = s;
	(*u)->done = done;
	(*u)->user = user;
	pthread_mutex_lock(&s->lock);
	s->open_uploads++;
	pthread_mutex_unlock(&s->lock);
	return OK;
}

enum err store_upload_add(struct store_upload *u, const void *p, size_t n)
{
	struct store *s = u->s;
	enum err err = OK;

	CHECK(!u->pending);
	if (u->bytes.n + n > s->max_value_bytes)
		return ERR_TOO_LARGE;
	mem_copy(&u->bytes, bytes_of(p, n));
	pthread_mutex_lock(&s->lock);
	/* Every third piece waits, and each one when there is trouble. */
	if (s->silent || s->upload_err || u->bytes.n / 20000 % 3 == 0) {
		u->pending = true;
		u->next = s->uploads;
		s->uploads = u;
		pthread_cond_signal(&s->more);
		err = ERR_PENDING;
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

void store_upload_close(struct store_upload *u)
{
	if (!u)
		return;
	CHECK(!u->pending);
	pthread_mutex_lock(&u->s->lock);
	u->s->open_uploads--;
	pthread_mutex_unlock(&u->s->lock);
	buf_done(&u->bytes);
	free(u);
}

enum err store_watch_open(struct store *s, struct bytes prefix, bool exact,
			  struct bytes after, void (*notify)(void *user),
			  void *user, struct store_watch **out)
{
	struct store_watch *w;
	uint64_t rev =
		strtoull(after.n ? (const char *)after.p : "0", NULL, 10);
	enum err err = OK;

	pthread_mutex_lock(&s->lock);
	if (after.n && rev < s->floor)
		err = ERR_COMPACTED;
	if ((uint32_t)s->open_watches >= s->watches_max)
		err = ERR_FULL;
	if (err) {
		pthread_mutex_unlock(&s->lock);
		return err;
	}
	w = calloc(1, sizeof(*w));
	w->s = s;
	mem_copy(&w->prefix, prefix);
	w->exact = exact;
	w->notify = notify;
	w->user = user;
	w->at = after.n ? s->first : s->last;
	while (after.n && w->at->next && w->at->next->rev <= rev)
		w->at = w->at->next;
	w->next = s->watches;
	s->watches = w;
	s->open_watches++;
	pthread_mutex_unlock(&s->lock);
	*out = w;
	return OK;
}

enum err store_watch_next(struct store_watch *w, struct store_event *event)
{
	enum err err = ERR_PENDING;

	pthread_mutex_lock(&w->s->lock);
	while (err && w->at->next) {
		struct mem_change *c = w->at = w->at->next;

		if (!mem_wants(w, buf_bytes(&c->key)))
			continue;
		event->kind = c->kind;
		event->key = buf_bytes(&c->key);
		event->value = buf_bytes(&c->value);
		event->rev = c->rev;
		event->bytes = c->value.n;
		event->has_value = c->kind == STORE_EVENT_PUT &&
				   c->value.n <= STORE_EVENT_VALUE_BYTES_MAX;
		snprintf(event->id, sizeof(event->id), "%lu", c->rev);
		err = OK;
	}
	w->hungry = err == ERR_PENDING;
	pthread_mutex_unlock(&w->s->lock);
	return err;
}

void store_watch_close(struct store_watch *w)
{
	struct store_watch **at;

	if (!w)
		return;
	pthread_mutex_lock(&w->s->lock);
	for (at = &w->s->watches; *at != w; at = &(*at)->next)
		;
	*at = w->next;
	w->s->open_watches--;
	pthread_mutex_unlock(&w->s->lock);
	buf_done(&w->prefix);
	free(w);
}

struct store_backup {
	struct store *s;
	uint64_t sent;
};

enum { MEM_BACKUP_BYTES = 300000 };

enum err store_backup_open(struct store *s, struct store_backup **b)
{
	*b = calloc(1, sizeof(**b));
	(*b)->s = s;
	return OK;
}

enum err store_backup_read(struct store_backup *b, void *dst, size_t cap,
			   size_t *n)
{
	CHECK(cap >= 64 << 10);
	if (b->sent >= b->s->corrupt_backup)
		return ERR_CORRUPT;
	*n = MEM_BACKUP_BYTES - b->sent;
	if (*n > 50000)
		*n = 50000;
	memset(dst, 'b', *n);
	b->sent += *n;
	return OK;
}

void store_backup_done(struct store_backup *b)
{
	free(b);
}

void store_partition_status(struct store *s, uint32_t partition,
			    struct store_partition_status *status)
{
	*status = (struct store_partition_status){ .role = STORE_LEADER,
						   .term = 1,
						   .leader_changes = 5,
						   .leader = "n1" };
	status->commit = status->applied = store_revision(s, 0);
}

uint32_t store_partition_count(const struct store *s)
{
	return 1;
}

bool store_ready(struct store *s)
{
	return s->unready == STORE_READY;
}

enum store_readiness store_readiness(struct store *s)
{
	return s->unready;
}

uint32_t store_members(struct store *s, struct store_member_status *out,
		       uint32_t cap)
{
	CHECK(cap >= 3);
	out[0] = (struct store_member_status){
		.member = { .id = 1, .name = "n1", .peer = "a:1" },
		.up = true,
		.progress_known = true,
		.match = 9
	};
	out[1] = (struct store_member_status){ .member = { .id = 2,
							   .name = "n2",
							   .peer = "b:1",
							   .http = "b:2" },
					       .up = true,
					       .progress_known = true,
					       .match = 7,
					       .lag = 2,
					       .last_contact_ms = 12 };
	out[2] = (struct store_member_status){ .member = { .id = 3,
							   .name = "n3",
							   .peer = "c:1",
							   .http = "c:2",
							   .stays_learner =
								   true },
					       .learner = true,
					       .leaving = true,
					       .last_contact_ms = UINT64_MAX };
	return 3;
}

enum err store_file_change(struct store *s, struct store_file_op *op)
{
	enum err err = store_key_check(op->path);

	if (!err && op->kind == STORE_FILE_RENAME)
		err = store_key_check(op->path2);
	if (err)
		return err;
	pthread_mutex_lock(&s->lock);
	s->last_file_op = *op;
	op->queued.next = (void *)s->file_ops;
	s->file_ops = op;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	return OK;
}

enum err store_change(struct store *s, struct store_change *c)
{
	if (c->kind == STORE_MEMBER_ADD && strchr(c->member.name, ' '))
		return ERR_INVALID;
	pthread_mutex_lock(&s->lock);
	s->last_change = *c;
	c->queued.next = (void *)s->changes;
	s->changes = c;
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	return OK;
}

const struct store_token *
store_token_find(struct store *s, const uint8_t hash[STORE_TOKEN_HASH_BYTES])
{
	const struct store_token *found = NULL;

	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < MEM_TOKENS; i++) {
		if (s->tokens[i].used && memcmp(s->tokens[i].token.hash, hash,
						STORE_TOKEN_HASH_BYTES) == 0)
			found = &s->tokens[i].token;
	}
	s->open_tokens += found != NULL;
	pthread_mutex_unlock(&s->lock);
	return found;
}

void store_token_done(const struct store_token *t)
{
	if (t)
		the_store->open_tokens--;
}

bool store_tokens_known(struct store *s)
{
	return !s->tokens_unknown;
}

uint64_t store_tokens_version(struct store *s)
{
	return 1 + atomic_load(&s->tokens_version);
}

enum err store_tokens_each(struct store *s,
			   enum err (*fn)(void *ctx,
					  const struct store_token *),
			   void *ctx)
{
	enum err err = OK;

	for (int i = 0; !err && i < MEM_TOKENS; i++) {
		if (s->tokens[i].used)
			err = fn(ctx, &s->tokens[i].token);
	}
	return err;
}

void store_stats(struct store *s, struct store_stats *stats)
{
	*stats = (struct store_stats){ 0 };
	stats->commit_buckets[10] = 1; /* 512 to 1023 us */
	stats->commit_count = 1;
}

void store_storage_status(struct store *s, struct store_storage_status *status)
{
	*status = (struct store_storage_status){ 0 };
	pthread_mutex_lock(&s->lock);
	status->keys = s->count;
	pthread_mutex_unlock(&s->lock);
	status->corrupt_count = 1;
	snprintf(status->corrupt[0].file, STORE_FILE_NAME_BYTES, "log-1");
	status->corrupt[0].off = 512;
}

void store_merge_request(struct store *s)
{
}

/*
 * Reports: members 2 and 3 say what a test puts here.
 */
static struct {
	_Atomic bool wanted;
	_Atomic uint32_t asked, posted;
	pthread_mutex_t lock;
	struct buf of[4], own;
	uint64_t age_ms[4];
	void (*wake)(void *ctx);
	void *ctx;
} mem_reports = { .lock = PTHREAD_MUTEX_INITIALIZER };

void store_reports_want(struct store *s)
{
	atomic_fetch_add(&mem_reports.asked, 1);
}

bool store_report_is_wanted(struct store *s)
{
	return atomic_load(&mem_reports.wanted);
}

void store_report_on_wish(struct store *s, void (*wake)(void *ctx), void *ctx)
{
	pthread_mutex_lock(&mem_reports.lock);
	mem_reports.wake = wake;
	mem_reports.ctx = ctx;
	pthread_mutex_unlock(&mem_reports.lock);
}

enum err store_report_post(struct store *s, struct bytes report)
{
	enum err err;

	pthread_mutex_lock(&mem_reports.lock);
	mem_reports.own.n = 0;
	err = buf_add(&mem_reports.own, report.p, report.n);
	pthread_mutex_unlock(&mem_reports.lock);
	atomic_fetch_add(&mem_reports.posted, 1);
	return err;
}

enum err store_reports_each(struct store *s,
			    enum err (*fn)(void *ctx, uint64_t id,
					   uint64_t age_ms,
					   struct bytes report),
			    void *ctx)
{
	enum err err = OK;

	pthread_mutex_lock(&mem_reports.lock);
	for (uint64_t id = 2; id < 4 && !err; id++)
		if (mem_reports.of[id].n)
			err = fn(ctx, id, mem_reports.age_ms[id],
				 buf_bytes(&mem_reports.of[id]));
	pthread_mutex_unlock(&mem_reports.lock);
	return err;
}

uint32_t store_list_files(struct store *s, struct store_file_info *out,
			  uint32_t cap)
{
	out[0] = (struct store_file_info){ .name = "00000001.log",
					   .active = true,
					   .bytes = 4096,
					   .live_bytes = 1024 };
	return 1;
}

#endif
