/*
 * httpd/json.h - JSON in, strictly; JSON out, by hand.
 *
 * Incoming text is checked by our own scanner before json-c builds a tree
 * from it: json-c's strict mode still takes NaN, raw control characters and
 * duplicate names. Outgoing text is appended to a struct buf.
 * Pure functions; a tree belongs to its caller.
 */
#ifndef HTTPD_JSON_H
#define HTTPD_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct json_object;

enum { JSON_DEPTH_MAX = 32 };

/*
 * Parse text as one JSON value. *tree is released with json_object_put.
 * ERR_INVALID: not JSON by RFC 8259, not UTF-8, a lone surrogate, a NUL in a
 * name, a name twice in one object, deeper than JSON_DEPTH_MAX. ERR_NOMEM.
 */
MUST_CHECK enum err json_parse(struct bytes text, struct json_object **tree);

/*
 * The common body {"value":"..."} whose string has no escapes: true, and
 * *value is a view into text. False: use json_parse.
 */
bool json_plain_value(struct bytes text, struct bytes *value);

/* Whether all members of the object o are in names, a list that NULL ends. */
bool json_has_only(struct json_object *o, const char *const *names);

/*
 * The string member name of the object o, if it has one of at most bytes_max
 * bytes and without a NUL in it; else NULL. Valid as long as o.
 */
const char *json_text(struct json_object *o, const char *name,
		      size_t bytes_max);

/* Whether p is well-formed UTF-8 (no surrogates, nothing over U+10FFFF). */
bool json_is_utf8(struct bytes p);

/* Append p as a JSON string with its quotes; p must be UTF-8. ERR_NOMEM. */
MUST_CHECK enum err json_add_string(struct buf *b, struct bytes p);

/* Append p in base64 with padding, as a JSON string. ERR_NOMEM. */
MUST_CHECK enum err json_add_base64(struct buf *b, struct bytes p);

/*
 * Append `"NAME":"..."`, and if p is not UTF-8 its base64 followed by
 * `,"ENCODING":"base64"`. ERR_NOMEM.
 */
MUST_CHECK enum err json_add_member(struct buf *b, const char *name,
				    const char *encoding, struct bytes p);

/*
 * Decode base64 (padded, no spaces, no stray bits) onto the end of b.
 * ERR_INVALID, ERR_NOMEM: b keeps what it held.
 */
MUST_CHECK enum err json_decode_base64(struct bytes text, struct buf *b);

#endif
