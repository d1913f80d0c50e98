/*
 * tests/httpd/test_tls.c - proves httpd/tls.c and httpd/secure.c: what is
 * loaded, and what a client sees of it.
 */
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <sys/stat.h>
#include <time.h>

#include "httpd/tls.h"
#include "tests/httpd/server_fixture.h"
#include "tests/lib/certs.h"
#include "tests/lib/tmpdir.h"

static char *dir;

static const char *path(const char *file)
{
	static char room[4][512];
	static unsigned turn;
	char *p = room[turn++ % 4];

	snprintf(p, 512, "%s/%s", dir, file);
	return p;
}

static enum err load(const char *cert, const char *key, const char *ca,
		     struct tls **t, struct buf *why)
{
	return tls_load(vfs_os(), path(cert), path(key), ca ? path(ca) : NULL,
			(uint64_t)time(NULL), t, why);
}

/* It is refused, and the sentence names file and has text. */
static void refused(const char *cert, const char *key, const char *ca,
		    const char *file, const char *text)
{
	struct buf why = BUF_INIT;
	struct tls *t = NULL;

	assert_int_equal(load(cert, key, ca, &t, &why), ERR_INVALID);
	assert_int_equal(buf_add(&why, "", 1), OK);
	if (!strstr((char *)why.p, path(file)) || !strstr((char *)why.p, text))
		fail_msg("%s", (char *)why.p);
	buf_done(&why);
}

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(path(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void what_cannot_serve_is_refused_by_name(void **state)
{
	struct buf why = BUF_INIT;
	struct tls *t;

	certs_make(dir, "a");
	certs_make(dir, "b");
	certs_make_for(dir, "old", -7200, -60);
	certs_make_for(dir, "early", 3600, 7200);
	write_file("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
	write_file("empty.pem", "");
	assert_int_equal(load("a-cert.pem", "a-key.pem", "a-ca.pem", &t, &why),
			 OK);
	assert_in_range(tls_expires_s(t), time(NULL) + 86000,
			time(NULL) + 86400);
	tls_unref(t);
	refused("a-cert.pem", "b-key.pem", NULL, "b-key.pem",
		"is not the key of the certificate");
	refused("old-cert.pem", "old-key.pem", NULL, "old-cert.pem",
		"has expired");
	refused("early-cert.pem", "early-key.pem", NULL, "early-cert.pem",
		"not valid yet");
	refused("a-cert.pem", "a-key.pem", "old-cert.pem", "old-cert.pem",
		"no certificate in it is valid now");
	refused("none.pem", "a-key.pem", NULL, "none.pem", "not found");
	refused("a-cert.pem", "none.pem", NULL, "none.pem", "not found");
	refused("a-cert.pem", "a-key.pem", "none.pem", "none.pem", "not found");
	refused("garbage.pem", "a-key.pem", NULL, "garbage.pem", ": ");
	refused("empty.pem", "a-key.pem", NULL, "empty.pem", ": ");
	refused("a-cert.pem", "a-cert.pem", NULL, "a-cert.pem", ": ");
	refused("a-cert.pem", "a-key.pem", "empty.pem", "empty.pem", ": ");
	buf_done(&why);
}

/* -------------------------------------------------------------- a client - */

struct client {
	int fd;
	gnutls_certificate_credentials_t credentials;
	gnutls_session_t session;
	int result; /* of the handshake */
};

/* ca: who vouches for the server; cert: what to show, or NULL. */
static struct client client_open(const char *ca, const char *cert)
{
	struct client c = { .fd = client_connect(fixture.port) };
	char crt[64], key[64];

	assert_int_equal(
		gnutls_certificate_allocate_credentials(&c.credentials), 0);
	assert_true(gnutls_certificate_set_x509_trust_file(
			    c.credentials, path(ca), GNUTLS_X509_FMT_PEM) > 0);
	if (cert) {
		snprintf(crt, sizeof(crt), "%s-cert.pem", cert);
		snprintf(key, sizeof(key), "%s-key.pem", cert);
		assert_int_equal(gnutls_certificate_set_x509_key_file(
					 c.credentials, path(crt), path(key),
					 GNUTLS_X509_FMT_PEM),
				 0);
	}
	gnutls_init(&c.session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);
	gnutls_set_default_priority(c.session);
	gnutls_credentials_set(c.session, GNUTLS_CRD_CERTIFICATE,
			       c.credentials);
	gnutls_session_set_verify_cert(c.session, "localhost", 0);
	gnutls_transport_set_int(c.session, c.fd);
	gnutls_handshake_set_timeout(c.session, 10000);
	do
		c.result = gnutls_handshake(c.session);
	while (c.result < 0 && !gnutls_error_is_fatal(c.result));
	return c;
}

static void client_close(struct client *c)
{
	if (c->result == 0)
		gnutls_bye(c->session, GNUTLS_SHUT_WR);
	gnutls_deinit(c->session);
	gnutls_certificate_free_credentials(c->credentials);
	close(c->fd);
}

static bool client_write(struct client *c, const void *p, size_t n)
{
	while (n) {
		ssize_t sent = gnutls_record_send(c->session, p, n);

		if (sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED)
			continue;
		if (sent <= 0)
			return false;
		p = (const char *)p + sent;
		n -= (size_t)sent;
	}
	return true;
}

static bool client_say(struct client *c, const char *text)
{
	return client_write(c, text, strlen(text));
}

/* Ask and read until text has come, or the end; the first number: status. */
static int client_ask(struct client *c, const char *request, const char *text)
{
	static char room[65536];
	size_t n = 0;
	int status = 0;

	if (request && !client_say(c, request))
		return 0;
	gnutls_record_set_timeout(c->session, CLIENT_WAIT_MS);
	while (n < sizeof(room) - 1) {
		ssize_t got = gnutls_record_recv(c->session, room + n,
						 sizeof(room) - 1 - n);

		if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED)
			continue;
		if (got <= 0)
			break;
		n += (size_t)got;
		room[n] = 0;
		if (strstr(room, text))
			break;
	}
	room[n] = 0;
	if (sscanf(room, "HTTP/1.1 %d", &status) != 1 || !strstr(room, text))
		return 0;
	return status;
}

static void start(const char *name, const char *ca)
{
	struct httpd_options o = fixture_options();
	struct buf why = BUF_INIT;
	char cert[64], key[64];

	snprintf(cert, sizeof(cert), "%s-cert.pem", name);
	snprintf(key, sizeof(key), "%s-key.pem", name);
	assert_int_equal(load(cert, key, ca, &o.tls, &why), OK);
	o.request_timeout_ms = 10000;
	fixture_start_with(o);
	tls_unref(o.tls);
}

#define GET "GET /_/health HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void a_renewed_certificate_disturbs_nobody(void **state)
{
	struct buf why = BUF_INIT;
	struct client old, new;
	struct tls *t;

	certs_make(dir, "a");
	certs_make(dir, "b");
	start("a", NULL);
	old = client_open("a-ca.pem", NULL);
	assert_int_equal(old.result, 0);
	assert_int_equal(client_ask(&old, GET, "ok"), 200);
	assert_int_equal(load("b-cert.pem", "b-key.pem", NULL, &t, &why), OK);
	httpd_set_tls(fixture.httpd, t);
	tls_unref(t);
	assert_int_equal(client_ask(&old, GET, "ok"), 200);
	new = client_open("a-ca.pem", NULL);
	assert_int_not_equal(new.result, 0);
	client_close(&new);
	new = client_open("b-ca.pem", NULL);
	assert_int_equal(new.result, 0);
	assert_int_equal(client_ask(&new, GET, "ok"), 200);
	assert_int_equal(client_ask(&old, GET, "ok"), 200);
	client_close(&new);
	client_close(&old);
	fixture_stop(state);
}

/* With TLS 1.3 the refusal comes after the client's handshake. */
static bool is_served(const char *cert)
{
	struct client c = client_open("a-ca.pem", cert);
	int status = c.result ? 0 : client_ask(&c, GET, "ok");

	client_close(&c);
	return status == 200;
}

static void a_client_shows_a_certificate_of_the_authority(void **state)
{
	certs_make(dir, "a");
	certs_make(dir, "b");
	certs_make_for(dir, "old", -7200, -60);
	start("a", "a-ca.pem");
	assert_true(is_served("a"));
	assert_false(is_served(NULL));
	assert_false(is_served("b"));
	assert_false(is_served("old"));
	fixture_stop(state);
}

static void an_expired_client_of_the_authority_is_refused(void **state)
{
	/* Who is expired here is the client, of an authority that is not. */
	certs_make(dir, "a");
	certs_make_for(dir, "old", -7200, -60);
	start("a", "old-ca.pem");
	assert_false(is_served("old"));
	assert_false(is_served("a"));
	fixture_stop(state);
}

static void plain_words_to_tls_are_no_request(void **state)
{
	char text[16];
	int fd;

	certs_make(dir, "a");
	start("a", NULL);
	fd = client_connect(fixture.port);
	assert_true(client_send(fd, GET, strlen(GET)));
	while (client_read(fd, text, sizeof(text), CLIENT_WAIT_MS) > 0)
		assert_int_not_equal(text[0], 'H');
	close(fd);
	fixture_stop(state);
}

/* Large enough to be staged: the connection sleeps in the middle of it. */
static void a_large_value_goes_in_and_out(void **state)
{
	enum { BYTES = 3 << 20 };
	char *value = malloc(BYTES), *back = malloc(BYTES + 4096);
	struct client c;
	size_t n = 0;
	char head[128], *body;

	certs_make(dir, "a");
	start("a", NULL);
	for (size_t i = 0; i < BYTES; i++)
		value[i] = (char)('a' + i * 7 % 26);
	c = client_open("a-ca.pem", NULL);
	snprintf(head, sizeof(head),
		 "PUT /big HTTP/1.1\r\nHost: localhost\r\n"
		 "Content-Length: %d\r\n\r\n",
		 BYTES);
	assert_true(client_say(&c, head));
	assert_true(client_write(&c, value, BYTES));
	assert_int_equal(client_ask(&c, NULL, "\r\n\r\n"), 201);
	assert_true(client_say(
		&c, "GET /big?raw HTTP/1.1\r\nHost: localhost\r\n\r\n"));
	do {
		ssize_t got = gnutls_record_recv(c.session, back + n,
						 BYTES + 4095 - n);

		assert_true(got > 0);
		n += (size_t)got;
		back[n] = 0;
		body = strstr(back, "\r\n\r\n");
	} while (!body || back + n - (body + 4) < BYTES);
	assert_memory_equal(body + 4, value, BYTES);
	client_close(&c);
	free(value);
	free(back);
	fixture_stop(state);
}

/* libmicrohttpd cannot answer there: it is said past it, in TLS. */
static void a_refusal_in_the_middle_of_a_body_is_heard(void **state)
{
	char *piece = calloc(1, 1 << 20);
	struct client c;

	certs_make(dir, "a");
	start("a", NULL);
	c = client_open("a-ca.pem", NULL);
	assert_true(client_say(&c, "PUT /big HTTP/1.1\r\nHost: localhost\r\n"
				   "Transfer-Encoding: chunked\r\n\r\n"));
	for (int i = 0; i < 9; i++) {
		if (!client_write(&c, "100000\r\n", 8) ||
		    !client_write(&c, piece, 1 << 20) ||
		    !client_write(&c, "\r\n", 2))
			break;
	}
	assert_int_equal(client_ask(&c, NULL, "value_too_large"), 413);
	client_close(&c);
	free(piece);
	fixture_stop(state);
}

static void a_watcher_that_goes_is_noticed(void **state)
{
	struct client c;
	int left = 1;

	certs_make(dir, "a");
	start("a", NULL);
	c = client_open("a-ca.pem", NULL);
	assert_int_equal(
		client_ask(&c,
			   "GET /_/watch HTTP/1.1\r\nHost: localhost\r\n\r\n",
			   ": raftcask"),
		200);
	assert_int_equal(fixture.store->open_watches, 1);
	client_close(&c);
	for (int i = 0; i < 100 && left; i++) {
		usleep(100000);
		pthread_mutex_lock(&fixture.store->lock);
		left = fixture.store->open_watches;
		pthread_mutex_unlock(&fixture.store->lock);
	}
	assert_int_equal(left, 0);
	fixture_stop(state);
}

static int make_dir(void **state)
{
	dir = tmpdir_make();
	return 0;
}

static int remove_dir(void **state)
{
	tmpdir_remove(dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_cannot_serve_is_refused_by_name),
		cmocka_unit_test(a_renewed_certificate_disturbs_nobody),
		cmocka_unit_test(a_client_shows_a_certificate_of_the_authority),
		cmocka_unit_test(an_expired_client_of_the_authority_is_refused),
		cmocka_unit_test(plain_words_to_tls_are_no_request),
		cmocka_unit_test(a_large_value_goes_in_and_out),
		cmocka_unit_test(a_refusal_in_the_middle_of_a_body_is_heard),
		cmocka_unit_test(a_watcher_that_goes_is_noticed),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
