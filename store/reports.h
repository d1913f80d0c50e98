/*
 * store/reports.h - inside store/: the exchange behind store/report.h.
 *
 * Thread: core.
 */
#ifndef STORE_REPORTS_H
#define STORE_REPORTS_H

#include "store/group.h"
#include "store/report.h"

/* Room for one report a member. ERR_NOMEM. */
MUST_CHECK enum err reports_new(struct store *s);

/* Free it. A store without one is fine. */
void reports_free(struct store *s);

/* Ask whom there is to ask, send what others have asked for. Once a round. */
void reports_round(struct store *s);

/* Does anybody here or elsewhere look? */
bool reports_are_due(struct store *s);

/* Until reports_round has something to do; UINT64_MAX: nothing known. */
uint64_t reports_wait_ms(struct store *s);

/* An ITEM_REPORT_WANTED, an ITEM_REPORT. */
void reports_asked(struct store *s, uint64_t from, const struct item *item);
void reports_receive(struct store *s, uint64_t from, const struct item *item);

#endif
