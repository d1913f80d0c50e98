/*
 * httpd/auth.c - see auth.h.
 *
 * Of the token only its hash is compared, so the time that a comparison takes
 * tells nothing of the token; that it also takes the same time for every hash
 * is the store's care.
 */
#include "httpd/auth.h"

#include "base/secret.h"
#include "httpd/reply.h"

uint64_t auth_version(struct httpd *h)
{
	uint64_t version = atomic_load(&h->access_version);

	if (atomic_load_explicit(&h->serving, memory_order_acquire))
		version += store_tokens_version(h->o.store);
	return version;
}

/* What the store says of the hash now. */
static void look_up(struct request *r)
{
	store_token_done(r->token);
	r->token = NULL;
	r->token_version = store_tokens_version(r->h->o.store);
	if (r->has_hash)
		r->token = store_token_find(r->h->o.store, r->token_hash);
}

void auth_begin(struct request *r)
{
	const char *value = r->f.authorization;
	struct bytes token;

	if (!atomic_load_explicit(&r->h->wants_tokens, memory_order_relaxed))
		return;
	r->has_hash = value && !r->f.many_authorizations &&
		      secret_parse_header(bytes_str(value), &token) == OK &&
		      secret_hash(token, r->token_hash) == OK;
	look_up(r);
}

static bool asks(struct request *r)
{
	if (!atomic_load_explicit(&r->h->wants_tokens, memory_order_relaxed))
		return false;
	if (!r->token_version) /* nobody asked when it began */
		auth_begin(r);
	else if (store_tokens_version(r->h->o.store) != r->token_version)
		look_up(r);
	return true;
}

bool auth_is_known(struct request *r)
{
	return !asks(r) || r->token;
}

bool auth_allows(struct request *r, enum store_right right, struct bytes prefix)
{
	if (!asks(r))
		return true;
	return r->token && r->token->right >= right &&
	       bytes_begins(prefix, r->token->prefix);
}

enum MHD_Result auth_refuse(struct request *r)
{
	/* A node that has not joined yet knows nobody: to ask again helps. */
	if (!r->token && !store_tokens_known(r->h->o.store))
		return reply_error(r, ERR_STARTING);
	if (r->token) {
		stats_add(&r->h->stats.refused_rights, 1);
		return reply_problem(r, 403, "forbidden",
				     "this token has no such right here");
	}
	stats_add(&r->h->stats.refused_tokens, 1);
	return reply_problem(r, 401, "unauthorized",
			     "a token is needed: Authorization: Bearer TOKEN");
}

void auth_end(struct request *r)
{
	store_token_done(r->token);
	r->token = NULL;
}
