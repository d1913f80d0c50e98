/*
 * ctl/secure.c - see secure.h.
 */
#include "ctl/secure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char head[] = "Authorization: Bearer ";

/* The process has one token; its header is made once. */
static char header[sizeof(head) + SECURE_TOKEN_BYTES_MAX];

static const char *or_env(const char *said, const char *name)
{
	const char *env = getenv(name);

	if (said)
		return said;
	return env && env[0] ? env : NULL;
}

/* What a header can carry: no blanks, no control characters. */
static bool is_token(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	}
	return n > 0;
}

static bool read_file(const char *path, char *room, size_t *n)
{
	FILE *f = fopen(path, "r");

	if (!f)
		return false;
	*n = fread(room, 1, SECURE_TOKEN_BYTES_MAX, f);
	fclose(f);
	while (*n && (room[*n - 1] == '\n' || room[*n - 1] == '\r'))
		(*n)--;
	return true;
}

static bool set_token(const char *token)
{
	char *room = header + sizeof(head) - 1;
	size_t n = strlen(token);

	if (token[0] == '@') {
		if (!read_file(token + 1, room, &n)) {
			ctl_say("the token's file %s cannot be read",
				token + 1);
			return false;
		}
	} else if (n < SECURE_TOKEN_BYTES_MAX) {
		memcpy(room, token, n);
	}
	if (n >= SECURE_TOKEN_BYTES_MAX || !is_token(room, n)) {
		ctl_say("that is no token");
		return false;
	}
	room[n] = '\0';
	memcpy(header, head, sizeof(head) - 1);
	return true;
}

bool secure_prepare(struct ctl_secure *s)
{
	s->token = or_env(s->token, "RAFTCASK_TOKEN");
	s->cacert = or_env(s->cacert, "RAFTCASK_CACERT");
	s->cert = or_env(s->cert, "RAFTCASK_CERT");
	s->key = or_env(s->key, "RAFTCASK_KEY");
	if (!s->cert != !s->key) {
		ctl_say("--cert and --key go together");
		return false;
	}
	return !s->token || set_token(s->token);
}

bool secure_apply(const struct ctl_secure *s, CURL *curl)
{
	CURLcode code = CURLE_OK;

	/* It and nobody else: the system's directory goes with any file. */
	if (s->cacert)
		code = curl_easy_setopt(curl, CURLOPT_CAINFO, s->cacert);
	if (!code && s->cacert)
		code = curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	if (!code && s->cert)
		code = curl_easy_setopt(curl, CURLOPT_SSLCERT, s->cert);
	if (!code && s->key)
		code = curl_easy_setopt(curl, CURLOPT_SSLKEY, s->key);
	return !code;
}

const char *secure_header(const struct ctl_secure *s)
{
	return s->token ? header : NULL;
}

const char *secure_hint(CURLcode code)
{
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
		return "the node's certificate is not trusted: --cacert FILE "
		       "names who vouches for it";
	case CURLE_SSL_CACERT_BADFILE:
		return "--cacert: that file cannot be read or has no "
		       "certificate";
	case CURLE_SSL_CERTPROBLEM:
		return "--cert, --key: these files cannot be used";
	default:
		return NULL;
	}
}

const char *secure_guess(const struct ctl_secure *s, const char *url,
			 CURLcode code)
{
	bool is_https = strncasecmp(url, "https:", 6) == 0;

	switch (code) {
	case CURLE_SSL_CONNECT_ERROR:
		return "no TLS came back: if it serves plain HTTP, call it "
		       "http://";
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		if (!is_https)
			return "if it serves HTTPS, call it https://";
		if (s->cert)
			return "it may refuse the certificate of --cert";
		return "it may ask for a certificate: --cert, --key";
	default:
		return NULL;
	}
}
