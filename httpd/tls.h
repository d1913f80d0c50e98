/*
 * httpd/tls.h - the certificate that HTTPS shows, and whose it accepts.
 *
 * A struct tls is loaded whole, checked, and never changes; every connection
 * holds the one that it began with, so a renewed certificate takes the place
 * of the old one without a connection noticing.
 */
#ifndef HTTPD_TLS_H
#define HTTPD_TLS_H

#include <gnutls/gnutls.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/vfs.h"

enum { TLS_FILE_BYTES_MAX = 1 << 20 };

/* What TLS is spoken: 1.2 and 1.3, in the syntax of GnuTLS. */
#define TLS_PRIORITY "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct tls;

/*
 * Load PEM files: cert (the node's own first, then what leads to its
 * authority), its key, and ca, the authorities that clients' certificates
 * must come from; NULL or empty: clients need none. now_s: wall clock, s.
 *
 * ERR_INVALID: one cannot be read, is none, does not fit the other, is
 * expired or not valid yet; why gets a sentence that names the file. ERR_NOMEM.
 */
MUST_CHECK enum err tls_load(struct vfs *vfs, const char *cert, const char *key,
			     const char *ca, uint64_t now_s, struct tls **t,
			     struct buf *why);

/* Another reference; tls_unref gives one back, NULL is accepted. Any thread. */
struct tls *tls_ref(struct tls *t);
void tls_unref(struct tls *t);

/* When the node's certificate expires, seconds since 1970. Any thread. */
uint64_t tls_expires_s(const struct tls *t);

/*
 * Let session, whose handshake has not begun, show and ask for what t has; t
 * must outlive it. ERR_NOMEM: the session is of no use.
 */
MUST_CHECK enum err tls_begin(struct tls *t, gnutls_session_t session);

/*
 * Revocation lists among pem, an authority's file: what they name is refused by
 * sessions with these credentials. A code of GnuTLS, 0 also where there is
 * none.
 */
int tls_set_revoked(gnutls_certificate_credentials_t credentials,
		    struct bytes pem);

#endif
