/*
 * httpd/auth.h - who asks, and whether they may.
 *
 * Nothing is asked unless httpd_set_access said so. A handler asks
 * auth_allows before it looks at anything that a stranger must not learn of,
 * and answers auth_refuse otherwise: the same words whatever there is.
 * Thread: the connection's.
 */
#ifndef HTTPD_AUTH_H
#define HTTPD_AUTH_H

#include "httpd/server.h"

/* Look at the request's Authorization field. */
void auth_begin(struct request *r);

/* It shows a token, whatever for. */
bool auth_is_known(struct request *r);

/*
 * The request's token has right for every key that begins with prefix (a key
 * is one of those that begin with it). Asked again later, it says what is so
 * then: a token may have been removed.
 */
bool auth_allows(struct request *r, enum store_right right,
		 struct bytes prefix);

/* 401 for who showed no token that counts, else 403; counted. */
enum MHD_Result auth_refuse(struct request *r);

/* Let go of what auth_begin found. */
void auth_end(struct request *r);

/* Changes whenever what auth_allows said may have changed. */
uint64_t auth_version(struct httpd *h);

#endif
