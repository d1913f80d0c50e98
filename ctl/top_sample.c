/*
 * ctl/top_sample.c - see top.h.
 *
 * One node, any that answers, says who the members are and how the partitions
 * stand; each member says the rest of itself, at its HTTP address. A node that
 * was sampled before keeps its last counts, by name, for the rates.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/http.h"
#include "ctl/pages.h"
#include "ctl/table.h"
#include "ctl/top.h"

static struct json_object *member_of(struct json_object *o, const char *name)
{
	struct json_object *member = NULL;

	if (o)
		json_object_object_get_ex(o, name, &member);
	return member;
}

static void copy_text(char *to, size_t room, struct json_object *o,
		      const char *name)
{
	snprintf(to, room, "%s", o ? table_text(o, name) : "");
}

/* --------------------------------------------------------------- metrics - */

/* "NAME{le="0.001"} 12": a step of the histogram, not yet cumulated wrongly. */
static void take_bucket(struct top_counts *k, const char *line)
{
	const char *le = strstr(line, "le=\""), *value = strrchr(line, ' ');

	if (!le || !value || k->bucket_count == TOP_BUCKETS_MAX)
		return;
	k->bucket_s[k->bucket_count] =
		le[4] == '+' ? 1e9 : strtod(le + 4, NULL);
	k->bucket_n[k->bucket_count++] = strtod(value, NULL);
}

static bool begins(const char *line, const char *name)
{
	return strncmp(line, name, strlen(name)) == 0;
}

static void take_metric(struct top_node *n, const char *line)
{
	const char *value = strrchr(line, ' ');

	if (!value)
		return;
	if (begins(line, "raftcask_commit_duration_seconds_bucket{"))
		take_bucket(&n->now, line);
	else if (begins(line, "raftcask_log_syncs_total "))
		n->now.syncs = strtoull(value, NULL, 10);
}

static void take_metrics(struct top_node *n, struct buf *text)
{
	char *save, *line;

	if (buf_add(text, "", 1))
		return;
	for (line = strtok_r((char *)text->p, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		take_metric(n, line);
}

/* ---------------------------------------------------------------- a node - */

static void take_storage(struct top_node *n, struct json_object *s)
{
	struct json_object *corrupt = s ? pages_array(s, "corrupt") : NULL;

	if (!s)
		return;
	n->keys = pages_number(s, "keys");
	n->live_bytes = pages_number(s, "live_bytes");
	n->dead_bytes = pages_number(s, "dead_bytes");
	n->file_bytes =
		pages_number(s, "log_bytes") + pages_number(s, "merged_bytes");
	n->merges = strcmp(table_text(s, "merge"), "running") == 0;
	n->corrupt = corrupt ? json_object_array_length(corrupt) : 0;
}

static void take_status(struct top_node *n, struct json_object *root)
{
	struct json_object *stats = member_of(root, "stats");

	n->answered = true;
	copy_text(n->role, sizeof(n->role), root, "role");
	n->term = pages_number(root, "term");
	n->uptime_s = pages_number(root, "uptime_s");
	take_storage(n, member_of(root, "storage"));
	n->now.there = stats != NULL;
	n->now.ns = clock_mono_ns(clock_os());
	if (!stats)
		return;
	n->now.gets = pages_number(stats, "cmd_get");
	n->now.sets = pages_number(stats, "cmd_set");
	n->now.deletes = pages_number(stats, "cmd_delete");
	n->connections = pages_number(stats, "curr_connections");
	n->memory_bytes = pages_number(stats, "rusage_maxrss") << 10;
}

static void ask_metrics(const struct ctl *c, struct top_node *n)
{
	const struct http_request r = { .method = "GET",
					.path = "/_/metrics",
					.quiet = true };
	struct http_answer a;

	if (http_call(c, &r, &a))
		return;
	if (a.status == 200)
		take_metrics(n, &a.body);
	http_answer_done(&a);
}

/* root: its status, if it was the one asked first. */
static void ask_node(const struct ctl *c, struct top_node *n,
		     struct json_object *root)
{
	const char *first = c->endpoint[0];
	const char *scheme =
		strncmp(first, "https:", 6) == 0 ? "https" : "http";
	struct json_object *own = NULL;
	struct ctl one = *c;
	char url[sizeof(n->http) + 16];

	snprintf(url, sizeof(url), "%s://%s", scheme, n->http);
	one.endpoint[0] = url;
	one.endpoint_count = 1;
	if (!root && n->http[0])
		own = http_peek(&one, "/_/status");
	/* An address may be another's by now. */
	if (own && strcmp(table_text(own, "node"), n->name) == 0)
		take_status(n, own);
	else if (root)
		take_status(n, root);
	if (n->answered)
		ask_metrics(root ? c : &one, n);
	json_object_put(own);
}

/* ------------------------------------------------------------------- all - */

static void take_member(struct top_node *n, struct json_object *m,
			const struct top *old)
{
	memset(n, 0, sizeof(*n));
	copy_text(n->name, sizeof(n->name), m, "name");
	copy_text(n->http, sizeof(n->http), m, "http");
	copy_text(n->role, sizeof(n->role), m, "role");
	n->is_up = strcmp(table_text(m, "up"), "true") == 0;
	n->lag = table_text(m, "lag")[0] ? (double)pages_number(m, "lag") : -1;
	for (int i = 0; i < old->node_count; i++)
		if (strcmp(old->nodes[i].name, n->name) == 0)
			n->before = old->nodes[i].now;
}

static void take_partitions(struct top *t, struct json_object *root)
{
	struct json_object *list = pages_array(root, "partitions");
	size_t n = list ? json_object_array_length(list) : 0;

	t->partition_count =
		n < TOP_PARTITIONS_MAX ? (uint32_t)n : TOP_PARTITIONS_MAX;
	for (uint32_t i = 0; i < t->partition_count; i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		struct top_partition *p = &t->partitions[i];

		p->id = pages_number(o, "id");
		p->term = pages_number(o, "term");
		p->commit = pages_number(o, "commit");
		p->keys = pages_number(o, "keys");
		copy_text(p->leader, sizeof(p->leader), o, "leader");
	}
}

void top_sample(const struct ctl *c, struct top *t)
{
	struct json_object *root = http_peek_status(c, "/_/status", &t->status);
	struct json_object *list = root ? pages_array(root, "members") : NULL;
	struct top *old = malloc(sizeof(*old));

	t->answered = list && old;
	for (int i = 0; !t->answered && i < t->node_count; i++)
		t->nodes[i].answered = false;
	if (!t->answered)
		goto out;
	*old = *t;
	copy_text(t->cluster, sizeof(t->cluster), root, "cluster");
	copy_text(t->asked, sizeof(t->asked), root, "node");
	take_partitions(t, root);
	t->node_count = 0;
	for (size_t i = 0; i < json_object_array_length(list) &&
			   t->node_count < TOP_NODES_MAX;
	     i++) {
		struct top_node *n = &t->nodes[t->node_count++];

		take_member(n, json_object_array_get_idx(list, i), old);
		ask_node(c, n, strcmp(n->name, t->asked) == 0 ? root : NULL);
	}
out:
	free(old);
	json_object_put(root);
}
