/*
 * httpd/page.c - the monitor page itself: one text, made at build time of the
 * files in httpd/monitor/ (Makefile), with no outside parts.
 *
 * A policy in the header lets the browser run the one script and use the one
 * style that are in it, by their hashes, and talk to nobody but this node. So
 * even text that slipped into the page as markup could do nothing.
 */
#include <gnutls/crypto.h>
#include <stdio.h>

#include "base/bytes.h"
#include "httpd/handlers.h"
#include "httpd/json.h"
#include "httpd/monitor.h"
#include "httpd/reply.h"

static const uint8_t page[] = {
#include <httpd/monitor_page.inc>
};

enum { SHA256_BYTES = 32 };

/* What lies between two marks in the page; empty: they are not there. */
static struct bytes between(const char *from, const char *to)
{
	size_t from_n = strlen(from), to_n = strlen(to);
	const uint8_t *p = memmem(page, sizeof(page), from, from_n), *end;

	if (!p)
		return bytes_of(NULL, 0);
	p += from_n;
	end = memmem(p, (size_t)(page + sizeof(page) - p), to, to_n);
	return end ? bytes_of(p, (size_t)(end - p)) : bytes_of(NULL, 0);
}

/* Append 'sha256-..' of text, as a policy names it. */
static enum err add_hash(struct buf *b, struct bytes text)
{
	uint8_t hash[SHA256_BYTES];
	struct buf quoted = BUF_INIT;
	enum err err;

	if (gnutls_hash_fast(GNUTLS_DIG_SHA256, text.p, text.n, hash))
		return ERR_IO;
	err = json_add_base64(&quoted, bytes_of(hash, sizeof(hash)));
	if (!err)
		err = buf_addf(b, "'sha256-%.*s'", (int)quoted.n - 2,
			       (const char *)quoted.p + 1);
	buf_done(&quoted);
	return err;
}

static enum err add_policy(struct buf *b)
{
	enum err err = buf_addf(b, "default-src 'none'; connect-src 'self'; "
				   "img-src data:; base-uri 'none'; "
				   "form-action 'none'; frame-ancestors "
				   "'none'; style-src ");

	if (!err)
		err = add_hash(b, between("<style>", "</style>"));
	if (!err)
		err = buf_addf(b, "; script-src ");
	if (!err)
		err = add_hash(b, between("<script>", "</script>"));
	return err ? err : buf_add(b, "", 1);
}

enum MHD_Result monitor_page(struct request *r)
{
	struct buf policy = BUF_INIT;
	struct MHD_Response *resp;
	enum err err = add_policy(&policy);

	if (err) {
		buf_done(&policy);
		return reply_error(r, err);
	}
	resp = MHD_create_response_from_buffer(sizeof(page), (void *)page,
					       MHD_RESPMEM_PERSISTENT);
	reply_header(&resp, "Content-Type", "text/html; charset=utf-8");
	reply_header(&resp, "Content-Security-Policy", (const char *)policy.p);
	reply_header(&resp, "X-Content-Type-Options", "nosniff");
	reply_header(&resp, "X-Frame-Options", "DENY");
	reply_header(&resp, "Referrer-Policy", "no-referrer");
	reply_header(&resp, "Cache-Control", "no-cache");
	reply_header(&resp, "Vary", "Accept");
	buf_done(&policy);
	return reply_send(r, 200, resp, sizeof(page));
}
