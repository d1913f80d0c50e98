/*
 * httpd/handlers.h - what each route does.
 *
 * A "begin" runs when the headers are in: it checks what can be checked
 * before a body is taken, and sets r->take and r->run (or answers with a
 * problem). An "answer" runs when everything needed is there.
 * Thread: the connection's, for all of it.
 */
#ifndef HTTPD_HANDLERS_H
#define HTTPD_HANDLERS_H

#include "httpd/server.h"

/* Headers are in: parse them and the target, find the handler. */
enum MHD_Result route_begin(struct request *r, const char *method,
			    const char *version);

/* A key: GET, HEAD, PUT, POST, DELETE of r->key. */
enum MHD_Result key_begin(struct request *r);

/* Answer a GET of r->key from what the store has now. */
enum MHD_Result value_answer(struct request *r);

/*
 * Wait until reads of partition are as fresh as the request asks, then call
 * answer.
 */
enum MHD_Result read_when_fresh(struct request *r, int32_t partition,
				enum MHD_Result (*answer)(struct request *r));

/* The partition of prefix if it lies in one, else STORE_ALL_PARTITIONS. */
int32_t read_partition_of_prefix(struct request *r, struct bytes prefix);

/* A lease read whose lease may have run out is begun again, linearizable. */
bool read_is_fresh(struct request *r, int32_t partition);

/*
 * Take the body into r->body, up to limit bytes in all; the other spills
 * what exceeds STORE_INLINE_BYTES_MAX into r->upload.
 */
enum MHD_Result body_take_json(struct request *r, const void *p, size_t n);

/* Have body_take_json take the body; 411 if the head names none. */
enum MHD_Result body_expect_json(struct request *r);
enum MHD_Result body_take_raw(struct request *r, const void *p, size_t n);

/* A piece that was pending is taken care of: OK, or what became of it. */
enum err body_resumed(struct request *r);

/*
 * Feed all of r->value into r->upload (made here), piece by piece, then call
 * run. For values over STORE_INLINE_BYTES_MAX.
 */
enum MHD_Result body_stage_value(struct request *r,
				 enum MHD_Result (*run)(struct request *r));

/* GET /_/kv and GET /; DELETE /_/kv?prefix=. */
enum MHD_Result list_begin(struct request *r);
enum MHD_Result list_delete_begin(struct request *r);

/* POST /KEY?append of r->key; POST /_/rename. */
enum MHD_Result append_begin(struct request *r);
enum MHD_Result rename_begin(struct request *r);

/* POST /_/txn. */
enum MHD_Result txn_begin(struct request *r);

/* GET /KEY?watch. */
enum MHD_Result watch_begin(struct request *r);

/* GET /_/watch, server-sent events. */
enum MHD_Result events_begin(struct request *r);

/* GET /_/snapshot. */
enum MHD_Result backup_begin(struct request *r);

/*
 * /_/members and what is below it, path being the rest (empty, or from its
 * slash on); POST /_/transfer.
 */
enum MHD_Result members_begin(struct request *r, struct bytes path);
enum MHD_Result transfer_begin(struct request *r);

/* /_/tokens and what is below it, likewise. */
enum MHD_Result tokens_begin(struct request *r, struct bytes path);

/* Append the JSON array of members as this node sees them. ERR_NOMEM. */
MUST_CHECK enum err members_add_json(struct httpd *h, struct buf *b);

/* /_/health, /_/ready, /_/status, /_/metrics, POST /_/merge. */
enum MHD_Result system_health(struct request *r);
enum MHD_Result system_ready(struct request *r);
enum MHD_Result system_status(struct request *r);
enum MHD_Result system_merge(struct request *r);
enum MHD_Result metrics_answer(struct request *r);

#endif
