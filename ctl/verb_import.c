/*
 * ctl/verb_import.c - import: lines of JSON, as export prints them, become
 * keys.
 *
 * Lines are gathered into transactions, so that a sync is shared by many; a
 * large value goes alone and raw. A transaction that is refused is done again
 * line by line, so that what is in and where it stopped is known to the line.
 * Every line is a plain put, so doing one twice does no harm: a broken-off
 * import may be repeated from its beginning, or from the line that is told.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/http.h"
#include "ctl/pages.h"
#include "ctl/progress.h"
#include "ctl/text.h"

enum {
	BATCH_LINES_MAX = 128,	     /* the server's limit                 */
	BATCH_BYTES_MAX = 512 << 10, /* half of it                         */
	LARGE_BYTES = 64 << 10,	     /* from here on alone                 */
};

/* What one line says. */
struct line {
	uint64_t number;
	struct buf key, value;
	uint64_t ttl_ms; /* 0: none                                          */
};

struct import {
	const struct ctl *c;
	const char *name; /* of the file                                     */
	FILE *f;
	bool one_partition; /* then any keys go together                     */
	struct progress progress;
	uint64_t from, number, keys, bytes;
	struct line batch[BATCH_LINES_MAX];
	int count;
	size_t batch_bytes;
	uint64_t stopped_at; /* the line that was not taken; 0: none         */
};

static volatile sig_atomic_t interrupted;

static void note_signal(int number)
{
	interrupted = number;
}

static void line_done(struct line *l)
{
	buf_done(&l->key);
	buf_done(&l->value);
}

static void batch_done(struct import *m)
{
	for (int i = 0; i < m->count; i++)
		line_done(&m->batch[i]);
	m->count = 0;
	m->batch_bytes = 0;
}

static enum ctl_exit stop_at(struct import *m, uint64_t number, const char *why)
{
	progress_end(&m->progress);
	if (why)
		ctl_say("%s, line %" PRIu64 ": %s", m->name, number, why);
	m->stopped_at = number;
	return CTL_RUNTIME;
}

/* --------------------------------------------------------------- parsing - */

static bool take_text(struct json_object *o, const char *name,
		      const char *encoding_name, struct buf *out)
{
	struct json_object *encoding;

	if (json_object_object_get_ex(o, encoding_name, &encoding) &&
	    (!json_object_is_type(encoding, json_type_string) ||
	     strcmp(json_object_get_string(encoding), "base64") != 0))
		return false;
	return text_from_json(o, name, encoding_name, out);
}

/* "29.731" or 29.731, seconds; or with a unit. */
static bool take_ttl(struct json_object *o, uint64_t *ms)
{
	struct json_object *ttl;

	*ms = 0;
	if (!json_object_object_get_ex(o, "ttl", &ttl) || !ttl)
		return true;
	return !text_parse_span(json_object_get_string(ttl), ms);
}

/* NULL, or why the text is no line of an export. */
static const char *parse(const char *text, size_t n, struct line *l)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *o = NULL;
	const char *why = NULL;

	if (tokener)
		o = json_tokener_parse_ex(tokener, text, (int)n);
	if (!json_object_is_type(o, json_type_object))
		why = "not a JSON object";
	else if (!take_text(o, "key", "encoding", &l->key) || !l->key.n)
		why = "there is no \"key\"";
	else if (!take_text(o, "value", "value_encoding", &l->value))
		why = "there is no \"value\"";
	else if (!take_ttl(o, &l->ttl_ms))
		why = "\"ttl\" is not a time";
	json_object_put(o);
	if (tokener)
		json_tokener_free(tokener);
	return why;
}

/* --------------------------------------------------------------- writing - */

static enum ctl_exit put_alone(struct import *m, const struct line *l)
{
	struct http_request r = {
		.method = "PUT",
		.header = { "Content-Type: application/octet-stream" },
		.header_count = 1,
		.body = buf_bytes(&l->value),
		.may_repeat = true,
	};
	struct buf path = BUF_INIT;
	enum ctl_exit result = CTL_RUNTIME;
	struct http_answer a;
	enum err err = buf_addf(&path, "/_/kv/");

	if (!err)
		err = text_add_escaped(&path, buf_bytes(&l->key));
	if (!err && l->ttl_ms)
		err = buf_addf(&path, "?ttl=%" PRIu64 "ms", l->ttl_ms);
	if (!err)
		err = buf_add(&path, "", 1);
	if (err) {
		ctl_say("out of memory");
	} else {
		r.path = (char *)path.p;
		result = http_call(m->c, &r, &a);
	}
	buf_done(&path);
	if (!result) {
		result = http_judge(&a);
		http_answer_done(&a);
	}
	if (result)
		return stop_at(m, l->number, NULL);
	m->keys++;
	return CTL_OK;
}

static struct json_object *make_txn(const struct import *m)
{
	struct json_object *txn = json_object_new_object();
	struct json_object *ops = json_object_new_array();
	char ttl[32];

	for (int i = 0; i < m->count; i++) {
		const struct line *l = &m->batch[i];
		struct json_object *op = json_object_new_object();

		text_add_json(op, "put", "encoding", buf_bytes(&l->key));
		text_add_json(op, "value", "value_encoding",
			      buf_bytes(&l->value));
		snprintf(ttl, sizeof(ttl), "%" PRIu64 "ms", l->ttl_ms);
		if (l->ttl_ms)
			json_object_object_add(op, "ttl",
					       json_object_new_string(ttl));
		json_object_array_add(ops, op);
	}
	json_object_object_add(txn, "then", ops);
	return txn;
}

/* All of the batch at once. *refused: none of it; the answer says why. */
static enum ctl_exit put_together(struct import *m, bool *refused)
{
	struct json_object *txn = make_txn(m);
	struct http_request r = {
		.method = "POST",
		.path = "/_/txn",
		.header = { "Content-Type: application/json" },
		.header_count = 1,
		.may_repeat = true, /* puts without conditions */
	};
	enum ctl_exit result;
	struct http_answer a;

	*refused = false;
	r.body = bytes_str(json_object_to_json_string_ext(
		txn, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	result = http_call(m->c, &r, &a);
	json_object_put(txn);
	if (result)
		return stop_at(m, m->batch[0].number, NULL);
	*refused = a.status / 100 == 4;
	if (!*refused)
		result = http_judge(&a);
	http_answer_done(&a);
	if (result)
		return stop_at(m, m->batch[0].number, NULL);
	m->keys += *refused ? 0 : (uint64_t)m->count;
	return CTL_OK;
}

static enum ctl_exit flush_batch(struct import *m)
{
	enum ctl_exit result = CTL_OK;
	bool one_by_one = m->count == 1;

	if (m->count > 1)
		result = put_together(m, &one_by_one);
	for (int i = 0; !result && one_by_one && i < m->count; i++)
		result = put_alone(m, &m->batch[i]);
	batch_done(m);
	progress_to(&m->progress, m->bytes);
	return result;
}

/* ---------------------------------------------------------------- lines -- */

/* What decides about the partition: the first component of a key. */
static struct bytes top_of(struct bytes key)
{
	const uint8_t *slash = key.n ? memchr(key.p, '/', key.n) : NULL;

	return bytes_of(key.p, slash ? (size_t)(slash - key.p) : key.n);
}

static bool fits(const struct import *m, const struct line *l)
{
	struct bytes key = buf_bytes(&l->key);

	if (m->count == BATCH_LINES_MAX ||
	    m->batch_bytes + l->key.n + l->value.n > BATCH_BYTES_MAX)
		return false;
	if (m->count && !m->one_partition &&
	    !bytes_equal(top_of(key), top_of(buf_bytes(&m->batch[0].key))))
		return false;
	for (int i = 0; i < m->count; i++)
		if (bytes_equal(key, buf_bytes(&m->batch[i].key)))
			return false;
	return true;
}

/* Takes l over. */
static enum ctl_exit add_line(struct import *m, struct line *l)
{
	bool large = l->value.n >= LARGE_BYTES;
	enum ctl_exit result = CTL_OK;

	if (large || !fits(m, l))
		result = flush_batch(m);
	if (result || large) {
		if (!result)
			result = put_alone(m, l);
		line_done(l);
		return result;
	}
	m->batch_bytes += l->key.n + l->value.n;
	m->batch[m->count++] = *l;
	return CTL_OK;
}

static bool is_blank(const char *text, size_t n)
{
	return strspn(text, " \t\r\n") == n;
}

static enum ctl_exit take_line(struct import *m, const char *text, size_t n)
{
	struct line l = { .number = ++m->number };
	enum ctl_exit result;
	const char *why;

	m->bytes += n;
	if (m->number < m->from || is_blank(text, n))
		return CTL_OK;
	why = parse(text, n, &l);
	if (!why)
		return add_line(m, &l);
	line_done(&l);
	result = flush_batch(m); /* what comes before it is good */
	return result ? result : stop_at(m, l.number, why);
}

static enum ctl_exit take_all(struct import *m)
{
	enum ctl_exit result = CTL_OK;
	char *text = NULL;
	size_t room = 0;
	ssize_t n;

	while (!result && !interrupted &&
	       (n = getline(&text, &room, m->f)) >= 0)
		result = take_line(m, text, (size_t)n);
	free(text);
	if (!result && !interrupted && ferror(m->f))
		result = stop_at(m, m->number + 1, "it cannot be read");
	if (!result)
		result = flush_batch(m);
	if (!result && interrupted)
		result = stop_at(m, m->number + 1, "interrupted");
	batch_done(m);
	return result;
}

/* ----------------------------------------------------------------- verb -- */

/* Not known: as if there were several. */
static bool is_one_partition(const struct ctl *c)
{
	struct json_object *root = http_peek(c, "/_/status");
	struct json_object *list =
		root ? pages_array(root, "partitions") : NULL;
	bool one = list && json_object_array_length(list) == 1;

	json_object_put(root);
	return one;
}

static bool open_file(struct import *m)
{
	struct stat st;

	if (strcmp(m->name, "-") == 0) {
		m->name = "standard input";
		m->f = stdin;
	} else {
		m->f = fopen(m->name, "r");
	}
	if (!m->f || fstat(fileno(m->f), &st)) {
		ctl_say("%s cannot be read", m->name);
		return false;
	}
	/* What is redirected from a file has an end, too. */
	if (S_ISREG(st.st_mode))
		m->progress.total = (uint64_t)st.st_size;
	return true;
}

static void tell(const struct import *m, enum ctl_exit result)
{
	struct json_object *o;

	if (result && m->stopped_at)
		ctl_say("stopped: %" PRIu64 " keys are in, all of the lines "
			"before %" PRIu64 "; --from %" PRIu64
			" goes on, and to begin anew does no harm",
			m->keys, m->stopped_at, m->stopped_at);
	if (!m->c->json) {
		if (!result)
			printf("imported %" PRIu64 " keys\n", m->keys);
		return;
	}
	o = json_object_new_object();
	json_object_object_add(o, "success", json_object_new_boolean(!result));
	json_object_object_add(o, "keys", json_object_new_uint64(m->keys));
	if (m->stopped_at)
		json_object_object_add(o, "stopped_at",
				       json_object_new_uint64(m->stopped_at));
	text_print_json(o);
}

enum ctl_exit verb_import(struct ctl *c, int argc, char **argv)
{
	static struct import m;
	const struct sigaction note = { .sa_handler = note_signal };
	const char *from = NULL;
	const struct args_option options[] = {
		{ .name = "--from", .value = &from },
		{ .name = NULL },
	};
	enum ctl_exit result;
	char *end;

	if (!args_take(&argc, argv, options, true) || argc > 1)
		return ctl_usage(c);
	m.c = c;
	m.name = argc ? argv[0] : "-";
	m.from = from ? strtoull(from, &end, 10) : 1;
	if (!m.from || (from && *end)) {
		ctl_say("--from takes the number of a line");
		return CTL_USAGE;
	}
	if (!open_file(&m))
		return CTL_RUNTIME;
	sigaction(SIGINT, &note, NULL);
	sigaction(SIGTERM, &note, NULL);
	m.one_partition = is_one_partition(c);
	progress_begin(&m.progress, "import", PROGRESS_BYTES, m.progress.total);
	result = take_all(&m);
	progress_end(&m.progress);
	tell(&m, result);
	if (m.f != stdin)
		fclose(m.f);
	return result ? result : ctl_flush();
}
