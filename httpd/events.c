/*
 * httpd/events.c - GET /_/watch: changes as server-sent events.
 *
 *	id: <opaque>
 *	event: put | delete | expire
 *	data: {"key":"a","rev":7,"value":"x"}
 *
 * The stream is a content reader that suspends its connection when there is
 * nothing to say. A comment line every 15 s shows both sides that the other
 * still lives: a client that vanished without a word would never be noticed
 * without it. One that closed is found by the deadline thread.
 */
#include "httpd/auth.h"
#include "httpd/handlers.h"
#include "httpd/json.h"
#include "httpd/reply.h"
#include "httpd/request.h"

static const char *event_name(enum store_event_kind kind)
{
	switch (kind) {
	case STORE_EVENT_PUT:
		return "put";
	case STORE_EVENT_DELETE:
		return "delete";
	case STORE_EVENT_EXPIRE:
		return "expire";
	}
	return "unknown";
}

static enum err add_event(struct buf *b, const struct store_event *event)
{
	enum err err;

	err = buf_addf(b, "id: %s\nevent: %s\ndata: {", event->id,
		       event_name(event->kind));
	if (!err)
		err = json_add_member(b, "key", "encoding", event->key);
	if (!err)
		err = buf_addf(b, ",\"rev\":%lu", event->rev);
	if (!err && event->has_value) {
		err = buf_add(b, ",", 1);
		if (!err)
			err = json_add_member(b, "value", "value_encoding",
					      event->value);
	} else if (!err && event->kind == STORE_EVENT_PUT) {
		err = buf_addf(b, ",\"size\":%lu", event->bytes);
	}
	if (!err)
		err = buf_addf(b, "}\n\n");
	return err;
}

static ssize_t drain(struct request *r, char *dst, size_t max)
{
	size_t n = r->stream.n - r->stream_off;

	if (n > max)
		n = max;
	memcpy(dst, r->stream.p + r->stream_off, n);
	r->stream_off += n;
	if (r->stream_off == r->stream.n)
		r->stream.n = r->stream_off = 0;
	stats_add(&r->h->stats.bytes_written, n);
	return (ssize_t)n;
}

static void set_heartbeat(struct request *r)
{
	r->heartbeat_ns = httpd_now(r->h) + HEARTBEAT_MS * 1000000ull;
}

/* Nothing to say now. OK: there is again; ERR_PENDING: suspended. */
static enum err wait_for_more(struct request *r)
{
	uint64_t now = httpd_now(r->h);

	if (atomic_load(&r->conn->gone))
		return ERR_CLOSED;
	if (now >= r->heartbeat_ns) {
		set_heartbeat(r);
		return buf_addf(&r->stream, ":\n\n");
	}
	if (request_suspend(r, STAGE_STREAMING, r->heartbeat_ns - now))
		return ERR_PENDING;
	return OK;
}

static ssize_t read_events(void *cls, uint64_t pos, char *dst, size_t max)
{
	struct request *r = cls;
	struct store_event event;
	enum err err;

	(void)pos;
	for (;;) {
		if (r->stream_off < r->stream.n)
			return drain(r, dst, max);
		if (atomic_load(&r->h->stopping))
			return MHD_CONTENT_READER_END_OF_STREAM;
		if (!auth_allows(r, STORE_RIGHT_READ, r->q.prefix))
			return MHD_CONTENT_READER_END_OF_STREAM;
		request_arm_watch(r);
		err = store_watch_next(r->watch, &event);
		if (err == OK) {
			err = add_event(&r->stream, &event);
			set_heartbeat(r);
		} else if (err == ERR_PENDING) {
			err = wait_for_more(r);
			if (err == ERR_PENDING)
				return 0;
		}
		/* Come again with Last-Event-ID: that answer tells why. */
		if (err == ERR_COMPACTED || err == ERR_CLOSED)
			return MHD_CONTENT_READER_END_OF_STREAM;
		if (err)
			return MHD_CONTENT_READER_END_WITH_ERROR;
	}
}

/* Thread: the store's. */
static void notify(void *user)
{
	request_notify(user);
}

static enum MHD_Result open_events(struct request *r)
{
	struct MHD_Response *resp;
	struct bytes after = r->q.after;
	enum err err;

	if (r->f.last_event_id && *r->f.last_event_id)
		after = bytes_str(r->f.last_event_id);
	err = store_watch_open(r->h->o.store, r->q.prefix, false, after, notify,
			       r, &r->watch);
	if (err) {
		r->watch = NULL;
		if (err == ERR_INVALID)
			return reply_problem(r, 400, "bad_request",
					     "not an event id");
		return reply_error(r, err);
	}
	stats_add(&r->h->stats.watches, 1);
	/* Something at once, so that the headers do not wait for an event. */
	err = buf_addf(&r->stream, ": raftcask\n\n");
	if (err)
		return reply_error(r, err);
	set_heartbeat(r);
	resp = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16 << 10,
						 read_events, r, NULL);
	reply_header(&resp, "Content-Type", "text/event-stream");
	reply_header(&resp, "Cache-Control", "no-store");
	return reply_send(r, 200, resp, 0);
}

static enum MHD_Result start_events(struct request *r)
{
	return read_when_fresh(r, read_partition_of_prefix(r, r->q.prefix),
			       open_events);
}

enum MHD_Result events_begin(struct request *r)
{
	if (!auth_allows(r, STORE_RIGHT_READ, r->q.prefix))
		return auth_refuse(r);
	r->run = start_events;
	return MHD_YES;
}
