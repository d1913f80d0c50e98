/*
 * ctl/verb_ls.c - list keys, all pages of them, one page in memory at a time.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/pages.h"
#include "ctl/text.h"

struct listing {
	struct pages pages;
	bool detail;
};

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
		printf("%12" PRIu64 " %12" PRIu64 " ",
		       pages_number(item, "rev"), pages_number(item, "size"));
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

static bool print_page(const struct ctl *c, const struct listing *l,
		       struct json_object *page)
{
	struct json_object *keys = pages_array(page, "keys");
	struct json_object *prefixes = pages_array(page, "prefixes");
	size_t n = prefixes ? json_object_array_length(prefixes) : 0;
	bool ok = true;

	for (size_t i = 0; ok && i < json_object_array_length(keys); i++)
		ok = print_key(c, l, json_object_array_get_idx(keys, i));
	for (size_t i = 0; ok && i < n; i++)
		ok = print_prefix(c, l, json_object_array_get_idx(prefixes, i));
	if (!ok)
		ctl_say("the answer is not a listing");
	return ok;
}

static enum ctl_exit list_page(const struct ctl *c, struct listing *l)
{
	struct json_object *page;
	enum ctl_exit result = pages_next(c, &l->pages, &page);

	if (!result && !print_page(c, l, page))
		result = CTL_RUNTIME;
	json_object_put(page);
	return result;
}

enum ctl_exit verb_ls(struct ctl *c, int argc, char **argv)
{
	struct listing l = { .detail = false };
	const char *limit = NULL;
	const struct args_option options[] = {
		{ .name = "--prefix", .value = &l.pages.prefix },
		{ .name = "--long", .alias = "-l", .set = &l.detail },
		{ .name = "--delimiter", .value = &l.pages.delimiter },
		{ .name = "--start", .value = &l.pages.start },
		{ .name = "--end", .value = &l.pages.end },
		{ .name = "--reverse", .set = &l.pages.reverse },
		{ .name = "--limit", .value = &limit },
		{ .name = NULL },
	};
	enum ctl_exit result = CTL_OK;
	char *end;

	if (!args_take(&argc, argv, options, true) || argc > 1 ||
	    (argc && l.pages.prefix))
		return ctl_usage(c);
	if (argc)
		l.pages.prefix = argv[0];
	if (limit) {
		l.pages.left = strtoull(limit, &end, 10);
		if (*end || l.pages.left == 0 || limit[0] == '-') {
			ctl_say("--limit takes a number of keys");
			return CTL_USAGE;
		}
	}
	pages_begin(&l.pages);
	while (!result && l.pages.more)
		result = list_page(c, &l);
	pages_done(&l.pages);
	return result ? result : ctl_flush();
}
