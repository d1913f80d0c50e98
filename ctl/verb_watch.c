/*
 * ctl/verb_watch.c - follow changes as server-sent events.
 *
 * A stream that ends is taken up again after the last event seen, so that a
 * restart of the node loses none; the server says 410 when it no longer knows
 * what came after that.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/http.h"
#include "ctl/text.h"

enum { EVENT_BYTES_MAX = 4 << 20, RETRY_MS = 500 };

struct watch {
	const struct ctl *c;
	const char *key; /* only this one; NULL: all of the prefix */
	const char *prefix;
	uint64_t left; /* events still wanted */
	struct buf line, data;
	char kind[32];
	char id[1100];
	bool seen; /* an event since the stream began */
};

static void print_event(struct watch *w, struct json_object *obj,
			struct bytes key)
{
	struct buf value = BUF_INIT;
	struct json_object *rev;

	if (w->c->json) {
		json_object_object_add(obj, "event",
				       json_object_new_string(w->kind));
		json_object_object_add(obj, "id",
				       json_object_new_string(w->id));
		text_print_json(json_object_get(obj));
	} else {
		json_object_object_get_ex(obj, "rev", &rev);
		printf("%s %" PRIu64 " ", w->kind, json_object_get_uint64(rev));
		text_print(stdout, key);
		if (text_from_json(obj, "value", "value_encoding", &value)) {
			putchar(' ');
			text_print(stdout, buf_bytes(&value));
		}
		putchar('\n');
	}
	fflush(stdout);
	buf_done(&value);
}

/* The blank line after an event. False: no more is wanted. */
static bool end_event(struct watch *w)
{
	struct json_tokener *tokener;
	struct json_object *obj = NULL;
	struct buf key = BUF_INIT;

	if (!w->data.n)
		return true;
	tokener = json_tokener_new();
	if (tokener)
		obj = json_tokener_parse_ex(tokener, (char *)w->data.p,
					    (int)w->data.n);
	if (obj && text_from_json(obj, "key", "encoding", &key) &&
	    (!w->key || bytes_equal(buf_bytes(&key), bytes_str(w->key)))) {
		print_event(w, obj, buf_bytes(&key));
		w->left--;
	}
	w->seen = true;
	w->data.n = 0;
	buf_done(&key);
	json_object_put(obj);
	if (tokener)
		json_tokener_free(tokener);
	return w->left && !ferror(stdout);
}

/* The text after "name: ", or NULL if the line is not that field. */
static const char *field(const struct watch *w, const char *name, size_t *n)
{
	size_t skip = strlen(name);
	struct bytes line = buf_bytes(&w->line);

	if (!bytes_begins(line, bytes_str(name)) || line.n <= skip ||
	    line.p[skip] != ':')
		return NULL;
	skip++;
	if (skip < line.n && line.p[skip] == ' ')
		skip++;
	*n = line.n - skip;
	return (const char *)line.p + skip;
}

static bool end_line(struct watch *w)
{
	const char *text;
	bool more = true;
	size_t n;

	if (w->line.n && w->line.p[w->line.n - 1] == '\r')
		w->line.n--;
	if (w->line.n == 0)
		more = end_event(w);
	else if ((text = field(w, "data", &n)))
		more = !buf_add(&w->data, text, n);
	else if ((text = field(w, "event", &n)))
		snprintf(w->kind, sizeof(w->kind), "%.*s", (int)n, text);
	else if ((text = field(w, "id", &n)))
		snprintf(w->id, sizeof(w->id), "%.*s", (int)n, text);
	w->line.n = 0;
	return more;
}

static bool take_piece(void *ctx, struct bytes piece)
{
	struct watch *w = ctx;

	while (piece.n) {
		const uint8_t *end = memchr(piece.p, '\n', piece.n);
		size_t n = end ? (size_t)(end - piece.p) : piece.n;

		if (w->line.n + n > EVENT_BYTES_MAX ||
		    buf_add(&w->line, piece.p, n))
			return false;
		if (!end)
			return true;
		if (!end_line(w))
			return false;
		piece.p += n + 1;
		piece.n -= n + 1;
	}
	return true;
}

static enum err make_path(const struct watch *w, struct buf *path)
{
	const char *prefix = w->key ? w->key : w->prefix;
	enum err err = buf_addf(path, "/_/watch?prefix=");

	if (!err && prefix)
		err = text_add_escaped(path, bytes_str(prefix));
	if (!err && w->id[0])
		err = buf_addf(path, "&after=");
	if (!err && w->id[0])
		err = text_add_escaped(path, bytes_str(w->id));
	return err ? err : buf_add(path, "", 1);
}

/* One stream. *again: it ended although more is wanted. */
static enum ctl_exit follow(struct watch *w, bool *again)
{
	struct http_request r = {
		.method = "GET",
		.header = { "Accept: text/event-stream" },
		.header_count = 1,
		.endless = true,
		.sink = take_piece,
		.sink_ctx = w,
	};
	struct buf path = BUF_INIT;
	struct http_answer a;
	enum ctl_exit result = CTL_RUNTIME;

	*again = false;
	w->line.n = w->data.n = 0;
	w->seen = false;
	if (make_path(w, &path)) {
		ctl_say("out of memory");
		goto out;
	}
	r.path = (char *)path.p;
	result = http_call(w->c, &r, &a);
	if (result) {
		*again = w->seen;
		goto out;
	}
	if (!a.sink_ended) {
		result = http_judge(&a);
		*again = !result;
	}
	http_answer_done(&a);
out:
	buf_done(&path);
	return result;
}

enum ctl_exit verb_watch(struct ctl *c, int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = RETRY_MS * 1000000 };
	struct watch w = { .c = c, .left = UINT64_MAX };
	const char *after = NULL, *count = NULL;
	const struct args_option options[] = {
		{ .name = "--prefix", .value = &w.prefix },
		{ .name = "--after", .value = &after },
		{ .name = "--count", .value = &count },
		{ .name = NULL },
	};
	enum ctl_exit result = CTL_OK;
	bool again = true;
	char *end;

	if (!args_take(&argc, argv, options, true) ||
	    (w.prefix ? argc != 0 : argc != 1))
		return ctl_usage(c);
	if (count) {
		w.left = strtoull(count, &end, 10);
		if (*end || w.left == 0 || count[0] == '-') {
			ctl_say("--count takes a number of events");
			return CTL_USAGE;
		}
	}
	if (after)
		snprintf(w.id, sizeof(w.id), "%s", after);
	if (!w.prefix)
		w.key = argv[0];
	while (again) {
		result = follow(&w, &again);
		if (again)
			nanosleep(&pause, NULL);
	}
	buf_done(&w.line);
	buf_done(&w.data);
	return result ? result : ctl_flush();
}
