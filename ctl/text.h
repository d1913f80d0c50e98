/*
 * ctl/text.h - keys and values on their way into URLs, JSON and terminals.
 */
#ifndef CTL_TEXT_H
#define CTL_TEXT_H

#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"

/* Append in, percent-encoded but for unreserved bytes and '/'. ERR_NOMEM. */
MUST_CHECK enum err text_add_escaped(struct buf *b, struct bytes in);

/* Append in as base64. ERR_NOMEM. */
MUST_CHECK enum err text_add_base64(struct buf *b, struct bytes in);

/* Append what base64 text stands for. ERR_INVALID: it is none; ERR_NOMEM. */
MUST_CHECK enum err text_add_unbase64(struct buf *b, const char *text,
				      size_t n);

/* True if in is well-formed UTF-8 without NUL. */
bool text_is_utf8(struct bytes in);

/*
 * obj[name] = in as a string; bytes that are not UTF-8 as base64 beside
 * obj[encoding_name] = "base64". False: out of memory.
 */
bool text_add_json(struct json_object *obj, const char *name,
		   const char *encoding_name, struct bytes in);

/*
 * The bytes of member name of obj, decoded if encoding_name says base64.
 * False: no such member, or not a string.
 */
bool text_from_json(struct json_object *obj, const char *name,
		    const char *encoding_name, struct buf *out);

/* The 32 digits of a cluster's id. */
void text_hex(const uint8_t id[16], char text[33]);

/* Print obj on one line of stdout and release it. */
void text_print_json(struct json_object *obj);

/* Print in; on a terminal control bytes are shown as \xNN. */
void text_print(FILE *to, struct bytes in);

/*
 * "30s", "250ms", "5m" or plain seconds -> ms. ERR_INVALID: *ms untouched.
 */
MUST_CHECK enum err text_parse_span(const char *text, uint64_t *ms);

/* "64M" (K M G, of 1024 each) or plain bytes. ERR_INVALID: *n untouched. */
MUST_CHECK enum err text_parse_bytes(const char *text, uint64_t *n);

#endif
