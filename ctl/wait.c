/*
 * ctl/wait.c - see wait.h.
 *
 * The cluster does what it was told whether somebody watches or not: here it
 * is only looked at, a few times a second.
 */
#include "ctl/wait.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "ctl/http.h"
#include "ctl/pages.h"
#include "ctl/progress.h"
#include "ctl/table.h"

enum {
	LOOK_MS = 200,
	MERGE_BEGIN_MS = 1500, /* nothing begins: there is nothing to merge  */
	SILENT_MS = 30000,     /* nobody answers for so long: give up        */
	CLOSE_ENTRIES = 1000,  /* behind, among writes, is caught up         */
};

static void pause_ms(uint64_t ms)
{
	const struct timespec t = { .tv_sec = (time_t)(ms / 1000),
				    .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

static bool is_over_ms(uint64_t from_ns, uint64_t ms)
{
	return clock_mono_ns(clock_os()) - from_ns > ms * 1000000;
}

enum ctl_exit wait_choose_node(const struct ctl *c, struct ctl *one)
{
	for (int i = 0; i < c->endpoint_count; i++) {
		struct json_object *root;

		*one = *c;
		one->endpoint[0] = c->endpoint[i];
		one->endpoint_count = 1;
		root = http_peek(one, "/_/status");
		json_object_put(root);
		if (root)
			return CTL_OK;
	}
	ctl_say("no node answers");
	return CTL_RUNTIME;
}

/* ----------------------------------------------------------------- merge - */

struct merge_look {
	bool answered, runs;
	uint64_t merges, bytes;
};

static struct merge_look look_at_merge(const struct ctl *one)
{
	struct json_object *root = http_peek(one, "/_/status"), *storage = NULL;
	struct merge_look look = { .answered = false };

	if (root && json_object_object_get_ex(root, "storage", &storage)) {
		look.answered = true;
		look.runs =
			strcmp(table_text(storage, "merge"), "running") == 0;
		look.merges = pages_number(storage, "merges");
		look.bytes = pages_number(storage, "dead_bytes");
	}
	json_object_put(root);
	return look;
}

uint64_t wait_merges(const struct ctl *one)
{
	return look_at_merge(one).merges;
}

enum ctl_exit wait_merge(const struct ctl *one, uint64_t merges)
{
	struct merge_look look = look_at_merge(one);
	uint64_t begun_ns = clock_mono_ns(clock_os()), heard_ns = begun_ns;
	uint64_t dead = look.bytes;
	struct progress p;

	/* What is dead goes; more may die meanwhile. */
	progress_begin(&p, "merge", PROGRESS_BYTES, dead);
	while (look.runs || !look.answered ||
	       (look.merges == merges &&
		!is_over_ms(begun_ns, MERGE_BEGIN_MS))) {
		pause_ms(LOOK_MS);
		look = look_at_merge(one);
		if (look.answered)
			heard_ns = clock_mono_ns(clock_os());
		else if (is_over_ms(heard_ns, SILENT_MS))
			break;
		progress_to(&p, look.bytes < dead ? dead - look.bytes : 0);
	}
	progress_end(&p);
	if (look.answered)
		return CTL_OK;
	ctl_say("%s does not answer any more; it may go on merging",
		one->endpoint[0]);
	return CTL_RUNTIME;
}

/* --------------------------------------------------------------- members - */

struct member_look {
	bool answered, found, done;
	uint64_t match, goal;	  /* entries; match 0: not known              */
	uint64_t bytes, of_bytes; /* of a state that is sent instead; or 0   */
};

/*
 * A member catches up in two ways, which have nothing in common to be counted:
 * it gets a whole state, of so many bytes, and entries behind it.
 */
struct catch_up {
	struct progress p;
	bool in_state;
	uint64_t base; /* match when it was first known                      */
};

static void show_catch_up(struct catch_up *w, const struct member_look *look)
{
	bool in_state = look->bytes > 0;

	if (in_state != w->in_state) {
		progress_end(&w->p);
		progress_begin(&w->p, in_state ? "send state" : "catch up",
			       in_state ? PROGRESS_BYTES : PROGRESS_COUNT, 0);
		w->in_state = in_state;
	}
	if (in_state) {
		w->p.total = look->bytes > look->of_bytes ? look->bytes
							  : look->of_bytes;
		progress_to(&w->p, look->bytes);
	} else if (look->match && look->match >= w->base) {
		w->base = w->base ? w->base : look->match;
		if (look->goal - w->base > w->p.total)
			w->p.total = look->goal - w->base;
		progress_to(&w->p, look->match - w->base);
	}
}

/* How far others are is what their leader knows; by_leader: it is asked. */
static void judge_member(struct member_look *look, struct json_object *m,
			 bool by_leader)
{
	uint64_t lag = pages_number(m, "lag");
	bool up = strcmp(table_text(m, "up"), "true") == 0;
	bool stays = strcmp(table_text(m, "stays_learner"), "true") == 0;
	bool votes = strcmp(table_text(m, "role"), "voter") == 0;

	look->found = true;
	look->bytes = pages_number(m, "state_bytes");
	look->match = pages_number(m, "match");
	look->goal = look->match + lag;
	look->done = up && (votes || stays) &&
		     strcmp(table_text(m, "leaving"), "true") != 0;
	/* It was made a voter when it had caught up. */
	if (by_leader)
		look->done &= look->match > 0 && lag <= CLOSE_ENTRIES;
}

/*
 * The status of whoever leads, if this node says who and where, and the client
 * gets there; else what root is.
 */
static struct json_object *ask_leader(const struct ctl *c,
				      struct json_object *root, bool *leads)
{
	struct json_object *list = pages_array(root, "members"), *other = NULL;
	const char *leader = table_text(root, "leader");
	const char *end = strstr(c->endpoint[0], "://");
	char url[TABLE_CELL_BYTES * 2];
	struct ctl one = *c;

	*leads = strcmp(table_text(root, "role"), "leader") == 0;
	for (size_t i = 0;
	     !*leads && leader[0] && list && i < json_object_array_length(list);
	     i++) {
		struct json_object *m = json_object_array_get_idx(list, i);

		if (strcmp(table_text(m, "name"), leader) != 0 ||
		    !table_text(m, "http")[0])
			continue;
		snprintf(url, sizeof(url), "%.*s%s",
			 end ? (int)(end + 3 - c->endpoint[0]) : 0,
			 c->endpoint[0], table_text(m, "http"));
		one.endpoint[0] = url;
		one.endpoint_count = 1;
		other = http_peek(&one, "/_/status");
	}
	if (!other)
		return root;
	*leads = strcmp(table_text(other, "role"), "leader") == 0;
	json_object_put(root);
	return other;
}

/* id: which one, of two that have the name while one replaces the other. */
static struct member_look look_at_member(const struct ctl *c, const char *name,
					 const char *id)
{
	struct json_object *root = http_peek(c, "/_/status"), *list = NULL;
	struct member_look look = { .answered = false };
	struct json_object *storage = NULL;
	bool leads = false;

	if (root) {
		root = ask_leader(c, root, &leads);
		list = pages_array(root, "members");
		look.answered = list != NULL;
		if (json_object_object_get_ex(root, "storage", &storage))
			look.of_bytes = pages_number(storage, "live_bytes");
	}
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *m = json_object_array_get_idx(list, i);

		if (strcmp(table_text(m, "name"), name) == 0 &&
		    (!id[0] || strcmp(table_text(m, "id"), id) == 0))
			judge_member(&look, m, leads);
	}
	json_object_put(root);
	return look;
}

enum ctl_exit wait_member(const struct ctl *c, const char *name, const char *id,
			  bool gone)
{
	struct member_look look = look_at_member(c, name, id);
	uint64_t heard_ns = clock_mono_ns(clock_os());
	struct catch_up w = { .in_state = false };

	progress_begin(&w.p, gone ? "leave" : "catch up", PROGRESS_COUNT, 0);
	while (!look.answered || (gone ? look.found : !look.done)) {
		pause_ms(LOOK_MS);
		look = look_at_member(c, name, id);
		if (look.answered)
			heard_ns = clock_mono_ns(clock_os());
		else if (is_over_ms(heard_ns, SILENT_MS))
			break;
		if (!gone)
			show_catch_up(&w, &look);
	}
	progress_end(&w.p);
	if (look.answered)
		return CTL_OK;
	ctl_say("no node answers any more; the change goes on");
	return CTL_RUNTIME;
}
