/*
 * httpd/monitor.c - the figures of all nodes, as server-sent events.
 *
 *	event: figures
 *	data: {"number":1,..}
 *
 * Other members' reports come by way of the store (store/report.h), so that the
 * page talks to the one node that served it: no other origin, no other
 * certificate, no other token. See monitor.h.
 */
#include "httpd/monitor.h"

#include <stdlib.h>

#include "base/check.h"
#include "httpd/auth.h"
#include "httpd/handlers.h"
#include "httpd/json.h"
#include "httpd/reply.h"
#include "httpd/report.h"
#include "httpd/request.h"
#include "store/report.h"

enum { FIRST_ANSWERS_MS = 250, MEMBERS_MAX = 64 };

static const uint64_t ns_per_ms = 1000000;

/* One event, shared by the streams that send it. */
struct monitor_text {
	_Atomic uint32_t refs;
	uint64_t number;
	struct buf bytes;
};

static void text_unref(struct monitor_text *t)
{
	if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	buf_done(&t->bytes);
	free(t);
}

void monitor_init(struct monitor *m)
{
	pthread_mutex_init(&m->lock, NULL);
}

void monitor_done(struct monitor *m)
{
	CHECK(atomic_load(&m->streams) == 0);
	text_unref(m->newest);
	m->newest = NULL;
	pthread_mutex_destroy(&m->lock);
}

/* ------------------------------------------------------------------ JSON -- */

struct others {
	struct report *room; /* to decode into                               */
	struct buf json[MEMBERS_MAX]; /* in the order of list                */
	uint64_t age_ms[MEMBERS_MAX];
	struct store_member_status list[MEMBERS_MAX];
	uint32_t count;
};

static enum err take_report(void *ctx, uint64_t id, uint64_t age_ms,
			    struct bytes bytes)
{
	struct others *o = ctx;

	for (uint32_t i = 0; i < o->count; i++) {
		if (o->list[i].member.id != id || o->json[i].n)
			continue;
		if (httpd_report_decode(bytes, o->room))
			return OK; /* shown as one that tells nothing        */
		o->age_ms[i] = age_ms;
		return httpd_report_json(o->room, &o->json[i]);
	}
	return OK; /* no member any more */
}

static enum err add_text(struct buf *b, const char *name, const char *text)
{
	enum err err = buf_addf(b, ",\"%s\":", name);

	return err ? err : json_add_string(b, bytes_str(text));
}

static enum err add_number_or_null(struct buf *b, const char *name,
				   uint64_t number, bool known)
{
	return known ? buf_addf(b, ",\"%s\":%lu", name, number)
		     : buf_addf(b, ",\"%s\":null", name);
}

static const char *bool_text(bool is)
{
	return is ? "true" : "false";
}

static enum err add_member(struct httpd *h, struct others *o, uint32_t i,
			   struct buf *b)
{
	const struct store_member_status *m = &o->list[i];
	const char *http = m->member.http;
	bool has = o->json[i].n > 0;
	enum err err;

	if (m->member.id == h->o.node_id && !http[0])
		http = h->first_address;
	err = buf_addf(b,
		       "%s{\"id\":%lu,\"learner\":%s,\"leaving\":%s,"
		       "\"up\":%s",
		       i ? "," : "", m->member.id, bool_text(m->learner),
		       bool_text(m->leaving), bool_text(m->up));
	if (!err)
		err = add_text(b, "name", m->member.name);
	if (!err)
		err = add_text(b, "peer", m->member.peer);
	if (!err)
		err = add_text(b, "http", http);
	if (!err)
		err = add_number_or_null(b, "last_contact_ms",
					 m->last_contact_ms,
					 m->last_contact_ms != UINT64_MAX);
	if (!err)
		err = add_number_or_null(b, "report_age_ms", o->age_ms[i], has);
	if (!err)
		err = buf_addf(b, ",\"report\":");
	if (!err)
		err = has ? buf_add(b, o->json[i].p, o->json[i].n)
			  : buf_addf(b, "null");
	return err ? err : buf_addf(b, "}");
}

static enum err add_head(struct httpd *h, uint64_t number, struct buf *b)
{
	enum err err = buf_addf(b, "{\"number\":%lu,\"wall_ms\":%lu,\"id\":%lu",
				number, clock_wall_ns(h->o.clock) / ns_per_ms,
				h->o.node_id);

	if (!err)
		err = add_text(b, "node", h->o.node_name);
	if (!err)
		err = add_text(b, "cluster", h->o.cluster_id);
	if (!err)
		err = add_text(b, "address", h->first_address);
	return err ? err : buf_addf(b, ",\"members\":[");
}

static enum err add_all(struct httpd *h, const struct report *own,
			uint64_t number, struct others *o, struct buf *b)
{
	enum err err;

	for (uint32_t i = 0; i < o->count; i++) {
		if (o->list[i].member.id != h->o.node_id)
			continue;
		err = httpd_report_json(own, &o->json[i]);
		if (err)
			return err;
	}
	err = store_reports_each(h->o.store, take_report, o);
	if (!err)
		err = add_head(h, number, b);
	for (uint32_t i = 0; i < o->count && !err; i++)
		err = add_member(h, o, i, b);
	return err ? err : buf_addf(b, "]}");
}

/*
 * Append what one look shows: {"number":n,"wall_ms":n,"node":"..","id":n,
 * "cluster":"..","address":"..","members":[{"id":n,"name":"..","peer":"..",
 * "http":"..","learner":b,"leaving":b,"up":b,"last_contact_ms":n|null,
 * "report_age_ms":n|null,"report":{..}|null},..]}; reports as httpd_report_json.
 * ERR_NOMEM.
 */
static enum err add_look(struct httpd *h, const struct report *own,
			 uint64_t number, struct buf *b)
{
	struct others *o = calloc(1, sizeof(*o));
	enum err err = ERR_NOMEM;

	if (!o)
		return ERR_NOMEM;
	o->room = malloc(sizeof(*o->room));
	if (o->room) {
		o->count = store_members(h->o.store, o->list, MEMBERS_MAX);
		if (o->count > MEMBERS_MAX)
			o->count = MEMBERS_MAX;
		err = add_all(h, own, number, o, b);
	}
	for (uint32_t i = 0; i < o->count; i++)
		buf_done(&o->json[i]);
	free(o->room);
	free(o);
	return err;
}

/* ------------------------------------------------------------ collecting -- */

static void publish(struct httpd *h, struct monitor_text *t)
{
	struct monitor *m = &h->monitor;
	struct monitor_text *old;

	pthread_mutex_lock(&m->lock);
	old = m->newest;
	m->newest = t;
	pthread_mutex_unlock(&m->lock);
	atomic_store(&m->number, t->number);
	text_unref(old);
}

/* Nothing new when there is no memory: the page sees a pause. */
static bool make_text(struct httpd *h, const struct report *own)
{
	struct monitor_text *t = calloc(1, sizeof(*t));
	enum err err;

	if (!t)
		return false;
	t->refs = 1;
	t->number = atomic_load(&h->monitor.number) + 1;
	err = buf_addf(&t->bytes, "event: figures\ndata: ");
	if (!err)
		err = add_look(h, own, t->number, &t->bytes);
	if (!err)
		err = buf_addf(&t->bytes, "\n\n");
	if (err)
		text_unref(t);
	else
		publish(h, t);
	return !err;
}

/* For other members; what cannot be posted now can in a second. */
static void post(struct httpd *h, const struct report *own)
{
	struct buf b = BUF_INIT;
	enum err err = httpd_report_encode(own, &b);

	if (!err)
		err = store_report_post(h->o.store, buf_bytes(&b));
	(void)err;
	buf_done(&b);
}

static bool collect(struct httpd *h, bool looked_at, bool wanted)
{
	struct report *own = malloc(sizeof(*own));
	bool news = false;

	if (own && httpd_report_collect(h, own) == OK) {
		if (wanted)
			post(h, own);
		if (looked_at)
			news = make_text(h, own);
	}
	free(own);
	return news;
}

bool monitor_round(struct httpd *h, bool *news)
{
	struct monitor *m = &h->monitor;
	uint64_t now = httpd_now(h), every_ms = MONITOR_EVERY_MS;
	bool looked_at, wanted, began;

	*news = false;
	if (!atomic_load_explicit(&h->serving, memory_order_acquire))
		return false;
	looked_at = atomic_load(&m->streams) > 0;
	wanted = store_report_is_wanted(h->o.store);
	began = looked_at && !m->looked_at;
	if ((now >= m->next_ns && (looked_at || wanted)) || began) {
		/* What the others say to the first question is shown soon. */
		if (began)
			every_ms = FIRST_ANSWERS_MS;
		m->next_ns = now + every_ms * ns_per_ms;
		if (looked_at)
			store_reports_want(h->o.store);
		*news = collect(h, looked_at, wanted);
	}
	m->looked_at = looked_at;
	return looked_at || wanted;
}

/* ---------------------------------------------------------------- stream -- */

/* Something is left of what r sends: copy it out. */
static ssize_t give(struct request *r, const struct buf *b, char *dst,
		    size_t max)
{
	size_t n = b->n - r->stream_off;

	if (n > max)
		n = max;
	memcpy(dst, b->p + r->stream_off, n);
	r->stream_off += n;
	stats_add(&r->h->stats.bytes_written, n);
	return (ssize_t)n;
}

/* Turn to the newest text, if r has not sent that already. */
static bool turn(struct request *r)
{
	struct monitor *m = &r->h->monitor;
	struct monitor_text *t;

	if (atomic_load(&m->number) == r->shown_number)
		return false;
	pthread_mutex_lock(&m->lock);
	t = m->newest;
	if (t)
		atomic_fetch_add(&t->refs, 1);
	pthread_mutex_unlock(&m->lock);
	if (!t)
		return false;
	text_unref(r->shown);
	r->shown = t;
	r->shown_number = t->number;
	r->stream_off = 0;
	request_stage(r, STAGE_SENDING, MONITOR_READ_MS * ns_per_ms);
	return true;
}

static ssize_t read_figures(void *cls, uint64_t pos, char *dst, size_t max)
{
	struct request *r = cls;

	(void)pos;
	for (;;) {
		if (r->stream.n) { /* the first line */
			ssize_t n = give(r, &r->stream, dst, max);

			if (r->stream_off == r->stream.n)
				r->stream.n = r->stream_off = 0;
			return n;
		}
		if (r->shown && r->stream_off < r->shown->bytes.n)
			return give(r, &r->shown->bytes, dst, max);
		if (atomic_load(&r->h->stopping) || !auth_is_known(r) ||
		    atomic_load(&r->conn->gone))
			return MHD_CONTENT_READER_END_OF_STREAM;
		request_arm_watch(r);
		if (turn(r))
			continue;
		/* A node that waits for its cluster again collects nothing. */
		if (request_suspend(r, STAGE_MONITORING,
				    HEARTBEAT_MS * ns_per_ms))
			return 0;
	}
}

static bool take_place(struct monitor *m)
{
	if (atomic_fetch_add(&m->streams, 1) < MONITOR_STREAMS_MAX)
		return true;
	atomic_fetch_sub(&m->streams, 1);
	return false;
}

static enum MHD_Result open_stream(struct request *r)
{
	struct MHD_Response *resp;

	/* Something at once, so that the headers do not wait for a second. */
	if (buf_addf(&r->stream, ": raftcask\n\n"))
		return reply_error(r, ERR_NOMEM);
	r->shown_number = atomic_load(&r->h->monitor.number);
	if (!take_place(&r->h->monitor))
		return reply_problem(r, 429, "too_many_requests",
				     "this node's monitor page is open as "
				     "often as it can be");
	r->is_monitor = true;
	resp = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16 << 10,
						 read_figures, r, NULL);
	reply_header(&resp, "Content-Type", "text/event-stream");
	reply_header(&resp, "Cache-Control", "no-store");
	return reply_send(r, 200, resp, 0);
}

enum MHD_Result monitor_events(struct request *r)
{
	if (r->method == METHOD_HEAD)
		return reply_not_allowed(r, "GET");
	return open_stream(r);
}

void monitor_end(struct request *r)
{
	if (!r->is_monitor)
		return;
	r->is_monitor = false;
	text_unref(r->shown);
	r->shown = NULL;
	atomic_fetch_sub(&r->h->monitor.streams, 1);
}
