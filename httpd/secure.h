/*
 * httpd/secure.h - TLS on a connection. Nothing here does anything without.
 */
#ifndef HTTPD_SECURE_H
#define HTTPD_SECURE_H

#include <stddef.h>
#include <sys/types.h>

#include "httpd/server.h"

/* Room for what secure_options fills in. */
enum { SECURE_OPTIONS = 3 };

/* The options, with their end, that a libmicrohttpd with TLS is started with. */
void secure_options(struct MHD_OptionItem items[SECURE_OPTIONS]);

/*
 * A connection was accepted, its handshake has not begun: it shows what
 * httpd.tls is now. When that fails the handshake will, too.
 */
void secure_begin(struct conn *c);

/* It is closed; one whose handshake never ended is counted. */
void secure_end(struct conn *c);

/*
 * Send bytes past libmicrohttpd, as much as goes without waiting, and, with
 * end, say that no more will come. Thread: the connection's.
 */
ssize_t secure_send(struct conn *c, const void *p, size_t n);
void secure_end_sending(struct conn *c);

/* The client has closed its side, whatever of it is still unread. */
bool secure_is_ended(const struct conn *c);

#endif
