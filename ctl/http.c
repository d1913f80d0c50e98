/*
 * ctl/http.c - see http.h. libcurl does the talking; what stands here is
 * which endpoint to try next, which header is kept, and what an error says.
 */
#include "ctl/http.h"

#include <curl/curl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "ctl/secure.h"

enum {
	CONNECT_MS_MAX = 3000, /* where there are other nodes to ask         */
	PATIENCE_MS = 5000,    /* for a leader, in all                       */
	PAUSE_MS = 200,	       /* between two rounds                         */
	WORDS_BYTES_MAX = 1000,
};

struct exchange {
	const struct ctl *c;
	CURL *curl;
	struct curl_slist *headers;
	const struct http_request *r;
	struct http_answer *a;
	size_t sent;  /* of r->body */
	enum err err; /* ours, when curl says that a callback failed */
	uint64_t deadline_ns;
	bool may_be_done; /* an earlier try may have taken effect            */
	bool sunk;	  /* some of an answer went into the sink            */
	bool late;	  /* the last try took too long to connect           */
	struct buf words; /* what went wrong, a line each                    */
};

static size_t on_body(char *p, size_t size, size_t count, void *ctx)
{
	struct exchange *x = ctx;
	size_t n = size * count;

	curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->a->status);
	if (x->r->sink && x->a->status / 100 == 2) {
		x->sunk = true;
		x->a->sink_ended = !x->r->sink(x->r->sink_ctx, bytes_of(p, n));
		return x->a->sink_ended ? 0 : n;
	}
	x->err = x->a->body.n + n > HTTP_BODY_BYTES_MAX
			 ? ERR_TOO_LARGE
			 : buf_add(&x->a->body, p, n);
	return x->err ? 0 : n;
}

static size_t on_read(char *p, size_t size, size_t count, void *ctx)
{
	struct exchange *x = ctx;
	size_t n = size * count;

	if (x->r->body_file) {
		n = fread(p, 1, n, x->r->body_file);
		return ferror(x->r->body_file) ? CURL_READFUNC_ABORT : n;
	}
	if (n > x->r->body.n - x->sent)
		n = x->r->body.n - x->sent;
	if (n)
		memcpy(p, x->r->body.p + x->sent, n);
	x->sent += n;
	return n;
}

/* Copy a header's value without quotes and line end. */
static void keep(const char *line, size_t n, const char *name, char *to)
{
	size_t skip = strlen(name);

	if (n <= skip || strncasecmp(line, name, skip) != 0)
		return;
	line += skip;
	n -= skip;
	while (n && (*line == ' ' || *line == '"')) {
		line++;
		n--;
	}
	while (n && strchr(" \"\r\n", line[n - 1]))
		n--;
	if (n >= HTTP_TEXT_BYTES_MAX)
		n = HTTP_TEXT_BYTES_MAX - 1;
	memcpy(to, line, n);
	to[n] = '\0';
}

static size_t on_header(char *line, size_t size, size_t count, void *ctx)
{
	struct exchange *x = ctx;
	struct http_answer *a = x->a;
	char length[HTTP_TEXT_BYTES_MAX] = "";
	size_t n = size * count;

	keep(line, n, "ETag:", a->etag);
	keep(line, n, "X-Raftcask-Revision:", a->revision);
	keep(line, n, "X-Raftcask-TTL:", a->ttl);
	keep(line, n, "Last-Modified:", a->modified);
	keep(line, n, "X-Request-Id:", a->request_id);
	keep(line, n, "Content-Length:", length);
	if (length[0])
		a->content_length = strtoull(length, NULL, 10);
	return n;
}

/*
 * Time to connect; in all when short, without progress when long. Where others
 * can be asked, a node that does not even connect does not get all of it.
 */
static void set_timeouts(CURL *curl, const struct exchange *x)
{
	const struct http_request *r = x->r;
	uint64_t now_ns = clock_mono_ns(clock_os()), ms = 1;
	uint64_t connect_ms;

	if (x->deadline_ns > now_ns + 1000000)
		ms = (x->deadline_ns - now_ns) / 1000000;
	connect_ms = ms;
	if (x->c->endpoint_count > 1 && connect_ms > CONNECT_MS_MAX)
		connect_ms = CONNECT_MS_MAX;
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
	if (r->endless)
		return;
	if (r->body_file || r->sink) {
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME,
				 (long)((ms + 999) / 1000));
	} else {
		curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)ms);
	}
}

static void set_body(CURL *curl, const struct http_request *r)
{
	bool put = strcmp(r->method, "PUT") == 0;

	if (!put && strcmp(r->method, "POST") != 0)
		return;
	curl_easy_setopt(curl, put ? CURLOPT_UPLOAD : CURLOPT_POST, 1L);
	if (r->body_file)
		return;
	curl_easy_setopt(curl,
			 put ? CURLOPT_INFILESIZE_LARGE
			     : CURLOPT_POSTFIELDSIZE_LARGE,
			 (curl_off_t)r->body.n);
}

static bool reads(const struct http_request *r)
{
	return strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0;
}

static CURLcode perform(struct exchange *x, const char *url)
{
	const struct http_request *r = x->r;
	CURL *curl = x->curl;

	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, x->headers);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "raftcask/" RAFTCASK_VERSION);
	set_body(curl, r);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, r->method);
	/* On a kept connection that breaks curl would send it again itself. */
	if (!reads(r) && !r->may_repeat)
		curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
	if (strcmp(r->method, "HEAD") == 0)
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(curl, CURLOPT_READDATA, x);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, x);
	if (!secure_apply(&x->c->secure, curl))
		return CURLE_OUT_OF_MEMORY;
	set_timeouts(curl, x);
	return curl_easy_perform(curl);
}

/* It took too long to connect, the handshake of TLS included. */
static bool connected_too_late(struct exchange *x, CURLcode code)
{
	long sent = 0;

	return code == CURLE_OPERATION_TIMEDOUT &&
	       !curl_easy_getinfo(x->curl, CURLINFO_REQUEST_SIZE, &sent) &&
	       sent == 0;
}

static bool nothing_was_sent(struct exchange *x, CURLcode code)
{
	return connected_too_late(x, code) || code == CURLE_COULDNT_CONNECT ||
	       code == CURLE_COULDNT_RESOLVE_HOST ||
	       code == CURLE_SSL_CONNECT_ERROR || secure_hint(code);
}

/* "host:8080" and "http://host:8080/" alike become "http://host:8080". */
static enum err make_url(const char *endpoint, const char *path,
			 struct buf *url)
{
	size_t n = strlen(endpoint);

	while (n && endpoint[n - 1] == '/')
		n--;
	url->n = 0;
	if (buf_addf(url, "%s%.*s%s", strstr(endpoint, "://") ? "" : "http://",
		     (int)n, endpoint, path))
		return ERR_NOMEM;
	return buf_add(url, "", 1);
}

static void answer_reset(struct http_answer *a)
{
	buf_done(&a->body);
	memset(a, 0, sizeof(*a));
}

/* How one try went. */
enum outcome {
	ANSWERED,  /* whatever the answer is                               */
	NOT_DONE,  /* and nothing will be                                  */
	NOT_ALIVE, /* likewise; waiting does not help                      */
	NOT_KNOWN, /* it may have been done                                */
};

static void note_failure(struct exchange *x, CURLcode code,
			 const char *endpoint)
{
	const char *text = x->err ? err_text(x->err) : curl_easy_strerror(code);
	const char *hint = x->err ? NULL : secure_hint(code);
	long connects = 0;

	curl_easy_getinfo(x->curl, CURLINFO_NUM_CONNECTS, &connects);
	if (!x->err && !hint && connects)
		hint = secure_guess(&x->c->secure, endpoint, code);
	if (x->words.n > WORDS_BYTES_MAX)
		return;
	(void)!buf_addf(&x->words, "raftcask: %s: %s\n", endpoint, text);
	if (hint)
		(void)!buf_addf(&x->words, "raftcask: %s\n", hint);
}

static enum outcome outcome_of(struct exchange *x, CURLcode code)
{
	if (code && !x->a->sink_ended)
		return nothing_was_sent(x, code) ? NOT_ALIVE : NOT_KNOWN;
	if (x->a->status == 503)
		return NOT_DONE;
	return x->a->status == 504 ? NOT_KNOWN : ANSWERED;
}

static enum outcome try_endpoint(struct exchange *x, const char *endpoint)
{
	struct buf url = BUF_INIT;
	enum outcome outcome;
	CURLcode code = CURLE_OUT_OF_MEMORY;

	answer_reset(x->a);
	x->sent = 0;
	x->err = make_url(endpoint, x->r->path, &url);
	if (!x->err)
		code = perform(x, (char *)url.p);
	x->late = connected_too_late(x, code);
	buf_done(&url);
	curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->a->status);
	outcome = outcome_of(x, code);
	if (code && outcome != ANSWERED) {
		note_failure(x, code, endpoint);
		answer_reset(x->a);
	}
	if (outcome == NOT_KNOWN && !reads(x->r))
		x->may_be_done = true;
	return outcome;
}

/* May the request be sent once more, after a try that ended so? */
static bool may_try_again(const struct exchange *x, enum outcome outcome)
{
	if (outcome == ANSWERED || x->sunk ||
	    clock_mono_ns(clock_os()) >= x->deadline_ns)
		return false;
	if (x->r->body_file && ftell(x->r->body_file) != 0)
		return false; /* its bytes are gone */
	return outcome != NOT_KNOWN || reads(x->r) || x->r->may_repeat;
}

/* Each endpoint in turn. */
static enum outcome try_all(struct exchange *x, bool *again)
{
	enum outcome outcome = NOT_ALIVE;
	bool wait = false;

	*again = true;
	for (int i = 0; i < x->c->endpoint_count && *again; i++) {
		outcome = try_endpoint(x, x->c->endpoint[i]);
		if (outcome == NOT_DONE && x->words.n < WORDS_BYTES_MAX)
			(void)!buf_addf(&x->words,
					"raftcask: %s: does not serve (503)\n",
					x->c->endpoint[i]);
		*again = may_try_again(x, outcome);
		wait |= outcome == NOT_DONE || x->a->status == 504 || x->late;
	}
	*again = *again && wait;
	return outcome;
}

static void pause_for(uint64_t ms)
{
	const struct timespec t = { .tv_sec = (time_t)(ms / 1000),
				    .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

/* Round after round, as long as it helps and is allowed. */
static enum ctl_exit exchange(struct exchange *x)
{
	uint64_t patient_ns =
		clock_mono_ns(clock_os()) + PATIENCE_MS * 1000000ull;
	enum outcome outcome;
	bool again;

	for (;;) {
		outcome = try_all(x, &again);
		if (!again || clock_mono_ns(clock_os()) >= patient_ns)
			break;
		pause_for(PAUSE_MS);
	}
	x->a->repeated = x->may_be_done;
	if (outcome == ANSWERED || x->a->status)
		return CTL_OK;
	if (x->r->quiet)
		return CTL_RUNTIME;
	fflush(stdout);
	if (x->words.n)
		fwrite(x->words.p, 1, x->words.n, stderr);
	if (x->may_be_done)
		ctl_say("the outcome is unknown: it may have been done");
	return CTL_RUNTIME;
}

static bool add_header(struct exchange *x, const char *line)
{
	struct curl_slist *more = curl_slist_append(x->headers, line);

	if (more)
		x->headers = more;
	return more != NULL;
}

enum ctl_exit http_call(const struct ctl *c, const struct http_request *r,
			struct http_answer *a)
{
	/* Kept for its connections. */
	static CURL *curl;
	struct exchange x = { .c = c, .r = r, .a = a };
	const char *who = secure_header(&c->secure);
	enum ctl_exit result = CTL_RUNTIME;
	bool ok;

	memset(a, 0, sizeof(*a));
	x.deadline_ns = clock_mono_ns(clock_os()) + c->timeout_ms * 1000000;
	if (!curl)
		curl = curl_easy_init();
	x.curl = curl;
	ok = curl && (!who || add_header(&x, who));
	for (int i = 0; i < r->header_count && ok; i++)
		ok = add_header(&x, r->header[i]);
	if (ok)
		result = exchange(&x);
	else
		ctl_say("out of memory");
	curl_slist_free_all(x.headers);
	buf_done(&x.words);
	if (result)
		http_answer_done(a);
	return result;
}

struct json_object *http_peek(const struct ctl *c, const char *path)
{
	long status;

	return http_peek_status(c, path, &status);
}

struct json_object *http_peek_status(const struct ctl *c, const char *path,
				     long *status)
{
	const struct http_request r = { .method = "GET",
					.path = path,
					.quiet = true };
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *root = NULL;
	struct http_answer a;

	*status = 0;
	if (tokener && !http_call(c, &r, &a)) {
		*status = a.status;
		if (a.status == 200)
			root = json_tokener_parse_ex(tokener, (char *)a.body.p,
						     (int)a.body.n);
		http_answer_done(&a);
	}
	if (tokener)
		json_tokener_free(tokener);
	if (json_object_is_type(root, json_type_object))
		return root;
	json_object_put(root);
	return NULL;
}

void http_answer_done(struct http_answer *a)
{
	buf_done(&a->body);
}

/* The string member name of the answer's "error" object, or "". */
static const char *error_member(struct json_object *root, const char *name)
{
	struct json_object *error, *member;

	if (!json_object_object_get_ex(root, "error", &error) ||
	    !json_object_object_get_ex(error, name, &member))
		return "";
	return json_object_get_string(member);
}

enum ctl_exit http_judge(const struct http_answer *a)
{
	struct json_tokener *tokener;
	struct json_object *root = NULL;
	const char *message, *code;

	if (a->status / 100 == 2)
		return CTL_OK;
	tokener = json_tokener_new();
	if (tokener && a->body.n)
		root = json_tokener_parse_ex(tokener, (char *)a->body.p,
					     (int)a->body.n);
	message = error_member(root, "message");
	code = error_member(root, "code");
	if (message[0])
		ctl_say("%s (%s, request %s)", message, code, a->request_id);
	else if (a->status == 404)
		ctl_say("not found (request %s)", a->request_id);
	else
		ctl_say("the server answered %ld (request %s)", a->status,
			a->request_id);
	json_object_put(root);
	if (tokener)
		json_tokener_free(tokener);
	return a->status == 404 ? CTL_NOT_FOUND : CTL_RUNTIME;
}
