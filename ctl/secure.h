/*
 * ctl/secure.h - who the client is, and whom it trusts.
 */
#ifndef CTL_SECURE_H
#define CTL_SECURE_H

#include <curl/curl.h>

#include "ctl/ctl.h"

enum { SECURE_TOKEN_BYTES_MAX = 512 };

/*
 * Take from the environment what the command line did not say, and read the
 * token from its file if it is "@FILE". False: it cannot be; it has been said.
 */
bool secure_prepare(struct ctl_secure *s);

/* Let an exchange use it. False: out of memory. */
bool secure_apply(const struct ctl_secure *s, CURL *curl);

/* The header "Authorization: ..", or NULL. Valid as long as the process. */
const char *secure_header(const struct ctl_secure *s);

/* What to do about a code of curl that is about trust, or NULL. Static. */
const char *secure_hint(CURLcode code);

/*
 * What it may be that a node at url broke a new connection off with that code
 * and without a word, or NULL. Static.
 */
const char *secure_guess(const struct ctl_secure *s, const char *url,
			 CURLcode code);

#endif
