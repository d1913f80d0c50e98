/*
 * httpd/report.c - the bytes of a report, and its JSON; see report.h.
 */
#include "httpd/report.h"

#include <stddef.h>

#include "base/check.h"
#include "httpd/json.h"
#include "store/report.h"

enum {
	HEAD_BYTES = 8,
	SECTION_BYTES = 8,
	TEXT_ROW_BYTES = REPORT_VERSION_BYTES,
	FIGURE_ROW_BYTES = 8,
	TIME_ROW_BYTES = 24,
	PARTITION_ROW_BYTES = 48,
	FILE_ROW_BYTES = 40,
	EVENT_ROW_BYTES = 48,
	LAG_ROW_BYTES = 16,
	ROW_BYTES_MAX = 48,
};

static const char magic[4] = "rcr1";

_Static_assert(HEAD_BYTES + REPORT_SECTIONS * SECTION_BYTES + TEXT_ROW_BYTES +
			       REPORT_FIGURES_MAX * FIGURE_ROW_BYTES +
			       STORE_BUCKETS * TIME_ROW_BYTES +
			       REPORT_PARTITIONS_MAX * PARTITION_ROW_BYTES +
			       REPORT_FILES_MAX * FILE_ROW_BYTES +
			       REPORT_EVENTS_MAX * EVENT_ROW_BYTES +
			       REPORT_LAGS_MAX * LAG_ROW_BYTES <=
		       STORE_REPORT_BYTES_MAX,
	       "the largest report can be sent");

static const char *const figure_names[REPORT_FIGURES_MAX] = {
	[REPORT_MONO_MS] = "mono_ms",
	[REPORT_WALL_MS] = "wall_ms",
	[REPORT_UPTIME_S] = "uptime_s",
	[REPORT_READINESS] = "readiness",
	[REPORT_RSS_BYTES] = "rss_bytes",
	[REPORT_THREADS] = "threads",
	[REPORT_CPU_MS] = "cpu_ms",
	[REPORT_FILES_OPEN] = "files_open",
	[REPORT_FILES_OPEN_MAX] = "files_open_max",
	[REPORT_CONNECTIONS] = "connections",
	[REPORT_WATCHES] = "watches",
	[REPORT_GETS] = "gets",
	[REPORT_SETS] = "sets",
	[REPORT_DELETES] = "deletes",
	[REPORT_GET_HITS] = "get_hits",
	[REPORT_GET_MISSES] = "get_misses",
	[REPORT_BYTES_IN] = "bytes_in",
	[REPORT_BYTES_OUT] = "bytes_out",
	[REPORT_REQUESTS] = "requests",
	[REPORT_REQUESTS_FAILED] = "requests_failed",
	[REPORT_SLOW] = "slow",
	[REPORT_REFUSED] = "refused",
	[REPORT_KEYS] = "keys",
	[REPORT_LIVE_BYTES] = "live_bytes",
	[REPORT_DEAD_BYTES] = "dead_bytes",
	[REPORT_DATA_FILES] = "data_files",
	[REPORT_LOG_BYTES] = "log_bytes",
	[REPORT_MERGED_BYTES] = "merged_bytes",
	[REPORT_INDEX_BYTES] = "index_bytes",
	[REPORT_DISK_FREE_BYTES] = "disk_free_bytes",
	[REPORT_OUT_OF_SPACE] = "out_of_space",
	[REPORT_MERGE_RUNNING] = "merge_running",
	[REPORT_MERGES] = "merges",
	[REPORT_MERGE_READ_BYTES] = "merge_read_bytes",
	[REPORT_MERGE_WRITTEN_BYTES] = "merge_written_bytes",
	[REPORT_CORRUPT] = "corrupt",
	[REPORT_WRITES] = "writes",
	[REPORT_WRITE_BATCHES] = "write_batches",
	[REPORT_SYNCS] = "syncs",
	[REPORT_PARTITION_COUNT] = "partition_count",
	[REPORT_LED] = "led",
};

const char *httpd_report_figure(enum report_figure figure)
{
	CHECK(figure < REPORT_FIGURES_MAX);
	return figure_names[figure];
}

/* ------------------------------------------------------------------ rows -- */

/*
 * Where in memory the parts of a row are, in the order in which they are sent,
 * one behind the other. A row is ROW_BYTES_MAX bytes of memory, zeros behind
 * what it has.
 */
struct part {
	uint16_t off;
	uint8_t bytes; /* 2, 4, 8: a number; else text                       */
};

#define PART(type, member)                                                     \
	{                                                                      \
		offsetof(type, member), sizeof(((type *)0)->member)            \
	}

static const struct part partition_parts[] = {
	PART(struct report_partition, id),
	PART(struct report_partition, role),
	PART(struct report_partition, leader_id),
	PART(struct report_partition, term),
	PART(struct report_partition, commit),
	PART(struct report_partition, applied),
	PART(struct report_partition, keys),
	{ 0 },
};

static const struct part file_parts[] = {
	PART(struct report_file, name),
	PART(struct report_file, partition),
	PART(struct report_file, flags),
	PART(struct report_file, bytes),
	PART(struct report_file, live_bytes),
	{ 0 },
};

static const struct part event_parts[] = {
	PART(struct diary_entry, number),
	PART(struct diary_entry, wall_ns),
	PART(struct diary_entry, kind),
	PART(struct diary_entry, partition),
	PART(struct diary_entry, count),
	PART(struct diary_entry, subject),
	PART(struct diary_entry, a),
	PART(struct diary_entry, b),
	{ 0 },
};

static const struct part lag_parts[] = {
	PART(struct report_lag, member),
	PART(struct report_lag, entries),
	{ 0 },
};

static void put_parts(const struct part *part, const void *from, uint8_t *p)
{
	for (; part->bytes; p += part->bytes, part++) {
		const void *m = (const uint8_t *)from + part->off;

		switch (part->bytes) {
		case 2:
			put_u16(p, *(const uint16_t *)m);
			break;
		case 4:
			put_u32(p, *(const uint32_t *)m);
			break;
		case 8:
			put_u64(p, *(const uint64_t *)m);
			break;
		default:
			memcpy(p, m, part->bytes);
		}
	}
}

static void get_parts(const struct part *part, void *to, const uint8_t *p)
{
	for (; part->bytes; p += part->bytes, part++) {
		void *m = (uint8_t *)to + part->off;

		switch (part->bytes) {
		case 2:
			*(uint16_t *)m = get_u16(p);
			break;
		case 4:
			*(uint32_t *)m = get_u32(p);
			break;
		case 8:
			*(uint64_t *)m = get_u64(p);
			break;
		default:
			memcpy(m, p, part->bytes);
		}
	}
}

/* -------------------------------------------------------------- encoding -- */

static void put_row(const struct report *rep, enum report_section kind,
		    uint32_t i, uint8_t *p)
{
	switch (kind) {
	case REPORT_TEXTS:
		memcpy(p, rep->version, REPORT_VERSION_BYTES);
		break;
	case REPORT_FIGURES:
		put_u64(p, rep->figures[i]);
		break;
	case REPORT_TIMES:
		put_u64(p, rep->commit[i]);
		put_u64(p + 8, rep->sync[i]);
		put_u64(p + 16, rep->http[i]);
		break;
	case REPORT_PARTITIONS:
		put_parts(partition_parts, &rep->partitions[i], p);
		break;
	case REPORT_FILES:
		put_parts(file_parts, &rep->files[i], p);
		break;
	case REPORT_EVENTS:
		put_parts(event_parts, &rep->events[i], p);
		break;
	case REPORT_LAGS:
		put_parts(lag_parts, &rep->lags[i], p);
		break;
	}
}

static enum err add_section(const struct report *rep, enum report_section kind,
			    uint32_t row_bytes, uint32_t rows, struct buf *b)
{
	uint8_t head[SECTION_BYTES], row[ROW_BYTES_MAX];
	enum err err;

	CHECK(row_bytes % 8 == 0 && row_bytes <= ROW_BYTES_MAX);
	put_u16(head, (uint16_t)kind);
	put_u16(head + 2, (uint16_t)row_bytes);
	put_u32(head + 4, rows);
	err = buf_add(b, head, sizeof(head));
	for (uint32_t i = 0; i < rows && !err; i++) {
		memset(row, 0, sizeof(row));
		put_row(rep, kind, i, row);
		err = buf_add(b, row, row_bytes);
	}
	return err;
}

enum err httpd_report_encode(const struct report *rep, struct buf *b)
{
	uint8_t head[HEAD_BYTES];
	enum err err;

	CHECK(rep->partition_count <= REPORT_PARTITIONS_MAX);
	CHECK(rep->file_count <= REPORT_FILES_MAX);
	CHECK(rep->event_count <= REPORT_EVENTS_MAX);
	CHECK(rep->lag_count <= REPORT_LAGS_MAX);
	memcpy(head, magic, sizeof(magic));
	put_u32(head + 4, REPORT_SECTIONS);
	err = buf_add(b, head, sizeof(head));
	if (!err)
		err = add_section(rep, REPORT_TEXTS, TEXT_ROW_BYTES, 1, b);
	if (!err)
		err = add_section(rep, REPORT_FIGURES, FIGURE_ROW_BYTES,
				  REPORT_FIGURES_MAX, b);
	if (!err)
		err = add_section(rep, REPORT_TIMES, TIME_ROW_BYTES,
				  STORE_BUCKETS, b);
	if (!err)
		err = add_section(rep, REPORT_PARTITIONS, PARTITION_ROW_BYTES,
				  rep->partition_count, b);
	if (!err)
		err = add_section(rep, REPORT_FILES, FILE_ROW_BYTES,
				  rep->file_count, b);
	if (!err)
		err = add_section(rep, REPORT_EVENTS, EVENT_ROW_BYTES,
				  rep->event_count, b);
	if (!err)
		err = add_section(rep, REPORT_LAGS, LAG_ROW_BYTES,
				  rep->lag_count, b);
	return err;
}

/* -------------------------------------------------------------- decoding -- */

/* A name that needs no care where it is shown, ended within n bytes. */
static bool is_plain(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char c = text[i];

		if (!c)
			return true;
		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    !(c >= '0' && c <= '9') && !strchr(".-_+~", c))
			return false;
	}
	return false;
}

/* How many rows of kind there is room for; 0: the kind is not known. */
static uint32_t room_of(uint16_t kind)
{
	switch (kind) {
	case REPORT_TEXTS:
		return 1;
	case REPORT_FIGURES:
		return UINT16_MAX; /* a newer node has more of them          */
	case REPORT_TIMES:
		return STORE_BUCKETS;
	case REPORT_PARTITIONS:
		return REPORT_PARTITIONS_MAX;
	case REPORT_FILES:
		return REPORT_FILES_MAX;
	case REPORT_EVENTS:
		return REPORT_EVENTS_MAX;
	case REPORT_LAGS:
		return REPORT_LAGS_MAX;
	default:
		return 0;
	}
}

/* p: ROW_BYTES_MAX bytes, zeros behind what was sent. */
static enum err get_row(struct report *rep, uint16_t kind, uint32_t i,
			const uint8_t *p)
{
	switch (kind) {
	case REPORT_TEXTS:
		memcpy(rep->version, p, REPORT_VERSION_BYTES);
		return is_plain(rep->version, REPORT_VERSION_BYTES)
			       ? OK
			       : ERR_INVALID;
	case REPORT_FIGURES:
		if (i < REPORT_FIGURES_MAX)
			rep->figures[i] = get_u64(p);
		return OK;
	case REPORT_TIMES:
		rep->commit[i] = get_u64(p);
		rep->sync[i] = get_u64(p + 8);
		rep->http[i] = get_u64(p + 16);
		return OK;
	case REPORT_PARTITIONS:
		rep->partition_count = i + 1;
		get_parts(partition_parts, &rep->partitions[i], p);
		return OK;
	case REPORT_FILES:
		rep->file_count = i + 1;
		get_parts(file_parts, &rep->files[i], p);
		return is_plain(rep->files[i].name, REPORT_FILE_NAME_BYTES)
			       ? OK
			       : ERR_INVALID;
	case REPORT_EVENTS:
		rep->event_count = i + 1;
		get_parts(event_parts, &rep->events[i], p);
		return OK;
	case REPORT_LAGS:
		rep->lag_count = i + 1;
		get_parts(lag_parts, &rep->lags[i], p);
		return OK;
	default:
		return OK;
	}
}

/* Take one section off *in; seen: one bit for each kind that there was. */
static enum err take_section(struct bytes *in, uint32_t *seen,
			     struct report *rep)
{
	uint8_t row[ROW_BYTES_MAX];
	uint32_t row_bytes, rows, room;
	uint16_t kind;
	enum err err = OK;

	if (in->n < SECTION_BYTES)
		return ERR_INVALID;
	kind = get_u16(in->p);
	row_bytes = get_u16(in->p + 2);
	rows = get_u32(in->p + 4);
	*in = bytes_of(in->p + SECTION_BYTES, in->n - SECTION_BYTES);
	room = room_of(kind);
	if (row_bytes == 0 || row_bytes % 8 || rows > in->n / row_bytes ||
	    (room && (rows > room || *seen & 1u << kind)))
		return ERR_INVALID;
	if (room)
		*seen |= 1u << kind;
	for (uint32_t i = 0; room && i < rows && !err; i++) {
		size_t n = row_bytes < sizeof(row) ? row_bytes : sizeof(row);

		memset(row, 0, sizeof(row));
		memcpy(row, in->p + (size_t)i * row_bytes, n);
		err = get_row(rep, kind, i, row);
	}
	*in = bytes_of(in->p + (size_t)rows * row_bytes,
		       in->n - (size_t)rows * row_bytes);
	return err;
}

enum err httpd_report_decode(struct bytes in, struct report *rep)
{
	uint32_t sections, seen = 0;
	enum err err = OK;

	memset(rep, 0, sizeof(*rep));
	if (in.n < HEAD_BYTES || in.n > STORE_REPORT_BYTES_MAX ||
	    memcmp(in.p, magic, sizeof(magic)) != 0)
		return ERR_INVALID;
	sections = get_u32(in.p + 4);
	in = bytes_of(in.p + HEAD_BYTES, in.n - HEAD_BYTES);
	for (uint32_t i = 0; i < sections && !err; i++)
		err = take_section(&in, &seen, rep);
	return !err && in.n ? ERR_INVALID : err;
}

/* ------------------------------------------------------------------ JSON -- */

static enum err add_numbers(struct buf *b, const char *name, const uint64_t *v,
			    uint32_t n)
{
	enum err err = buf_addf(b, ",\"%s\":[", name);

	for (uint32_t i = 0; i < n && !err; i++)
		err = buf_addf(b, "%s%lu", i ? "," : "", v[i]);
	return err ? err : buf_addf(b, "]");
}

static enum err add_partitions(const struct report *rep, struct buf *b)
{
	enum err err = buf_addf(b, ",\"partitions\":[");

	for (uint32_t i = 0; i < rep->partition_count && !err; i++) {
		const struct report_partition *t = &rep->partitions[i];

		err = buf_addf(b, "%s[%u,%u,%lu,%lu,%lu,%lu,%lu]", i ? "," : "",
			       t->id, t->role, t->leader_id, t->term, t->commit,
			       t->applied, t->keys);
	}
	return err ? err : buf_addf(b, "]");
}

static const char *file_kind(uint32_t flags)
{
	if (flags & REPORT_FILE_MERGED)
		return "merged";
	return flags & REPORT_FILE_ACTIVE ? "active" : "log";
}

static enum err add_files(const struct report *rep, struct buf *b)
{
	enum err err = buf_addf(b, ",\"files\":[");

	for (uint32_t i = 0; i < rep->file_count && !err; i++) {
		const struct report_file *f = &rep->files[i];

		err = buf_addf(b, "%s[\"%s\",%lu,%lu,\"%s\",%u]", i ? "," : "",
			       f->name, f->bytes, f->live_bytes,
			       file_kind(f->flags), f->partition);
	}
	return err ? err : buf_addf(b, "]");
}

static enum err add_events(const struct report *rep, struct buf *b)
{
	enum err err = buf_addf(b, ",\"events\":[");

	for (uint32_t i = 0; i < rep->event_count && !err; i++) {
		const struct diary_entry *e = &rep->events[i];
		int partition = e->partition == DIARY_NO_PARTITION
					? -1
					: (int)e->partition;

		err = buf_addf(b, "%s[%lu,%lu,%u,%d,%u,%lu,%lu,%lu]",
			       i ? "," : "", e->number, e->wall_ns / 1000000,
			       e->kind, partition, e->count, e->subject, e->a,
			       e->b);
	}
	return err ? err : buf_addf(b, "]");
}

static enum err add_lags(const struct report *rep, struct buf *b)
{
	enum err err = buf_addf(b, ",\"lags\":[");

	for (uint32_t i = 0; i < rep->lag_count && !err; i++)
		err = buf_addf(b, "%s[%lu,%lu]", i ? "," : "",
			       rep->lags[i].member, rep->lags[i].entries);
	return err ? err : buf_addf(b, "]");
}

enum err httpd_report_json(const struct report *rep, struct buf *b)
{
	enum err err = buf_addf(b, "{\"version\":");

	if (!err)
		err = json_add_string(b, bytes_str(rep->version));
	if (!err)
		err = buf_addf(b, ",\"figures\":{");
	for (uint32_t i = 0; i < REPORT_FIGURES_MAX && !err; i++)
		err = buf_addf(b, "%s\"%s\":%lu", i ? "," : "", figure_names[i],
			       rep->figures[i]);
	if (!err)
		err = buf_addf(b, "}");
	if (!err)
		err = add_numbers(b, "commit", rep->commit, STORE_BUCKETS);
	if (!err)
		err = add_numbers(b, "sync", rep->sync, STORE_BUCKETS);
	if (!err)
		err = add_numbers(b, "http", rep->http, STATS_BUCKETS);
	if (!err)
		err = add_partitions(rep, b);
	if (!err)
		err = add_files(rep, b);
	if (!err)
		err = add_events(rep, b);
	if (!err)
		err = add_lags(rep, b);
	return err ? err : buf_addf(b, "}");
}
