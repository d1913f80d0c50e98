/*
 * node/roster.h - a list of members, and small fields on the wire and on disk.
 *
 * Thread: any; pure functions.
 */
#ifndef NODE_ROSTER_H
#define NODE_ROSTER_H

#include "base/bytes.h"
#include "conf/conf.h"
#include "store/store.h"

enum { ROSTER_MAX = CONF_MEMBERS_MAX };

struct roster {
	uint32_t count;
	struct store_member member[ROSTER_MAX];
};

/* What cluster.members says; ids are the places in the list, from 1. */
void roster_of_conf(const struct conf_members *list, struct roster *r);

/* Same names and addresses in the same order; ids do not matter. */
bool roster_equal(const struct roster *a, const struct roster *b);

/* The member with that name, or NULL. */
const struct store_member *roster_find(const struct roster *r,
				       const char *name);

/* Append "n1=10.0.0.1:7080 n2=...", for people. ERR_NOMEM. */
MUST_CHECK enum err roster_text(const struct roster *r, struct buf *out);

/* "host:port" as conf has it, in brackets where it must be. */
void roster_address(const struct conf_addr *a,
		    char out[STORE_ADDRESS_BYTES_MAX]);

/* Append r. ERR_NOMEM. */
MUST_CHECK enum err roster_encode(struct buf *b, const struct roster *r);

/* Take a roster off *in. ERR_INVALID. */
MUST_CHECK enum err roster_decode(struct bytes *in, struct roster *r);

/* Append a text with its length in front. ERR_NOMEM. */
MUST_CHECK enum err field_put_text(struct buf *b, const char *text);

/*
 * Take one off *in, NUL-terminated into out. ERR_INVALID: too long for
 * out_bytes, cut short, or not printable.
 */
MUST_CHECK enum err field_take_text(struct bytes *in, char *out,
				    size_t out_bytes);

/* Take n bytes off *in. ERR_INVALID: there are fewer. */
MUST_CHECK enum err field_take(struct bytes *in, void *out, size_t n);

#endif
