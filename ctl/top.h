/*
 * ctl/top.h - what `top` knows of a cluster, and its picture.
 *
 *   top_sample.c  asks every member, keeps this sample and the one before
 *   top_view.c    the picture as text, or as JSON
 *   verb_top.c    the loop
 *
 * Thread: main.
 */
#ifndef CTL_TOP_H
#define CTL_TOP_H

#include <json-c/json.h>

#include "ctl/ctl.h"

enum {
	TOP_NODES_MAX = 64,
	TOP_PARTITIONS_MAX = 4096,
	TOP_TEXT_BYTES = 64,
	TOP_BUCKETS_MAX = 40,
};

/* What a node counts, at one moment. */
struct top_counts {
	bool there;
	uint64_t ns;
	uint64_t gets, sets, deletes;
	uint64_t syncs, appended_bytes;
	int bucket_count;
	double bucket_s[TOP_BUCKETS_MAX]; /* commits took up to so long      */
	double bucket_n[TOP_BUCKETS_MAX]; /* how many, and all faster ones   */
};

struct top_node {
	char name[TOP_TEXT_BYTES], http[TOP_TEXT_BYTES * 5];
	char role[TOP_TEXT_BYTES]; /* of partition 0                         */
	bool is_up;    /* says who was asked for the members                 */
	bool answered; /* says the node itself                               */
	bool merges;
	double lag; /* entries behind, as the leader knows; -1: not known    */
	uint64_t term, keys, connections, uptime_s;
	uint64_t live_bytes, dead_bytes, file_bytes, memory_bytes;
	uint64_t corrupt; /* damaged places                                  */
	struct top_counts now, before;
};

struct top_partition {
	uint64_t id, term, commit, keys;
	char leader[TOP_TEXT_BYTES];
};

struct top {
	char cluster[TOP_TEXT_BYTES], asked[TOP_TEXT_BYTES];
	bool answered; /* somebody said who the members are                  */
	long status;   /* of the answer to that question, 0: there was none  */
	int node_count;
	struct top_node nodes[TOP_NODES_MAX];
	uint32_t partition_count;
	struct top_partition partitions[TOP_PARTITIONS_MAX];
};

/* Ask them all. Whoever does not answer is kept as not answering. */
void top_sample(const struct ctl *c, struct top *t);

/*
 * The picture in at most height lines of at most width columns. clock: the
 * time of day to show. ERR_NOMEM.
 */
MUST_CHECK enum err top_draw(const struct top *t, const char *clock,
			     unsigned width, unsigned height, struct buf *out);

/* The same as an object; released by the caller. */
struct json_object *top_json(const struct top *t);

#endif
