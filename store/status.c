/*
 * store/status.c - barriers, roles and figures.
 *
 * A partition has one voter, this node: it leads from the first step on, what
 * it has applied is what is committed, and a read needs no round trip to be
 * linearizable, because a write is answered only after it was applied here.
 */
#include <stdio.h>

#include "base/check.h"
#include "store/store_internal.h"

enum err store_barrier(struct store *s, int32_t partition,
		       enum store_consistency consistency,
		       struct store_barrier *b)
{
	if (partition != STORE_ALL_PARTITIONS &&
	    (partition < 0 || (uint32_t)partition >= s->partition_count))
		return ERR_INVALID;
	if (!atomic_load_explicit(&s->started, memory_order_acquire))
		return ERR_STARTING;
	if (consistency != STORE_STALE && atomic_load(&s->closing))
		return ERR_NO_LEADER;
	return OK;
}

bool store_lease_holds(struct store *s, int32_t partition)
{
	return store_ready(s);
}

bool store_ready(struct store *s)
{
	return atomic_load_explicit(&s->started, memory_order_acquire) &&
	       !atomic_load_explicit(&s->closing, memory_order_relaxed);
}

uint32_t store_partition_count(const struct store *s)
{
	return s->partition_count;
}

void store_partition_status(struct store *s, uint32_t partition,
			    struct store_partition_status *status)
{
	bool started = atomic_load_explicit(&s->started, memory_order_acquire);
	const struct partition *p = &s->partitions[partition];

	CHECK(partition < s->partition_count);
	*status = (struct store_partition_status){
		.id = partition,
		.role = started ? STORE_LEADER : STORE_FOLLOWER,
		.term = started ? p->term : 0,
		.commit = count_of(&p->committed_shown),
		.applied = engine_applied_index(s->engine, (uint16_t)partition),
		.keys = count_of(&p->keys_shown),
	};
	if (started && s->o.node_name)
		snprintf(status->leader, sizeof(status->leader), "%s",
			 s->o.node_name);
}

void store_stats(struct store *s, struct store_stats *stats)
{
	*stats = (struct store_stats){
		.writes = count_of(&s->writes),
		.write_batches = count_of(&s->write_batches),
		.refusals = count_of(&s->refusals),
		.expired = count_of(&s->expired),
		.watches = watch_count(s->hub),
		.uploads = count_of(&s->uploads),
		.commit_count = count_of(&s->commit_count),
		.commit_ns_total = count_of(&s->commit_ns_total),
	};
	for (int i = 0; i < STORE_BUCKETS; i++) {
		stats->commit_buckets[i] = count_of(&s->commit_buckets[i]);
		stats->sync_buckets[i] = count_of(&s->sync_buckets[i]);
	}
}

void store_storage_status(struct store *s, struct store_storage_status *status)
{
	struct engine_stats e;
	uint64_t keys = 0;

	engine_stats(s->engine, &e);
	for (uint32_t i = 0; i < s->partition_count; i++)
		keys += count_of(&s->partitions[i].keys_shown);
	*status = (struct store_storage_status){
		.keys = keys,
		.live_bytes = e.live_bytes,
		.dead_bytes = e.dead_bytes,
		.files = e.files,
		.log_bytes = e.log_bytes,
		.merged_bytes = e.merged_bytes,
		.keydir_bytes = e.keydir_bytes,
		.frames = e.frames,
		.syncs = e.syncs,
		.sync_ns_total = e.sync_ns_total,
		.bytes_appended = e.bytes_appended,
		.merges = e.merges,
		.merge_bytes_read = e.merge_bytes_read,
		.merge_bytes_written = e.merge_bytes_written,
		.merge_running = e.merge_running,
		.out_of_space = e.out_of_space,
		.poisoned = e.poisoned,
		.cut_count = e.cut_count,
		.cut_off = e.cut_off,
		.cut_bytes = e.cut_bytes,
		.corrupt_count = e.corrupt_count < STORE_CORRUPT_MAX
					 ? e.corrupt_count
					 : STORE_CORRUPT_MAX,
	};
	_Static_assert(sizeof(status->cut_file) == sizeof(e.cut_file), "name");
	_Static_assert(sizeof(status->corrupt[0].file) ==
			       sizeof(e.corrupt[0].file),
		       "name");
	memcpy(status->cut_file, e.cut_file, sizeof(e.cut_file));
	for (uint32_t i = 0; i < status->corrupt_count; i++) {
		memcpy(status->corrupt[i].file, e.corrupt[i].file,
		       sizeof(e.corrupt[i].file));
		status->corrupt[i].off = e.corrupt[i].off;
		status->corrupt[i].keys = e.corrupt[i].keys;
	}
}

void store_merge_request(struct store *s)
{
	engine_merge_request(s->engine);
}
