/*
 * store/report.h - what nodes tell each other about themselves, for people.
 *
 * A front end somewhere shows the whole cluster. While somebody looks, its node
 * asks every member once a second (ITEM_REPORT_WANTED); each answers with its
 * report, a few KiB that a front end of its own has made, and that nobody in
 * between understands. Nobody looks: nobody asks, nothing is made or sent.
 *
 *    node that is looked at                member
 *    store_reports_want  --- wanted --->   wake
 *                                          (its front end collects)
 *    store_reports_each  <--- report ---   store_report_post
 *
 * A wish holds for STORE_REPORT_WISH_MS, so a node that asks no more costs
 * nothing soon. Reports are lost like any message; the next one is a second
 * away. What arrives is from a peer: whoever reads it checks it.
 */
#ifndef STORE_REPORT_H
#define STORE_REPORT_H

#include "store/store.h"

enum {
	STORE_REPORT_BYTES_MAX = 64 << 10,
	STORE_REPORT_EVERY_MS = 1000,
	STORE_REPORT_WISH_MS = 3500,
};

/*
 * Somebody here looks: have the members asked, for STORE_REPORT_WISH_MS from
 * now. Thread: any.
 */
void store_reports_want(struct store *s);

/* Does some other member want this node's report now? Thread: any. */
bool store_report_is_wanted(struct store *s);

/*
 * Call wake (core thread; it must not block or call the store) each time that a
 * member asks. NULL: nobody to call; after it returns none is running.
 * Thread: any.
 */
void store_report_on_wish(struct store *s, void (*wake)(void *ctx), void *ctx);

/*
 * This node's report as it is now (copied), for those who have asked.
 * ERR_TOO_LARGE, ERR_NOMEM: the one before stays. Thread: any.
 */
MUST_CHECK enum err store_report_post(struct store *s, struct bytes report);

/*
 * Call fn for the last report of every other member that has sent one since
 * this node's start: whose, how old, and the text, a view during the call. An
 * error from fn ends it and is returned. Reports arrive only between calls: be
 * quick. Thread: any.
 */
MUST_CHECK enum err store_reports_each(struct store *s,
				       enum err (*fn)(void *ctx, uint64_t id,
						      uint64_t age_ms,
						      struct bytes report),
				       void *ctx);

#endif
