/*
 * tests/lib/linear.c - the search for an order.
 *
 * Of a group of keys the known operations stand in a list of events by time,
 * a call and a return each. What may be placed next are the calls before the
 * first return. Placing takes both events out of the list; going back puts
 * them in again, in reverse order (Knuth's dancing links). The unknown ones
 * stand apart, by the time of their call; they need no return.
 *
 * The group is linearizable when the list is empty.
 */
#include "tests/lib/linear.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

enum { NO_VALUE = 0, NOTHING = UINT32_MAX };

/* key and value as numbers; value is of kinds VALUE and APPEND only, else 0 */
struct item {
	uint32_t key, value;
	enum linear_kind kind;
	uint32_t from; /* of COPY: a key number, else that of key             */
	uint64_t size;
};

struct op {
	uint32_t client, group;
	uint64_t start_ns, end_ns;
	enum linear_outcome outcome;
	bool delete_prefix;
	struct item *items; /* conditions, sights, changes                   */
	uint32_t condition_count, sight_count, change_count;
	uint32_t prefix; /* as a key number                                  */
};

struct names {
	struct bytes *v; /* owned                                            */
	uint32_t count, cap;
	uint32_t *slots; /* number + 1                                       */
	uint32_t slot_count;
};

struct linear {
	struct op *ops;
	uint64_t count, cap;
	struct names keys, values; /* values[0] is none: absent              */
	uint32_t *parent;	   /* of keys, while checking                */
};

static void *must(void *p)
{
	CHECK(p);
	return p;
}

/* ----------------------------------------------------------------- names - */

static uint64_t hash_bytes(struct bytes b)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < b.n; i++)
		h = (h ^ b.p[i]) * 0x100000001b3;
	return h ^ h >> 32;
}

static void names_rehash(struct names *t)
{
	free(t->slots);
	t->slot_count = t->slot_count ? 2 * t->slot_count : 64;
	t->slots = must(calloc(t->slot_count, sizeof(*t->slots)));
	for (uint32_t i = 0; i < t->count; i++) {
		uint64_t at = hash_bytes(t->v[i]);

		while (t->slots[at % t->slot_count])
			at++;
		t->slots[at % t->slot_count] = i + 1;
	}
}

/* The number of name, a new one if need be. */
static uint32_t number_of(struct names *t, struct bytes name)
{
	uint64_t at = hash_bytes(name);
	uint8_t *copy;

	if (2 * (t->count + 1) > t->slot_count)
		names_rehash(t);
	for (; t->slots[at % t->slot_count]; at++) {
		uint32_t i = t->slots[at % t->slot_count] - 1;

		if (bytes_equal(t->v[i], name))
			return i;
	}
	if (t->count == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 64;
		t->v = must(realloc(t->v, t->cap * sizeof(*t->v)));
	}
	copy = must(malloc(name.n + 1));
	if (name.n)
		memcpy(copy, name.p, name.n);
	t->v[t->count] = bytes_of(copy, name.n);
	t->slots[at % t->slot_count] = t->count + 1;
	return t->count++;
}

static void names_done(struct names *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		free((void *)(uintptr_t)t->v[i].p);
	free(t->v);
	free(t->slots);
}

/* --------------------------------------------------------------- history - */

struct linear *linear_new(void)
{
	return must(calloc(1, sizeof(struct linear)));
}

void linear_free(struct linear *l)
{
	if (!l)
		return;
	for (uint64_t i = 0; i < l->count; i++)
		free(l->ops[i].items);
	free(l->ops);
	names_done(&l->keys);
	names_done(&l->values);
	free(l);
}

static struct op *new_op(struct linear *l)
{
	if (l->count == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 256;
		l->ops = must(realloc(l->ops, l->cap * sizeof(*l->ops)));
	}
	l->ops[l->count] = (struct op){ 0 };
	return &l->ops[l->count++];
}

static void copy_items(struct linear *l, struct item *to,
		       const struct linear_item *from, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		to[i].key = number_of(&l->keys, from[i].key);
		to[i].kind = from[i].kind;
		to[i].size = from[i].size;
		to[i].from = from[i].kind == LINEAR_COPY
				     ? number_of(&l->keys, from[i].from)
				     : to[i].key;
		to[i].value = from[i].kind == LINEAR_VALUE ||
					      from[i].kind == LINEAR_APPEND
				      ? 1 + number_of(&l->values, from[i].value)
				      : NO_VALUE;
	}
}

/* What may take away the value that change made. */
static void add_expiry(struct linear *l, const struct linear_op *from,
		       const struct linear_item *change)
{
	struct linear_item gone = { .key = change->key, .kind = LINEAR_ABSENT };
	struct linear_op op = { .client = from->client,
				.start_ns = from->start_ns,
				.outcome = LINEAR_UNKNOWN,
				.conditions = change,
				.condition_count = 1,
				.changes = &gone,
				.change_count = 1 };

	linear_add(l, &op);
}

void linear_add(struct linear *l, const struct linear_op *from)
{
	struct op *op = new_op(l);
	uint32_t count =
		from->condition_count + from->sight_count + from->change_count;

	*op = (struct op){
		.client = from->client,
		.start_ns = from->start_ns,
		.end_ns = from->outcome == LINEAR_UNKNOWN && !from->end_ns
				  ? UINT64_MAX
				  : from->end_ns,
		.outcome = from->outcome,
		.delete_prefix = from->delete_prefix,
		.condition_count = from->condition_count,
		.sight_count = from->sight_count,
		.change_count = from->change_count,
	};
	CHECK(op->end_ns >= op->start_ns);
	op->items = must(calloc(count + 1, sizeof(*op->items)));
	copy_items(l, op->items, from->conditions, from->condition_count);
	copy_items(l, op->items + op->condition_count, from->sights,
		   from->sight_count);
	copy_items(l, op->items + op->condition_count + op->sight_count,
		   from->changes, from->change_count);
	if (from->delete_prefix)
		op->prefix = number_of(&l->keys, from->prefix);
	for (uint32_t i = 0; from->expires && i < from->change_count; i++)
		if (from->changes[i].kind == LINEAR_VALUE)
			add_expiry(l, from, &from->changes[i]);
}

uint64_t linear_op_count(const struct linear *l)
{
	return l->count;
}

uint64_t linear_key_count(const struct linear *l)
{
	return l->keys.count;
}

/* A prefix deletion deletes each key there is below it. */
static void spell_out(struct linear *l, struct op *op)
{
	struct bytes prefix = l->keys.v[op->prefix];

	op->items =
		must(realloc(op->items, (op->condition_count + op->sight_count +
					 op->change_count + l->keys.count) *
						sizeof(*op->items)));
	for (uint32_t k = 0; k < l->keys.count; k++) {
		if (!bytes_begins(l->keys.v[k], prefix))
			continue;
		op->items[op->condition_count + op->sight_count +
			  op->change_count++] = (struct item){
			.key = k, .from = k, .kind = LINEAR_ABSENT
		};
	}
	op->delete_prefix = false;
}

/* ---------------------------------------------------------------- groups - */

static uint32_t group_of(struct linear *l, uint32_t key)
{
	while (l->parent[key] != key)
		key = l->parent[key] = l->parent[l->parent[key]];
	return key;
}

static uint32_t item_count(const struct op *op)
{
	return op->condition_count + op->sight_count + op->change_count;
}

static void join_keys(struct linear *l)
{
	l->parent = must(malloc((l->keys.count + 1) * sizeof(*l->parent)));
	for (uint32_t k = 0; k < l->keys.count; k++)
		l->parent[k] = k;
	for (uint64_t i = 0; i < l->count; i++) {
		struct op *op = &l->ops[i];

		if (op->delete_prefix)
			spell_out(l, op);
		for (uint32_t j = 0; j < item_count(op); j++) {
			l->parent[group_of(l, op->items[j].key)] =
				group_of(l, op->items[0].key);
			l->parent[group_of(l, op->items[j].from)] =
				group_of(l, op->items[0].key);
		}
	}
	for (uint64_t i = 0; i < l->count; i++) {
		struct op *op = &l->ops[i];

		op->group = item_count(op) ? group_of(l, op->items[0].key)
					   : NOTHING;
	}
}

/* ---------------------------------------------------------------- search - */

struct event {
	uint64_t at_ns;
	uint32_t op; /* in ops                                               */
	bool is_return;
	struct event *prev, *next, *other; /* other: the return of a call    */
};

/* What was placed, and what it overwrote. */
struct frame {
	struct event *call; /* of a known one; NULL: an unknown one           */
	uint32_t unknown;
	bool forced; /* nothing else needs to be tried in its place           */
	uint32_t undo_from;
	uint64_t latest_ns; /* before it                                     */
};

struct undo {
	uint32_t key, value;
};

/* A situation that led nowhere: who was placed, and the values. */
struct tried {
	uint32_t next;
	uint32_t at; /* in words                                             */
};

struct search {
	struct linear *l;
	struct op **known, **unknown;
	uint32_t known_count, unknown_count;
	uint32_t *over, over_count; /* the unknown ones that have an end     */
	struct event *events, head;
	uint32_t *value;      /* by key number of the history                 */
	const uint32_t *keys; /* those of the group                          */
	uint32_t key_count;
	uint64_t *placed; /* bits of known, then of unknown               */
	uint32_t known_words, words;
	uint64_t hash; /* of the known bits and the values             */
	struct frame *stack;
	uint32_t depth;
	uint32_t *fresh; /* what the changes of one operation make           */
	struct undo *undo;
	uint32_t undo_count, undo_cap;
	struct tried *tried;
	uint32_t tried_count, tried_cap;
	uint64_t *memory;
	uint64_t memory_count, memory_cap;
	uint32_t *slots;
	uint32_t slot_count;
	uint64_t tries;
	uint64_t latest_ns; /* no placed one was asked later                 */
	uint32_t left, left_least;
	uint32_t stuck; /* the known operation before whose return it was     */
};

static uint64_t scatter(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9;
	x ^= x >> 27;
	x *= 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t hash_value(uint32_t key, uint32_t value)
{
	return value ? scatter((uint64_t)key << 32 | value) : 0;
}

static uint64_t size_of(const struct linear *l, uint32_t value)
{
	return value == NO_VALUE ? 0 : l->values.v[value - 1].n;
}

static bool fits(const struct search *s, const struct item *i)
{
	uint32_t v = s->value[i->key];

	switch (i->kind) {
	case LINEAR_ABSENT:
		return v == NO_VALUE;
	case LINEAR_EXISTS:
		return v != NO_VALUE;
	case LINEAR_VALUE:
		return v == i->value;
	case LINEAR_SIZE:
		return size_of(s->l, v) == i->size;
	case LINEAR_APPEND:
	case LINEAR_COPY:
		break;
	}
	return false;
}

static bool all_fit(const struct search *s, const struct item *items,
		    uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!fits(s, &items[i]))
			return false;
	return true;
}

static const struct item *changes_of(const struct op *op)
{
	return op->items + op->condition_count + op->sight_count;
}

/* It never changes anything, whenever it is placed. */
static bool only_looks(const struct op *op)
{
	return op->outcome == LINEAR_REFUSED || op->change_count == 0;
}

/* What a value is with more behind it. */
static uint32_t joined(struct linear *l, uint32_t value, uint32_t more)
{
	struct buf b = BUF_INIT;
	struct bytes v = { 0 }, tail = l->values.v[more - 1];
	uint32_t number;
	enum err err;

	if (value != NO_VALUE)
		v = l->values.v[value - 1];
	err = buf_add(&b, v.p, v.n);
	CHECK(!err);
	err = buf_add(&b, tail.p, tail.n);
	CHECK(!err);
	number = 1 + number_of(&l->values, buf_bytes(&b));
	buf_done(&b);
	return number;
}

/* What c makes of its key now. */
static uint32_t made(const struct search *s, const struct item *c)
{
	if (c->kind == LINEAR_APPEND)
		return joined(s->l, s->value[c->key], c->value);
	return c->kind == LINEAR_COPY ? s->value[c->from] : c->value;
}

static bool changes_anything(const struct search *s, const struct op *op)
{
	const struct item *c = changes_of(op);

	for (uint32_t i = 0; i < op->change_count; i++)
		if (s->value[c[i].key] != made(s, &c[i]))
			return true;
	return false;
}

/* Could op be what happens next? */
static bool possible(const struct search *s, const struct op *op)
{
	bool met = all_fit(s, op->items, op->condition_count);

	if (op->outcome == LINEAR_UNKNOWN)
		return met && changes_anything(s, op);
	if (met != (op->outcome == LINEAR_DONE))
		return false;
	return all_fit(s, op->items + op->condition_count, op->sight_count);
}

static void set_value(struct search *s, uint32_t key, uint32_t value)
{
	s->hash ^= hash_value(key, s->value[key]) ^ hash_value(key, value);
	s->value[key] = value;
}

static void change(struct search *s, const struct op *op)
{
	const struct item *c = changes_of(op);

	if (op->outcome == LINEAR_REFUSED)
		return;
	for (uint32_t i = 0; i < op->change_count; i++)
		s->fresh[i] = made(s, &c[i]);
	for (uint32_t i = 0; i < op->change_count; i++) {
		if (s->value[c[i].key] == s->fresh[i])
			continue;
		if (s->undo_count == s->undo_cap) {
			s->undo_cap = s->undo_cap ? 2 * s->undo_cap : 256;
			s->undo = must(realloc(s->undo,
					       s->undo_cap * sizeof(*s->undo)));
		}
		s->undo[s->undo_count++] =
			(struct undo){ .key = c[i].key,
				       .value = s->value[c[i].key] };
		set_value(s, c[i].key, s->fresh[i]);
	}
}

static void flip_placed(struct search *s, uint32_t bit, bool is_known)
{
	uint32_t word = is_known ? bit / 64 : s->known_words + bit / 64;

	s->placed[word] ^= 1ull << bit % 64;
	if (is_known)
		s->hash ^= scatter(0x100000000ull + bit);
}

static void take_out(struct event *call)
{
	call->prev->next = call->next;
	call->next->prev = call->prev;
	call->other->prev->next = call->other->next;
	call->other->next->prev = call->other->prev;
}

static void put_back(struct event *call)
{
	call->other->prev->next = call->other;
	call->other->next->prev = call->other;
	call->prev->next = call;
	call->next->prev = call;
}

static void place(struct search *s, struct frame f)
{
	const struct op *op;

	f.undo_from = s->undo_count;
	f.latest_ns = s->latest_ns;
	op = f.call ? s->known[f.call->op] : s->unknown[f.unknown];
	if (op->start_ns > s->latest_ns)
		s->latest_ns = op->start_ns;
	if (f.call) {
		take_out(f.call);
		flip_placed(s, f.call->op, true);
		s->left--;
	} else {
		flip_placed(s, f.unknown, false);
	}
	change(s, op);
	s->stack[s->depth++] = f;
}

static struct frame take_back(struct search *s)
{
	struct frame f = s->stack[--s->depth];

	s->latest_ns = f.latest_ns;
	while (s->undo_count > f.undo_from) {
		struct undo u = s->undo[--s->undo_count];

		set_value(s, u.key, u.value);
	}
	if (f.call) {
		put_back(f.call);
		flip_placed(s, f.call->op, true);
		s->left++;
	} else {
		flip_placed(s, f.unknown, false);
	}
	return f;
}

/* ---------------------------------------------------- what was tried ----- */

static bool is_as_tried(const struct search *s, const struct tried *t)
{
	const uint64_t *m = s->memory + t->at;

	if (memcmp(m, s->placed, s->known_words * 8) != 0)
		return false;
	for (uint32_t i = s->known_words; i < s->words; i++)
		if (m[i] & ~s->placed[i])
			return false; /* that one had used up others */
	m += s->words;
	for (uint32_t i = 0; i < s->key_count; i++)
		if ((uint32_t)(m[i / 2] >> 32 * (i % 2)) !=
		    s->value[s->keys[i]])
			return false;
	return true;
}

static void tried_rehash(struct search *s)
{
	uint32_t *at;

	free(s->slots);
	s->slot_count = s->slot_count ? 4 * s->slot_count : 1024;
	s->slots = must(malloc(s->slot_count * sizeof(*s->slots)));
	memset(s->slots, 0xff, s->slot_count * sizeof(*s->slots));
	for (uint32_t i = 0; i < s->tried_count; i++) {
		uint64_t hash = s->memory[s->tried[i].at + s->words +
					  (s->key_count + 1) / 2];

		at = &s->slots[hash % s->slot_count];
		s->tried[i].next = *at;
		*at = i;
	}
}

static void remember(struct search *s)
{
	uint32_t value_words = (s->key_count + 1) / 2;
	uint64_t need = s->words + value_words + 1;
	uint64_t *m;

	if (s->tried_count >= s->slot_count / 2)
		tried_rehash(s);
	if (s->memory_count + need > s->memory_cap) {
		s->memory_cap = 2 * s->memory_cap + 16 * need;
		s->memory = must(realloc(s->memory, s->memory_cap * 8));
	}
	if (s->tried_count == s->tried_cap) {
		s->tried_cap = s->tried_cap ? 2 * s->tried_cap : 256;
		s->tried = must(
			realloc(s->tried, s->tried_cap * sizeof(*s->tried)));
	}
	m = s->memory + s->memory_count;
	memcpy(m, s->placed, s->words * 8);
	memset(m + s->words, 0, value_words * 8);
	for (uint32_t i = 0; i < s->key_count; i++)
		m[s->words + i / 2] |= (uint64_t)s->value[s->keys[i]]
				       << 32 * (i % 2);
	m[need - 1] = s->hash;
	s->tried[s->tried_count] = (struct tried){
		.at = (uint32_t)s->memory_count,
		.next = s->slots[s->hash % s->slot_count],
	};
	s->slots[s->hash % s->slot_count] = s->tried_count++;
	s->memory_count += need;
}

/* True: this situation, or a better one, was looked at before. */
static bool was_tried(struct search *s)
{
	uint32_t i = NOTHING;

	if (s->slot_count)
		i = s->slots[s->hash % s->slot_count];
	for (; i != NOTHING; i = s->tried[i].next)
		if (is_as_tried(s, &s->tried[i]))
			return true;
	remember(s);
	return false;
}

/* ------------------------------------------------------------ the search - */

/* The values as they were before what was placed last; and again as now. */
static void swap_last(struct search *s)
{
	for (uint32_t i = s->undo_count; i > s->stack[s->depth - 1].undo_from;
	     i--) {
		struct undo *u = &s->undo[i - 1];
		uint32_t value = s->value[u->key];

		s->value[u->key] = u->value;
		u->value = value;
	}
}

static bool changes_key(const struct op *op, uint32_t key)
{
	const struct item *c = changes_of(op);

	for (uint32_t i = 0; i < op->change_count; i++)
		if (c[i].key == key)
			return true;
	return false;
}

/* What op makes follows from what key has. */
static bool builds_on(const struct op *op, uint32_t key)
{
	const struct item *c = changes_of(op);

	for (uint32_t i = 0; i < op->change_count; i++)
		if ((c[i].kind == LINEAR_APPEND || c[i].kind == LINEAR_COPY) &&
		    c[i].from == key)
			return true;
	return false;
}

/* Behind op, u would do something else, or nothing. */
static bool takes_ground(const struct op *op, const struct op *u)
{
	const struct item *c = changes_of(op);

	for (uint32_t i = 0; i < op->change_count; i++) {
		if (builds_on(u, c[i].key))
			return true;
		for (uint32_t j = 0; j < u->condition_count; j++)
			if (u->items[j].key == c[i].key)
				return true;
	}
	return false;
}

/*
 * An unknown operation is placed for the sake of the next one alone: if that
 * could as well come first, some other order places the unknown one later or
 * not at all. (Of several keys, one may be overwritten at once and the others
 * seen later; several may be needed together; and the next one may change what
 * the unknown one needed.)
 */
static bool comes_next(struct search *s, const struct op *op)
{
	const struct frame *last = s->depth ? &s->stack[s->depth - 1] : NULL;
	const struct op *u;
	bool before;

	if (!possible(s, op))
		return false;
	if (!last || last->call)
		return true;
	if (s->key_count > 1 && op->outcome == LINEAR_UNKNOWN)
		return true;
	u = s->unknown[last->unknown];
	if (op->start_ns > u->end_ns)
		return true; /* the unknown one cannot come later */
	for (uint32_t i = 0; i < u->change_count; i++)
		if (builds_on(op, changes_of(u)[i].key))
			return true;
	if (s->key_count > 1 && takes_ground(op, u))
		return true;
	for (uint32_t i = 0; u->change_count > 1 && i < u->change_count; i++)
		if (changes_key(op, changes_of(u)[i].key))
			return true;
	swap_last(s);
	before = possible(s, op);
	swap_last(s);
	return !before;
}

/* Behind op some unknown one that is left could no more be placed. */
static bool ends_another(const struct search *s, const struct op *op)
{
	for (uint32_t u = 0; u < s->over_count; u++) {
		const struct op *o = s->unknown[s->over[u]];
		uint32_t bit = s->over[u];

		if (o->end_ns >= s->latest_ns && o->end_ns < op->start_ns &&
		    !(s->placed[s->known_words + bit / 64] >> bit % 64 & 1))
			return true;
	}
	return false;
}

/*
 * The next thing to place, after `last` was taken back (all zero: the first).
 * Known ones come first, those that change nothing before all others.
 */
static bool choose(struct search *s, const struct frame *last, bool first,
		   struct frame *f)
{
	struct event *e = s->head.next;
	uint32_t u = 0;

	if (first) {
		for (; e != &s->head && !e->is_return; e = e->next) {
			const struct op *op = s->known[e->op];

			if (only_looks(op) && !ends_another(s, op) &&
			    comes_next(s, op)) {
				*f = (struct frame){ .call = e,
						     .forced = true };
				return true;
			}
		}
		e = s->head.next;
	} else if (last->forced) {
		return false;
	} else if (last->call) {
		e = last->call->next;
	} else {
		u = last->unknown + 1;
		while (!e->is_return)
			e = e->next;
	}
	for (; !e->is_return; e = e->next) {
		if (comes_next(s, s->known[e->op])) {
			*f = (struct frame){ .call = e };
			return true;
		}
	}
	for (; u < s->unknown_count && s->unknown[u]->start_ns <= e->at_ns;
	     u++) {
		bool used = s->placed[s->known_words + u / 64] >> u % 64 & 1;

		if (!used && s->unknown[u]->end_ns >= s->latest_ns &&
		    comes_next(s, s->unknown[u])) {
			*f = (struct frame){ .unknown = u };
			return true;
		}
	}
	return false;
}

/* Where the search got furthest. */
static void note_progress(struct search *s)
{
	struct event *e = s->head.next;

	if (s->left >= s->left_least)
		return;
	s->left_least = s->left;
	while (e != &s->head && !e->is_return)
		e = e->next;
	s->stuck = e == &s->head ? NOTHING : e->op;
}

static enum linear_verdict run(struct search *s, uint64_t tries_max)
{
	struct frame f = { 0 };
	bool first = true;

	note_progress(s);
	while (s->left > 0) {
		if (choose(s, &f, first, &f)) {
			place(s, f);
			note_progress(s);
			if (++s->tries > tries_max)
				return LINEAR_UNDECIDED;
			first = true;
			if (!f.call || !was_tried(s))
				continue; /* what follows an unknown one is
					     a part of all that could */
		} else if (s->depth == 0) {
			return LINEAR_NO;
		}
		f = take_back(s);
		first = false;
	}
	return LINEAR_YES;
}

/* ----------------------------------------------------------------- setup - */

static int order_events(const void *pa, const void *pb)
{
	const struct event *a = pa, *b = pb;

	if (a->at_ns != b->at_ns)
		return a->at_ns < b->at_ns ? -1 : 1;
	if (a->is_return != b->is_return)
		return a->is_return ? 1 : -1; /* at one moment: side by side */
	return a->op < b->op ? -1 : a->op > b->op;
}

static int order_ops(const void *pa, const void *pb)
{
	const struct op *a = *(struct op *const *)pa;
	const struct op *b = *(struct op *const *)pb;

	if (a->start_ns != b->start_ns)
		return a->start_ns < b->start_ns ? -1 : 1;
	return a < b ? -1 : a > b;
}

static void make_events(struct search *s)
{
	uint32_t n = 2 * s->known_count;
	struct event **call;

	s->events = must(calloc(n + 1, sizeof(*s->events)));
	call = must(calloc(s->known_count + 1, sizeof(struct event *)));
	for (uint32_t i = 0; i < s->known_count; i++) {
		s->events[2 * i] =
			(struct event){ .at_ns = s->known[i]->start_ns,
					.op = i };
		s->events[2 * i + 1] = (struct event){
			.at_ns = s->known[i]->end_ns, .op = i, .is_return = true
		};
	}
	qsort(s->events, n, sizeof(*s->events), order_events);
	s->head = (struct event){ .at_ns = UINT64_MAX,
				  .is_return = true,
				  .prev = &s->head,
				  .next = &s->head };
	for (uint32_t i = 0; i < n; i++) {
		struct event *e = &s->events[i];

		e->prev = s->head.prev;
		e->next = &s->head;
		s->head.prev->next = e;
		s->head.prev = e;
		if (e->is_return)
			call[e->op]->other = e;
		else
			call[e->op] = e;
	}
	free(call);
}

static void search_init(struct search *s, struct linear *l, struct op **ops,
			uint32_t count, uint32_t *value, const uint32_t *keys,
			uint32_t key_count)
{
	uint32_t changes_max = 0;

	*s = (struct search){ .l = l, .value = value, .stuck = NOTHING };
	s->known = must(malloc((count + 1) * sizeof(*s->known)));
	s->unknown = must(malloc((count + 1) * sizeof(*s->unknown)));
	for (uint32_t i = 0; i < count; i++) {
		if (ops[i]->change_count > changes_max)
			changes_max = ops[i]->change_count;
		if (ops[i]->outcome == LINEAR_UNKNOWN)
			s->unknown[s->unknown_count++] = ops[i];
		else
			s->known[s->known_count++] = ops[i];
	}
	qsort(s->known, s->known_count, sizeof(*s->known), order_ops);
	qsort(s->unknown, s->unknown_count, sizeof(*s->unknown), order_ops);
	s->over = must(malloc((s->unknown_count + 1) * sizeof(*s->over)));
	for (uint32_t i = 0; i < s->unknown_count; i++)
		if (s->unknown[i]->end_ns != UINT64_MAX)
			s->over[s->over_count++] = i;
	make_events(s);
	s->known_words = (s->known_count + 63) / 64;
	s->words = s->known_words + (s->unknown_count + 63) / 64;
	s->placed = must(calloc(s->words + 1, sizeof(*s->placed)));
	s->stack = must(malloc((count + 1) * sizeof(*s->stack)));
	s->fresh = must(malloc((changes_max + 1) * sizeof(*s->fresh)));
	s->left = s->known_count;
	s->left_least = s->left + 1;
	s->keys = keys;
	s->key_count = key_count;
}

static void search_done(struct search *s)
{
	free(s->known);
	free(s->unknown);
	free(s->over);
	free(s->events);
	free(s->placed);
	free(s->stack);
	free(s->fresh);
	free(s->undo);
	free(s->tried);
	free(s->memory);
	free(s->slots);
}

/* ---------------------------------------------------------------- report - */

static void tell_items(const struct linear *l, const struct item *items,
		       uint32_t n, const char *word, struct buf *why)
{
	static const char *const signs[] = {
		[LINEAR_ABSENT] = " absent", [LINEAR_EXISTS] = " exists",
		[LINEAR_VALUE] = "=",	     [LINEAR_SIZE] = " size ",
		[LINEAR_APPEND] = "+=",	     [LINEAR_COPY] = "=value of ",
	};

	for (uint32_t i = 0; i < n; i++) {
		struct bytes k = l->keys.v[items[i].key], v = { 0 };
		size_t more = 0; /* of a long value the end tells most */

		if (items[i].value != NO_VALUE)
			v = l->values.v[items[i].value - 1];
		else if (items[i].kind == LINEAR_COPY)
			v = l->keys.v[items[i].from];
		if (v.n > 60)
			more = v.n - 60;
		(void)!buf_addf(why, " %s %.*s%s%s%.*s", word, (int)k.n,
				(const char *)k.p, signs[items[i].kind],
				more ? "..." : "", (int)(v.n - more),
				v.n ? (const char *)v.p + more : "");
		if (items[i].kind == LINEAR_SIZE)
			(void)!buf_addf(why, "%llu",
					(unsigned long long)items[i].size);
	}
}

static void tell_op(const struct linear *l, const struct op *op,
		    struct buf *why)
{
	static const char *const words[] = { "done", "refused", "unknown" };

	(void)!buf_addf(why, "\n  client %u %llu..%llu %s:", op->client,
			(unsigned long long)op->start_ns,
			op->outcome == LINEAR_UNKNOWN
				? 0
				: (unsigned long long)op->end_ns,
			words[op->outcome]);
	tell_items(l, op->items, op->condition_count, "if", why);
	tell_items(l, op->items + op->condition_count, op->sight_count, "sees",
		   why);
	tell_items(l, op->items + op->condition_count + op->sight_count,
		   op->change_count, "makes", why);
}

/* What stood around the place where no way went on. */
static void tell(struct search *s, enum linear_verdict verdict, struct buf *why)
{
	enum { AROUND = 12 };
	uint32_t from;

	if (!why || s->stuck == NOTHING)
		return;
	(void)!buf_addf(why,
			"%s after %llu tries: of %u operations %u found no "
			"place, first:",
			verdict == LINEAR_NO ? "not linearizable" : "given up",
			(unsigned long long)s->tries, s->known_count,
			s->left_least);
	tell_op(s->l, s->known[s->stuck], why);
	(void)!buf_addf(why, "\n around it:");
	from = s->stuck > AROUND ? s->stuck - AROUND : 0;
	for (uint32_t i = from; i < s->known_count && i < s->stuck + AROUND;
	     i++)
		tell_op(s->l, s->known[i], why);
	for (uint32_t i = 0; i < s->unknown_count; i++)
		if (s->unknown[i]->start_ns < s->known[s->stuck]->end_ns)
			tell_op(s->l, s->unknown[i], why);
}

static int order_groups(const void *pa, const void *pb)
{
	const struct op *a = *(struct op *const *)pa;
	const struct op *b = *(struct op *const *)pb;

	if (a->group != b->group)
		return a->group < b->group ? -1 : 1;
	return a < b ? -1 : a > b;
}

struct grouped_key {
	uint32_t group, key;
};

static int order_keys(const void *pa, const void *pb)
{
	const struct grouped_key *a = pa, *b = pb;

	if (a->group != b->group)
		return a->group < b->group ? -1 : 1;
	return a->key < b->key ? -1 : a->key > b->key;
}

/* All keys, those of a group together, groups rising. */
static uint32_t *sort_keys(struct linear *l)
{
	uint32_t n = l->keys.count;
	struct grouped_key *k = must(malloc((n + 1) * sizeof(*k)));
	uint32_t *keys = must(malloc((n + 1) * sizeof(*keys)));

	for (uint32_t i = 0; i < n; i++)
		k[i] = (struct grouped_key){ group_of(l, i), i };
	qsort(k, n, sizeof(*k), order_keys);
	for (uint32_t i = 0; i < n; i++) {
		keys[i] = k[i].key;
		l->parent[i] = group_of(l, i);
	}
	free(k);
	return keys;
}

static enum linear_verdict check_group(struct linear *l, struct op **ops,
				       uint32_t count, const uint32_t *keys,
				       uint32_t key_count, uint32_t *value,
				       uint64_t tries_max, struct buf *why)
{
	enum linear_verdict verdict;
	struct search s;

	search_init(&s, l, ops, count, value, keys, key_count);
	verdict = run(&s, tries_max);
	if (verdict != LINEAR_YES)
		tell(&s, verdict, why);
	search_done(&s);
	return verdict;
}

enum linear_verdict linear_check(struct linear *l, uint64_t tries_max,
				 struct buf *why)
{
	enum linear_verdict worst = LINEAR_YES;
	uint32_t *value, *keys, key = 0, key_to;
	uint64_t from = 0, to;
	struct op **ops;

	join_keys(l);
	keys = sort_keys(l);
	value = must(calloc(l->keys.count + 1, sizeof(*value)));
	ops = must(malloc((l->count + 1) * sizeof(struct op *)));
	for (uint64_t i = 0; i < l->count; i++)
		ops[i] = &l->ops[i];
	qsort(ops, l->count, sizeof(struct op *), order_groups);
	for (; from < l->count && worst != LINEAR_NO; from = to) {
		uint32_t group = ops[from]->group;
		enum linear_verdict verdict;

		for (to = from; to < l->count && ops[to]->group == group; to++)
			;
		if (group == NOTHING)
			continue;
		while (l->parent[keys[key]] != group)
			key++;
		for (key_to = key;
		     key_to < l->keys.count && l->parent[keys[key_to]] == group;
		     key_to++)
			;
		verdict = check_group(l, ops + from, (uint32_t)(to - from),
				      keys + key, key_to - key, value,
				      tries_max, why);
		if (verdict != LINEAR_YES)
			worst = verdict;
	}
	free(ops);
	free(value);
	free(keys);
	free(l->parent);
	l->parent = NULL;
	return worst;
}
