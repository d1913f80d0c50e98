/*
 * ctl/verb_key.c - get, put, cas, del, stat: one key, raw bytes.
 *
 * Keys go through /_/kv/, which reaches every key; values through the raw
 * dialect, so that no encoding stands between the file and the store.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/http.h"
#include "ctl/text.h"

/* "/_/kv/KEY" and query, ended by a NUL. Says so when it fails. */
static bool key_path(struct buf *path, const char *key, const char *query)
{
	if (!buf_addf(path, "/_/kv/") &&
	    !text_add_escaped(path, bytes_str(key)) &&
	    !buf_addf(path, "%s", query) && !buf_add(path, "", 1))
		return true;
	ctl_say("out of memory");
	return false;
}

static bool print_piece(void *ctx, struct bytes piece)
{
	char *last = ctx;

	*last = piece.n ? (char)piece.p[piece.n - 1] : *last;
	return fwrite(piece.p, 1, piece.n, stdout) == piece.n;
}

/* A key that is missing, which is all that a 404 can mean here. */
static enum ctl_exit judge_key(const struct http_answer *a)
{
	if (a->status != 404)
		return http_judge(a);
	ctl_say("key not found");
	return CTL_NOT_FOUND;
}

/* The answer as one line of JSON: {"success":true,"rev":N,...}. */
static void print_written(const struct ctl *c, const struct http_answer *a)
{
	struct json_object *obj;

	if (!c->json)
		return;
	obj = json_object_new_object();
	json_object_object_add(obj, "success", json_object_new_boolean(true));
	json_object_object_add(
		obj, "rev",
		json_object_new_uint64(strtoull(
			a->etag[0] ? a->etag : a->revision, NULL, 10)));
	text_print_json(obj);
}

enum ctl_exit verb_get(struct ctl *c, int argc, char **argv)
{
	const struct args_option none[] = { { .name = NULL } };
	char last = '\n';
	struct http_request r = {
		.method = "GET",
		.sink = print_piece,
		.sink_ctx = &last,
	};
	struct buf path = BUF_INIT;
	struct http_answer a;
	enum ctl_exit result = CTL_RUNTIME;

	if (!args_take(&argc, argv, none, true) || argc != 1)
		return ctl_usage(c);
	if (!key_path(&path, argv[0], c->json ? "" : "?raw"))
		goto out;
	r.path = (char *)path.p;
	result = http_call(c, &r, &a);
	if (result)
		goto out;
	if (a.sink_ended) {
		result = ctl_flush();
	} else {
		result = judge_key(&a);
		if (!result && (c->json || isatty(STDOUT_FILENO)) &&
		    last != '\n')
			putchar('\n');
	}
	if (!result)
		result = ctl_flush();
	http_answer_done(&a);
out:
	buf_done(&path);
	return result;
}

/* A directory opens, but cannot be read; nor can a closed descriptor. */
static bool is_readable(FILE *f)
{
	int c = getc(f);

	if (c != EOF)
		(void)ungetc(c, f); /* one always fits */
	return !ferror(f);
}

/* VALUE, "-" or "@FILE" into r. False: it has been said. */
static bool set_value(struct http_request *r, const char *value, FILE **opened)
{
	*opened = NULL;
	if (strcmp(value, "-") == 0) {
		if (!is_readable(stdin)) {
			ctl_say("standard input cannot be read");
			return false;
		}
		r->body_file = stdin;
	} else if (value[0] == '@') {
		*opened = fopen(value + 1, "rb");
		if (!*opened || !is_readable(*opened)) {
			ctl_say("%s cannot be read", value + 1);
			if (*opened)
				fclose(*opened);
			*opened = NULL;
			return false;
		}
		r->body_file = *opened;
	} else {
		r->body = bytes_str(value);
	}
	return true;
}

/* A condition that is not met may not have been met because of us. */
static void say_repeated(const struct http_answer *a)
{
	if (a->repeated)
		ctl_say("an earlier try of this call got no answer: it may "
			"have been the one that changed it");
}

/* PUT value under key, on condition (a header line, or NULL). */
static enum ctl_exit put_key(struct ctl *c, const char *key, const char *query,
			     const char *condition, const char *value)
{
	struct http_request r = {
		.method = "PUT",
		.header = { "Content-Type: application/octet-stream",
			    condition },
		.header_count = condition ? 2 : 1,
		.may_repeat = true, /* a condition is met once at most */
	};
	struct buf path = BUF_INIT;
	struct http_answer a;
	FILE *opened = NULL;
	enum ctl_exit result = CTL_RUNTIME;

	if (!set_value(&r, value, &opened) || !key_path(&path, key, query))
		goto out;
	r.path = (char *)path.p;
	result = http_call(c, &r, &a);
	if (result)
		goto out;
	result = http_judge(&a);
	if (result == CTL_NOT_FOUND)
		result = CTL_RUNTIME;
	if (a.status == 412) {
		ctl_say("the key's revision is %s",
			a.etag[0] ? a.etag : "0: there is no such key");
		say_repeated(&a);
	}
	if (!result) {
		print_written(c, &a);
		result = ctl_flush();
	}
	http_answer_done(&a);
out:
	if (opened)
		fclose(opened);
	buf_done(&path);
	return result;
}

/* "If-Match: "REV"", or for 0 "If-None-Match: *". False: no number. */
static bool make_condition(char *room, size_t n, const char *rev)
{
	char *end;
	unsigned long long number = strtoull(rev, &end, 10);

	if (!*rev || *end || rev[0] == '-') {
		ctl_say("\"%s\" is not a revision", rev);
		return false;
	}
	if (number)
		snprintf(room, n, "If-Match: \"%llu\"", number);
	else
		snprintf(room, n, "If-None-Match: *");
	return true;
}

enum ctl_exit verb_put(struct ctl *c, int argc, char **argv)
{
	const char *ttl = NULL, *rev = NULL;
	bool absent = false;
	const struct args_option options[] = {
		{ .name = "--ttl", .value = &ttl },
		{ .name = "--if-rev", .value = &rev },
		{ .name = "--if-absent", .set = &absent },
		{ .name = NULL },
	};
	char condition[64], query[64] = "";
	uint64_t ms;

	if (!args_take(&argc, argv, options, true) || argc != 2 ||
	    (absent && rev))
		return ctl_usage(c);
	if (ttl && text_parse_span(ttl, &ms)) {
		ctl_say("--ttl: \"%s\" is not a time: write 30s", ttl);
		return CTL_USAGE;
	}
	if (ttl)
		snprintf(query, sizeof(query), "?ttl=%" PRIu64 "ms", ms);
	if ((absent || rev) &&
	    !make_condition(condition, sizeof(condition), rev ? rev : "0"))
		return CTL_USAGE;
	return put_key(c, argv[0], query, absent || rev ? condition : NULL,
		       argv[1]);
}

enum ctl_exit verb_cas(struct ctl *c, int argc, char **argv)
{
	const struct args_option none[] = { { .name = NULL } };
	char condition[64];

	if (!args_take(&argc, argv, none, true) || argc != 3)
		return ctl_usage(c);
	if (!make_condition(condition, sizeof(condition), argv[1]))
		return CTL_USAGE;
	return put_key(c, argv[0], "", condition, argv[2]);
}

/* POST r, never twice; the answer is the server's JSON. */
static enum ctl_exit post(const struct ctl *c, const struct http_request *r)
{
	struct http_answer a;
	enum ctl_exit result = http_call(c, r, &a);

	if (result)
		return result;
	result = judge_key(&a);
	if (!result && c->json)
		printf("%.*s\n", (int)a.body.n, (char *)a.body.p);
	http_answer_done(&a);
	return result ? result : ctl_flush();
}

enum ctl_exit verb_append(struct ctl *c, int argc, char **argv)
{
	const struct args_option none[] = { { .name = NULL } };
	struct http_request r = {
		.method = "POST",
		.header = { "Content-Type: application/octet-stream" },
		.header_count = 1,
	};
	struct buf path = BUF_INIT;
	FILE *opened = NULL;
	enum ctl_exit result = CTL_RUNTIME;

	if (!args_take(&argc, argv, none, true) || argc != 2)
		return ctl_usage(c);
	if (set_value(&r, argv[1], &opened) &&
	    key_path(&path, argv[0], "?append")) {
		r.path = (char *)path.p;
		result = post(c, &r);
	}
	if (opened)
		fclose(opened);
	buf_done(&path);
	return result;
}

/* Both as base64 if one is not UTF-8. */
static struct json_object *names_json(const char *from, const char *to)
{
	struct json_object *o = json_object_new_object();
	struct buf b = BUF_INIT;
	bool plain =
		text_is_utf8(bytes_str(from)) && text_is_utf8(bytes_str(to));
	const char *const names[] = { "from", "to" };
	const char *const values[] = { from, to };

	for (int i = 0; i < 2; i++) {
		b.n = 0;
		if (plain ? buf_add(&b, values[i], strlen(values[i]))
			  : text_add_base64(&b, bytes_str(values[i])))
			break;
		json_object_object_add(
			o, names[i],
			json_object_new_string_len(b.n ? (char *)b.p : "",
						   (int)b.n));
	}
	if (!plain)
		json_object_object_add(o, "encoding",
				       json_object_new_string("base64"));
	buf_done(&b);
	return o;
}

enum ctl_exit verb_rename(struct ctl *c, int argc, char **argv)
{
	bool keep = false;
	const struct args_option options[] = {
		{ .name = "--no-replace", .set = &keep },
		{ .name = NULL },
	};
	struct http_request r = {
		.method = "POST",
		.path = "/_/rename",
		.header = { "Content-Type: application/json" },
		.header_count = 1,
	};
	struct json_object *o;
	enum ctl_exit result;

	if (!args_take(&argc, argv, options, true) || argc != 2)
		return ctl_usage(c);
	o = names_json(argv[0], argv[1]);
	if (keep)
		json_object_object_add(o, "noreplace",
				       json_object_new_boolean(true));
	r.body = bytes_str(
		json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	result = post(c, &r);
	json_object_put(o);
	return result;
}

static enum ctl_exit delete_path(struct ctl *c, const struct buf *path,
				 const char *condition, bool may_repeat)
{
	struct http_request r = {
		.method = "DELETE",
		.path = (char *)path->p,
		.header = { condition },
		.header_count = condition ? 1 : 0,
		.may_repeat = may_repeat,
	};
	struct http_answer a;
	enum ctl_exit result = http_call(c, &r, &a);

	if (result)
		return result;
	result = http_judge(&a);
	if (a.status == 412)
		say_repeated(&a);
	if (!result && c->json)
		printf("%.*s\n", (int)a.body.n, (char *)a.body.p);
	http_answer_done(&a);
	return result;
}

static enum ctl_exit delete_prefix(struct ctl *c, const char *prefix)
{
	struct buf path = BUF_INIT;
	enum ctl_exit result = CTL_RUNTIME;

	if (buf_addf(&path, "/_/kv?prefix=") ||
	    text_add_escaped(&path, bytes_str(prefix)) ||
	    buf_addf(&path, "%s", prefix[0] ? "" : "&all=1") ||
	    buf_add(&path, "", 1))
		ctl_say("out of memory");
	else
		result = delete_path(c, &path, NULL, false);
	buf_done(&path);
	return result;
}

enum ctl_exit verb_del(struct ctl *c, int argc, char **argv)
{
	const char *prefix = NULL, *rev = NULL;
	const struct args_option options[] = {
		{ .name = "--prefix", .value = &prefix },
		{ .name = "--if-rev", .value = &rev },
		{ .name = NULL },
	};
	enum ctl_exit result = CTL_OK;
	char condition[64];

	if (!args_take(&argc, argv, options, true) ||
	    (prefix ? argc != 0 || rev : argc == 0))
		return ctl_usage(c);
	if (rev && !make_condition(condition, sizeof(condition), rev))
		return CTL_USAGE;
	if (prefix)
		result = delete_prefix(c, prefix);
	for (int i = 0; !result && i < argc; i++) {
		struct buf path = BUF_INIT;

		result = key_path(&path, argv[i], "")
				 ? delete_path(c, &path, rev ? condition : NULL,
					       true)
				 : CTL_RUNTIME;
		buf_done(&path);
	}
	return result ? result : ctl_flush();
}

static void print_stat(const struct ctl *c, const char *key,
		       const struct http_answer *a)
{
	struct json_object *obj;

	if (!c->json) {
		printf("rev %s\nsize %" PRIu64 "\n", a->etag,
		       a->content_length);
		if (a->modified[0])
			printf("mtime %s\n", a->modified);
		if (a->ttl[0])
			printf("ttl %ss\n", a->ttl);
		return;
	}
	obj = json_object_new_object();
	text_add_json(obj, "key", "encoding", bytes_str(key));
	json_object_object_add(
		obj, "rev",
		json_object_new_uint64(strtoull(a->etag, NULL, 10)));
	json_object_object_add(obj, "size",
			       json_object_new_uint64(a->content_length));
	if (a->modified[0])
		json_object_object_add(obj, "mtime",
				       json_object_new_string(a->modified));
	if (a->ttl[0])
		json_object_object_add(
			obj, "ttl_s",
			json_object_new_double(strtod(a->ttl, NULL)));
	text_print_json(obj);
}

enum ctl_exit verb_stat(struct ctl *c, int argc, char **argv)
{
	const struct args_option none[] = { { .name = NULL } };
	struct http_request r = { .method = "HEAD" };
	struct buf path = BUF_INIT;
	struct http_answer a;
	enum ctl_exit result = CTL_RUNTIME;

	if (!args_take(&argc, argv, none, true) || argc != 1)
		return ctl_usage(c);
	if (!key_path(&path, argv[0], "?raw"))
		goto out;
	r.path = (char *)path.p;
	result = http_call(c, &r, &a);
	if (result)
		goto out;
	result = judge_key(&a);
	if (!result) {
		print_stat(c, argv[0], &a);
		result = ctl_flush();
	}
	http_answer_done(&a);
out:
	buf_done(&path);
	return result;
}
