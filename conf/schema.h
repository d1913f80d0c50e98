/*
 * conf/schema.h - private to conf/: the rows of the schema and their values.
 *
 * Every value has one text form, what stands between '=' and ';' in a file
 * with the quotes taken off. Loading, flags, defaults and printing all go
 * through value_parse and value_format, so that they cannot disagree.
 */
#ifndef CONF_SCHEMA_H
#define CONF_SCHEMA_H

#include "conf/conf.h"

enum conf_type {
	CONF_TEXT,    /* string                                              */
	CONF_NAME,    /* string of letters, digits, '.', '_', '-'            */
	CONF_PATH,    /* string                                              */
	CONF_SIZE,    /* string, bytes with K M G T                          */
	CONF_TIME,    /* string, with ms s m h d                             */
	CONF_COUNT,   /* integer                                             */
	CONF_RATIO,   /* number, 0..1                                        */
	CONF_BOOL,    /* true, false                                         */
	CONF_CHOICE,  /* string, one of                                      */
	CONF_WINDOW,  /* string, "HH:MM-HH:MM"                               */
	CONF_MODE,    /* string, octal                                       */
	CONF_ADDR,    /* string, "HOST:PORT"                                 */
	CONF_ADDRS,   /* array of the same                                   */
	CONF_MEMBERS, /* list of groups                                      */
};

struct conf_key {
	const char *name; /* dotted path                                     */
	enum conf_type type;
	uint32_t off;	/* of the field in struct conf                       */
	uint32_t bytes; /* size of the field                                 */
	const char *default_text;
	uint64_t min, max;	   /* SIZE, TIME (ms), COUNT, MODE           */
	const char *const *choice; /* CHOICE: names by value, NULL at the end */
	bool reloadable;
	const char *help;
};

/* The rows, in the order in which --print-config shows them. */
extern const struct conf_key conf_schema[];
extern const uint32_t conf_schema_count;

/* The row named name, or NULL. */
const struct conf_key *schema_find(const char *name);

/* True if name is a group that has keys or groups below it. */
bool schema_is_group(const char *name);

/* The known key (or group, when group) whose name is nearest to name. */
const char *schema_nearest(const char *name, bool group, char *room,
			   size_t room_bytes);

/* Where key's origin is kept in c. */
struct conf_origin *schema_origin(struct conf *c, const struct conf_key *key);

/*
 * Parse text for key into its field of c. ERR_INVALID: *c unchanged and why
 * (of why_bytes) says what is wrong, without the key's name.
 * CONF_ADDRS: adds one address. CONF_MEMBERS: not a text, ERR_INVALID.
 */
MUST_CHECK enum err value_parse(struct conf *c, const struct conf_key *key,
				const char *text, char *why, size_t why_bytes);

/* Append the value as a file would say it, with quotes. ERR_NOMEM. */
MUST_CHECK enum err value_format(const struct conf *c,
				 const struct conf_key *key, struct buf *out);

/* Parse "HOST:PORT". ERR_INVALID: why is set. */
MUST_CHECK enum err value_parse_addr(const char *text, struct conf_addr *addr,
				     char *why, size_t why_bytes);

/* Parse a name of at most name_bytes - 1. ERR_INVALID: why is set. */
MUST_CHECK enum err value_parse_name(const char *text, char *name,
				     uint32_t name_bytes, char *why,
				     size_t why_bytes);

#endif
