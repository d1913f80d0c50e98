/*
 * ctl/pages.h - listing keys, one page in memory at a time.
 */
#ifndef CTL_PAGES_H
#define CTL_PAGES_H

#include <json-c/json.h>

#include "ctl/ctl.h"

enum { PAGE_KEYS_MAX = 1000 };

struct pages {
	/* what is wanted; NULL: no bound */
	const char *prefix, *start, *end, *delimiter;
	bool reverse;
	bool values;   /* of up to 64 KiB, in the listing itself              */
	uint64_t left; /* keys and folded prefixes still wanted              */
	bool more;     /* there is another page                              */
	struct buf after; /* where it begins                                 */
};

/* Before the first page: all keys, of which what the fields above say. */
void pages_begin(struct pages *p);
void pages_done(struct pages *p);

/*
 * The next page as the server gives it: "keys" is an array, "prefixes" one or
 * missing. Released by the caller. Otherwise it has been said why not.
 */
enum ctl_exit pages_next(const struct ctl *c, struct pages *p,
			 struct json_object **page);

/* A member that is a number, 0 when absent. */
uint64_t pages_number(struct json_object *obj, const char *name);

/* The array member name of page, or NULL. Valid as long as page. */
struct json_object *pages_array(struct json_object *page, const char *name);

#endif
