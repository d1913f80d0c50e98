/*
 * node/chan.h - a non-blocking byte stream to another node, plain or in TLS.
 *
 * Owns the socket, the session and what waits to be sent. Knows no frames.
 * Thread: core.
 */
#ifndef NODE_CHAN_H
#define NODE_CHAN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/bytes.h"

enum {
	CHAN_WHY_BYTES = 160,
	CHAN_KEEP_BYTES = 1 << 20, /* of an empty buffer's memory            */
	CHAN_IOV_MAX = 32,
};

/* Certificate, key and authority of this node, loaded once. */
struct chan_tls;

/*
 * why gets a sentence. ERR_INVALID: a file that cannot be read or is none;
 * ERR_NOMEM.
 */
MUST_CHECK enum err chan_tls_new(const char *cert, const char *key,
				 const char *ca, struct chan_tls **t,
				 struct buf *why);

/* Let go of it; a chan that uses it keeps it. NULL is accepted. */
void chan_tls_free(struct chan_tls *t);

struct chan {
	int fd;	       /* -1: closed                                        */
	void *session; /* gnutls_session_t; NULL: plain                     */
	struct chan_tls *tls; /* that session uses it                        */
	bool secured;	/* the TLS handshake is over                         */
	bool half_sent; /* TLS has taken bytes that it must be asked for again */
	struct buf out; /* from out_off on: to be sent                       */
	size_t out_off;
	char why[CHAN_WHY_BYTES]; /* after ERR_CLOSED: for the operator      */
};

/*
 * Take over a connected (or connecting) socket. t NULL: plain. ERR_NOMEM,
 * ERR_INVALID: fd is still the caller's.
 */
MUST_CHECK enum err chan_open(struct chan *c, int fd, struct chan_tls *t,
			      bool dialled);

/* Close and free all. A closed one, and one of zeros, is accepted. */
void chan_close(struct chan *c);

/*
 * Go on with the TLS handshake; the other side must show a certificate of the
 * authority. OK: done (at once when plain), ERR_PENDING, ERR_CLOSED: failed.
 */
MUST_CHECK enum err chan_secure(struct chan *c);

/* Read what is there. OK: *got > 0. ERR_PENDING: nothing. ERR_CLOSED. */
MUST_CHECK enum err chan_recv(struct chan *c, void *p, size_t n, size_t *got);

/* Bytes wait inside TLS that no poll of the socket will tell of. */
bool chan_holds_bytes(const struct chan *c);

/*
 * Send the pieces, or keep what the socket does not take now. ERR_NOMEM: of
 * these nothing was sent, or, with *torn, a part: the stream is of no use.
 * ERR_CLOSED. Bounds are the caller's: see chan_waiting.
 */
MUST_CHECK enum err chan_send(struct chan *c, const struct iovec *iov,
			      int iov_count, bool *torn);

/* Send what waits. OK: nothing waits. ERR_PENDING, ERR_CLOSED. */
MUST_CHECK enum err chan_flush(struct chan *c);

/* Bytes that wait to be sent. */
static inline size_t chan_waiting(const struct chan *c)
{
	return c->out.n - c->out_off;
}

/* Is it output that the socket must be polled for? */
bool chan_wants_output(const struct chan *c);

#endif
