/*
 * httpd/value.c - a value on its way out: JSON, raw bytes, a range of them.
 *
 * Nothing is sent that was not verified. A value of one piece is verified
 * before its headers; of a larger one the first piece is, and damage further
 * on cuts the connection short of Content-Length, so that no client can take
 * the beginning for the whole.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "httpd/auth.h"
#include "httpd/handlers.h"
#include "httpd/json.h"
#include "httpd/reply.h"
#include "httpd/request.h"
#include "httpd/trace.h"

enum {
	COPY_BYTES_MAX = 16 << 10, /* larger pieces are sent where they lie  */
	STREAM_BLOCK_BYTES = 64 << 10,
};

struct stream {
	struct httpd *h;
	struct store_value *value;
	uint64_t first, count;
	char id[TRACE_ID_BYTES]; /* of the request, for the log              */
};

static void free_stream(void *cls)
{
	struct stream *s = cls;

	store_value_done(s->value);
	free(s);
}

static ssize_t read_stream(void *cls, uint64_t pos, char *dst, size_t max)
{
	struct stream *s = cls;
	struct bytes piece;
	enum err err;

	if (pos >= s->count)
		return MHD_CONTENT_READER_END_OF_STREAM;
	err = store_value_read(s->value, s->first + pos, &piece);
	if (err || piece.n == 0) {
		stats_add(&s->h->stats.responses_cut, 1);
		log_error("http", "response_cut why=%s off=%lu request=\"%s\"",
			  err_text(err), s->first + pos, s->id);
		return MHD_CONTENT_READER_END_WITH_ERROR;
	}
	if (piece.n > max)
		piece.n = max;
	if (piece.n > s->count - pos)
		piece.n = s->count - pos;
	memcpy(dst, piece.p, piece.n);
	return (ssize_t)piece.n;
}

/* Several pieces: the response reads them one after the other. */
static struct MHD_Response *stream_response(struct request *r, uint64_t first,
					    uint64_t count)
{
	struct stream *s = malloc(sizeof(*s));
	struct MHD_Response *resp;

	if (!s)
		return NULL;
	*s = (struct stream){ r->h, r->pinned, first, count, "" };
	trace_id(r, s->id);
	resp = MHD_create_response_from_callback(count, STREAM_BLOCK_BYTES,
						 read_stream, s, free_stream);
	if (!resp) {
		free(s);
		return NULL;
	}
	r->pinned = NULL;
	return resp;
}

static void free_value(void *cls)
{
	store_value_done(cls);
}

/* OK and NULL: out of memory. */
static enum err raw_response(struct request *r, uint64_t first, uint64_t count,
			     struct MHD_Response **resp)
{
	struct bytes piece = { 0 };
	enum err err;

	if (count) {
		err = store_value_read(r->pinned, first, &piece);
		if (err)
			return err;
	}
	if (piece.n < count) {
		*resp = stream_response(r, first, count);
		return OK;
	}
	if (count <= COPY_BYTES_MAX) {
		*resp = MHD_create_response_from_buffer(
			count, (void *)(uintptr_t)piece.p,
			MHD_RESPMEM_MUST_COPY);
		return OK;
	}
	*resp = MHD_create_response_from_buffer_with_free_callback_cls(
		count, (void *)(uintptr_t)piece.p, free_value, r->pinned);
	if (*resp)
		r->pinned = NULL;
	return OK;
}

static void add_info_headers(struct MHD_Response **resp,
			     const struct store_info *info)
{
	char text[40];

	if (info->mtime_ns) {
		field_format_date(info->mtime_ns, text);
		reply_header(resp, "Last-Modified", text);
	}
	if (info->has_ttl) {
		uint64_t ms = (info->ttl_ns + 999999) / 1000000;

		snprintf(text, sizeof(text), "%lu.%03lu", ms / 1000, ms % 1000);
		reply_header(resp, "X-Raftcask-TTL", text);
	}
	/* What a cache would keep may be stale the next moment. */
	reply_header(resp, "Cache-Control", "no-cache");
}

static enum MHD_Result answer_range_refused(struct request *r, uint64_t bytes)
{
	snprintf(r->content_range, sizeof(r->content_range), "bytes */%lu",
		 bytes);
	return reply_problem(r, 416, "range_not_satisfiable",
			     "the value has no such bytes");
}

static bool range_applies(const struct request *r, uint64_t rev)
{
	struct field_tags tags;

	if (!r->f.range)
		return false;
	if (!r->f.if_range)
		return true;
	/* A date, or anything that is no strong tag of ours: send it whole. */
	return field_parse_tags(r->f.if_range, &tags) == OK && !tags.any &&
	       field_tags_have(&tags, rev, true);
}

static enum MHD_Result answer_raw(struct request *r)
{
	struct store_info info = *store_value_info(r->pinned);
	enum field_range_result range = FIELD_RANGE_WHOLE;
	uint64_t first = 0, count = info.bytes;
	struct MHD_Response *resp = NULL;
	char text[80];
	enum err err;

	if (range_applies(r, info.rev))
		range = field_parse_range(r->f.range, info.bytes, &first,
					  &count);
	if (range == FIELD_RANGE_UNSATISFIABLE)
		return answer_range_refused(r, info.bytes);
	err = raw_response(r, first, count, &resp);
	if (err)
		return reply_error(r, err);
	reply_header(&resp, "Content-Type", "application/octet-stream");
	reply_header(&resp, "X-Content-Type-Options", "nosniff");
	reply_header(&resp, "Accept-Ranges", "bytes");
	add_info_headers(&resp, &info);
	if (range == FIELD_RANGE_PART) {
		snprintf(text, sizeof(text), "bytes %lu-%lu/%lu", first,
			 first + count - 1, info.bytes);
		reply_header(&resp, "Content-Range", text);
	}
	return reply_send(r, range == FIELD_RANGE_PART ? 206 : 200, resp,
			  count);
}

/* The whole value in one view: where it lies, or gathered in r->decoded. */
static enum err gather(struct request *r, uint64_t bytes, struct bytes *value)
{
	struct bytes piece;
	enum err err;

	*value = bytes_of(NULL, 0);
	if (bytes == 0)
		return OK;
	err = store_value_read(r->pinned, 0, value);
	if (err || value->n == bytes)
		return err;
	err = request_take_memory(r, bytes);
	if (err)
		return err;
	err = buf_add(&r->decoded, value->p, value->n);
	while (!err && r->decoded.n < bytes) {
		err = store_value_read(r->pinned, r->decoded.n, &piece);
		if (!err && piece.n == 0)
			err = ERR_CORRUPT;
		if (!err)
			err = buf_add(&r->decoded, piece.p, piece.n);
	}
	*value = buf_bytes(&r->decoded);
	return err;
}

static enum MHD_Result answer_json(struct request *r)
{
	struct store_info info = *store_value_info(r->pinned);
	struct MHD_Response *resp;
	struct buf b = BUF_INIT;
	struct bytes value;
	enum err err;
	size_t n;

	if (info.bytes > HTTPD_JSON_VALUE_BYTES_MAX)
		return reply_problem(r, 413, "value_too_large",
				     "too large for JSON: GET it with ?raw");
	err = gather(r, info.bytes, &value);
	if (!err)
		err = buf_reserve(&b, value.n + 16);
	if (!err)
		err = buf_add(&b, "{", 1);
	if (!err)
		err = json_add_member(&b, "value", "encoding", value);
	if (!err)
		err = buf_add(&b, "}", 1);
	if (!err && b.n > 4 * COPY_BYTES_MAX)
		err = request_take_memory(r, b.n);
	if (err) {
		buf_done(&b);
		return reply_error(r, err);
	}
	store_value_done(r->pinned);
	r->pinned = NULL;
	n = b.n;
	resp = MHD_create_response_from_buffer(n, b.p, MHD_RESPMEM_MUST_FREE);
	if (!resp)
		buf_done(&b);
	reply_header(&resp, "Content-Type", "application/json");
	add_info_headers(&resp, &info);
	return reply_send(r, 200, resp, n);
}

static enum MHD_Result answer_missing(struct request *r, uint32_t partition)
{
	stats_add(&r->h->stats.get_misses, 1);
	r->rev = store_revision(r->h->o.store, partition);
	r->show_rev = true;
	return reply_error(r, ERR_NOT_FOUND);
}

enum MHD_Result value_answer(struct request *r)
{
	uint32_t partition = store_partition_of(r->h->o.store, r->key);
	const struct store_info *info;
	bool raw;
	enum err err;

	if (!auth_allows(r, STORE_RIGHT_READ, r->key)) /* it may have waited */
		return auth_refuse(r);
	err = store_get(r->h->o.store, r->key, &r->pinned);
	if (!read_is_fresh(r, (int32_t)partition)) {
		if (!err)
			store_value_done(r->pinned);
		r->pinned = NULL;
		return read_when_fresh(r, (int32_t)partition, value_answer);
	}
	if (err == ERR_NOT_FOUND)
		return answer_missing(r, partition);
	if (err)
		return reply_error(r, err);
	stats_add(&r->h->stats.get_hits, 1);
	info = store_value_info(r->pinned);
	r->rev = r->etag_rev = info->rev;
	r->show_rev = r->show_etag = true;
	raw = r->q.raw || field_lists(r->f.accept, "application/octet-stream");
	if (info->is_special || (info->is_link && !raw))
		return reply_problem(
			r, 409, "not_a_regular_file",
			info->is_link ? "a symbolic link: ?raw shows its "
					"target"
				      : "a device or a pipe");
	if (r->f.if_match.given &&
	    !field_tags_have(&r->f.if_match, info->rev, true))
		return reply_error(r, ERR_PRECONDITION);
	if (r->f.if_none_match.given &&
	    field_tags_have(&r->f.if_none_match, info->rev, false))
		return reply_empty(r, 304);
	return raw ? answer_raw(r) : answer_json(r);
}
