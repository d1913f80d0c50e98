/*
 * node/chan.c - see chan.h.
 *
 * Plain output goes from the caller's pieces straight to the socket; only what
 * it does not take is copied. TLS is always fed from the buffer, because after
 * "again" it must be offered the same bytes.
 */
#include "base/vfs.h"
#include "httpd/tls.h"
#include "node/chan.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

enum { TLS_PIECE_BYTES = 16 << 10 };

struct chan_tls {
	int refs;
	gnutls_certificate_credentials_t credentials;
	gnutls_priority_t priority;
};

/* ------------------------------------------------------------ identity --- */

/* The revocation lists in ca; *r < 0: they are of no use. ERR_NOMEM. */
static enum err set_revoked(struct chan_tls *t, const char *ca, int *r)
{
	struct buf pem = BUF_INIT;
	enum err err = vfs_read_all(vfs_os(), ca, TLS_FILE_BYTES_MAX, &pem);
	int code = err ? GNUTLS_E_FILE_ERROR
		       : tls_set_revoked(t->credentials, buf_bytes(&pem));

	if (code)
		*r = code;
	buf_done(&pem);
	return err == ERR_NOMEM ? err : OK;
}

enum err chan_tls_new(const char *cert, const char *key, const char *ca,
		      struct chan_tls **out, struct buf *why)
{
	struct chan_tls *t = calloc(1, sizeof(*t));
	const char *file = ca;
	int r;

	if (!t)
		return ERR_NOMEM;
	t->refs = 1;
	if (gnutls_certificate_allocate_credentials(&t->credentials))
		goto out_memory;
	if (gnutls_priority_init(&t->priority, "NORMAL:-VERS-ALL:+VERS-TLS1.3",
				 NULL))
		goto out_memory;
	r = gnutls_certificate_set_x509_trust_file(t->credentials, ca,
						   GNUTLS_X509_FMT_PEM);
	if (r == 0)
		r = GNUTLS_E_NO_CERTIFICATE_FOUND;
	if (r > 0 && set_revoked(t, ca, &r))
		goto out_memory;
	if (r > 0) {
		file = cert;
		r = gnutls_certificate_set_x509_key_file(
			t->credentials, cert, key, GNUTLS_X509_FMT_PEM);
	}
	if (r < 0) { /* without memory for words the error still tells */
		(void)!buf_addf(why, "%s: %s", file, gnutls_strerror(r));
		chan_tls_free(t);
		return ERR_INVALID;
	}
	*out = t;
	return OK;
out_memory:
	chan_tls_free(t);
	return ERR_NOMEM;
}

void chan_tls_free(struct chan_tls *t)
{
	if (!t || --t->refs > 0)
		return;
	if (t->priority)
		gnutls_priority_deinit(t->priority);
	if (t->credentials)
		gnutls_certificate_free_credentials(t->credentials);
	free(t);
}

/* --------------------------------------------------------- open, close --- */

enum err chan_open(struct chan *c, int fd, struct chan_tls *t, bool dialled)
{
	unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS;
	gnutls_session_t s = NULL;

	memset(c, 0, sizeof(*c));
	c->fd = -1;
	if (t) {
		if (gnutls_init(&s, flags | (dialled ? GNUTLS_CLIENT
						     : GNUTLS_SERVER)))
			return ERR_NOMEM;
		if (gnutls_priority_set(s, t->priority) ||
		    gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE,
					   t->credentials)) {
			gnutls_deinit(s);
			return ERR_NOMEM;
		}
		gnutls_session_set_verify_cert(s, NULL, 0);
		if (!dialled)
			gnutls_certificate_server_set_request(
				s, GNUTLS_CERT_REQUIRE);
		gnutls_handshake_set_timeout(s, 0); /* links have their own */
		gnutls_transport_set_int(s, fd);
		c->session = s;
		c->tls = t;
		t->refs++;
	}
	c->fd = fd;
	return OK;
}

void chan_close(struct chan *c)
{
	if (c->session)
		gnutls_deinit(c->session);
	c->session = NULL;
	chan_tls_free(c->tls); /* the session is gone that used it */
	c->tls = NULL;
	if (c->fd > 0)
		close(c->fd);
	c->fd = -1;
	buf_done(&c->out);
	c->out_off = 0;
}

static enum err close_why(struct chan *c, const char *what, const char *why)
{
	snprintf(c->why, sizeof(c->why), "%s%s%s", what, *what ? ": " : "",
		 why);
	return ERR_CLOSED;
}

static enum err tls_result(struct chan *c, const char *what, long r)
{
	int alert;

	switch (r) {
	case GNUTLS_E_AGAIN:
	case GNUTLS_E_INTERRUPTED:
		return ERR_PENDING;
	case GNUTLS_E_PREMATURE_TERMINATION:
		return close_why(c, what, "closed by the other side");
	case GNUTLS_E_FATAL_ALERT_RECEIVED:
		alert = (int)gnutls_alert_get(c->session);
		return close_why(c, "the other side refused",
				 gnutls_alert_get_name(
					 (gnutls_alert_description_t)alert));
	default:
		return close_why(c, what, gnutls_strerror((int)r));
	}
}

enum err chan_secure(struct chan *c)
{
	enum err err;
	int r;

	if (!c->session)
		return OK;
	do
		r = gnutls_handshake(c->session);
	while (r == GNUTLS_E_INTERRUPTED ||
	       r == GNUTLS_E_WARNING_ALERT_RECEIVED);
	if (r == 0) {
		c->secured = true;
		return OK;
	}
	err = tls_result(c, "TLS", r);
	if (err == ERR_CLOSED) /* so that the other side can say why, too */
		(void)gnutls_alert_send_appropriate(c->session, r);
	return err;
}

/* --------------------------------------------------------------- input --- */

enum err chan_recv(struct chan *c, void *p, size_t n, size_t *got)
{
	ssize_t r;

	do
		r = c->session ? gnutls_record_recv(c->session, p, n)
			       : recv(c->fd, p, n, MSG_DONTWAIT);
	while (c->session ? r == GNUTLS_E_INTERRUPTED
			  : r < 0 && errno == EINTR);
	if (r > 0) {
		*got = (size_t)r;
		return OK;
	}
	if (r == 0)
		return close_why(c, "", "closed by the other side");
	if (c->session)
		return tls_result(c, "TLS", r);
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return ERR_PENDING;
	return close_why(c, "", strerror(errno));
}

bool chan_holds_bytes(const struct chan *c)
{
	return c->session && gnutls_record_check_pending(c->session) > 0;
}

/* -------------------------------------------------------------- output --- */

/* Of n bytes at p the socket took *took. */
static enum err send_some(struct chan *c, const uint8_t *p, size_t n,
			  size_t *took)
{
	ssize_t r;

	if (c->session) {
		if (n > TLS_PIECE_BYTES)
			n = TLS_PIECE_BYTES;
		r = c->half_sent ? gnutls_record_send(c->session, NULL, 0)
				 : gnutls_record_send(c->session, p, n);
		c->half_sent = r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED;
		if (r < 0)
			return tls_result(c, "TLS", r);
	} else {
		r = send(c->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r < 0 &&
		    (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
			return ERR_PENDING;
		if (r < 0)
			return close_why(c, "", strerror(errno));
	}
	*took = (size_t)r;
	return OK;
}

enum err chan_flush(struct chan *c)
{
	while (c->out_off < c->out.n) {
		size_t took = 0;
		enum err err = send_some(c, c->out.p + c->out_off,
					 c->out.n - c->out_off, &took);

		if (err)
			return err;
		c->out_off += took;
		CHECK(c->out_off <= c->out.n);
	}
	c->out.n = c->out_off = 0;
	if (c->out.cap > CHAN_KEEP_BYTES)
		buf_done(&c->out);
	return OK;
}

bool chan_wants_output(const struct chan *c)
{
	if (c->session && !c->secured)
		return gnutls_record_get_direction(c->session) == 1;
	return chan_waiting(c) > 0;
}

/*
 * Room at the end, by moving what waits to the front if that helps, and only
 * when at least half as much was sent: who is slow to take a long queue does
 * not have it moved for each message.
 */
static enum err make_room(struct chan *c, size_t n)
{
	if (c->out.cap - c->out.n < n && c->out_off > 0 &&
	    c->out_off >= chan_waiting(c) / 2) {
		memmove(c->out.p, c->out.p + c->out_off, c->out.n - c->out_off);
		c->out.n -= c->out_off;
		c->out_off = 0;
	}
	return buf_reserve(&c->out, n);
}

/* Copy the pieces to the buffer but for the first skip bytes. */
static enum err keep(struct chan *c, const struct iovec *iov, int iov_count,
		     size_t skip, size_t total)
{
	enum err err = make_room(c, total - skip);

	for (int i = 0; !err && i < iov_count; i++) {
		size_t n = iov[i].iov_len;
		size_t off = skip < n ? skip : n;

		skip -= off;
		err = buf_add(&c->out, (const uint8_t *)iov[i].iov_base + off,
			      n - off);
	}
	return err;
}

enum err chan_send(struct chan *c, const struct iovec *iov, int iov_count,
		   bool *torn)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov,
			    .msg_iovlen = (size_t)iov_count };
	size_t total = 0;
	ssize_t sent = 0;
	enum err err;

	*torn = false;
	CHECK(iov_count <= CHAN_IOV_MAX);
	for (int i = 0; i < iov_count; i++)
		total += iov[i].iov_len;
	if (!c->session && !chan_waiting(c)) {
		sent = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK &&
		    errno != EINTR)
			return close_why(c, "", strerror(errno));
		if (sent < 0)
			sent = 0;
		if ((size_t)sent == total)
			return OK;
	}
	err = keep(c, iov, iov_count, (size_t)sent, total);
	if (err) {
		*torn = sent > 0;
		return err;
	}
	if (c->session) {
		err = chan_flush(c);
		if (err == ERR_CLOSED)
			return err;
	}
	return OK;
}
