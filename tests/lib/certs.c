#include "tests/lib/certs.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MUST(call)                                                             \
	do {                                                                   \
		if ((call) < 0)                                                \
			abort();                                               \
	} while (0)

static gnutls_x509_privkey_t make_key(void)
{
	gnutls_x509_privkey_t key;

	MUST(gnutls_x509_privkey_init(&key));
	MUST(gnutls_x509_privkey_generate(
		key, GNUTLS_PK_ECDSA,
		GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
	return key;
}

/* Signed by the authority, or, without one, by itself. */
static gnutls_x509_crt_t make_cert(const char *name, gnutls_x509_privkey_t key,
				   gnutls_x509_crt_t ca,
				   gnutls_x509_privkey_t ca_key, long from_s,
				   long to_s)
{
	static const unsigned char four[4] = { 127, 0, 0, 1 };
	static const unsigned char six[16] = { [15] = 1 };

	unsigned char serial = ca ? 2 : 1;
	gnutls_x509_crt_t crt;

	MUST(gnutls_x509_crt_init(&crt));
	MUST(gnutls_x509_crt_set_version(crt, 3));
	MUST(gnutls_x509_crt_set_serial(crt, &serial, 1));
	MUST(gnutls_x509_crt_set_key(crt, key));
	MUST(gnutls_x509_crt_set_activation_time(crt, time(NULL) + from_s));
	MUST(gnutls_x509_crt_set_expiration_time(crt, time(NULL) + to_s));
	MUST(gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0,
					   name, (unsigned)strlen(name)));
	MUST(gnutls_x509_crt_set_basic_constraints(crt, !ca, -1));
	MUST(gnutls_x509_crt_set_key_usage(crt,
					   ca ? GNUTLS_KEY_DIGITAL_SIGNATURE
					      : GNUTLS_KEY_KEY_CERT_SIGN));
	MUST(gnutls_x509_crt_set_subject_alt_name(
		crt, GNUTLS_SAN_DNSNAME, "localhost", 9, GNUTLS_FSAN_APPEND));
	MUST(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS,
						  four, 4, GNUTLS_FSAN_APPEND));
	MUST(gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS,
						  six, 16, GNUTLS_FSAN_APPEND));
	MUST(gnutls_x509_crt_sign2(crt, ca ? ca : crt, ca ? ca_key : key,
				   GNUTLS_DIG_SHA256, 0));
	return crt;
}

static void save(const char *dir, const char *name, const char *what,
		 const gnutls_datum_t *d)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s-%s.pem", dir, name, what);
	f = fopen(path, "w");
	if (!f || fwrite(d->data, 1, d->size, f) != d->size || fclose(f))
		abort();
}

static void save_cert(const char *dir, const char *name, const char *what,
		      gnutls_x509_crt_t crt)
{
	gnutls_datum_t d;

	MUST(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &d));
	save(dir, name, what, &d);
	gnutls_free(d.data);
}

void certs_make_for(const char *dir, const char *name, long from_s, long to_s)
{
	gnutls_x509_privkey_t ca_key = make_key(), key = make_key();
	gnutls_x509_crt_t ca =
		make_cert("an authority", ca_key, NULL, NULL, -3600, 86400);
	gnutls_x509_crt_t crt =
		make_cert("a node", key, ca, ca_key, from_s, to_s);
	gnutls_datum_t d;

	save_cert(dir, name, "ca", ca);
	save_cert(dir, name, "cert", crt);
	MUST(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &d));
	save(dir, name, "key", &d);
	gnutls_free(d.data);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_crt_deinit(ca);
	gnutls_x509_privkey_deinit(key);
	gnutls_x509_privkey_deinit(ca_key);
}

void certs_make(const char *dir, const char *name)
{
	certs_make_for(dir, name, -3600, 86400);
}
