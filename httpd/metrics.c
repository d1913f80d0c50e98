/*
 * httpd/metrics.c - /_/metrics in Prometheus' text format.
 *
 * What other parts of the node count (a mount, certificates) comes last, from
 * httpd_options.metrics. Names end in their unit (_bytes, _seconds) and
 * counters in _total; every family has HELP and TYPE. One table names the plain
 * ones, so that a name and its help stand side by side.
 */
#include <stdlib.h>

#include "base/process.h"
#include "httpd/handlers.h"
#include "httpd/reply.h"

struct metric {
	const char *name, *type, *help;
	double value;
};

static enum err add_metrics(struct buf *b, const struct metric *m, size_t n)
{
	enum err err = OK;

	for (size_t i = 0; !err && i < n; i++)
		err = buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n",
			       m[i].name, m[i].help, m[i].name, m[i].type,
			       m[i].name, m[i].value);
	return err;
}

static enum err add_storage(struct buf *b, const struct store_storage_status *s)
{
	const struct metric m[] = {
		{ "raftcask_keys", "gauge", "Keys held.", s->keys },
		{ "raftcask_storage_live_bytes", "gauge",
		  "Bytes of records that count.", s->live_bytes },
		{ "raftcask_storage_dead_bytes", "gauge",
		  "Bytes of records that a merge would drop.", s->dead_bytes },
		{ "raftcask_storage_files", "gauge", "Data files.", s->files },
		{ "raftcask_storage_log_bytes", "gauge",
		  "Bytes of log segments.", s->log_bytes },
		{ "raftcask_storage_merged_bytes", "gauge",
		  "Bytes of merged files.", s->merged_bytes },
		{ "raftcask_disk_free_bytes", "gauge",
		  "Free bytes of the data directory's disk.",
		  s->disk_free_bytes },
		{ "raftcask_index_bytes", "gauge",
		  "Memory of the key directory.", s->keydir_bytes },
		{ "raftcask_log_frames_total", "counter",
		  "Batch frames appended.", s->frames },
		{ "raftcask_log_appended_bytes_total", "counter",
		  "Bytes appended to the log.", s->bytes_appended },
		{ "raftcask_log_syncs_total", "counter",
		  "Times the log was made durable.", s->syncs },
		{ "raftcask_log_sync_seconds_total", "counter",
		  "Time spent making the log durable.",
		  s->sync_ns_total / 1e9 },
		{ "raftcask_merges_total", "counter", "Merges finished.",
		  s->merges },
		{ "raftcask_merge_read_bytes_total", "counter",
		  "Bytes read by merges.", s->merge_bytes_read },
		{ "raftcask_merge_written_bytes_total", "counter",
		  "Bytes written by merges.", s->merge_bytes_written },
		{ "raftcask_merge_running", "gauge",
		  "1 while a merge is going on.", s->merge_running },
		{ "raftcask_out_of_space", "gauge",
		  "1 while writes are refused for lack of space.",
		  s->out_of_space },
		{ "raftcask_corrupt_places", "gauge",
		  "Damaged places known in data files.", s->corrupt_count },
		{ "raftcask_torn_tails_total", "counter",
		  "Torn tails cut at the start.", s->cut_count },
	};

	return add_metrics(b, m, sizeof(m) / sizeof(m[0]));
}

/* Commit or sync times: the store counts by log2 of microseconds. */
static enum err add_log2(struct buf *b, const char *name, const char *help,
			 const uint64_t *buckets, double sum_s)
{
	uint64_t total = 0;
	enum err err;

	err = buf_addf(b, "# HELP %s %s\n# TYPE %s histogram\n", name, help,
		       name);
	/* Bucket i holds what took less than 2^i microseconds. */
	for (unsigned i = 0; !err && i < STORE_BUCKETS; i++) {
		total += buckets[i];
		if (i < 5 || i > 24)
			continue; /* under 32 us, over 16 s */
		err = buf_addf(b, "%s_bucket{le=\"%.9g\"} %lu\n", name,
			       (double)(1ull << i) / 1e6, total);
	}
	if (!err)
		err = buf_addf(b,
			       "%s_bucket{le=\"+Inf\"} %lu\n%s_sum %.9g\n"
			       "%s_count %lu\n",
			       name, total, name, sum_s, name, total);
	return err;
}

static enum err add_store(struct buf *b, const struct store_stats *s,
			  const struct store_storage_status *storage)
{
	const struct metric m[] = {
		{ "raftcask_writes_total", "counter", "Writes committed.",
		  s->writes },
		{ "raftcask_write_batches_total", "counter",
		  "Batches that the writes were committed in.",
		  s->write_batches },
		{ "raftcask_write_refusals_total", "counter",
		  "Writes refused by a condition or a rule of keys.",
		  s->refusals },
		{ "raftcask_expired_keys_total", "counter",
		  "Keys removed because their time was up.", s->expired },
		{ "raftcask_store_watches", "gauge", "Watches open.",
		  s->watches },
		{ "raftcask_uploads", "gauge", "Values being uploaded.",
		  s->uploads },
		{ "raftcask_repairs_asked_total", "counter",
		  "Damaged records and entries asked of a peer.",
		  s->repairs_asked },
		{ "raftcask_repairs_healed_total", "counter",
		  "Of these, put back.", s->repairs_healed },
		{ "raftcask_repairs_failed_total", "counter",
		  "Rounds in which no peer could help.", s->repairs_failed },
	};
	enum err err;

	err = add_metrics(b, m, sizeof(m) / sizeof(m[0]));
	if (!err)
		err = add_log2(b, "raftcask_commit_duration_seconds",
			       "From handing a write in to its completion.",
			       s->commit_buckets, s->commit_ns_total / 1e9);
	if (!err)
		err = add_log2(b, "raftcask_sync_duration_seconds",
			       "Each time the log was made durable.",
			       s->sync_buckets, storage->sync_ns_total / 1e9);
	return err;
}

static enum err add_head(struct buf *b, const char *name, const char *type,
			 const char *help)
{
	return buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
			type);
}

enum partition_figure {
	FIGURE_TERM,
	FIGURE_COMMIT,
	FIGURE_APPLIED,
	FIGURE_LEADS,
	FIGURE_HAS_LEADER,
	FIGURE_LEADER_CHANGES,
	FIGURES
};

static uint64_t figure_of(const struct store_partition_status *s,
			  enum partition_figure figure)
{
	switch (figure) {
	case FIGURE_TERM:
		return s->term;
	case FIGURE_COMMIT:
		return s->commit;
	case FIGURE_APPLIED:
		return s->applied;
	case FIGURE_LEADS:
		return s->role == STORE_LEADER;
	case FIGURE_HAS_LEADER:
		return s->leader[0] != 0;
	case FIGURE_LEADER_CHANGES:
		return s->leader_changes;
	case FIGURES:
		break;
	}
	return 0;
}

static enum err add_partitions(struct httpd *h, struct buf *b)
{
	static const struct {
		const char *name, *type, *help;
	} heads[FIGURES] = {
		{ "raftcask_term", "gauge", "Current term." },
		{ "raftcask_commit_index", "gauge", "Last committed entry." },
		{ "raftcask_applied_index", "gauge", "Last applied entry." },
		{ "raftcask_is_leader", "gauge", "1 if this node leads." },
		{ "raftcask_has_leader", "gauge", "1 if a leader is known." },
		{ "raftcask_leader_changes_total", "counter",
		  "Times that a leader was seen to come." },
	};
	struct store_partition_status s;
	enum err err = OK;

	for (unsigned k = 0; !err && k < FIGURES; k++) {
		err = add_head(b, heads[k].name, heads[k].type, heads[k].help);
		for (uint32_t i = 0;
		     !err && i < store_partition_count(h->o.store); i++) {
			store_partition_status(h->o.store, i, &s);
			err = buf_addf(b, "%s{partition=\"%u\"} %lu\n",
				       heads[k].name, i,
				       figure_of(&s, (enum partition_figure)k));
		}
	}
	return err;
}

static enum err add_roles(struct httpd *h, struct buf *b)
{
	static const char *const roles[] = { "follower", "candidate", "leader",
					     "learner" };
	struct store_partition_status s;
	enum err err;

	err = add_head(b, "raftcask_role", "gauge",
		       "1 for the role that this node has.");
	for (uint32_t i = 0; !err && i < store_partition_count(h->o.store);
	     i++) {
		store_partition_status(h->o.store, i, &s);
		for (unsigned k = 0; !err && k < 4; k++)
			err = buf_addf(b,
				       "raftcask_role{partition=\"%u\","
				       "role=\"%s\"} %d\n",
				       i, roles[k], s.role == k);
	}
	return err;
}

/* One line for each member that has the figure. Names need no escapes. */
static enum err add_member(struct buf *b, const char *name,
			   const struct store_member_status *m, double value)
{
	return buf_addf(b, "%s{member=\"%s\",id=\"%lu\"} %.17g\n", name,
			m->member.name, m->member.id, value);
}

static enum err add_members(struct httpd *h, struct buf *b)
{
	enum { SHOWN_MAX = 64 };
	struct store_member_status *list = calloc(SHOWN_MAX, sizeof(*list));
	uint32_t n = list ? store_members(h->o.store, list, SHOWN_MAX) : 0;
	enum err err;

	if (!list)
		return ERR_NOMEM;
	if (n > SHOWN_MAX)
		n = SHOWN_MAX;
	err = add_head(b, "raftcask_member_up", "gauge",
		       "1 if the member was heard of lately.");
	for (uint32_t i = 0; !err && i < n; i++)
		err = add_member(b, "raftcask_member_up", &list[i], list[i].up);
	if (!err)
		err = add_head(b, "raftcask_member_is_voter", "gauge",
			       "1 if the member votes in partition 0.");
	for (uint32_t i = 0; !err && i < n; i++)
		err = add_member(b, "raftcask_member_is_voter", &list[i],
				 !list[i].learner);
	if (!err)
		err = add_head(b, "raftcask_member_lag_entries", "gauge",
			       "Entries of partition 0 that the member has "
			       "not confirmed, as its leader knows or told.");
	for (uint32_t i = 0; !err && i < n; i++) {
		if (list[i].progress_known)
			err = add_member(b, "raftcask_member_lag_entries",
					 &list[i], (double)list[i].lag);
	}
	if (!err)
		err = add_head(b, "raftcask_member_last_contact_seconds",
			       "gauge",
			       "Since this node heard of the member; two that "
			       "follow do at elections only.");
	for (uint32_t i = 0; !err && i < n; i++) {
		if (list[i].last_contact_ms != UINT64_MAX)
			err = add_member(b,
					 "raftcask_member_last_contact_seconds",
					 &list[i],
					 (double)list[i].last_contact_ms / 1e3);
	}
	free(list);
	return err;
}

static enum err add_requests(struct stats *s, struct buf *b)
{
	static const char name[] = "raftcask_http_requests_total";
	static const char *const methods[STATS_METHODS] = { "GET",    "HEAD",
							    "PUT",    "POST",
							    "DELETE", "other" };
	enum err err = add_head(b, name, "counter", "Requests answered.");

	for (unsigned i = 0; i < STATS_METHODS; i++) {
		for (unsigned k = 2; !err && k < 6; k++) {
			uint64_t n = stats_get(&s->requests[i][k]);

			if (n)
				err = buf_addf(b,
					       "%s{method=\"%s\",code=\"%uxx\"}"
					       " %lu\n",
					       name, methods[i], k, n);
		}
	}
	return err;
}

static enum err add_durations(struct stats *s, struct buf *b)
{
	static const char name[] = "raftcask_http_request_duration_seconds";
	uint64_t total = 0;
	enum err err;

	err = buf_addf(b,
		       "# HELP %s From the request line to the last byte "
		       "sent.\n# TYPE %s histogram\n",
		       name, name);
	for (unsigned i = 0; !err && i < STATS_BUCKETS - 1; i++) {
		total += stats_get(&s->duration_buckets[i]);
		err = buf_addf(b, "%s_bucket{le=\"%.9g\"} %lu\n", name,
			       stats_bucket_seconds(i), total);
	}
	total += stats_get(&s->duration_buckets[STATS_BUCKETS - 1]);
	if (!err)
		err = buf_addf(b,
			       "%s_bucket{le=\"+Inf\"} %lu\n%s_sum %.9g\n"
			       "%s_count %lu\n",
			       name, total, name,
			       stats_get(&s->duration_ns_total) / 1e9, name,
			       total);
	return err;
}

static enum err add_refused(struct stats *s, struct buf *b)
{
	static const char name[] = "raftcask_http_refused_total";
	const struct {
		const char *reason;
		uint64_t n;
	} rows[] = {
		{ "token", stats_get(&s->refused_tokens) },
		{ "rights", stats_get(&s->refused_rights) },
		{ "origin", stats_get(&s->refused_origins) },
		{ "host", stats_get(&s->refused_hosts) },
	};
	enum err err =
		add_head(b, name, "counter", "Requests of those who may not.");

	for (size_t i = 0; !err && i < sizeof(rows) / sizeof(rows[0]); i++)
		err = buf_addf(b, "%s{reason=\"%s\"} %lu\n", name,
			       rows[i].reason, rows[i].n);
	return err;
}

static enum err add_http(struct httpd *h, struct buf *b)
{
	struct stats *s = &h->stats;
	const struct metric m[] = {
		{ "raftcask_http_connections", "gauge", "Connections open.",
		  stats_get(&s->curr_connections) },
		{ "raftcask_http_connections_total", "counter",
		  "Connections accepted.", stats_get(&s->total_connections) },
		{ "raftcask_http_connections_refused_total", "counter",
		  "Connections over the limit.",
		  stats_get(&s->refused_connections) },
		{ "raftcask_http_body_received_bytes_total", "counter",
		  "Bytes of request bodies.", stats_get(&s->bytes_read) },
		{ "raftcask_http_body_sent_bytes_total", "counter",
		  "Bytes of response bodies.", stats_get(&s->bytes_written) },
		{ "raftcask_http_responses_cut_total", "counter",
		  "Responses cut short because of damaged bytes.",
		  stats_get(&s->responses_cut) },
		{ "raftcask_http_timeouts_total", "counter",
		  "Connections given up on.",
		  stats_get(&s->requests_timed_out) },
		{ "raftcask_tls_handshake_failures_total", "counter",
		  "Connections whose TLS handshake did not end.",
		  stats_get(&s->tls_failures) },
		{ "raftcask_http_watches", "gauge",
		  "Long polls and event streams open.",
		  stats_get(&s->watches) },
		{ "raftcask_get_hits_total", "counter", "Keys read and found.",
		  stats_get(&s->get_hits) },
		{ "raftcask_get_misses_total", "counter",
		  "Keys read and not found.", stats_get(&s->get_misses) },
		{ "raftcask_memory_max_bytes", "gauge",
		  "Largest resident size so far.",
		  stats_maxrss_kib() * 1024.0 },
		{ "raftcask_uptime_seconds", "gauge", "Since the start.",
		  (httpd_now(h) - h->start_ns) / 1e9 },
	};
	enum err err;

	err = add_metrics(b, m, sizeof(m) / sizeof(m[0]));
	if (!err)
		err = add_refused(s, b);
	if (!err)
		err = add_requests(s, b);
	if (!err)
		err = add_durations(s, b);
	return err;
}

/* Under the names that every Prometheus client library gives them. */
static enum err add_process(struct buf *b)
{
	struct process_figures f;

	process_figures(&f);
	const struct metric m[] = {
		{ "process_cpu_seconds_total", "counter",
		  "Processor time, user and system.", f.cpu_s },
		{ "process_start_time_seconds", "gauge",
		  "When it started, since 1970.", f.start_s },
		{ "process_resident_memory_bytes", "gauge", "Resident size.",
		  f.rss_bytes },
		{ "process_threads", "gauge", "Threads.", f.threads },
		{ "process_open_fds", "gauge", "File descriptors open.",
		  f.files },
		{ "process_max_fds", "gauge", "File descriptors allowed.",
		  f.files_max },
	};

	return add_metrics(b, m, sizeof(m) / sizeof(m[0]));
}

static enum err count_token(void *ctx, const struct store_token *t)
{
	++*(uint64_t *)ctx;
	return OK;
}

/* What this node can, and who may ask it. */
static enum err add_service(struct httpd *h, struct buf *b)
{
	uint64_t tokens = 0;
	enum err err = store_tokens_each(h->o.store, count_token, &tokens);
	const struct metric m[] = {
		{ "raftcask_ready", "gauge",
		  "1 if linearizable requests can be served.",
		  store_ready(h->o.store) },
		{ "raftcask_tokens", "gauge", "Tokens that exist.", tokens },
		{ "raftcask_tokens_required", "gauge",
		  "1 if clients are asked for a token.",
		  atomic_load(&h->wants_tokens) },
	};

	return err ? err : add_metrics(b, m, sizeof(m) / sizeof(m[0]));
}

static enum err write_metrics(struct httpd *h, struct buf *b)
{
	struct store_storage_status *storage = malloc(sizeof(*storage));
	struct store_stats stats;
	enum err err;

	if (!storage)
		return ERR_NOMEM;
	store_storage_status(h->o.store, storage);
	store_stats(h->o.store, &stats);
	err = buf_addf(b,
		       "# HELP raftcask_build_info Constant 1.\n"
		       "# TYPE raftcask_build_info gauge\n"
		       "raftcask_build_info{version=\"%s\"} 1\n",
		       h->o.version);
	if (!err)
		err = add_service(h, b);
	if (!err)
		err = add_storage(b, storage);
	if (!err)
		err = add_store(b, &stats, storage);
	if (!err)
		err = add_partitions(h, b);
	if (!err)
		err = add_roles(h, b);
	if (!err)
		err = add_members(h, b);
	if (!err)
		err = add_http(h, b);
	if (!err)
		err = add_process(b);
	if (!err && h->o.metrics)
		err = h->o.metrics(h->o.metrics_ctx, b);
	free(storage);
	return err;
}

enum MHD_Result metrics_answer(struct request *r)
{
	struct MHD_Response *resp;
	struct buf b = BUF_INIT;
	enum err err = write_metrics(r->h, &b);
	size_t n = b.n;

	if (err) {
		buf_done(&b);
		return reply_error(r, err);
	}
	resp = MHD_create_response_from_buffer(n, b.p, MHD_RESPMEM_MUST_FREE);
	if (!resp)
		buf_done(&b);
	reply_header(&resp, "Content-Type",
		     "text/plain; version=0.0.4; charset=utf-8");
	return reply_send(r, 200, resp, n);
}
