/*
 * httpd/tls.c - loading certificates, and a session's credentials.
 *
 * libmicrohttpd makes the sessions with credentials of its own, which are
 * fixed when it starts; tls_begin exchanges them before the handshake begins.
 */
#include "httpd/tls.h"

#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct tls {
	_Atomic int refs;
	gnutls_certificate_credentials_t credentials;
	bool asks; /* clients for a certificate                              */
	uint64_t expires_s;
};

/* Names what is being loaded, for the sentence that says what is wrong. */
struct load {
	struct vfs *vfs;
	const char *cert, *key, *ca;
	uint64_t now_s;
	struct buf *why;
	struct buf cert_pem, key_pem, ca_pem;
};

static enum err refuse(struct load *l, const char *path, const char *what)
{
	return buf_addf(l->why, "%s: %s", path, what) ? ERR_NOMEM : ERR_INVALID;
}

static enum err refuse_code(struct load *l, const char *path, int code)
{
	if (code == GNUTLS_E_MEMORY_ERROR)
		return ERR_NOMEM;
	return refuse(l, path, gnutls_strerror(code));
}

static enum err read_file(struct load *l, const char *path, struct buf *pem)
{
	enum err err = vfs_read_all(l->vfs, path, TLS_FILE_BYTES_MAX, pem);

	if (err == ERR_NOMEM)
		return err;
	return err ? refuse(l, path, err_text(err)) : OK;
}

static gnutls_datum_t datum(const struct buf *b)
{
	return (gnutls_datum_t){ .data = b->p, .size = (unsigned)b->n };
}

/* A time of GnuTLS, where an unknown one is -1, as seconds. */
static uint64_t seconds(time_t t)
{
	return t < 0 ? 0 : (uint64_t)t;
}

enum validity { VALID, EXPIRED, EARLY };

static enum validity validity_of(gnutls_x509_crt_t crt, uint64_t now_s)
{
	if (now_s >= seconds(gnutls_x509_crt_get_expiration_time(crt)))
		return EXPIRED;
	if (now_s < seconds(gnutls_x509_crt_get_activation_time(crt)))
		return EARLY;
	return VALID;
}

/* The node's own certificate: the first of the file. */
static enum err check_own(struct load *l, struct tls *t, gnutls_x509_crt_t crt)
{
	t->expires_s = seconds(gnutls_x509_crt_get_expiration_time(crt));
	switch (validity_of(crt, l->now_s)) {
	case EXPIRED:
		return refuse(l, l->cert, "the certificate has expired");
	case EARLY:
		return refuse(l, l->cert, "the certificate is not valid yet");
	case VALID:
		break;
	}
	return OK;
}

/* An authority that has expired vouches for nobody; one that lives will do. */
static enum err check_authority(struct load *l, gnutls_x509_crt_t *list,
				unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (validity_of(list[i], l->now_s) == VALID)
			return OK;
	}
	return refuse(l, l->ca, "no certificate in it is valid now");
}

static enum err check_list(struct load *l, const char *path,
			   const struct buf *pem, struct tls *t)
{
	gnutls_datum_t text = datum(pem);
	gnutls_x509_crt_t *list = NULL;
	unsigned n = 0;
	int code = gnutls_x509_crt_list_import2(&list, &n, &text,
						GNUTLS_X509_FMT_PEM, 0);
	enum err err;

	if (code < 0)
		return refuse_code(l, path, code);
	if (n == 0)
		err = refuse(l, path, "there is no certificate in it");
	else
		err = t ? check_own(l, t, list[0])
			: check_authority(l, list, n);
	for (unsigned i = 0; i < n; i++)
		gnutls_x509_crt_deinit(list[i]);
	gnutls_free(list);
	return err;
}

static enum err set_pair(struct load *l, struct tls *t)
{
	gnutls_datum_t cert = datum(&l->cert_pem), key = datum(&l->key_pem);
	int code = gnutls_certificate_set_x509_key_mem2(
		t->credentials, &cert, &key, GNUTLS_X509_FMT_PEM, NULL, 0);

	if (code == GNUTLS_E_CERTIFICATE_KEY_MISMATCH) {
		if (buf_addf(l->why, "%s is not the key of the certificate %s",
			     l->key, l->cert))
			return ERR_NOMEM;
		return ERR_INVALID;
	}
	/* The certificate has been read before: it is the key. */
	return code < 0 ? refuse_code(l, l->key, code) : OK;
}

int tls_set_revoked(gnutls_certificate_credentials_t credentials,
		    struct bytes pem)
{
	static const char begin[] = "-----BEGIN X509 CRL-----";
	gnutls_datum_t text = { .data = (unsigned char *)(uintptr_t)pem.p,
				.size = (unsigned)pem.n };
	int code;

	if (!memmem(pem.p, pem.n, begin, sizeof(begin) - 1))
		return 0;
	code = gnutls_certificate_set_x509_crl_mem(credentials, &text,
						   GNUTLS_X509_FMT_PEM);
	return code < 0 ? code : 0;
}

/* A list that is out of date would have everybody refused. */
static enum err check_revoked(struct load *l)
{
	gnutls_datum_t text = datum(&l->ca_pem);
	gnutls_x509_crl_t *list = NULL;
	unsigned n = 0;
	enum err err = OK;
	time_t next;

	/* No list at all is what most have. */
	if (gnutls_x509_crl_list_import2(&list, &n, &text, GNUTLS_X509_FMT_PEM,
					 0) < 0)
		return OK;
	for (unsigned i = 0; i < n; i++) {
		next = gnutls_x509_crl_get_next_update(list[i]);
		if (!err && next >= 0 && l->now_s >= seconds(next))
			err = refuse(
				l, l->ca,
				"the revocation list in it is out of date");
		gnutls_x509_crl_deinit(list[i]);
	}
	gnutls_free(list);
	return err;
}

static enum err set_authority(struct load *l, struct tls *t)
{
	gnutls_datum_t ca;
	int code;
	enum err err = read_file(l, l->ca, &l->ca_pem);

	if (!err)
		err = check_list(l, l->ca, &l->ca_pem, NULL);
	if (!err)
		err = check_revoked(l);
	if (err)
		return err;
	ca = datum(&l->ca_pem);
	code = gnutls_certificate_set_x509_trust_mem(t->credentials, &ca,
						     GNUTLS_X509_FMT_PEM);
	if (code <= 0)
		return refuse_code(l, l->ca,
				   code ? code : GNUTLS_E_NO_CERTIFICATE_FOUND);
	code = tls_set_revoked(t->credentials, buf_bytes(&l->ca_pem));
	if (code)
		return refuse_code(l, l->ca, code);
	t->asks = true;
	return OK;
}

static enum err load_all(struct load *l, struct tls *t)
{
	enum err err = read_file(l, l->cert, &l->cert_pem);

	if (!err)
		err = check_list(l, l->cert, &l->cert_pem, t);
	if (!err)
		err = read_file(l, l->key, &l->key_pem);
	if (!err)
		err = set_pair(l, t);
	if (!err && l->ca && *l->ca)
		err = set_authority(l, t);
	return err;
}

enum err tls_load(struct vfs *vfs, const char *cert, const char *key,
		  const char *ca, uint64_t now_s, struct tls **out,
		  struct buf *why)
{
	struct load l = { .vfs = vfs,
			  .cert = cert,
			  .key = key,
			  .ca = ca,
			  .now_s = now_s,
			  .why = why };
	struct tls *t = calloc(1, sizeof(*t));
	enum err err = ERR_NOMEM;

	if (!t)
		return ERR_NOMEM;
	t->refs = 1;
	if (!gnutls_certificate_allocate_credentials(&t->credentials))
		err = load_all(&l, t);
	if (l.key_pem.p)
		gnutls_memset(l.key_pem.p, 0, l.key_pem.cap);
	buf_done(&l.cert_pem);
	buf_done(&l.key_pem);
	buf_done(&l.ca_pem);
	if (err)
		tls_unref(t);
	else
		*out = t;
	return err;
}

struct tls *tls_ref(struct tls *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}

void tls_unref(struct tls *t)
{
	int old;

	if (!t)
		return;
	old = atomic_fetch_sub(&t->refs, 1);
	CHECK(old >= 1);
	if (old > 1)
		return;
	if (t->credentials)
		gnutls_certificate_free_credentials(t->credentials);
	free(t);
}

uint64_t tls_expires_s(const struct tls *t)
{
	return t->expires_s;
}

enum err tls_begin(struct tls *t, gnutls_session_t session)
{
	static gnutls_typed_vdata_st purpose = {
		.type = GNUTLS_DT_KEY_PURPOSE_OID,
		.data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT,
	};

	if (gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE,
				   t->credentials))
		return ERR_NOMEM;
	if (!t->asks)
		return OK;
	gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
	gnutls_session_set_verify_cert2(session, &purpose, 1, 0);
	return OK;
}
