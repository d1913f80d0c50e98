/*
 * httpd/secure.c - TLS on a connection.
 *
 * libmicrohttpd accepts, makes the session, tells us, and only then begins the
 * handshake: between the two the session gets the credentials of the day. Its
 * own have no certificate, so a session that we could not reach shows none.
 */
#include "httpd/secure.h"

#include <gnutls/abstract.h>
#include <poll.h>
#include <sys/socket.h>

static int no_certificate(gnutls_session_t session,
			  const gnutls_datum_t *authorities, int n,
			  const gnutls_pk_algorithm_t *algorithms,
			  int algorithm_count, gnutls_pcert_st **pcert,
			  unsigned *pcert_count, gnutls_privkey_t *key)
{
	return -1;
}

void secure_options(struct MHD_OptionItem items[SECURE_OPTIONS])
{
	items[0] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0,
					    (void *)(uintptr_t)TLS_PRIORITY };
	items[1] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_CERT_CALLBACK, 0,
					    (void *)no_certificate };
	items[2] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
}

/* The client's last word of the handshake has come and is as it should be. */
static int on_finished(gnutls_session_t session, unsigned type, unsigned when,
		       unsigned incoming, const gnutls_datum_t *message)
{
	struct MHD_Connection *mhd = gnutls_session_get_ptr(session);
	const union MHD_ConnectionInfo *info;
	struct conn *c;

	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	c = info->socket_context;
	if (incoming && c)
		c->secured = true;
	return 0;
}

void secure_begin(struct conn *c)
{
	const union MHD_ConnectionInfo *info;
	struct httpd *h = c->h;

	if (!h->is_secure)
		return;
	info = MHD_get_connection_info(c->mhd,
				       MHD_CONNECTION_INFO_GNUTLS_SESSION);
	if (!info)
		return;
	pthread_mutex_lock(&h->lock);
	c->tls = tls_ref(h->tls);
	pthread_mutex_unlock(&h->lock);
	if (tls_begin(c->tls, info->tls_session))
		return;
	c->session = info->tls_session;
	gnutls_handshake_set_hook_function(c->session,
					   GNUTLS_HANDSHAKE_FINISHED,
					   GNUTLS_HOOK_POST, on_finished);
}

void secure_end(struct conn *c)
{
	if (!c->h->is_secure)
		return;
	if (!c->secured)
		stats_add(&c->h->stats.tls_failures, 1);
	c->session = NULL;
	tls_unref(c->tls);
}

ssize_t secure_send(struct conn *c, const void *p, size_t n)
{
	if (c->session)
		return gnutls_record_send(c->session, p, n);
	return send(c->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void secure_end_sending(struct conn *c)
{
	/* A client that has no room for the notice sees the end all the same. */
	if (c->session)
		(void)gnutls_bye(c->session, GNUTLS_SHUT_WR);
	shutdown(c->fd, SHUT_WR);
}

bool secure_is_ended(const struct conn *c)
{
	/* TLS says goodbye before the end: the end has to be asked for. */
	struct pollfd look = { .fd = c->fd,
			       .events = c->h->is_secure ? POLLRDHUP : 0 };
	char byte;

	if (!c->h->is_secure &&
	    recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		return true;
	return poll(&look, 1, 0) == 1; /* errors are always told */
}
