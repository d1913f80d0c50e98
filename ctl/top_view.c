/*
 * ctl/top_view.c - see top.h.
 *
 * Lines are cut, never wrapped; what does not fit the height is counted in the
 * last line. Names come from outside: anything but plain text is shown as '?'.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ctl/top.h"

enum { LINE_BYTES = 512, CELL_BYTES = 24 };

/* ----------------------------------------------------------------- rates - */

static double rate_of(const struct top_node *n, uint64_t now, uint64_t before)
{
	double seconds = (double)(n->now.ns - n->before.ns) / 1e9;

	if (!n->now.there || !n->before.there || now < before || seconds <= 0)
		return -1;
	return (double)(now - before) / seconds;
}

/* The bound below which share of the commits between the samples lie. */
static double share_of(const struct top_node *n, double share)
{
	const struct top_counts *now = &n->now, *before = &n->before;
	int last = now->bucket_count - 1;
	double all;

	if (last < 0 || before->bucket_count != now->bucket_count)
		return -1;
	all = now->bucket_n[last] - before->bucket_n[last];
	if (all <= 0)
		return -1;
	for (int i = 0; i <= last; i++)
		if (now->bucket_n[i] - before->bucket_n[i] >= all * share)
			return now->bucket_s[i];
	return -1;
}

/* Per second between the two samples; below 0: not known. */
struct rates {
	double gets, sets, deletes;
	double commit_p50_s, commit_p99_s;
};

static void rates_of(const struct top_node *n, struct rates *r)
{
	r->gets = rate_of(n, n->now.gets, n->before.gets);
	r->sets = rate_of(n, n->now.sets, n->before.sets);
	r->deletes = rate_of(n, n->now.deletes, n->before.deletes);
	r->commit_p50_s = share_of(n, 0.5);
	r->commit_p99_s = share_of(n, 0.99);
}

/* ----------------------------------------------------------------- cells - */

/* "12", "3.4k", "1.2M": at most 5 columns. */
static const char *short_count(double n, char text[CELL_BYTES])
{
	static const char units[] = " kMGTP";
	int i = 0;

	if (n < 0) {
		snprintf(text, CELL_BYTES, "-");
		return text;
	}
	for (; n >= 9999.5 && i < 5; i++)
		n /= 1000;
	if (i == 0)
		snprintf(text, CELL_BYTES, "%.0f", n);
	else
		snprintf(text, CELL_BYTES, n < 99.95 ? "%.1f%c" : "%.0f%c", n,
			 units[i]);
	return text;
}

static const char *short_bytes(double n, char text[CELL_BYTES])
{
	static const char units[] = "BKMGTP";
	int i = 0;

	for (; n >= 999.5 && i < 5; i++)
		n /= 1024;
	snprintf(text, CELL_BYTES, i && n < 99.95 ? "%.1f%c" : "%.0f%c", n,
		 units[i]);
	return text;
}

static const char *short_time(double s, char text[CELL_BYTES])
{
	if (s < 0)
		snprintf(text, CELL_BYTES, "-");
	else if (s >= 1e6)
		snprintf(text, CELL_BYTES, ">17s");
	else if (s < 0.001)
		snprintf(text, CELL_BYTES, "%.0fus", s * 1e6);
	else if (s < 1)
		snprintf(text, CELL_BYTES, "%.0fms", s * 1e3);
	else
		snprintf(text, CELL_BYTES, "%.1fs", s);
	return text;
}

/* ----------------------------------------------------------------- lines - */

struct picture {
	struct buf *out;
	unsigned width, left; /* lines                                       */
	enum err err;
};

static void add_line(struct picture *p, const char *line)
{
	size_t n = strlen(line);

	if (p->err || !p->left)
		return;
	if (n > p->width)
		n = p->width;
	if (p->out->n)
		p->err = buf_add(p->out, "\n", 1);
	if (!p->err && n)
		p->err = buf_add(p->out, line, n);
	for (size_t i = 0; i < n && !p->err; i++) {
		uint8_t *c = &p->out->p[p->out->n - n + i];

		if (*c < ' ' || *c > '~')
			*c = '?';
	}
	p->left--;
}

static void add_head(struct picture *p, const struct top *t, const char *clock)
{
	char line[LINE_BYTES];
	uint64_t keys = 0;
	int up = 0;

	for (int i = 0; i < t->node_count; i++)
		up += t->nodes[i].answered;
	for (uint32_t i = 0; i < t->partition_count; i++)
		keys += t->partitions[i].keys;
	if (t->answered)
		snprintf(line, sizeof(line),
			 "cluster %.8s   nodes %d of %d   keys %" PRIu64
			 "   partitions %u   %s",
			 t->cluster, up, t->node_count, keys,
			 t->partition_count, clock);
	else if (t->status == 401 || t->status == 403)
		snprintf(line, sizeof(line), "the token is refused (%ld)   %s",
			 t->status, clock);
	else
		snprintf(line, sizeof(line), "no node answers   %s", clock);
	add_line(p, line);
	add_line(p, "");
}

static const char *state_of(const struct top_node *n)
{
	if (n->answered)
		return n->role;
	return n->is_up ? "silent" : "down";
}

/* With several partitions, how many of them it leads. */
static const char *role_text(const struct top *t, const struct top_node *n,
			     char text[CELL_BYTES])
{
	unsigned leads = 0;

	for (uint32_t i = 0; i < t->partition_count; i++)
		leads += strcmp(t->partitions[i].leader, n->name) == 0;
	if (n->answered && t->partition_count > 1 && leads)
		snprintf(text, CELL_BYTES, "leads %u", leads);
	else
		snprintf(text, CELL_BYTES, "%s", state_of(n));
	return text;
}

static void add_node(struct picture *p, const struct top *t,
		     const struct top_node *n)
{
	char line[LINE_BYTES], gets[CELL_BYTES], sets[CELL_BYTES];
	char deletes[CELL_BYTES], p50[CELL_BYTES], p99[CELL_BYTES];
	char disk[CELL_BYTES], lag[CELL_BYTES], role[CELL_BYTES];
	double all = (double)(n->live_bytes + n->dead_bytes);
	struct rates r;

	rates_of(n, &r);
	if (!n->answered) {
		snprintf(line, sizeof(line), "%-8.8s %-9.9s %5s %5s", n->name,
			 state_of(n), "-", short_count(n->lag, lag));
		add_line(p, line);
		return;
	}
	snprintf(line, sizeof(line),
		 "%-8.8s %-9.9s %5" PRIu64
		 " %5s %6s %6s %5s %5s %5s %6s %3.0f%% %s%s",
		 n->name, role_text(t, n, role), n->term,
		 short_count(n->lag, lag), short_count(r.gets, gets),
		 short_count(r.sets, sets), short_count(r.deletes, deletes),
		 short_time(r.commit_p50_s, p50),
		 short_time(r.commit_p99_s, p99),
		 short_bytes((double)n->file_bytes, disk),
		 all > 0 ? 100 * (double)n->dead_bytes / all : 0,
		 n->merges ? "runs" : "idle", n->corrupt ? " DAMAGE" : "");
	add_line(p, line);
}

static void add_nodes(struct picture *p, const struct top *t)
{
	char line[LINE_BYTES];
	int i = 0;

	add_line(p, "NODE     ROLE       TERM   LAG  GET/s  SET/s DEL/s   "
		    "P50   P99   DISK DEAD MERGE");
	for (; i < t->node_count && p->left > (i + 1 < t->node_count); i++)
		add_node(p, t, &t->nodes[i]);
	if (i == t->node_count)
		return;
	snprintf(line, sizeof(line), "... %d more nodes", t->node_count - i);
	add_line(p, line);
}

static void add_partitions(struct picture *p, const struct top *t)
{
	char line[LINE_BYTES];
	uint32_t i = 0;

	if (t->partition_count < 2 || p->left < 4)
		return;
	add_line(p, "");
	add_line(p, "PARTITION LEADER     TERM      COMMIT         KEYS");
	for (; i < t->partition_count && p->left > (i + 1 < t->partition_count);
	     i++) {
		const struct top_partition *q = &t->partitions[i];

		snprintf(line, sizeof(line),
			 "%-9" PRIu64 " %-9.9s %5" PRIu64 " %11" PRIu64
			 " %12" PRIu64,
			 q->id, q->leader[0] ? q->leader : "nobody", q->term,
			 q->commit, q->keys);
		add_line(p, line);
	}
	if (i == t->partition_count)
		return;
	snprintf(line, sizeof(line), "... %u more partitions",
		 t->partition_count - i);
	add_line(p, line);
}

enum err top_draw(const struct top *t, const char *clock, unsigned width,
		  unsigned height, struct buf *out)
{
	struct picture p = { .out = out, .width = width, .left = height };

	add_head(&p, t, clock);
	add_nodes(&p, t);
	add_partitions(&p, t);
	return p.err;
}

/* ------------------------------------------------------------------ JSON - */

static void add_rate(struct json_object *o, const char *name, double rate)
{
	json_object_object_add(o, name,
			       rate < 0 ? NULL : json_object_new_double(rate));
}

static void add_number(struct json_object *o, const char *name, uint64_t n)
{
	json_object_object_add(o, name, json_object_new_uint64(n));
}

static struct json_object *node_json(const struct top_node *n)
{
	struct json_object *o = json_object_new_object();
	struct rates r;

	rates_of(n, &r);
	json_object_object_add(o, "name", json_object_new_string(n->name));
	json_object_object_add(o, "state", json_object_new_string(state_of(n)));
	json_object_object_add(
		o, "lag",
		n->lag < 0 ? NULL : json_object_new_uint64((uint64_t)n->lag));
	if (!n->answered)
		return o;
	add_number(o, "term", n->term);
	add_rate(o, "get_per_s", r.gets);
	add_rate(o, "set_per_s", r.sets);
	add_rate(o, "delete_per_s", r.deletes);
	add_rate(o, "commit_p50_ms", r.commit_p50_s * 1e3);
	add_rate(o, "commit_p99_ms", r.commit_p99_s * 1e3);
	add_number(o, "keys", n->keys);
	add_number(o, "file_bytes", n->file_bytes);
	add_number(o, "live_bytes", n->live_bytes);
	add_number(o, "dead_bytes", n->dead_bytes);
	add_number(o, "memory_bytes", n->memory_bytes);
	add_number(o, "connections", n->connections);
	add_number(o, "uptime_s", n->uptime_s);
	add_number(o, "damaged_places", n->corrupt);
	json_object_object_add(
		o, "merge",
		json_object_new_string(n->merges ? "running" : "idle"));
	return o;
}

struct json_object *top_json(const struct top *t)
{
	struct json_object *o = json_object_new_object();
	struct json_object *nodes = json_object_new_array();
	struct json_object *partitions = json_object_new_array();

	for (int i = 0; i < t->node_count; i++)
		json_object_array_add(nodes, node_json(&t->nodes[i]));
	for (uint32_t i = 0; i < t->partition_count; i++) {
		const struct top_partition *q = &t->partitions[i];
		struct json_object *p = json_object_new_object();

		add_number(p, "id", q->id);
		json_object_object_add(
			p, "leader",
			q->leader[0] ? json_object_new_string(q->leader)
				     : NULL);
		add_number(p, "term", q->term);
		add_number(p, "commit", q->commit);
		add_number(p, "keys", q->keys);
		json_object_array_add(partitions, p);
	}
	json_object_object_add(o, "cluster",
			       json_object_new_string(t->cluster));
	json_object_object_add(o, "nodes", nodes);
	json_object_object_add(o, "partitions", partitions);
	return o;
}
