/*
 * node/resolve.h - host names to socket addresses without blocking the asker.
 *
 * Numbers are answered at once; a name costs a thread of its own, made when
 * the first name is asked for, because the system's resolver blocks.
 * Thread: core, unless said otherwise.
 */
#ifndef NODE_RESOLVE_H
#define NODE_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

enum { RESOLVE_WAITING_MAX = 512 };

struct resolver;

struct resolved {
	uint64_t token; /* of the question                                   */
	bool found;
	struct sockaddr_storage address;
	socklen_t address_bytes;
};

/* wake is called (any thread) when resolve_take has something. ERR_NOMEM. */
MUST_CHECK enum err resolver_new(void (*wake)(void *ctx), void *ctx,
				 struct resolver **r);

/* Waits for the name that is being looked up. NULL is accepted. */
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
