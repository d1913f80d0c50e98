/*
 * httpd/guard.h - browsers: pages of other sites must not use this server.
 *
 * A browser sends what any page tells it to, from inside the user's network
 * and with the user's certificates; it says for whom in Origin. And a page's
 * own host name may suddenly be ours (DNS rebinding): it says so in Host.
 * Thread: the connection's.
 */
#ifndef HTTPD_GUARD_H
#define HTTPD_GUARD_H

#include "httpd/server.h"

/*
 * Let r through, or answer it with 403. MHD_YES and r->problem.status 0: go on.
 */
enum MHD_Result guard_begin(struct request *r);

/* It asks what a page that may call may do; the answer, as a handler's run. */
bool guard_is_preflight(const struct request *r);
enum MHD_Result guard_preflight(struct request *r);

/* Add what a page of another origin needs to see the answer. */
void guard_headers(struct request *r, struct MHD_Response **resp);

#endif
