/*
 * httpd/system.c - health, readiness, status, merge.
 */
#include <stdlib.h>

#include "httpd/handlers.h"
#include "httpd/json.h"
#include "httpd/reply.h"

static const char *role_name(enum store_role role)
{
	switch (role) {
	case STORE_FOLLOWER:
		return "follower";
	case STORE_CANDIDATE:
		return "candidate";
	case STORE_LEADER:
		return "leader";
	case STORE_LEARNER:
		return "learner";
	}
	return "unknown";
}

enum MHD_Result system_health(struct request *r)
{
	return reply_text(r, 200, "{\"status\":\"ok\"}");
}

/* 503 that says what this node waits for. */
static enum MHD_Result reply_held(struct request *r)
{
	char reason[sizeof(r->h->hold_reason)];
	const char *code;
	enum err err;

	pthread_mutex_lock(&r->h->lock);
	code = r->h->hold_code;
	memcpy(reason, r->h->hold_reason, sizeof(reason));
	pthread_mutex_unlock(&r->h->lock);
	/* Names of nodes and files are not for strangers; the log has it. */
	if (atomic_load(&r->h->wants_tokens))
		return reply_problem(r, 503, code, "not serving");
	/* Messages stand as they are in the answer: escape it here. */
	err = json_add_string(&r->stream, bytes_str(reason));
	if (err)
		return reply_error(r, err);
	r->stream.p[r->stream.n - 1] = 0; /* in place of the last quote */
	return reply_problem(r, 503, code, (char *)r->stream.p + 1);
}

enum MHD_Result system_ready(struct request *r)
{
	if (!atomic_load(&r->h->serving))
		return reply_held(r);
	switch (store_readiness(r->h->o.store)) {
	case STORE_READY:
		break;
	case STORE_STARTING:
		return reply_error(r, ERR_STARTING);
	case STORE_STOPPING:
		return reply_error(r, ERR_CLOSED);
	case STORE_LEADERLESS:
		return reply_problem(r, 503, "no_leader",
				     "a partition has no leader that this "
				     "node knows");
	case STORE_OUTSIDE:
		return reply_problem(r, 503, "not_a_member",
				     "waits to become a member: members add, "
				     "or members replace for a lost disk");
	case STORE_DISMISSED:
		return reply_problem(r, 503, "removed",
				     "this node was removed from the cluster");
	}
	return reply_text(r, 200, "{\"status\":\"ready\"}");
}

enum MHD_Result system_merge(struct request *r)
{
	store_merge_request(r->h->o.store);
	return reply_text(r, 200, "{\"success\":true}");
}

static enum err add_leader(struct buf *b, const char *leader)
{
	return leader[0] ? json_add_string(b, bytes_str(leader))
			 : buf_addf(b, "null");
}

/* "role":.."applied":.. of one partition. */
static enum err add_state(struct buf *b, const struct store_partition_status *s)
{
	enum err err;

	err = buf_addf(b, "\"role\":\"%s\",\"term\":%lu,\"leader\":",
		       role_name(s->role), s->term);
	if (!err)
		err = add_leader(b, s->leader);
	if (!err)
		err = buf_addf(b, ",\"commit\":%lu,\"applied\":%lu", s->commit,
			       s->applied);
	return err;
}

static enum err add_text(struct buf *b, const char *name, const char *text)
{
	enum err err = buf_addf(b, "\"%s\":", name);

	return err ? err : json_add_string(b, bytes_str(text ? text : ""));
}

static enum err add_partitions(struct httpd *h, struct buf *b)
{
	uint32_t n = store_partition_count(h->o.store);
	struct store_partition_status s;
	enum err err = buf_addf(b, "[");

	for (uint32_t i = 0; !err && i < n; i++) {
		store_partition_status(h->o.store, i, &s);
		err = buf_addf(b, "%s{\"id\":%u,", i ? "," : "", i);
		if (!err)
			err = add_state(b, &s);
		if (!err)
			err = buf_addf(b, ",\"keys\":%lu}", s.keys);
	}
	return err ? err : buf_addf(b, "]");
}

static enum err add_corrupt(struct buf *b, const struct store_corrupt *c)
{
	enum err err = buf_addf(b, "{");

	if (!err)
		err = add_text(b, "file", c->file);
	if (!err)
		err = buf_addf(b, ",\"offset\":%lu,\"keys\":%lu}", c->off,
			       c->keys);
	return err;
}

static enum err add_storage(struct buf *b, const struct store_storage_status *s)
{
	enum err err;

	err = buf_addf(b,
		       "{\"keys\":%lu,\"live_bytes\":%lu,\"dead_bytes\":%lu,"
		       "\"files\":%lu,\"log_bytes\":%lu,\"merged_bytes\":%lu,"
		       "\"index_bytes\":%lu,\"merge\":\"%s\",\"merges\":%lu,"
		       "\"out_of_space\":%s,\"cuts\":{\"count\":%lu,",
		       s->keys, s->live_bytes, s->dead_bytes, s->files,
		       s->log_bytes, s->merged_bytes, s->keydir_bytes,
		       s->merge_running ? "running" : "idle", s->merges,
		       s->out_of_space ? "true" : "false", s->cut_count);
	if (!err)
		err = add_text(b, "file", s->cut_file);
	if (!err)
		err = buf_addf(b,
			       ",\"offset\":%lu,\"bytes\":%lu},"
			       "\"corrupt\":[",
			       s->cut_off, s->cut_bytes);
	for (uint32_t i = 0; !err && i < s->corrupt_count; i++) {
		err = i ? buf_addf(b, ",") : OK;
		if (!err)
			err = add_corrupt(b, s->corrupt + i);
	}
	return err ? err : buf_addf(b, "]}");
}

static enum err write_status(struct httpd *h, struct buf *b,
			     const struct store_storage_status *storage)
{
	uint64_t up_s = (httpd_now(h) - h->start_ns) / 1000000000;
	struct store_partition_status first;
	enum err err;

	store_partition_status(h->o.store, 0, &first);
	err = buf_addf(b, "{");
	if (!err)
		err = add_text(b, "node", h->o.node_name);
	if (!err)
		err = buf_addf(b, ",\"id\":%lu,", h->o.node_id);
	if (!err)
		err = add_text(b, "cluster", h->o.cluster_id);
	if (!err)
		err = buf_addf(b, ",");
	if (!err)
		err = add_text(b, "version", h->o.version);
	if (!err)
		err = buf_addf(b, ",\"uptime_s\":%lu,", up_s);
	if (!err)
		err = add_state(b, &first);
	if (!err)
		err = buf_addf(b, ",\"members\":");
	if (!err)
		err = members_add_json(h, b);
	if (!err)
		err = buf_addf(b, ",\"partitions\":");
	if (!err)
		err = add_partitions(h, b);
	if (!err)
		err = buf_addf(b, ",\"storage\":");
	if (!err)
		err = add_storage(b, storage);
	if (!err)
		err = buf_addf(b, ",\"stats\":");
	if (!err)
		err = stats_add_json(&h->stats, storage->keys,
				     stats_get(&h->stats.cmd_set), b);
	return err ? err : buf_addf(b, "}");
}

enum MHD_Result system_status(struct request *r)
{
	struct store_storage_status *storage = malloc(sizeof(*storage));
	struct buf b = BUF_INIT;
	enum err err = ERR_NOMEM;

	if (storage) {
		store_storage_status(r->h->o.store, storage);
		err = write_status(r->h, &b, storage);
	}
	free(storage);
	if (err) {
		buf_done(&b);
		return reply_error(r, err);
	}
	return reply_json(r, 200, &b);
}
