/*
 * httpd/field.h - the header fields that need parsing. Pure functions.
 */
#ifndef HTTPD_FIELD_H
#define HTTPD_FIELD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum { FIELD_TAGS_MAX = 16 };

/* An If-Match or If-None-Match field. */
struct field_tags {
	bool given; /* the field was there                                   */
	bool any;   /* "*"                                                   */
	uint32_t count;
	uint32_t weak; /* bit i: revs[i] came as a weak tag                   */
	uint64_t revs[FIELD_TAGS_MAX]; /* UINT64_MAX: no revision's tag      */
};

/*
 * Parse `*` or a list of entity tags. ERR_INVALID: not a list of tags, or
 * more than FIELD_TAGS_MAX.
 */
MUST_CHECK enum err field_parse_tags(const char *text, struct field_tags *t);

/* Whether rev is among the tags; strong: weak tags do not count. */
bool field_tags_have(const struct field_tags *t, uint64_t rev, bool strong);

enum field_range_result {
	FIELD_RANGE_WHOLE,	   /* none, malformed or several: send all   */
	FIELD_RANGE_PART,	   /* *first .. *first + *count - 1          */
	FIELD_RANGE_UNSATISFIABLE, /* 416                                    */
};

/* Resolve a Range field (NULL: none) against a value of bytes bytes. */
enum field_range_result field_parse_range(const char *text, uint64_t bytes,
					  uint64_t *first, uint64_t *count);

/* Whether a list field such as Accept names token, with q above 0. */
bool field_lists(const char *text, const char *token);

/* Write the RFC 9110 date of wall_ns to text (30 bytes with its NUL). */
void field_format_date(uint64_t wall_ns, char text[30]);

#endif
