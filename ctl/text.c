/*
 * ctl/text.c - see text.h.
 */
#include "ctl/text.h"

#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "abcdefghijklmnopqrstuvwxyz0123456789+/";

enum err text_add_escaped(struct buf *b, struct bytes in)
{
	enum err err = OK;

	for (size_t i = 0; !err && i < in.n; i++) {
		if (isalnum(in.p[i]) || (in.p[i] && strchr("-._~/", in.p[i])))
			err = buf_add(b, &in.p[i], 1);
		else
			err = buf_addf(b, "%%%02X", in.p[i]);
	}
	return err;
}

/* What a digit stands for, by its byte; 64: it is none. */
static void digit_values(uint8_t value[256])
{
	memset(value, 64, 256);
	for (uint8_t i = 0; i < 64; i++)
		value[(uint8_t)base64_digits[i]] = i;
}

enum err text_add_unbase64(struct buf *b, const char *text, size_t n)
{
	uint8_t value[256];
	uint32_t bits = 0;
	size_t from = b->n;
	int held = 0;

	while (n && text[n - 1] == '=')
		n--;
	if (buf_reserve(b, n / 4 * 3 + 3))
		return ERR_NOMEM;
	digit_values(value);
	for (size_t i = 0; i < n; i++) {
		uint8_t digit = value[(uint8_t)text[i]];

		if (digit == 64) {
			b->n = from;
			return ERR_INVALID;
		}
		bits = bits << 6 | digit;
		held += 6;
		if (held < 8)
			continue;
		held -= 8;
		b->p[b->n++] = (uint8_t)(bits >> held);
	}
	return OK;
}

enum err text_add_base64(struct buf *b, struct bytes in)
{
	if (buf_reserve(b, (in.n + 2) / 3 * 4))
		return ERR_NOMEM;
	for (size_t i = 0; i < in.n; i += 3) {
		size_t n = in.n - i < 3 ? in.n - i : 3;
		uint32_t bits = (uint32_t)in.p[i] << 16 |
				(n > 1 ? (uint32_t)in.p[i + 1] << 8 : 0) |
				(n > 2 ? in.p[i + 2] : 0);

		for (int j = 0; j < 4; j++)
			b->p[b->n++] =
				(uint8_t)((size_t)j <= n
						  ? base64_digits
							    [bits >> (18 -
								      6 * j) &
							     63]
						  : '=');
	}
	return OK;
}

/* Bytes of the UTF-8 sequence at p (at most n), 0: there is none. */
static size_t utf8_length(const uint8_t *p, size_t n)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t want = p[0] < 0x80	      ? 1
		      : (p[0] & 0xe0) == 0xc0 ? 2
		      : (p[0] & 0xf0) == 0xe0 ? 3
		      : (p[0] & 0xf8) == 0xf0 ? 4
					      : 0;
	uint32_t code;

	if (want == 0 || want > n || p[0] == 0)
		return 0;
	if (want == 1)
		return 1;
	code = p[0] & (0x7fu >> want);
	for (size_t i = 1; i < want; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3f);
	}
	if (code < least[want] || code > 0x10ffff ||
	    (code >= 0xd800 && code < 0xe000))
		return 0;
	return want;
}

bool text_is_utf8(struct bytes in)
{
	size_t length;

	for (size_t i = 0; i < in.n; i += length) {
		length = utf8_length(in.p + i, in.n - i);
		if (!length)
			return false;
	}
	return true;
}

bool text_add_json(struct json_object *obj, const char *name,
		   const char *encoding_name, struct bytes in)
{
	struct buf b = BUF_INIT;
	struct json_object *text;
	bool utf8 = text_is_utf8(in);
	struct bytes out = in;

	if (!utf8) {
		if (text_add_base64(&b, in)) {
			buf_done(&b);
			return false;
		}
		out = buf_bytes(&b);
	}
	text = json_object_new_string_len(out.n ? (const char *)out.p : "",
					  (int)out.n);
	buf_done(&b);
	if (!text || json_object_object_add(obj, name, text))
		return false;
	if (utf8)
		return true;
	text = json_object_new_string("base64");
	return text && !json_object_object_add(obj, encoding_name, text);
}

bool text_from_json(struct json_object *obj, const char *name,
		    const char *encoding_name, struct buf *out)
{
	struct json_object *text, *encoding;
	const char *p;
	size_t n;

	if (!json_object_object_get_ex(obj, name, &text) ||
	    !json_object_is_type(text, json_type_string))
		return false;
	p = json_object_get_string(text);
	n = (size_t)json_object_get_string_len(text);
	if (json_object_object_get_ex(obj, encoding_name, &encoding))
		return !text_add_unbase64(out, p, n);
	return !buf_add(out, p, n);
}

void text_hex(const uint8_t id[16], char text[33])
{
	for (int i = 0; i < 16; i++)
		snprintf(text + 2 * i, 3, "%02x", id[i]);
}

void text_print_json(struct json_object *obj)
{
	puts(json_object_to_json_string_ext(
		obj, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(obj);
}

void text_print(FILE *to, struct bytes in)
{
	if (!isatty(fileno(to))) {
		fwrite(in.p, 1, in.n, to);
		return;
	}
	for (size_t i = 0; i < in.n; i++) {
		if (in.p[i] < 0x20 || in.p[i] == 0x7f)
			fprintf(to, "\\x%02x", in.p[i]);
		else
			putc(in.p[i], to);
	}
}

enum err text_parse_span(const char *text, uint64_t *ms)
{
	static const struct {
		const char *name;
		double factor;
	} units[] = { { "ms", 1 },    { "s", 1000 },	  { "", 1000 },
		      { "m", 60000 }, { "h", 3600000.0 }, { "d", 86400000.0 } };
	char *end;
	double n = strtod(text, &end);

	if (end == text || !isdigit((unsigned char)text[0]))
		return ERR_INVALID;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].name) == 0) {
			n *= units[i].factor;
			if (n < 1 || n > 1e12)
				return ERR_INVALID;
			*ms = (uint64_t)n;
			return OK;
		}
	}
	return ERR_INVALID;
}

enum err text_parse_bytes(const char *text, uint64_t *n)
{
	static const char units[] = "KMG";
	char *end;
	const char *unit;
	uint64_t number = strtoull(text, &end, 10);
	unsigned shift = 0;

	if (end == text || !isdigit((unsigned char)text[0]))
		return ERR_INVALID;
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
	}
	if (*end || number > UINT64_MAX >> shift)
		return ERR_INVALID;
	*n = number << shift;
	return OK;
}
