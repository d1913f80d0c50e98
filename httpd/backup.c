/*
 * httpd/backup.c - GET /_/snapshot: the backup stream.
 *
 * Sent chunked. Damage met on the way ends the connection without the last
 * chunk, so that a torn backup is never taken for a whole one.
 */
#include <stdlib.h>

#include "base/log.h"
#include "httpd/auth.h"
#include "httpd/handlers.h"
#include "httpd/reply.h"
#include "httpd/request.h"
#include "httpd/trace.h"

enum { BLOCK_BYTES = 64 << 10 };

struct backup {
	struct request *r; /* lives while read_backup may be called          */
	struct store_backup *source;
	size_t n, off; /* of block: filled, sent                             */
	uint8_t block[BLOCK_BYTES];
};

static void free_backup(void *cls)
{
	struct backup *b = cls;

	store_backup_done(b->source);
	free(b);
}

static ssize_t read_backup(void *cls, uint64_t pos, char *dst, size_t max)
{
	struct backup *b = cls;
	struct httpd *h = b->r->h;
	char id[TRACE_ID_BYTES];
	enum err err;

	(void)pos;
	if (b->off == b->n) {
		b->off = 0;
		if (!auth_allows(b->r, STORE_RIGHT_ADMIN, bytes_of(NULL, 0)))
			return MHD_CONTENT_READER_END_WITH_ERROR;
		err = store_backup_read(b->source, b->block, BLOCK_BYTES,
					&b->n);
		if (err) {
			stats_add(&h->stats.responses_cut, 1);
			log_error("http", "backup_cut why=%s request=\"%s\"",
				  err_text(err), trace_id(b->r, id));
			return MHD_CONTENT_READER_END_WITH_ERROR;
		}
		if (b->n == 0)
			return MHD_CONTENT_READER_END_OF_STREAM;
	}
	if (max > b->n - b->off)
		max = b->n - b->off;
	memcpy(dst, b->block + b->off, max);
	b->off += max;
	stats_add(&h->stats.bytes_written, max);
	/* As long as it moves it may take its time. */
	request_stage(b->r, STAGE_SENDING, request_timeout_ns(b->r));
	return (ssize_t)max;
}

static enum MHD_Result backup_answer(struct request *r)
{
	struct backup *b = malloc(sizeof(*b));
	struct MHD_Response *resp;
	enum err err;

	if (!b)
		return reply_error(r, ERR_NOMEM);
	b->r = r;
	b->n = b->off = 0;
	err = store_backup_open(r->h->o.store, &b->source);
	if (err) {
		free(b);
		return reply_error(r, err);
	}
	resp = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES,
						 read_backup, b, free_backup);
	if (!resp)
		free_backup(b);
	reply_header(&resp, "Content-Type", "application/octet-stream");
	reply_header(&resp, "Content-Disposition",
		     "attachment; filename=\"raftcask.backup\"");
	return reply_send(r, 200, resp, 0);
}

/* It has everything that was acknowledged before it was asked for. */
static enum MHD_Result backup_run(struct request *r)
{
	return read_when_fresh(r, STORE_ALL_PARTITIONS, backup_answer);
}

enum MHD_Result backup_begin(struct request *r)
{
	r->run = backup_run;
	return MHD_YES;
}
