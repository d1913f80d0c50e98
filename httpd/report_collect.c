/*
 * httpd/report_collect.c - this node's report, from what is counted anyway.
 */
#include <stdlib.h>

#include "base/process.h"
#include "httpd/report.h"

static uint64_t sum_requests(struct stats *s, unsigned from_class)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < STATS_METHODS; i++)
		for (unsigned k = from_class; k < 6; k++)
			n += stats_get(&s->requests[i][k]);
	return n;
}

static void take_process(uint64_t *f)
{
	struct process_figures p;

	process_figures(&p);
	f[REPORT_RSS_BYTES] = p.rss_bytes;
	f[REPORT_THREADS] = p.threads;
	f[REPORT_CPU_MS] = (uint64_t)(p.cpu_s * 1e3);
	f[REPORT_FILES_OPEN] = p.files;
	f[REPORT_FILES_OPEN_MAX] = p.files_max;
}

static void take_http(struct httpd *h, struct report *rep)
{
	struct stats *s = &h->stats;
	uint64_t *f = rep->figures;

	f[REPORT_CONNECTIONS] = stats_get(&s->curr_connections);
	f[REPORT_WATCHES] = stats_get(&s->watches);
	f[REPORT_GETS] = stats_get(&s->cmd_get);
	f[REPORT_SETS] = stats_get(&s->cmd_set);
	f[REPORT_DELETES] = stats_get(&s->cmd_delete);
	f[REPORT_GET_HITS] = stats_get(&s->get_hits);
	f[REPORT_GET_MISSES] = stats_get(&s->get_misses);
	f[REPORT_BYTES_IN] = stats_get(&s->bytes_read);
	f[REPORT_BYTES_OUT] = stats_get(&s->bytes_written);
	f[REPORT_REQUESTS] = sum_requests(s, 0);
	f[REPORT_REQUESTS_FAILED] = sum_requests(s, 5);
	f[REPORT_SLOW] = stats_get(&s->slow_cmd);
	f[REPORT_REFUSED] =
		stats_get(&s->refused_tokens) + stats_get(&s->refused_rights) +
		stats_get(&s->refused_origins) + stats_get(&s->refused_hosts);
	for (unsigned i = 0; i < STATS_BUCKETS; i++)
		rep->http[i] = stats_get(&s->duration_buckets[i]);
}

static void take_storage(const struct store_storage_status *s, uint64_t *f)
{
	f[REPORT_KEYS] = s->keys;
	f[REPORT_LIVE_BYTES] = s->live_bytes;
	f[REPORT_DEAD_BYTES] = s->dead_bytes;
	f[REPORT_DATA_FILES] = s->files;
	f[REPORT_LOG_BYTES] = s->log_bytes;
	f[REPORT_MERGED_BYTES] = s->merged_bytes;
	f[REPORT_INDEX_BYTES] = s->keydir_bytes;
	f[REPORT_DISK_FREE_BYTES] = s->disk_free_bytes;
	f[REPORT_OUT_OF_SPACE] = s->out_of_space;
	f[REPORT_MERGE_RUNNING] = s->merge_running;
	f[REPORT_MERGES] = s->merges;
	f[REPORT_MERGE_READ_BYTES] = s->merge_bytes_read;
	f[REPORT_MERGE_WRITTEN_BYTES] = s->merge_bytes_written;
	f[REPORT_CORRUPT] = s->corrupt_count;
	f[REPORT_SYNCS] = s->syncs;
}

static void take_store(struct store *store, struct report *rep)
{
	struct store_stats stats;

	store_stats(store, &stats);
	rep->figures[REPORT_WRITES] = stats.writes;
	rep->figures[REPORT_WRITE_BATCHES] = stats.write_batches;
	for (unsigned i = 0; i < STORE_BUCKETS; i++) {
		rep->commit[i] = stats.commit_buckets[i];
		rep->sync[i] = stats.sync_buckets[i];
	}
}

static void take_partitions(struct store *store, struct report *rep)
{
	uint32_t n = store_partition_count(store);

	rep->figures[REPORT_PARTITION_COUNT] = n;
	for (uint32_t i = 0; i < n; i++) {
		struct store_partition_status s;

		store_partition_status(store, i, &s);
		rep->figures[REPORT_LED] += s.role == STORE_LEADER;
		if (i >= REPORT_PARTITIONS_MAX)
			continue;
		rep->partition_count = i + 1;
		rep->partitions[i] = (struct report_partition){
			.id = s.id,
			.role = s.role,
			.leader_id = s.leader_id,
			.term = s.term,
			.commit = s.commit,
			.applied = s.applied,
			.keys = s.keys,
		};
	}
}

static void take_files(struct store *store, struct report *rep)
{
	struct store_file_info files[REPORT_FILES_MAX];
	uint32_t n = store_list_files(store, files, REPORT_FILES_MAX);

	rep->file_count = n < REPORT_FILES_MAX ? n : REPORT_FILES_MAX;
	for (uint32_t i = 0; i < rep->file_count; i++) {
		struct report_file *f = &rep->files[i];
		size_t length = strnlen(files[i].name, sizeof(f->name) - 1);

		memcpy(f->name, files[i].name, length);
		f->partition = files[i].partition;
		f->flags = (files[i].merged ? REPORT_FILE_MERGED : 0) |
			   (files[i].active ? REPORT_FILE_ACTIVE : 0);
		f->bytes = files[i].bytes;
		f->live_bytes = files[i].live_bytes;
	}
}

static enum err take_lags(struct httpd *h, struct report *rep)
{
	struct store_member_status *list =
		calloc(REPORT_LAGS_MAX, sizeof(*list));
	uint32_t n;

	if (!list)
		return ERR_NOMEM;
	n = store_members(h->o.store, list, REPORT_LAGS_MAX);
	for (uint32_t i = 0; i < n && i < REPORT_LAGS_MAX; i++) {
		if (!list[i].led_lag)
			continue;
		rep->lags[rep->lag_count++] =
			(struct report_lag){ list[i].member.id,
					     list[i].led_lag };
	}
	free(list);
	return OK;
}

enum err httpd_report_collect(struct httpd *h, struct report *rep)
{
	struct store_storage_status *storage = malloc(sizeof(*storage));
	struct store *store = h->o.store;
	uint64_t *f = rep->figures;
	uint64_t now_ns = httpd_now(h);
	size_t length = strnlen(h->o.version, REPORT_VERSION_BYTES - 1);

	if (!storage)
		return ERR_NOMEM;
	memset(rep, 0, sizeof(*rep));
	memcpy(rep->version, h->o.version, length);
	store_storage_status(store, storage);
	take_storage(storage, f);
	free(storage);
	take_process(f);
	take_http(h, rep);
	take_store(store, rep);
	take_partitions(store, rep);
	take_files(store, rep);
	rep->event_count =
		diary_last(h->o.diary, rep->events, REPORT_EVENTS_MAX);
	f[REPORT_READINESS] = store_readiness(store);
	f[REPORT_MONO_MS] = now_ns / 1000000;
	f[REPORT_WALL_MS] = clock_wall_ns(h->o.clock) / 1000000;
	f[REPORT_UPTIME_S] = (now_ns - h->start_ns) / 1000000000;
	return take_lags(h, rep);
}
