/*
 * httpd/target.c - taking the request target apart.
 *
 *	/a/b%20c?raw&ttl=30s     origin form
 *	http://host/a/b?raw      absolute form: scheme and host are skipped
 *
 * The path is decoded as a whole and routed afterwards, so /%5F/kv and /_/kv
 * are one place, as RFC 3986 has it; a proxy that normalises escapes cannot
 * change what a request means. A '+' in the path is a plus. In the query it
 * is a space, as every form library writes it.
 */
#include "httpd/target.h"

#include <strings.h>

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

enum err target_decode(uint8_t *p, size_t *n, bool plus)
{
	size_t out = 0;

	for (size_t i = 0; i < *n; i++) {
		int high, low;

		if (p[i] == '+' && plus) {
			p[out++] = ' ';
			continue;
		}
		if (p[i] != '%') {
			p[out++] = p[i];
			continue;
		}
		if (*n - i < 3)
			return ERR_INVALID;
		high = hex_digit(p[i + 1]);
		low = hex_digit(p[i + 2]);
		if (high < 0 || low < 0)
			return ERR_INVALID;
		p[out++] = (uint8_t)(high << 4 | low);
		i += 2;
	}
	*n = out;
	return OK;
}

/* Skip "http://host:port" of an absolute form. */
static enum err skip_authority(struct bytes *raw)
{
	static const char *const schemes[] = { "http://", "https://" };

	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(schemes[i]);
		size_t at;

		if (raw->n < n ||
		    strncasecmp((const char *)raw->p, schemes[i], n) != 0)
			continue;
		for (at = n; at < raw->n; at++)
			if (raw->p[at] == '/')
				break;
		if (at == raw->n || at == n)
			return ERR_INVALID;
		raw->p += at;
		raw->n -= at;
		return OK;
	}
	return ERR_INVALID;
}

enum err target_split(struct bytes raw, struct bytes *path, struct bytes *query)
{
	const uint8_t *mark;
	enum err err;

	for (size_t i = 0; i < raw.n; i++)
		if (raw.p[i] <= ' ' || raw.p[i] == 0x7f || raw.p[i] == '#')
			return ERR_INVALID;
	if (raw.n == 0)
		return ERR_INVALID;
	if (raw.p[0] != '/') {
		err = skip_authority(&raw);
		if (err)
			return err;
	}
	raw.p++;
	raw.n--;
	mark = raw.n ? memchr(raw.p, '?', raw.n) : NULL;
	if (!mark) {
		*path = raw;
		*query = bytes_of(NULL, 0);
		return OK;
	}
	*path = bytes_of(raw.p, (size_t)(mark - raw.p));
	*query = bytes_of(mark + 1, raw.n - path->n - 1);
	return OK;
}

enum err target_parse_u64(struct bytes text, uint64_t *value)
{
	uint64_t v = 0;

	if (text.n == 0)
		return ERR_INVALID;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return ERR_INVALID;
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, text.p[i] - '0', &v))
			return ERR_INVALID;
	}
	*value = v;
	return OK;
}

static enum err unit_ns(struct bytes unit, uint64_t *ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "", 1000000000ull },	   { "ms", 1000000ull },
		{ "s", 1000000000ull },	   { "m", 60000000000ull },
		{ "h", 3600000000000ull }, { "d", 86400000000000ull },
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (bytes_equal(unit, bytes_str(units[i].name))) {
			*ns = units[i].ns;
			return OK;
		}
	}
	return ERR_INVALID;
}

static enum err parse_span(struct bytes text, uint64_t *ns)
{
	const uint64_t max = 36525ull * 864 * 1000000000ull * 100;
	uint64_t whole = 0, unit, parts = 0, scale = 1, total;
	size_t i = 0, dot;

	while (i < text.n && text.p[i] >= '0' && text.p[i] <= '9')
		i++;
	if (target_parse_u64(bytes_of(text.p, i), &whole))
		return ERR_INVALID;
	if (i < text.n && text.p[i] == '.') {
		dot = ++i;
		for (; i < text.n && text.p[i] >= '0' && text.p[i] <= '9';
		     i++) {
			if (i - dot >= 9)
				return ERR_INVALID;
			parts = parts * 10 + (text.p[i] - '0');
			scale *= 10;
		}
		if (i == dot)
			return ERR_INVALID;
	}
	if (unit_ns(bytes_of(text.p + i, text.n - i), &unit))
		return ERR_INVALID;
	if (__builtin_mul_overflow(whole, unit, &total) || total > max)
		return ERR_INVALID;
	total += (uint64_t)((__uint128_t)parts * unit / scale);
	if (total > max)
		return ERR_INVALID;
	*ns = total;
	return OK;
}

enum err target_parse_span(struct bytes text, uint64_t *ns)
{
	uint64_t span_ns;

	if (parse_span(text, &span_ns) || span_ns == 0)
		return ERR_INVALID;
	*ns = span_ns;
	return OK;
}

static enum err parse_flag(struct bytes text, bool *flag)
{
	if (text.n == 0 || bytes_equal(text, bytes_str("1")) ||
	    bytes_equal(text, bytes_str("true"))) {
		*flag = true;
		return OK;
	}
	if (bytes_equal(text, bytes_str("0")) ||
	    bytes_equal(text, bytes_str("false"))) {
		*flag = false;
		return OK;
	}
	return ERR_INVALID;
}

static enum err parse_consistency(struct bytes text,
				  enum target_consistency *consistency)
{
	if (bytes_equal(text, bytes_str("linearizable")))
		*consistency = TARGET_LINEARIZABLE;
	else if (bytes_equal(text, bytes_str("lease")))
		*consistency = TARGET_LEASE;
	else if (bytes_equal(text, bytes_str("stale")))
		*consistency = TARGET_STALE;
	else
		return ERR_INVALID;
	return OK;
}

static enum err parse_limit(struct bytes text, struct target_query *q)
{
	uint64_t v;

	if (target_parse_u64(text, &v) || v == 0)
		return ERR_INVALID;
	q->limit = v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
	q->has_limit = true;
	return OK;
}

/* Keys never hold a NUL, so bounds with one are a mistake. */
static enum err parse_bound(struct bytes text, struct bytes *bound)
{
	if (text.n && memchr(text.p, 0, text.n))
		return ERR_INVALID;
	*bound = text;
	return OK;
}

enum name {
	NAME_RAW,
	NAME_TTL,
	NAME_CONSISTENCY,
	NAME_WATCH,
	NAME_AFTER,
	NAME_WAIT,
	NAME_PREFIX,
	NAME_START,
	NAME_END,
	NAME_LIMIT,
	NAME_DELIMITER,
	NAME_REVERSE,
	NAME_VALUES,
	NAME_ALL,
	NAME_APPEND,
	NAME_FORCE,
	NAME_COUNT
};

static const char *const names[NAME_COUNT] = {
	"raw",	  "ttl",   "consistency", "watch", "after",	"wait",
	"prefix", "start", "end",	  "limit", "delimiter", "reverse",
	"values", "all",   "append",	  "force",
};

static enum err take_parameter(struct target_query *q, enum name name,
			       struct bytes value)
{
	switch (name) {
	case NAME_RAW:
		return parse_flag(value, &q->raw);
	case NAME_TTL:
		return target_parse_span(value, &q->ttl_ns);
	case NAME_CONSISTENCY:
		return parse_consistency(value, &q->consistency);
	case NAME_WATCH:
		return parse_flag(value, &q->watch);
	case NAME_AFTER:
		q->after = value;
		q->has_after = true;
		return OK;
	case NAME_WAIT:
		q->has_wait = true;
		return parse_span(value, &q->wait_ns); /* 0: only ask */
	case NAME_PREFIX:
		q->has_prefix = true;
		return parse_bound(value, &q->prefix);
	case NAME_START:
		return parse_bound(value, &q->start);
	case NAME_END:
		return parse_bound(value, &q->end);
	case NAME_LIMIT:
		return parse_limit(value, q);
	case NAME_DELIMITER:
		return parse_bound(value, &q->delimiter);
	case NAME_REVERSE:
		return parse_flag(value, &q->reverse);
	case NAME_VALUES:
		return parse_flag(value, &q->values);
	case NAME_ALL:
		return parse_flag(value, &q->all);
	case NAME_APPEND:
		return parse_flag(value, &q->append);
	case NAME_FORCE:
		return parse_flag(value, &q->force);
	case NAME_COUNT:
		break;
	}
	return ERR_INVALID;
}

static enum err take_pair(uint8_t *p, size_t n, struct target_query *q,
			  uint32_t *seen, const char **why)
{
	uint8_t *equals = memchr(p, '=', n);
	size_t name_n = equals ? (size_t)(equals - p) : n;
	uint8_t *value = equals ? equals + 1 : p + n;
	size_t value_n = (size_t)(p + n - value);

	*why = "percent escape";
	if (target_decode(p, &name_n, true) ||
	    target_decode(value, &value_n, true))
		return ERR_INVALID;
	for (int i = 0; i < NAME_COUNT; i++) {
		if (!bytes_equal(bytes_of(p, name_n), bytes_str(names[i])))
			continue;
		*why = names[i];
		if (*seen & 1u << i)
			return ERR_INVALID;
		*seen |= 1u << i;
		return take_parameter(q, (enum name)i,
				      bytes_of(value, value_n));
	}
	return OK;
}

enum err target_parse_query(uint8_t *text, size_t n, struct target_query *q,
			    const char **why)
{
	uint32_t seen = 0;

	*q = (struct target_query){ 0 };
	while (n) {
		uint8_t *end = memchr(text, '&', n);
		size_t pair_n = end ? (size_t)(end - text) : n;
		enum err err;

		if (pair_n) {
			err = take_pair(text, pair_n, q, &seen, why);
			if (err)
				return err;
		}
		if (!end)
			break;
		text += pair_n + 1;
		n -= pair_n + 1;
	}
	return OK;
}
