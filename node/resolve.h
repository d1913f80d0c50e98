/*
 * node/resolve.h - host names to socket addresses without blocking the asker.
 *
 * Numbers are answered at once. The system's resolver blocks, for half a minute
 * when a name server is silent, so each name that is looked up has a thread of
 * its own meanwhile: a name that hangs holds up no other, nor the end. Who asks
 * for a name that is being looked up shares the answer.
 * Thread: core, unless said otherwise.
 */
#ifndef NODE_RESOLVE_H
#define NODE_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

enum {
	RESOLVE_WAITING_MAX = 512,
	RESOLVE_THREADS_MAX = 64,  /* names that are looked up at a time      */
	RESOLVE_ADDRESSES_MAX = 8, /* of one name; the rest is left out      */
};

struct resolver;

struct resolved_address {
	struct sockaddr_storage address;
	socklen_t address_bytes;
};

struct resolved {
	uint64_t token; /* of the question                                   */
	uint32_t count; /* 0: there is no such host                          */
	struct resolved_address at[RESOLVE_ADDRESSES_MAX]; /* best first     */
};

/*
 * wake is called (any thread) when resolve_take has something; it must not
 * call back. ERR_NOMEM.
 */
MUST_CHECK enum err resolver_new(void (*wake)(void *ctx), void *ctx,
				 struct resolver **r);

/*
 * Waits for nobody: what is being looked up is thrown away when it is known.
 * wake is not called any more. NULL is accepted.
 */
void resolver_free(struct resolver *r);

/*
 * Look "host:port" up. OK: *a is filled. ERR_PENDING: resolve_take will have
 * it. ERR_INVALID: no address; ERR_FULL, ERR_NOMEM.
 */
MUST_CHECK enum err resolve(struct resolver *r, const char *address,
			    uint64_t token, struct resolved *a);

/* The next answer; false: none. */
bool resolve_take(struct resolver *r, struct resolved *a);

#endif
