/*
 * conf/value.c - a setting's text to its value and back.
 *
 *   size    digits, then nothing or K M G T (powers of 1024)
 *   time    digits, then ms s m h d; only "0" may go without
 *   window  HH:MM-HH:MM, 24:00 is the end of the day
 *   mode    octal digits
 *   addr    NAME:PORT, 1.2.3.4:PORT, [::1]:PORT
 *
 * value_format prints the one shortest form: what it prints parses back to
 * the same value (tests/conf/test_conf.c proves it for random values).
 */
#include "conf/schema.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* Where a message goes: a caller's array. */
struct why {
	char *text;
	size_t bytes;
};

static enum err invalid(struct why why, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static enum err invalid(struct why why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why.text, why.bytes, fmt, ap);
	va_end(ap);
	return ERR_INVALID;
}

/* Decimal digits from text on; *end after them. False: none or too many. */
static bool parse_digits(const char *text, uint64_t *n, const char **end)
{
	const char *p = text;

	*n = 0;
	for (; isdigit((unsigned char)*p); p++) {
		if (__builtin_mul_overflow(*n, 10, n) ||
		    __builtin_add_overflow(*n, (uint64_t)(*p - '0'), n))
			return false;
	}
	*end = p;
	return p > text;
}

struct unit {
	const char *name;
	uint64_t factor;
};

/* Largest first: formatting takes the first that divides. */
static const struct unit size_units[] = {
	{ "T", 1ull << 40 }, { "G", 1ull << 30 }, { "M", 1ull << 20 },
	{ "K", 1ull << 10 }, { "", 1 },		  { NULL, 0 },
};
static const struct unit time_units[] = {
	{ "d", 86400000 }, { "h", 3600000 }, { "m", 60000 },
	{ "s", 1000 },	   { "ms", 1 },	     { NULL, 0 },
};

static bool parse_units(const char *text, const struct unit *units, uint64_t *n)
{
	const char *end;

	if (!parse_digits(text, n, &end))
		return false;
	if (*n == 0 && *end == '\0')
		return true;
	for (; units->name; units++) {
		if (strcmp(units->name, end) == 0)
			return !__builtin_mul_overflow(*n, units->factor, n);
	}
	return false;
}

/* "64M": the shortest exact form. room: 32 bytes. */
static const char *format_units(uint64_t n, const struct unit *units,
				char *room)
{
	if (n == 0)
		return "0";
	while (n % units->factor)
		units++;
	snprintf(room, 32, "%llu%s", (unsigned long long)(n / units->factor),
		 units->name);
	return room;
}

static enum err check_range(const struct conf_key *key,
			    const struct unit *units, const char *text,
			    uint64_t n, struct why why)
{
	char room[32];

	if (n < key->min)
		return invalid(why, "\"%s\" is too small: at least \"%s\"",
			       text, format_units(key->min, units, room));
	if (n > key->max)
		return invalid(why, "\"%s\" is too large: at most \"%s\"", text,
			       format_units(key->max, units, room));
	return OK;
}

static enum err parse_size(const struct conf_key *key, const char *text,
			   uint64_t *n, struct why why)
{
	if (!parse_units(text, size_units, n))
		return invalid(why,
			       "\"%s\" is not a size: write \"64M\" (K M G T), "
			       "or \"100\" for bytes",
			       text);
	return check_range(key, size_units, text, *n, why);
}

static enum err parse_time(const struct conf_key *key, const char *text,
			   uint64_t *ms, struct why why)
{
	if (!parse_units(text, time_units, ms))
		return invalid(why,
			       "\"%s\" is not a time: write \"250ms\" "
			       "(ms s m h d)",
			       text);
	return check_range(key, time_units, text, *ms, why);
}

static enum err parse_count(const struct conf_key *key, const char *text,
			    uint32_t *count, struct why why)
{
	const char *end;
	uint64_t n;

	if (!parse_digits(text, &n, &end) || *end)
		return invalid(why, "\"%s\" is not a whole number", text);
	if (n < key->min || n > key->max)
		return invalid(why, "%s is out of range: %llu to %llu", text,
			       (unsigned long long)key->min,
			       (unsigned long long)key->max);
	*count = (uint32_t)n;
	return OK;
}

static enum err parse_ratio(const char *text, double *ratio, struct why why)
{
	char *end;
	double d = strtod(text, &end);

	if (end == text || *end || !isfinite(d))
		return invalid(why, "\"%s\" is not a number", text);
	if (d < 0 || d > 1)
		return invalid(why, "%s is out of range: 0 to 1", text);
	*ratio = d;
	return OK;
}

static enum err parse_choice(const struct conf_key *key, const char *text,
			     uint32_t *choice, struct why why)
{
	char list[128] = "";

	for (uint32_t i = 0; key->choice[i]; i++) {
		size_t n = strlen(list);

		if (strcmp(key->choice[i], text) == 0) {
			*choice = i;
			return OK;
		}
		snprintf(list + n, sizeof(list) - n, "%s\"%s\"", i ? ", " : "",
			 key->choice[i]);
	}
	return invalid(why, "\"%s\" is not one of %s", text, list);
}

/* Exactly two digits. */
static bool parse_two(const char *p, uint32_t *n)
{
	if (!isdigit((unsigned char)p[0]) || !isdigit((unsigned char)p[1]))
		return false;
	*n = (uint32_t)((p[0] - '0') * 10 + p[1] - '0');
	return true;
}

static bool parse_minute(const char *p, uint32_t *minute)
{
	uint32_t h, m;

	if (!parse_two(p, &h) || p[2] != ':' || !parse_two(p + 3, &m))
		return false;
	*minute = h * 60 + m;
	return m < 60 && *minute <= 24 * 60;
}

static enum err parse_window(const char *text, struct conf_window *w,
			     struct why why)
{
	if (strlen(text) != 11 || text[5] != '-' ||
	    !parse_minute(text, &w->start_min) ||
	    !parse_minute(text + 6, &w->end_min))
		return invalid(why,
			       "\"%s\" is not a window of the day: write "
			       "\"22:00-06:00\"",
			       text);
	return OK;
}

static enum err parse_mode(const struct conf_key *key, const char *text,
			   uint32_t *mode, struct why why)
{
	unsigned long n = strtoul(text, NULL, 8);

	if (!*text || strlen(text) > 8 ||
	    strspn(text, "01234567") != strlen(text) || n > key->max)
		return invalid(why,
			       "\"%s\" is not a mode: write it octal, \"0644\"",
			       text);
	*mode = (uint32_t)n;
	return OK;
}

static bool is_host(const char *host)
{
	struct in_addr v4;

	if (strspn(host, "0123456789.") == strlen(host))
		return inet_pton(AF_INET, host, &v4) == 1;
	for (const char *p = host; *p; p++) {
		if (!isalnum((unsigned char)*p) && !strchr(".-_", *p))
			return false;
	}
	return true;
}

enum err value_parse_addr(const char *text, struct conf_addr *addr,
			  char *why_text, size_t why_bytes)
{
	struct why why = { why_text, why_bytes };
	const char *colon = strrchr(text, ':');
	struct conf_addr a = { 0 };
	struct in6_addr v6;
	const char *host = text, *end;
	uint64_t port;
	size_t n;
	bool bracket = text[0] == '[';

	if (!colon)
		return invalid(why, "\"%s\" has no port: write \"HOST:PORT\"",
			       text);
	if (!parse_digits(colon + 1, &port, &end) || *end || port > 65535)
		return invalid(why, "\"%s\" has no port from 0 to 65535", text);
	n = (size_t)(colon - text);
	if (bracket && n >= 2 && text[n - 1] == ']') {
		host++;
		n -= 2;
	}
	if (n == 0 || n >= sizeof(a.host))
		return invalid(why, "\"%s\" has no host: write \"HOST:PORT\"",
			       text);
	memcpy(a.host, host, n);
	a.port = (uint16_t)port;
	if (bracket ? inet_pton(AF_INET6, a.host, &v6) != 1 : !is_host(a.host))
		return invalid(why,
			       "\"%s\" is not an address: write "
			       "\"127.0.0.1:8080\" or \"[::1]:8080\"",
			       text);
	*addr = a;
	return OK;
}

static enum err parse_text(const struct conf_key *key, const char *text,
			   char *field, struct why why)
{
	size_t n = strlen(text);

	if (n < key->min)
		return invalid(why, "must not be empty");
	if (n >= key->bytes)
		return invalid(why, "is too long: at most %u bytes",
			       key->bytes - 1);
	for (size_t i = 0; i < n; i++) {
		unsigned char ch = (unsigned char)text[i];

		if (key->type == CONF_NAME && !isalnum(ch) &&
		    !strchr("._-", ch))
			return invalid(why,
				       "\"%s\" may only have letters, digits, "
				       "'.', '_' and '-'",
				       text);
		if (ch < 0x20 || ch == 0x7f)
			return invalid(why, "has a control character");
	}
	memset(field, 0, key->bytes);
	memcpy(field, text, n);
	return OK;
}

enum err value_parse_name(const char *text, char *name, uint32_t name_bytes,
			  char *why_text, size_t why_bytes)
{
	const struct conf_key key = {
		.type = CONF_NAME,
		.bytes = name_bytes,
		.min = 1,
	};
	struct why why = { why_text, why_bytes };

	return parse_text(&key, text, name, why);
}

static enum err parse_bool(const char *text, bool *b, struct why why)
{
	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
		return invalid(why, "\"%s\" is not true or false", text);
	*b = text[0] == 't';
	return OK;
}

static enum err add_addr(struct conf_addrs *list, const char *text,
			 struct why why)
{
	enum err err;

	if (list->count == CONF_LISTEN_MAX)
		return invalid(why, "has more than %d addresses",
			       CONF_LISTEN_MAX);
	err = value_parse_addr(text, &list->addr[list->count], why.text,
			       why.bytes);
	if (!err)
		list->count++;
	return err;
}

enum err value_parse(struct conf *c, const struct conf_key *key,
		     const char *text, char *why_text, size_t why_bytes)
{
	struct why why = { why_text, why_bytes };
	void *field = (char *)c + key->off;
	enum err err = ERR_INVALID;
	/* Scratch for one value: a failed parse leaves the field alone. */
	union {
		uint64_t u64;
		uint32_t u32;
		double d;
		bool b;
		struct conf_window window;
		struct conf_addr addr;
	} v;

	memset(&v, 0, sizeof(v));
	switch (key->type) {
	case CONF_TEXT:
	case CONF_NAME:
	case CONF_PATH:
		return parse_text(key, text, field, why);
	case CONF_ADDRS:
		return add_addr(field, text, why);
	case CONF_MEMBERS:
		return invalid(why, "is a list: write it in a file");
	case CONF_SIZE:
		err = parse_size(key, text, &v.u64, why);
		break;
	case CONF_TIME:
		err = parse_time(key, text, &v.u64, why);
		break;
	case CONF_COUNT:
		err = parse_count(key, text, &v.u32, why);
		break;
	case CONF_RATIO:
		err = parse_ratio(text, &v.d, why);
		break;
	case CONF_BOOL:
		err = parse_bool(text, &v.b, why);
		break;
	case CONF_CHOICE:
		err = parse_choice(key, text, &v.u32, why);
		break;
	case CONF_WINDOW:
		err = parse_window(text, &v.window, why);
		break;
	case CONF_MODE:
		err = parse_mode(key, text, &v.u32, why);
		break;
	case CONF_ADDR:
		err = value_parse_addr(text, &v.addr, why.text, why.bytes);
		break;
	}
	if (err)
		return err;
	CHECK(key->bytes <= sizeof(v));
	memcpy(field, &v, key->bytes);
	return OK;
}

/* Append text between quotes, escaped for libconfig. ERR_NOMEM. */
static enum err value_format_text(const char *text, struct buf *out)
{
	enum err err = buf_add(out, "\"", 1);

	for (; !err && *text; text++) {
		if (*text == '"' || *text == '\\')
			err = buf_add(out, "\\", 1);
		if (!err)
			err = buf_add(out, text, 1);
	}
	return err ? err : buf_add(out, "\"", 1);
}

static enum err format_addr(const struct conf_addr *a, struct buf *out)
{
	const char *form = strchr(a->host, ':') ? "\"[%s]:%u\"" : "\"%s:%u\"";

	CHECK(a->host[0]);
	return buf_addf(out, form, a->host, a->port);
}

static enum err format_addrs(const struct conf_addrs *list, struct buf *out)
{
	enum err err = buf_addf(out, "[ ");

	for (uint32_t i = 0; !err && i < list->count; i++) {
		if (i)
			err = buf_addf(out, ", ");
		if (!err)
			err = format_addr(&list->addr[i], out);
	}
	return err ? err : buf_addf(out, " ]");
}

static enum err format_member(const struct conf_member *m, struct buf *out)
{
	enum err err = buf_addf(out, "{ name = \"%s\"; peer = ", m->name);

	if (!err)
		err = format_addr(&m->peer, out);
	if (!err)
		err = buf_addf(out, "; http = ");
	if (!err)
		err = format_addr(&m->http, out);
	return err ? err : buf_addf(out, "; }");
}

static enum err format_members(const struct conf_members *list, struct buf *out)
{
	enum err err = buf_addf(out, "( ");

	for (uint32_t i = 0; !err && i < list->count; i++) {
		if (i)
			err = buf_addf(out, ", ");
		if (!err)
			err = format_member(&list->member[i], out);
	}
	return err ? err : buf_addf(out, " )");
}

/* The shortest digits that read back as exactly d, always with a point. */
static enum err format_ratio(double d, struct buf *out)
{
	char room[40];

	for (int digits = 1; digits <= 17; digits++) {
		snprintf(room, sizeof(room), "%.*g", digits, d);
		if (strtod(room, NULL) == d)
			break;
	}
	return buf_addf(out, "%s%s", room, strpbrk(room, ".e") ? "" : ".0");
}

enum err value_format(const struct conf *c, const struct conf_key *key,
		      struct buf *out)
{
	const void *field = (const char *)c + key->off;
	const struct conf_window *w = field;
	char room[32];

	switch (key->type) {
	case CONF_TEXT:
	case CONF_NAME:
	case CONF_PATH:
		return value_format_text(field, out);
	case CONF_SIZE:
		return buf_addf(out, "\"%s\"",
				format_units(*(const uint64_t *)field,
					     size_units, room));
	case CONF_TIME:
		return buf_addf(out, "\"%s\"",
				format_units(*(const uint64_t *)field,
					     time_units, room));
	case CONF_COUNT:
		return buf_addf(out, "%u", *(const uint32_t *)field);
	case CONF_RATIO:
		return format_ratio(*(const double *)field, out);
	case CONF_BOOL:
		return buf_addf(out, "%s",
				*(const bool *)field ? "true" : "false");
	case CONF_CHOICE:
		return buf_addf(out, "\"%s\"",
				key->choice[*(const uint32_t *)field]);
	case CONF_WINDOW:
		return buf_addf(out, "\"%02u:%02u-%02u:%02u\"",
				w->start_min / 60, w->start_min % 60,
				w->end_min / 60, w->end_min % 60);
	case CONF_MODE:
		return buf_addf(out, "\"%04o\"", *(const uint32_t *)field);
	case CONF_ADDR:
		return format_addr(field, out);
	case CONF_ADDRS:
		return format_addrs(field, out);
	case CONF_MEMBERS:
		return format_members(field, out);
	}
	return OK;
}
