/*
 * tests/lib/linear_json.c - operations as lines of JSON.
 */
#include <json-c/json.h>
#include <stdlib.h>

#include "base/check.h"
#include "tests/lib/linear.h"

struct line {
	struct json_object *o;
	struct linear_op op;
	struct linear_item conditions[64], sights[64], changes[64];
	struct buf *why;
};

static bool wrong(struct line *l, const char *what)
{
	if (l->why)
		(void)!buf_addf(l->why, "%s", what);
	return false;
}

static struct json_object *member(struct json_object *o, const char *name)
{
	struct json_object *v = NULL;

	json_object_object_get_ex(o, name, &v);
	return v;
}

static struct bytes text_of(struct json_object *v)
{
	return bytes_of(json_object_get_string(v),
			(size_t)json_object_get_string_len(v));
}

static bool is_word(struct json_object *v, const char *word)
{
	return json_object_is_type(v, json_type_string) &&
	       bytes_equal(text_of(v), bytes_str(word));
}

/* key with what v says of it: text or null. */
static bool to_item(struct bytes key, struct json_object *v,
		    struct linear_item *item)
{
	*item = (struct linear_item){ .key = key, .kind = LINEAR_ABSENT };
	if (!v)
		return true;
	if (!json_object_is_type(v, json_type_string))
		return false;
	item->kind = LINEAR_VALUE;
	item->value = text_of(v);
	return true;
}

/* What a member of such an array says instead of "value". */
static void to_other(struct json_object *o, struct linear_item *item)
{
	struct json_object *exists = member(o, "exists");
	struct json_object *size = member(o, "size");
	struct json_object *append = member(o, "append");
	struct json_object *from = member(o, "from");

	if (json_object_is_type(exists, json_type_boolean)) {
		item->kind = json_object_get_boolean(exists) ? LINEAR_EXISTS
							     : LINEAR_ABSENT;
	} else if (json_object_is_type(size, json_type_int)) {
		item->kind = LINEAR_SIZE;
		item->size = json_object_get_uint64(size);
	} else if (json_object_is_type(append, json_type_string)) {
		item->kind = LINEAR_APPEND;
		item->value = text_of(append);
	} else if (json_object_is_type(from, json_type_string)) {
		item->kind = LINEAR_COPY;
		item->from = text_of(from);
	}
}

static bool is_change(const struct linear_item *item)
{
	return item->kind == LINEAR_APPEND || item->kind == LINEAR_COPY;
}

static bool is_look(const struct linear_item *item)
{
	return item->kind == LINEAR_EXISTS || item->kind == LINEAR_SIZE;
}

/* An array of {"key":..,"value":..}. */
static bool to_items(struct line *l, const char *name,
		     struct linear_item *items, uint32_t *count)
{
	struct json_object *a = member(l->o, name);
	size_t n;

	*count = 0;
	if (!a)
		return true;
	n = json_object_is_type(a, json_type_array)
		    ? json_object_array_length(a)
		    : 65;
	if (n > 64)
		return wrong(l, "an array of at most 64 is wanted");
	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_array_get_idx(a, i);
		struct json_object *key;

		if (!json_object_is_type(o, json_type_object))
			return wrong(l, "an array of objects is wanted");
		key = member(o, "key");
		if (!json_object_is_type(key, json_type_string) ||
		    !to_item(text_of(key), member(o, "value"), &items[i]))
			return wrong(l, "a key and a value are wanted");
		to_other(o, &items[i]);
		if (items == l->changes ? is_look(&items[i])
					: is_change(&items[i]))
			return wrong(l, "no such condition, sight or change");
	}
	*count = (uint32_t)n;
	return true;
}

/* "existed": was the key there before? */
static void add_existed(struct line *l, struct bytes key)
{
	struct json_object *v = member(l->o, "existed");

	if (!json_object_is_type(v, json_type_boolean))
		return;
	l->sights[0] = (struct linear_item){ .key = key,
					     .kind = json_object_get_boolean(v)
							     ? LINEAR_EXISTS
							     : LINEAR_ABSENT };
	l->op.sight_count = 1;
}

/* "size" is of after the change, a sight is of before it. */
static bool add_append(struct line *l, struct bytes key, struct json_object *v)
{
	struct json_object *size = member(l->o, "size");
	uint64_t bytes;

	if (!v)
		return wrong(l, "append without a value");
	l->changes[0] = (struct linear_item){ .key = key,
					      .kind = LINEAR_APPEND,
					      .value = text_of(v) };
	l->op.change_count = 1;
	if (!json_object_is_type(size, json_type_int))
		return true;
	bytes = json_object_get_uint64(size);
	if (bytes < l->changes[0].value.n)
		return wrong(l, "a size below that of what was appended");
	l->sights[0] = (struct linear_item){
		.key = key,
		.kind = LINEAR_SIZE,
		.size = bytes - l->changes[0].value.n,
	};
	l->op.sight_count = 1;
	return true;
}

/* Refused: there was nothing of that name. */
static bool add_rename(struct line *l, struct bytes key)
{
	struct json_object *to = member(l->o, "to");

	if (!json_object_is_type(to, json_type_string))
		return wrong(l, "rename to nowhere");
	l->conditions[0] =
		(struct linear_item){ .key = key, .kind = LINEAR_EXISTS };
	l->changes[0] = (struct linear_item){ .key = text_of(to),
					      .kind = LINEAR_COPY,
					      .from = key };
	l->changes[1] =
		(struct linear_item){ .key = key, .kind = LINEAR_ABSENT };
	l->op.condition_count = 1;
	l->op.change_count = 2;
	return true;
}

static bool add_key_op(struct line *l, struct json_object *kind)
{
	struct json_object *k = member(l->o, "key"), *v, *ttl;
	struct bytes key;

	if (!json_object_is_type(k, json_type_string))
		return wrong(l, "no key");
	key = text_of(k);
	v = member(l->o, "value");
	if (v && !json_object_is_type(v, json_type_string))
		return wrong(l, "value is neither text nor null");
	if (is_word(kind, "delete_prefix")) {
		l->op.delete_prefix = true;
		l->op.prefix = key;
		return true;
	}
	if (is_word(kind, "append"))
		return add_append(l, key, v);
	if (is_word(kind, "rename"))
		return add_rename(l, key);
	if (is_word(kind, "get")) {
		l->op.sight_count = 1;
		return to_item(key, v, &l->sights[0]);
	}
	add_existed(l, key);
	if (is_word(kind, "delete"))
		v = NULL;
	else if (is_word(kind, "put") && !v)
		return wrong(l, "put without a value");
	l->op.change_count = 1;
	to_item(key, v, &l->changes[0]);
	ttl = member(l->o, "ttl_ns");
	l->op.expires = ttl && json_object_get_int64(ttl) > 0;
	if (is_word(kind, "put") || is_word(kind, "delete"))
		return true;
	if (!is_word(kind, "cas"))
		return wrong(l, "unknown op");
	l->op.condition_count = 1;
	if (!to_item(key, member(l->o, "expect"), &l->conditions[0]))
		return wrong(l, "expect is neither text nor null");
	return true;
}

static bool add_txn(struct line *l)
{
	return to_items(l, "if", l->conditions, &l->op.condition_count) &&
	       to_items(l, "gets", l->sights, &l->op.sight_count) &&
	       to_items(l, "puts", l->changes, &l->op.change_count);
}

/* False in *known: it surely did not happen. */
static bool read_outcome(struct line *l, struct json_object *kind, bool *known)
{
	struct json_object *ok = member(l->o, "ok");
	bool is_cas = is_word(kind, "cas");

	*known = true;
	if (json_object_is_type(ok, json_type_boolean)) {
		l->op.outcome = LINEAR_DONE;
		if (json_object_get_boolean(ok))
			return true;
		l->op.outcome = LINEAR_REFUSED;
		*known = is_cas;
		return true;
	}
	if (is_word(ok, "refused")) {
		l->op.outcome = LINEAR_REFUSED;
		if (is_cas || is_word(kind, "txn") || is_word(kind, "rename"))
			return true;
		return wrong(l, "only cas, txn and rename can be refused");
	}
	if (!is_word(ok, "unknown"))
		return wrong(l, "ok is not true, false, unknown or refused");
	l->op.outcome = LINEAR_UNKNOWN;
	*known = !is_word(kind, "get");
	return true;
}

static bool read_times(struct line *l)
{
	struct json_object *start = member(l->o, "start_ns");
	struct json_object *end = member(l->o, "end_ns");
	struct json_object *client = member(l->o, "client");
	struct json_object *late = member(l->o, "late");

	if (!json_object_is_type(start, json_type_int))
		return wrong(l, "no start_ns");
	l->op.start_ns = json_object_get_uint64(start);
	l->op.client = client ? (uint32_t)json_object_get_int64(client) : 0;
	if (l->op.outcome == LINEAR_UNKNOWN &&
	    !json_object_is_type(late, json_type_boolean))
		return true; /* end_ns is when the client gave up */
	if (!json_object_is_type(end, json_type_int))
		return wrong(l, "no end_ns");
	l->op.end_ns = json_object_get_uint64(end);
	return l->op.end_ns >= l->op.start_ns || wrong(l, "ends before it "
							  "starts");
}

static bool add_line(struct line *l, struct linear *history)
{
	struct json_object *kind = member(l->o, "op");
	struct json_object *stale = member(l->o, "stale");
	bool known = true;

	if (stale && json_object_get_boolean(stale))
		return true;
	if (!read_outcome(l, kind, &known) || !read_times(l))
		return false;
	if (!known)
		return true;
	if (!(is_word(kind, "txn") ? add_txn(l) : add_key_op(l, kind)))
		return false;
	l->op.conditions = l->conditions;
	l->op.sights = l->sights;
	l->op.changes = l->changes;
	linear_add(history, &l->op);
	return true;
}

bool linear_add_json(struct linear *history, const char *text, struct buf *why)
{
	struct line l = { .o = json_tokener_parse(text), .why = why };
	bool ok;

	if (!json_object_is_type(l.o, json_type_object))
		ok = wrong(&l, "not an object of JSON");
	else
		ok = add_line(&l, history);
	json_object_put(l.o);
	return ok;
}
