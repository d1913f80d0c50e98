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

#include "ctl/secure.h"

struct exchange {
	CURL *curl;
	const struct http_request *r;
	struct http_answer *a;
	size_t sent;  /* of r->body */
	enum err err; /* ours, when curl says that a callback failed */
};

static size_t on_body(char *p, size_t size, size_t count, void *ctx)
{
	struct exchange *x = ctx;
	size_t n = size * count;

	curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->a->status);
	if (x->r->sink && x->a->status / 100 == 2) {
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

/* Time to connect; in all when short, without progress when long. */
static void set_timeouts(CURL *curl, const struct ctl *c,
			 const struct http_request *r)
{
	long ms = (long)c->timeout_ms;

	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, ms);
	if (r->endless)
		return;
	if (r->body_file || r->sink) {
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME,
				 (ms + 999) / 1000);
	} else {
		curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ms);
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

static CURLcode perform(const struct ctl *c, struct exchange *x,
			const char *url, struct curl_slist *headers)
{
	const struct http_request *r = x->r;
	CURL *curl = x->curl;

	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "raftcask/" RAFTCASK_VERSION);
	set_body(curl, r);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, r->method);
	if (strcmp(r->method, "HEAD") == 0)
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(curl, CURLOPT_READDATA, x);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, x);
	if (!secure_apply(&c->secure, curl))
		return CURLE_OUT_OF_MEMORY;
	set_timeouts(curl, c, r);
	return curl_easy_perform(curl);
}

static bool nothing_was_sent(CURLcode code)
{
	return code == CURLE_COULDNT_CONNECT ||
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

static enum ctl_exit say_failure(const struct exchange *x, CURLcode code,
				 const char *endpoint)
{
	const char *text = x->err ? err_text(x->err) : curl_easy_strerror(code);

	ctl_say("%s: %s", endpoint, text);
	if (!x->err && secure_hint(code))
		ctl_say("%s", secure_hint(code));
	if (!nothing_was_sent(code) && strcmp(x->r->method, "GET") != 0 &&
	    strcmp(x->r->method, "HEAD") != 0)
		ctl_say("the outcome is unknown: it may have been done");
	return CTL_RUNTIME;
}

static void answer_reset(struct http_answer *a)
{
	buf_done(&a->body);
	memset(a, 0, sizeof(*a));
}

/* One endpoint. *again: nothing has happened there, another may be tried. */
static enum ctl_exit try_endpoint(const struct ctl *c, struct exchange *x,
				  const char *endpoint,
				  struct curl_slist *headers, bool last,
				  bool *again)
{
	struct buf url = BUF_INIT;
	enum ctl_exit result = CTL_OK;
	CURLcode code;

	*again = false;
	answer_reset(x->a);
	x->sent = 0;
	x->err = make_url(endpoint, x->r->path, &url);
	if (x->err) {
		buf_done(&url);
		return say_failure(x, CURLE_OUT_OF_MEMORY, endpoint);
	}
	code = perform(c, x, (char *)url.p, headers);
	buf_done(&url);
	curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->a->status);
	if (code && !x->a->sink_ended)
		result = say_failure(x, code, endpoint);
	if (code)
		*again = nothing_was_sent(code);
	else
		*again = x->a->status == 503 && !last &&
			 (!x->r->body_file || ftell(x->r->body_file) == 0);
	return result;
}

enum ctl_exit http_call(const struct ctl *c, const struct http_request *r,
			struct http_answer *a)
{
	struct exchange x = { .r = r, .a = a };
	const char *who = secure_header(&c->secure);
	struct curl_slist *headers = NULL, *more;
	enum ctl_exit result = CTL_RUNTIME;
	bool again = true;

	memset(a, 0, sizeof(*a));
	x.curl = curl_easy_init();
	if (!x.curl) {
		ctl_say("out of memory");
		return CTL_RUNTIME;
	}
	for (int i = who ? -1 : 0; i < r->header_count; i++) {
		more = curl_slist_append(headers, i < 0 ? who : r->header[i]);
		headers = more ? more : headers;
		if (!more)
			goto out;
	}
	for (int i = 0; again && i < c->endpoint_count; i++)
		result = try_endpoint(c, &x, c->endpoint[i], headers,
				      i + 1 == c->endpoint_count, &again);
out:
	curl_slist_free_all(headers);
	curl_easy_cleanup(x.curl);
	if (result)
		http_answer_done(a);
	return result;
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
