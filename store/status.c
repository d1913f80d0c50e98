/*
 * store/status.c - roles and figures, for any thread.
 *
 * The core publishes what changes seldom (status_publish); the rest is counted
 * where it happens.
 */
#include <stdio.h>

#include "base/check.h"
#include "store/keyrules.h"
#include "store/members.h"
#include "store/store_internal.h"

bool store_ready(struct store *s)
{
	if (!atomic_load_explicit(&s->started, memory_order_acquire) ||
	    atomic_load_explicit(&s->closing, memory_order_relaxed))
		return false;
	for (uint32_t i = 0; i < s->partition_count; i++) {
		if (!atomic_load_explicit(&s->partitions[i].led,
					  memory_order_relaxed))
			return false;
	}
	return true;
}

void count_keys(struct store *s, struct partition *p)
{
	struct engine_partition_info info;
	struct engine_iter it;
	struct engine_info key_info;
	struct bytes key;
	uint64_t own = 0;
	bool more;

	/* All but the store's own, which are few: those are walked. */
	engine_partition_info(s->engine, p->id, &info);
	engine_iter_begin(s->engine, p->id, &it);
	more = engine_iter_seek(&it, bytes_of("", 1), &key, &key_info);
	for (; more && !key_is_user(key); own++)
		more = engine_iter_next(&it, &key, &key_info);
	engine_iter_end(&it);
	CHECK(own <= info.keys);
	atomic_store(&p->keys_shown, info.keys - own);
}

uint32_t store_partition_count(const struct store *s)
{
	return s->partition_count;
}

void status_publish(struct partition *p)
{
	uint8_t mine = raft_conf_role(raft_conf(p->raft), p->s->self_id);
	enum store_role role = STORE_FOLLOWER;

	if (p->role == RAFT_LEADER)
		role = STORE_LEADER;
	else if (p->role != RAFT_FOLLOWER)
		role = STORE_CANDIDATE;
	else if (mine & RAFT_LEARNER)
		role = STORE_LEARNER;
	atomic_store(&p->role_shown, (int)role);
	atomic_store(&p->term_shown, p->term);
	if (atomic_exchange(&p->leader_shown, p->leader) != p->leader &&
	    p->leader != RAFT_NOBODY)
		count_up(&p->leader_changes, 1);
}

void store_partition_status(struct store *s, uint32_t partition,
			    struct store_partition_status *status)
{
	struct partition *p = &s->partitions[partition];

	CHECK(partition < s->partition_count);
	*status = (struct store_partition_status){
		.id = partition,
		.role = (enum store_role)atomic_load(&p->role_shown),
		.term = atomic_load(&p->term_shown),
		.commit = count_of(&p->committed_shown),
		.applied = engine_applied_index(s->engine, (uint16_t)partition),
		.keys = count_of(&p->keys_shown),
		.leader_changes = count_of(&p->leader_changes),
	};
	status->leader_id = atomic_load(&p->leader_shown);
	members_name(s, status->leader_id, status->leader,
		     sizeof(status->leader));
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
		.repairs_asked = count_of(&s->repairs_asked),
		.repairs_healed = count_of(&s->repairs_healed),
		.repairs_failed = count_of(&s->repairs_failed),
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
		.disk_free_bytes = engine_free_bytes(s->engine),
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

uint32_t store_list_files(struct store *s, struct store_file_info *out,
			  uint32_t cap)
{
	struct engine_file_info files[STORE_FILES_AT_ONCE];
	uint32_t n, i;

	n = engine_list_files(s->engine, files, STORE_FILES_AT_ONCE);
	for (i = 0; i < n && i < cap && i < STORE_FILES_AT_ONCE; i++) {
		out[i] = (struct store_file_info){
			.partition = files[i].partition,
			.merged = files[i].merged,
			.active = files[i].active,
			.bytes = files[i].bytes,
			.live_bytes = files[i].live_bytes,
		};
		snprintf(out[i].name, sizeof(out[i].name), "%08x.%s",
			 files[i].id, files[i].merged ? "dat" : "log");
	}
	return n;
}

void store_merge_request(struct store *s)
{
	engine_merge_request(s->engine);
}
