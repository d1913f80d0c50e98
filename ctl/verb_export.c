/*
 * ctl/verb_export.c - export: keys and values as lines of JSON.
 *
 *   {"key":"a","value":"v","rev":7}
 *   {"key":"t","value":"x","rev":9,"ttl":"29.731"}
 *   {"key":"/w==","encoding":"base64","value":"AA==",
 *    "value_encoding":"base64","rev":8}           (on one line)
 *
 * Values of up to 64 KiB come with the listing, larger ones one by one. A key
 * that is deleted meanwhile is left out; what is written meanwhile may be in
 * or not.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/http.h"
#include "ctl/pages.h"
#include "ctl/progress.h"
#include "ctl/text.h"

struct export
{
	const struct ctl *c;
	struct pages pages;
	struct progress progress;
	uint64_t keys, damaged;
};

/* How many keys there are in all; 0: not known. */
static uint64_t count_keys(const struct ctl *c)
{
	struct json_object *root = http_peek(c, "/_/status"), *storage;
	uint64_t keys = 0;

	if (root && json_object_object_get_ex(root, "storage", &storage))
		keys = pages_number(storage, "keys");
	json_object_put(root);
	return keys;
}

/* "/_/kv/KEY?raw" of item. */
static bool path_of(struct json_object *item, struct buf *path)
{
	struct buf key = BUF_INIT;
	bool ok = text_from_json(item, "key", "encoding", &key) &&
		  !buf_addf(path, "/_/kv/") &&
		  !text_add_escaped(path, buf_bytes(&key)) &&
		  !buf_addf(path, "?raw%c", 0);

	buf_done(&key);
	return ok;
}

static void name_damaged(struct export *x, struct json_object *item)
{
	struct buf key = BUF_INIT;

	progress_end(&x->progress);
	if (text_from_json(item, "key", "encoding", &key))
		ctl_say("%.*s: the value is damaged and left out", (int)key.n,
			(char *)key.p);
	buf_done(&key);
	x->damaged++;
}

static bool add_value(struct json_object *item, const struct http_answer *a)
{
	json_object_object_del(item, "value");
	if (a->ttl[0])
		json_object_object_add(item, "ttl",
				       json_object_new_string(a->ttl));
	json_object_object_add(
		item, "rev",
		json_object_new_uint64(strtoull(a->etag, NULL, 10)));
	return text_add_json(item, "value", "value_encoding",
			     buf_bytes(&a->body));
}

/* A value that the listing did not bring. *there: it belongs into the file. */
static enum ctl_exit fetch(struct export *x, struct json_object *item,
			   bool *there)
{
	struct http_request r = { .method = "GET" };
	struct buf path = BUF_INIT;
	enum ctl_exit result = CTL_RUNTIME;
	struct http_answer a;

	*there = false;
	if (!path_of(item, &path)) {
		ctl_say("the answer is not a listing");
		goto out;
	}
	r.path = (char *)path.p;
	result = http_call(x->c, &r, &a);
	if (result)
		goto out;
	if (a.status == 500) {
		name_damaged(x, item);
	} else if (a.status != 404) {
		result = http_judge(&a);
		*there = !result;
		if (*there && !add_value(item, &a)) {
			ctl_say("out of memory");
			result = CTL_RUNTIME;
		}
	}
	http_answer_done(&a);
out:
	buf_done(&path);
	return result;
}

static enum ctl_exit export_item(struct export *x, struct json_object *item)
{
	struct json_object *value = NULL;
	enum ctl_exit result = CTL_OK;
	bool there = true;

	json_object_object_get_ex(item, "value", &value);
	if (!value)
		result = fetch(x, item, &there);
	if (result || !there)
		return result;
	json_object_object_del(item, "size");
	json_object_object_del(item, "value_error");
	text_print_json(json_object_get(item));
	progress_to(&x->progress, ++x->keys);
	return ferror(stdout) ? ctl_flush() : CTL_OK;
}

static enum ctl_exit export_page(struct export *x)
{
	struct json_object *page, *keys;
	enum ctl_exit result = pages_next(x->c, &x->pages, &page);

	if (result)
		return result;
	keys = pages_array(page, "keys");
	for (size_t i = 0; !result && i < json_object_array_length(keys); i++)
		result = export_item(x, json_object_array_get_idx(keys, i));
	json_object_put(page);
	return result;
}

enum ctl_exit verb_export(struct ctl *c, int argc, char **argv)
{
	const struct args_option none[] = { { .name = NULL } };
	struct export x = { .c = c, .pages.values = true };
	enum ctl_exit result = CTL_OK;

	if (!args_take(&argc, argv, none, true) || argc > 1)
		return ctl_usage(c);
	if (argc)
		x.pages.prefix = argv[0];
	pages_begin(&x.pages);
	progress_begin(&x.progress, "export", PROGRESS_COUNT,
		       argc ? 0 : count_keys(c));
	/* A bar among lines would tear them. */
	x.progress.is_quiet = isatty(STDOUT_FILENO);
	while (!result && x.pages.more)
		result = export_page(&x);
	progress_end(&x.progress);
	pages_done(&x.pages);
	if (!result)
		result = ctl_flush();
	if (result)
		ctl_say("what was printed is not all: %" PRIu64 " keys",
			x.keys);
	else if (x.damaged)
		result = CTL_RUNTIME;
	return result;
}
