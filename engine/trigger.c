/*
 * engine/trigger.c - which files are worth merging now.
 *
 * What counts as gain:
 *   log segment   everything but live records: after the merge the segment is
 *                 gone, its tombstones and the room between its frames too.
 *   merged file   neither live records nor tombstones that must stay. Counting
 *                 those would choose the same file again and again.
 *   partition     tombstones too, but then all its merged files are inputs,
 *                 and nothing older than a tombstone is left elsewhere.
 *
 * A file is due when its gain reaches dead_ratio of its bytes or dead_bytes.
 * Log segments before a due one come along, whatever they hold: their live
 * records are copied once, out of the log.
 *
 * A merge that is broken off begins anew, so one takes a few files, not all
 * that are due: else a node that is killed often would never end one, and its
 * files would grow without end. Only a partition as a whole is not divided.
 */
#include "engine/trigger.h"

#include <string.h>

#include "base/check.h"

bool trigger_in_window(const struct engine_merge_options *o, uint32_t minute)
{
	uint32_t start = o->window_start_min % TRIGGER_DAY_MINUTES;
	uint32_t end = o->window_end_min % TRIGGER_DAY_MINUTES;

	minute %= TRIGGER_DAY_MINUTES;
	if (start == end)
		return true;
	if (start < end)
		return minute >= start && minute < end;
	return minute >= start || minute < end;
}

static uint64_t gain(const struct trigger_file *f)
{
	uint64_t stays = f->live_bytes + (f->log ? 0 : f->kept_bytes);

	return f->bytes > stays ? f->bytes - stays : 0;
}

static bool enough(const struct trigger_now *now, uint64_t gained,
		   uint64_t bytes)
{
	if (gained == 0)
		return false;
	return now->requested || gained >= now->options->dead_bytes ||
	       (double)gained >= now->options->dead_ratio * (double)bytes;
}

/* What a merge of f writes. */
static uint64_t cost(const struct trigger_file *f)
{
	uint64_t stays = f->live_bytes + f->kept_bytes;

	return stays < f->bytes ? stays : f->bytes;
}

/*
 * How many first log segments to merge: up to the last due one among the first
 * few, or to the first one, with what each of them reaches for, as far as they
 * are ready and there is room.
 */
static uint32_t log_prefix(const struct trigger_now *now,
			   const struct trigger_file *files, uint32_t count)
{
	uint32_t chosen = 0, last_due = 0, reach = 0;
	uint64_t written = 0;

	for (uint32_t i = 0;
	     i < count && files[i].log && (i < TRIGGER_INPUTS || !last_due);
	     i++)
		if (files[i].ready &&
		    enough(now, gain(&files[i]), files[i].bytes))
			last_due = i + 1;
	for (uint32_t i = 0; i < count && files[i].log && files[i].ready; i++) {
		written += cost(&files[i]);
		if (written > now->room_bytes)
			break;
		if (files[i].log_reach > reach)
			reach = files[i].log_reach;
		if (reach <= i + 1)
			chosen = i + 1; /* a prefix that nothing reaches over */
		if (chosen >= last_due)
			break;
	}
	return last_due ? chosen : 0;
}

/* Whether a prefix chosen for a due segment holds anything worth it. */
static bool prefix_gains(const struct trigger_now *now,
			 const struct trigger_file *files, uint32_t prefix)
{
	for (uint32_t i = 0; i < prefix; i++)
		if (enough(now, gain(&files[i]), files[i].bytes))
			return true;
	return false;
}

struct partition_sum {
	uint64_t bytes, gained, kept, written;
	uint32_t small_count;
	bool is_due; /* all its merged files, so that its tombstones go      */
};

static struct partition_sum sum_partition(const struct trigger_now *now,
					  const struct trigger_file *files,
					  uint32_t count, uint16_t partition,
					  uint64_t written)
{
	bool all_ready = true;

	struct partition_sum s = { 0 };

	for (uint32_t i = 0; i < count; i++) {
		const struct trigger_file *f = &files[i];

		if (f->log || f->partition != partition)
			continue;
		if (!f->ready) {
			all_ready = false;
			continue;
		}
		s.bytes += f->bytes;
		s.gained += gain(f);
		s.kept += f->kept_bytes;
		s.written += cost(f);
		s.small_count += f->bytes < now->options->small_file_bytes;
	}
	s.is_due = s.kept && all_ready &&
		   written + s.written <= now->room_bytes &&
		   enough(now, s.gained + s.kept, s.bytes);
	return s;
}

static bool merged_is_due(const struct trigger_now *now,
			  const struct trigger_file *f,
			  const struct partition_sum *s)
{
	uint32_t small_min = now->requested ? 2 : TRIGGER_SMALL_FILES_MIN;

	if (s->is_due || enough(now, gain(f), f->bytes))
		return true;
	return f->bytes < now->options->small_file_bytes &&
	       s->small_count >= small_min;
}

static bool pick_merged(const struct trigger_now *now,
			const struct trigger_file *files, uint32_t count,
			uint64_t written, bool *pick)
{
	struct partition_sum s = { 0 };
	uint32_t picked = 0, picked_here = 0; /* in all; of the partition */
	int32_t summed = -1;

	for (uint32_t i = 0; i < count; i++) {
		const struct trigger_file *f = &files[i];

		if (f->log || !f->ready)
			continue;
		if (summed != f->partition) {
			s = sum_partition(now, files, count, f->partition,
					  written);
			summed = f->partition;
			picked += picked_here;
			picked_here = 0;
		}
		if (picked >= TRIGGER_INPUTS)
			break;
		if (picked_here >= TRIGGER_INPUTS && !s.is_due)
			continue;
		if (!merged_is_due(now, f, &s) ||
		    written + cost(f) > now->room_bytes)
			continue;
		written += cost(f);
		pick[i] = true;
		picked_here++;
	}
	return picked + picked_here > 0;
}

/* The disk is full: the one merged file, or the first segment, that gives
 * most for what it needs. */
static bool pick_best(const struct trigger_now *now,
		      const struct trigger_file *files, uint32_t count,
		      bool *pick)
{
	uint64_t best_gain = 0;
	uint32_t best = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct trigger_file *f = &files[i];
		bool possible = !f->log || (i == 0 && f->log_reach <= 1);

		if (!possible || !f->ready || cost(f) > now->room_bytes ||
		    gain(f) <= best_gain)
			continue;
		best = i;
		best_gain = gain(f);
	}
	if (best_gain)
		pick[best] = true;
	return best_gain != 0;
}

bool trigger_pick(const struct trigger_now *now,
		  const struct trigger_file *files, uint32_t count, bool *pick)
{
	uint64_t written = 0;
	uint32_t prefix;
	bool any = false;

	memset(pick, 0, count * sizeof(*pick));
	for (uint32_t i = 1; i < count; i++)
		CHECK(files[i - 1].log || !files[i].log);
	if (!now->requested && !now->pressed &&
	    !trigger_in_window(now->options, now->minute_of_day))
		return false;
	prefix = log_prefix(now, files, count);
	if (prefix && prefix_gains(now, files, prefix)) {
		for (uint32_t i = 0; i < prefix; i++) {
			written += cost(&files[i]);
			pick[i] = any = true;
		}
	}
	any = pick_merged(now, files, count, written, pick) || any;
	if (!any && now->pressed)
		any = pick_best(now, files, count, pick);
	return any;
}
