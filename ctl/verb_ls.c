/*
 * ctl/verb_ls.c - list keys, all pages of them, one page in memory at a time.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/http.h"
#include "ctl/text.h"

enum { PAGE_KEYS_MAX = 1000 };

struct listing {
	const char *prefix, *start, *end, *delimiter;
	bool reverse, detail;
	uint64_t left;	  /* keys still wanted */
	struct buf after; /* the next page's cursor; empty: the first */
};

static enum err add_parameter(struct buf *path, const char *name,
			      struct bytes value)
{
	enum err err;

	if (!value.n)
		return OK;
	err = buf_addf(path, "&%s=", name);
	return err ? err : text_add_escaped(path, value);
}

static struct bytes or_empty(const char *text)
{
	return bytes_str(text ? text : "");
}

static enum err make_path(const struct listing *l, struct buf *path)
{
	uint64_t limit = l->left < PAGE_KEYS_MAX ? l->left : PAGE_KEYS_MAX;
	enum err err = buf_addf(path, "/_/kv?limit=%" PRIu64 "%s", limit,
				l->reverse ? "&reverse=1" : "");

	if (!err)
		err = add_parameter(path, "prefix", or_empty(l->prefix));
	if (!err)
		err = add_parameter(path, "start", or_empty(l->start));
	if (!err)
		err = add_parameter(path, "end", or_empty(l->end));
	if (!err)
		err = add_parameter(path, "delimiter", or_empty(l->delimiter));
	if (!err)
		err = add_parameter(path, "after", buf_bytes(&l->after));
	return err ? err : buf_add(path, "", 1);
}

/* A member that is a number, 0 when absent. */
static uint64_t number(struct json_object *obj, const char *name)
{
	struct json_object *member;

	return json_object_object_get_ex(obj, name, &member)
		       ? json_object_get_uint64(member)
		       : 0;
}

static bool print_key(const struct ctl *c, const struct listing *l,
		      struct json_object *item)
{
	struct buf key = BUF_INIT;
	bool ok = true;

	if (c->json) {
		text_print_json(json_object_get(item));
		return true;
	}
	ok = text_from_json(item, "key", "encoding", &key);
	if (ok && l->detail)
		printf("%12" PRIu64 " %12" PRIu64 " ", number(item, "rev"),
		       number(item, "size"));
	text_print(stdout, buf_bytes(&key));
	putchar('\n');
	buf_done(&key);
	return ok;
}

/* A folded prefix: a string, or an object when it is not UTF-8. */
static bool print_prefix(const struct ctl *c, const struct listing *l,
			 struct json_object *item)
{
	struct json_object *obj;
	struct buf key = BUF_INIT;
	bool ok = true;

	if (c->json) {
		obj = json_object_new_object();
		json_object_object_add(obj, "prefix", json_object_get(item));
		text_print_json(obj);
		return true;
	}
	if (json_object_is_type(item, json_type_string))
		ok = !buf_add(&key, json_object_get_string(item),
			      (size_t)json_object_get_string_len(item));
	else
		ok = text_from_json(item, "prefix", "encoding", &key) ||
		     text_from_json(item, "key", "encoding", &key);
	if (l->detail)
		printf("%12s %12s ", "-", "-");
	text_print(stdout, buf_bytes(&key));
	putchar('\n');
	buf_done(&key);
	return ok;
}

/* Print one page; *more tells whether there is another. */
static bool print_page(const struct ctl *c, struct listing *l,
		       struct json_object *page, bool *more)
{
	struct json_object *keys, *prefixes, *next;
	bool ok = json_object_object_get_ex(page, "keys", &keys) &&
		  json_object_is_type(keys, json_type_array);
	size_t shown = 0;

	for (size_t i = 0; ok && i < json_object_array_length(keys); i++) {
		ok = print_key(c, l, json_object_array_get_idx(keys, i));
		shown++;
	}
	if (ok && json_object_object_get_ex(page, "prefixes", &prefixes) &&
	    json_object_is_type(prefixes, json_type_array)) {
		for (size_t i = 0; ok && i < json_object_array_length(prefixes);
		     i++) {
			ok = print_prefix(
				c, l, json_object_array_get_idx(prefixes, i));
			shown++;
		}
	}
	l->left -= shown < l->left ? shown : l->left;
	*more = ok && l->left &&
		json_object_object_get_ex(page, "more", &next) &&
		json_object_get_boolean(next) &&
		json_object_object_get_ex(page, "next", &next) && next;
	if (*more) {
		l->after.n = 0;
		ok = !buf_add(&l->after, json_object_get_string(next),
			      (size_t)json_object_get_string_len(next));
	}
	return ok;
}

static enum ctl_exit list_page(const struct ctl *c, struct listing *l,
			       bool *more)
{
	struct http_request r = { .method = "GET" };
	struct buf path = BUF_INIT;
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *page = NULL;
	struct http_answer a;
	enum ctl_exit result = CTL_RUNTIME;

	*more = false;
	if (!tokener || make_path(l, &path)) {
		ctl_say("out of memory");
		goto out;
	}
	r.path = (char *)path.p;
	result = http_call(c, &r, &a);
	if (result)
		goto out;
	result = http_judge(&a);
	if (!result) {
		page = json_tokener_parse_ex(tokener, (char *)a.body.p,
					     (int)a.body.n);
		if (!print_page(c, l, page, more)) {
			ctl_say("the answer is not a listing");
			result = CTL_RUNTIME;
		}
	}
	http_answer_done(&a);
out:
	json_object_put(page);
	if (tokener)
		json_tokener_free(tokener);
	buf_done(&path);
	return result;
}

enum ctl_exit verb_ls(struct ctl *c, int argc, char **argv)
{
	struct listing l = { .left = UINT64_MAX };
	const char *limit = NULL;
	const struct args_option options[] = {
		{ .name = "--prefix", .value = &l.prefix },
		{ .name = "--long", .alias = "-l", .set = &l.detail },
		{ .name = "--delimiter", .value = &l.delimiter },
		{ .name = "--start", .value = &l.start },
		{ .name = "--end", .value = &l.end },
		{ .name = "--reverse", .set = &l.reverse },
		{ .name = "--limit", .value = &limit },
		{ .name = NULL },
	};
	enum ctl_exit result = CTL_OK;
	bool more = true;
	char *end;

	if (!args_take(&argc, argv, options, true) || argc > 1 ||
	    (argc && l.prefix))
		return ctl_usage(c);
	if (argc)
		l.prefix = argv[0];
	if (limit) {
		l.left = strtoull(limit, &end, 10);
		if (*end || l.left == 0 || limit[0] == '-') {
			ctl_say("--limit takes a number of keys");
			return CTL_USAGE;
		}
	}
	while (!result && more)
		result = list_page(c, &l, &more);
	buf_done(&l.after);
	return result ? result : ctl_flush();
}
