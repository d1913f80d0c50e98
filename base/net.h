/*
 * base/net.h - the seam to the other nodes.
 *
 * Messages between two nodes: best effort, at most once, in order while a link
 * stands, whole or not at all. What arrives is handed to the store by whoever
 * implements this (node/ with sockets, tests/sim with a simulated network).
 * Everything that must not be lost is repeated by consensus and its kin above.
 * Thread: core, all calls.
 */
#ifndef BASE_NET_H
#define BASE_NET_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

enum {
	NET_MESSAGE_BYTES_MAX = 32 << 20, /* one message, all parts          */
	NET_ADDRESS_BYTES_MAX = 280,	  /* "host:port" with its NUL        */
};

struct net {
	/*
	 * Send the parts as one message to node `to`. They are copied or
	 * written before the call returns; it never blocks. ERR_FULL: the
	 * link's bounded queue has no room, ERR_CLOSED: no link at the moment,
	 * ERR_TOO_LARGE: over NET_MESSAGE_BYTES_MAX, ERR_NOMEM: nothing of the
	 * message was or will arrive.
	 */
	enum err (*send)(struct net *n, uint64_t to, const struct bytes *parts,
			 uint32_t part_count);
	/*
	 * Keep a link to node `id` at address ("host:port", copied) from now
	 * on; NULL: drop it, without a word through store_link. Repeating
	 * what is in force changes nothing.
	 * ERR_FULL: too many peers; ERR_INVALID: too long; ERR_NOMEM.
	 */
	enum err (*peer)(struct net *n, uint64_t id, const char *address);
	/* True while a link to id stands. */
	bool (*is_up)(struct net *n, uint64_t id);
};

#endif
