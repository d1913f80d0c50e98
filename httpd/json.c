/*
 * httpd/json.c - the strict JSON scanner, the writer, base64.
 *
 * The scanner walks the text once by RFC 8259 and counts the members of all
 * objects. json-c then builds the tree; it merges members of the same name,
 * so a tree with fewer members than the text had tells of a duplicate, also
 * where one spelling used escapes. A NUL in a name is refused, for json-c
 * keeps names as C strings and would take "value\u0000x" for "value".
 */
#include "httpd/json.h"

#include <json-c/json.h>

struct scanner {
	const uint8_t *p, *end;
	uint64_t member_count;
};

static void skip_space(struct scanner *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' ||
				 *s->p == '\n' || *s->p == '\r'))
		s->p++;
}

/* Length of the UTF-8 sequence at p, 0 if it is none. */
static size_t utf8_sequence(const uint8_t *p, const uint8_t *end)
{
	size_t n;
	uint32_t c;

	if (*p < 0x80)
		return 1;
	if (*p < 0xc2 || *p > 0xf4)
		return 0;
	n = *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
	if ((size_t)(end - p) < n)
		return 0;
	c = *p & (0x7f >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (n == 3 && (c < 0x800 || (c >= 0xd800 && c <= 0xdfff)))
		return 0;
	if (n == 4 && (c < 0x10000 || c > 0x10ffff))
		return 0;
	return n;
}

/*
 * How many bytes from p on are ASCII that stands for itself in a JSON string,
 * eight at a time: no control, quote, backslash or byte from 0x80 up.
 */
static size_t plain_run(const uint8_t *p, const uint8_t *end)
{
	const uint64_t ones = 0x0101010101010101ull, high = ones << 7;
	const uint8_t *start = p;

	while (end - p >= 8) {
		uint64_t w = get_u64(p);
		uint64_t quote = w ^ ones * '"', slash = w ^ ones * '\\';
		uint64_t bad = w | (w - ones * 0x20) |
			       ((quote - ones) & ~quote) |
			       ((slash - ones) & ~slash);

		if (bad & high)
			break;
		p += 8;
	}
	while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
		p++;
	return (size_t)(p - start);
}

bool json_is_utf8(struct bytes b)
{
	const uint8_t *p = b.p, *end = b.p + b.n;

	while (p < end) {
		size_t n;

		if (end - p >= 8 && !(get_u64(p) & 0x8080808080808080ull)) {
			p += 8;
			continue;
		}
		n = utf8_sequence(p, end);
		if (n == 0)
			return false;
		p += n;
	}
	return true;
}

static enum err scan_hex4(struct scanner *s, uint32_t *value)
{
	*value = 0;
	if (s->end - s->p < 4)
		return ERR_INVALID;
	for (int i = 0; i < 4; i++, s->p++) {
		uint8_t c = *s->p;

		*value <<= 4;
		if (c >= '0' && c <= '9')
			*value |= c - '0';
		else if (c >= 'a' && c <= 'f')
			*value |= c - 'a' + 10u;
		else if (c >= 'A' && c <= 'F')
			*value |= c - 'A' + 10u;
		else
			return ERR_INVALID;
	}
	return OK;
}

/* After the backslash. */
static enum err scan_escape(struct scanner *s, bool is_name)
{
	uint32_t high, low;

	if (s->p == s->end)
		return ERR_INVALID;
	if (*s->p != 'u') {
		if (!*s->p || !strchr("\"\\/bfnrt", *s->p))
			return ERR_INVALID;
		s->p++;
		return OK;
	}
	s->p++;
	if (scan_hex4(s, &high))
		return ERR_INVALID;
	if (is_name && high == 0)
		return ERR_INVALID;
	if (high < 0xd800 || high > 0xdfff)
		return OK;
	if (high > 0xdbff || s->end - s->p < 2 || s->p[0] != '\\' ||
	    s->p[1] != 'u')
		return ERR_INVALID;
	s->p += 2;
	if (scan_hex4(s, &low) || low < 0xdc00 || low > 0xdfff)
		return ERR_INVALID;
	return OK;
}

static enum err scan_string(struct scanner *s, bool is_name)
{
	if (s->p == s->end || *s->p != '"')
		return ERR_INVALID;
	s->p++;
	for (;;) {
		size_t n;

		s->p += plain_run(s->p, s->end);
		if (s->p == s->end || *s->p < 0x20)
			return ERR_INVALID;
		if (*s->p == '"') {
			s->p++;
			return OK;
		}
		if (*s->p == '\\') {
			s->p++;
			if (scan_escape(s, is_name))
				return ERR_INVALID;
			continue;
		}
		n = utf8_sequence(s->p, s->end);
		if (n == 0)
			return ERR_INVALID;
		s->p += n;
	}
}

static size_t scan_digits(struct scanner *s)
{
	const uint8_t *start = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return (size_t)(s->p - start);
}

static enum err scan_number(struct scanner *s)
{
	if (s->p < s->end && *s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if (scan_digits(s) == 0)
		return ERR_INVALID;
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		if (scan_digits(s) == 0)
			return ERR_INVALID;
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if (scan_digits(s) == 0)
			return ERR_INVALID;
	}
	return OK;
}

static enum err scan_word(struct scanner *s, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return ERR_INVALID;
	s->p += n;
	return OK;
}

static enum err scan_value(struct scanner *s, int depth);

/* Members or elements up to the closing byte. */
static enum err scan_container(struct scanner *s, int depth, bool is_object)
{
	const uint8_t close = is_object ? '}' : ']';

	s->p++;
	skip_space(s);
	if (s->p < s->end && *s->p == close) {
		s->p++;
		return OK;
	}
	for (;;) {
		skip_space(s);
		if (is_object) {
			s->member_count++;
			if (scan_string(s, true))
				return ERR_INVALID;
			skip_space(s);
			if (s->p == s->end || *s->p++ != ':')
				return ERR_INVALID;
			skip_space(s);
		}
		if (scan_value(s, depth + 1))
			return ERR_INVALID;
		skip_space(s);
		if (s->p == s->end)
			return ERR_INVALID;
		if (*s->p == close) {
			s->p++;
			return OK;
		}
		if (*s->p++ != ',')
			return ERR_INVALID;
	}
}

static enum err scan_value(struct scanner *s, int depth)
{
	if (depth > JSON_DEPTH_MAX || s->p == s->end)
		return ERR_INVALID;
	switch (*s->p) {
	case '{':
		return scan_container(s, depth, true);
	case '[':
		return scan_container(s, depth, false);
	case '"':
		return scan_string(s, false);
	case 't':
		return scan_word(s, "true");
	case 'f':
		return scan_word(s, "false");
	case 'n':
		return scan_word(s, "null");
	default:
		return scan_number(s);
	}
}

static uint64_t count_members(struct json_object *o)
{
	uint64_t n = 0;

	if (json_object_is_type(o, json_type_object)) {
		json_object_object_foreach(o, name, member)
		{
			(void)name;
			n += 1 + count_members(member);
		}
	} else if (json_object_is_type(o, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(o); i++)
			n += count_members(json_object_array_get_idx(o, i));
	}
	return n;
}

enum err json_parse(struct bytes text, struct json_object **tree)
{
	struct scanner s = { .p = text.p, .end = text.p + text.n };
	struct json_tokener *tokener;
	struct json_object *o;
	enum json_tokener_error error;

	skip_space(&s);
	if (scan_value(&s, 1))
		return ERR_INVALID;
	skip_space(&s);
	if (s.p != s.end || text.n > INT32_MAX)
		return ERR_INVALID;
	/* One level more than ours: it counts the scalars inside too. */
	tokener = json_tokener_new_ex(JSON_DEPTH_MAX + 1);
	if (!tokener)
		return ERR_NOMEM;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT |
						JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(tokener, (const char *)text.p, (int)text.n);
	error = json_tokener_get_error(tokener);
	/* A number at the very end might go on, for all the tokener knows. */
	if (error == json_tokener_continue) {
		o = json_tokener_parse_ex(tokener, "", 1);
		error = json_tokener_get_error(tokener);
	}
	json_tokener_free(tokener);
	if (error != json_tokener_success ||
	    count_members(o) != s.member_count) {
		json_object_put(o);
		return ERR_INVALID;
	}
	*tree = o;
	return OK;
}

bool json_plain_value(struct bytes text, struct bytes *value)
{
	struct scanner s = { .p = text.p, .end = text.p + text.n };
	const uint8_t *start;

	skip_space(&s);
	if (s.p == s.end || *s.p++ != '{')
		return false;
	skip_space(&s);
	if (scan_word(&s, "\"value\""))
		return false;
	skip_space(&s);
	if (s.p == s.end || *s.p++ != ':')
		return false;
	skip_space(&s);
	if (s.p == s.end || *s.p++ != '"')
		return false;
	start = s.p;
	while (s.p < s.end) {
		size_t n;

		s.p += plain_run(s.p, s.end);
		if (s.p == s.end || *s.p < 0x80)
			break;
		n = utf8_sequence(s.p, s.end);
		if (n == 0)
			return false;
		s.p += n;
	}
	if (s.p == s.end || *s.p != '"')
		return false;
	*value = bytes_of(start, (size_t)(s.p - start));
	s.p++;
	skip_space(&s);
	if (s.p == s.end || *s.p++ != '}')
		return false;
	skip_space(&s);
	return s.p == s.end;
}

static size_t put_escape(uint8_t *dst, uint8_t c)
{
	static const char digits[] = "0123456789abcdef";
	static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
	const char *at = c ? strchr(from, c) : NULL;

	dst[0] = '\\';
	if (at) {
		dst[1] = (uint8_t)to[at - from];
		return 2;
	}
	memcpy(dst + 1, "u00", 3);
	dst[4] = (uint8_t)digits[c >> 4];
	dst[5] = (uint8_t)digits[c & 15];
	return 6;
}

enum err json_add_string(struct buf *b, struct bytes text)
{
	const uint8_t *p = text.p, *end = text.p + text.n;
	enum err err;

	err = buf_reserve(b, text.n + 2);
	if (err)
		return err;
	b->p[b->n++] = '"';
	while (p < end) {
		size_t n = plain_run(p, end);

		/* Room for this run, one escape and the closing quote. */
		err = buf_reserve(b, (size_t)(end - p) + 8);
		if (err)
			return err;
		memcpy(b->p + b->n, p, n);
		b->n += n;
		p += n;
		if (p == end)
			break;
		if (*p >= 0x80)
			b->p[b->n++] = *p;
		else
			b->n += put_escape(b->p + b->n, *p);
		p++;
	}
	return buf_add(b, "\"", 1);
}

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum err json_add_base64(struct buf *b, struct bytes p)
{
	enum err err;
	uint8_t *out;

	err = buf_reserve(b, (p.n + 2) / 3 * 4 + 2);
	if (err)
		return err;
	out = b->p + b->n;
	*out++ = '"';
	for (size_t i = 0; i < p.n; i += 3) {
		size_t left = p.n - i;
		uint32_t w = (uint32_t)p.p[i] << 16;

		if (left > 1)
			w |= (uint32_t)p.p[i + 1] << 8;
		if (left > 2)
			w |= p.p[i + 2];
		*out++ = (uint8_t)base64_digits[w >> 18];
		*out++ = (uint8_t)base64_digits[w >> 12 & 63];
		*out++ = left > 1 ? (uint8_t)base64_digits[w >> 6 & 63] : '=';
		*out++ = left > 2 ? (uint8_t)base64_digits[w & 63] : '=';
	}
	*out++ = '"';
	b->n = (size_t)(out - b->p);
	return OK;
}

enum err json_add_member(struct buf *b, const char *name, const char *encoding,
			 struct bytes p)
{
	enum err err;

	size_t n = strlen(name);

	err = buf_reserve(b, n + 3);
	if (err)
		return err;
	b->p[b->n] = '"';
	memcpy(b->p + b->n + 1, name, n);
	memcpy(b->p + b->n + 1 + n, "\":", 2);
	b->n += n + 3;
	if (json_is_utf8(p))
		return json_add_string(b, p);
	err = json_add_base64(b, p);
	if (err)
		return err;
	return buf_addf(b, ",\"%s\":\"base64\"", encoding);
}

bool json_has_only(struct json_object *o, const char *const *names)
{
	json_object_object_foreach(o, name, member)
	{
		size_t i = 0;

		(void)member;
		while (names[i] && strcmp(names[i], name) != 0)
			i++;
		if (!names[i])
			return false;
	}
	return true;
}

const char *json_text(struct json_object *o, const char *name, size_t bytes_max)
{
	struct json_object *v;
	size_t n;

	if (!json_object_object_get_ex(o, name, &v) ||
	    !json_object_is_type(v, json_type_string))
		return NULL;
	n = (size_t)json_object_get_string_len(v);
	if (n > bytes_max || strlen(json_object_get_string(v)) != n)
		return NULL;
	return json_object_get_string(v);
}

static int base64_digit(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

enum err json_decode_base64(struct bytes text, struct buf *b)
{
	size_t pad = 0, start = b->n;
	uint8_t *out;
	enum err err;

	if (text.n % 4)
		return ERR_INVALID;
	if (text.n && text.p[text.n - 1] == '=')
		pad = text.p[text.n - 2] == '=' ? 2 : 1;
	err = buf_reserve(b, text.n / 4 * 3 + 1);
	if (err)
		return err;
	out = b->p + start;
	for (size_t i = 0; i < text.n; i += 4) {
		size_t digits = i + 4 == text.n ? 4 - pad : 4;
		uint32_t w = 0;

		for (size_t k = 0; k < 4; k++) {
			int d = k < digits ? base64_digit(text.p[i + k]) : 0;

			if (d < 0)
				return ERR_INVALID;
			w = w << 6 | (uint32_t)d;
		}
		if (w & ((1u << 8 * (4 - digits)) - 1))
			return ERR_INVALID; /* bits that no byte owns */
		*out++ = (uint8_t)(w >> 16);
		if (digits > 2)
			*out++ = (uint8_t)(w >> 8);
		if (digits > 3)
			*out++ = (uint8_t)w;
	}
	b->n = (size_t)(out - b->p);
	return OK;
}
