/*
 * httpd/report.h - what one node shows of itself on the monitor page.
 *
 * Collected from counters, the store and the process once a second while
 * somebody looks (httpd/monitor.c), encoded for other members (store/report.h
 * carries it), and written as JSON for the page. Sizes, times, names of data
 * files; nothing of keys or values.
 *
 *  off  size  the bytes, little-endian
 *    0     4  "rcr1"
 *    4     4  sections
 *    8     -  sections, each
 *               0  2  kind       enum report_section
 *               2  2  row_bytes  a multiple of 8, at least 8
 *               4  4  rows
 *               8  -  rows
 *
 * Nodes of two versions read each other: a row may have grown (what is longer
 * than known is not looked at, what is shorter is 0 there), a section may be
 * unknown (it is left out) or missing (it is empty).
 */
#ifndef HTTPD_REPORT_H
#define HTTPD_REPORT_H

#include "base/diary.h"
#include "httpd/server.h"

enum {
	REPORT_PARTITIONS_MAX = 256, /* the first; how many is a figure      */
	REPORT_FILES_MAX = 48,
	REPORT_EVENTS_MAX = 48, /* the last                                  */
	REPORT_LAGS_MAX = 64,
	REPORT_VERSION_BYTES = 32,
	REPORT_FILE_NAME_BYTES = 16,
};

enum report_section {
	REPORT_TEXTS = 1,   /* one row: the version                       */
	REPORT_FIGURES = 2, /* a row each: u64                            */
	REPORT_TIMES = 3,   /* a row a bucket: commit, sync, http u64     */
	REPORT_PARTITIONS = 4,
	REPORT_FILES = 5,
	REPORT_EVENTS = 6,
	REPORT_LAGS = 7, /* a row a member: id, entries                      */
	REPORT_SECTIONS = 7
};

/* Numbers stay, new ones come last; httpd_report_figure has the names. */
enum report_figure {
	REPORT_MONO_MS, /* when: of this node's clock, for rates             */
	REPORT_WALL_MS,
	REPORT_UPTIME_S,
	REPORT_READINESS, /* enum store_readiness                            */
	REPORT_RSS_BYTES,
	REPORT_THREADS,
	REPORT_CPU_MS,
	REPORT_FILES_OPEN,
	REPORT_FILES_OPEN_MAX,
	REPORT_CONNECTIONS,
	REPORT_WATCHES,
	REPORT_GETS,
	REPORT_SETS,
	REPORT_DELETES,
	REPORT_GET_HITS,
	REPORT_GET_MISSES,
	REPORT_BYTES_IN,
	REPORT_BYTES_OUT,
	REPORT_REQUESTS,
	REPORT_REQUESTS_FAILED, /* answered with 5xx                         */
	REPORT_SLOW,
	REPORT_REFUSED, /* for want of a token or right, a foreign page      */
	REPORT_KEYS,
	REPORT_LIVE_BYTES,
	REPORT_DEAD_BYTES,
	REPORT_DATA_FILES,
	REPORT_LOG_BYTES,
	REPORT_MERGED_BYTES,
	REPORT_INDEX_BYTES,
	REPORT_DISK_FREE_BYTES,
	REPORT_OUT_OF_SPACE,
	REPORT_MERGE_RUNNING,
	REPORT_MERGES,
	REPORT_MERGE_READ_BYTES,
	REPORT_MERGE_WRITTEN_BYTES,
	REPORT_CORRUPT,
	REPORT_WRITES,
	REPORT_WRITE_BATCHES,
	REPORT_SYNCS,
	REPORT_PARTITION_COUNT,
	REPORT_LED, /* partitions that it leads                              */
	REPORT_FIGURES_MAX
};

struct report_partition {
	uint32_t id, role; /* enum store_role                                */
	uint64_t leader_id, term, commit, applied, keys;
};

/* Entries of the groups that the node leads which member has not confirmed. */
struct report_lag {
	uint64_t member, entries;
};

struct report_file {
	char name[REPORT_FILE_NAME_BYTES];
	uint32_t partition, flags; /* enum report_file_flags                 */
	uint64_t bytes, live_bytes;
};

enum report_file_flags { REPORT_FILE_MERGED = 1, REPORT_FILE_ACTIVE = 2 };

struct report {
	char version[REPORT_VERSION_BYTES];
	uint64_t figures[REPORT_FIGURES_MAX];
	/* as struct store_stats has them; the last by stats_bucket_seconds  */
	uint64_t commit[STORE_BUCKETS], sync[STORE_BUCKETS];
	uint64_t http[STORE_BUCKETS]; /* STATS_BUCKETS of them are used      */
	uint32_t partition_count, file_count, event_count, lag_count;
	struct report_partition partitions[REPORT_PARTITIONS_MAX];
	struct report_file files[REPORT_FILES_MAX];
	struct diary_entry events[REPORT_EVENTS_MAX];
	struct report_lag lags[REPORT_LAGS_MAX];
};

_Static_assert((int)STATS_BUCKETS <= (int)STORE_BUCKETS,
	       "http buckets have room");

/*
 * Fill *rep with this node as it is now. h serves (httpd_attach). Asks the
 * disk for its free space, so it may wait as long as that. ERR_NOMEM.
 * Thread: any.
 */
MUST_CHECK enum err httpd_report_collect(struct httpd *h, struct report *rep);

/* Append the bytes of rep, at most STORE_REPORT_BYTES_MAX. ERR_NOMEM. */
MUST_CHECK enum err httpd_report_encode(const struct report *rep,
					struct buf *b);

/*
 * Read what another node sent; *rep is filled whole. ERR_INVALID: malformed,
 * more rows than there is room for, or text that is not plain: *rep is then
 * not to be used.
 */
MUST_CHECK enum err httpd_report_decode(struct bytes in, struct report *rep);

/*
 * Append rep as one JSON object, without a line end:
 * {"version":"..","figures":{name:n,..},"commit":[n,..],"sync":[..],
 * "http":[..],"partitions":[[id,role,leader,term,commit,applied,keys],..],
 * "files":[[name,bytes,live,"log"|"active"|"merged",partition],..],
 * "events":[[number,wall_ms,kind,partition|-1,count,subject,a,b],..],
 * "lags":[[member,entries],..]}.
 * ERR_NOMEM.
 */
MUST_CHECK enum err httpd_report_json(const struct report *rep, struct buf *b);

/* The name of a figure in JSON. Static. */
const char *httpd_report_figure(enum report_figure figure);

#endif
