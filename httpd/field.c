/*
 * httpd/field.c - entity tags, ranges, lists and dates of HTTP header fields.
 *
 * A revision is shown as the strong entity tag "REV". Any other tag is legal
 * in a request and simply matches nothing; text that is no tag at all is
 * refused, because a condition that is silently dropped is a lost update.
 */
#include "httpd/field.h"

#include <strings.h>

#include "httpd/target.h"

static const char *skip_space(const char *p)
{
	while (*p == ' ' || *p == '\t')
		p++;
	return p;
}

static enum err take_tag(const char **text, uint64_t *rev, bool *weak)
{
	const char *p = *text, *start;

	*weak = p[0] == 'W' && p[1] == '/';
	if (*weak)
		p += 2;
	if (*p != '"')
		return ERR_INVALID;
	start = ++p;
	while (*p && *p != '"' && (uint8_t)*p > ' ' && *p != 0x7f)
		p++;
	if (*p != '"')
		return ERR_INVALID;
	/* Leading zeros would make two spellings of one revision. */
	if ((*start == '0' && p - start > 1) ||
	    target_parse_u64(bytes_of(start, (size_t)(p - start)), rev))
		*rev = UINT64_MAX;
	*text = p + 1;
	return OK;
}

enum err field_parse_tags(const char *text, struct field_tags *t)
{
	const char *p = skip_space(text);
	bool weak;

	t->given = true;
	t->any = false;
	t->count = t->weak = 0;
	if (*p == '*') {
		t->any = true;
		return *skip_space(p + 1) ? ERR_INVALID : OK;
	}
	for (;;) {
		p = skip_space(p);
		if (*p == ',') {
			p++;
			continue;
		}
		if (!*p)
			break;
		if (t->count == FIELD_TAGS_MAX)
			return ERR_INVALID;
		if (take_tag(&p, &t->revs[t->count], &weak))
			return ERR_INVALID;
		t->weak |= (uint32_t)weak << t->count++;
		p = skip_space(p);
		if (*p && *p != ',')
			return ERR_INVALID;
	}
	return t->count ? OK : ERR_INVALID;
}

bool field_tags_have(const struct field_tags *t, uint64_t rev, bool strong)
{
	if (t->any)
		return true;
	for (uint32_t i = 0; i < t->count; i++)
		if (t->revs[i] == rev && !(strong && t->weak >> i & 1))
			return true;
	return false;
}

static const char *take_number(const char *p, uint64_t *value, bool *is_there)
{
	const char *start = p;

	while (*p >= '0' && *p <= '9')
		p++;
	*is_there = p > start;
	if (*is_there &&
	    target_parse_u64(bytes_of(start, (size_t)(p - start)), value))
		*value = UINT64_MAX; /* further than any value reaches */
	return p;
}

enum field_range_result field_parse_range(const char *text, uint64_t bytes,
					  uint64_t *first, uint64_t *count)
{
	uint64_t from = 0, to = 0;
	bool has_from, has_to;
	const char *p;

	if (!text || strncasecmp(text, "bytes=", 6) != 0)
		return FIELD_RANGE_WHOLE;
	p = take_number(skip_space(text + 6), &from, &has_from);
	if (*p != '-')
		return FIELD_RANGE_WHOLE;
	p = take_number(p + 1, &to, &has_to);
	if (*skip_space(p) || (!has_from && !has_to))
		return FIELD_RANGE_WHOLE;
	if (!has_from) { /* the last `to` bytes */
		if (to == 0 || bytes == 0)
			return FIELD_RANGE_UNSATISFIABLE;
		*count = to < bytes ? to : bytes;
		*first = bytes - *count;
		return FIELD_RANGE_PART;
	}
	if (has_to && to < from)
		return FIELD_RANGE_WHOLE;
	if (from >= bytes)
		return FIELD_RANGE_UNSATISFIABLE;
	if (!has_to || to >= bytes)
		to = bytes - 1;
	*first = from;
	*count = to - from + 1;
	return FIELD_RANGE_PART;
}

/* `;q=0`, `; q=0.000` among the parameters: explicitly not wanted. */
static bool is_unwanted(const char *p, const char *end)
{
	for (; p < end; p++) {
		if (*p != ';')
			continue;
		p = skip_space(p + 1);
		if (end - p < 3 || (*p != 'q' && *p != 'Q') || p[1] != '=' ||
		    p[2] != '0')
			continue;
		for (p += 3; p < end && (*p == '.' || *p == '0'); p++)
			;
		return p == end || *p == ' ' || *p == '\t' || *p == ';';
	}
	return false;
}

bool field_lists(const char *text, const char *token)
{
	size_t token_n = strlen(token);

	while (text && *text) {
		const char *p = skip_space(text);
		const char *end = p + strcspn(p, ",");
		const char *stop = p + strcspn(p, ",; \t");

		if ((size_t)(stop - p) == token_n &&
		    strncasecmp(p, token, token_n) == 0)
			return !is_unwanted(stop, end);
		text = *end ? end + 1 : end;
	}
	return false;
}

/* Days since 1970 to a civil date, after Howard Hinnant's algorithm. */
static void civil_from_days(int64_t days, int *year, unsigned *month,
			    unsigned *day)
{
	int64_t z = days + 719468;
	int64_t era = z / 146097;
	unsigned doe = (unsigned)(z - era * 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned mp = (5 * doy + 2) / 153;

	*day = doy - (153 * mp + 2) / 5 + 1;
	*month = mp < 10 ? mp + 3 : mp - 9;
	*year = (int)(yoe + era * 400) + (*month <= 2);
}

static char *put_digits(char *p, unsigned value, int width)
{
	for (int i = width - 1; i >= 0; i--) {
		p[i] = (char)('0' + value % 10);
		value /= 10;
	}
	return p + width;
}

void field_format_date(uint64_t wall_ns, char text[30])
{
	static const char days[] = "ThuFriSatSunMonTueWed";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	uint64_t seconds = wall_ns / 1000000000;
	uint64_t day_number = seconds / 86400;
	unsigned rest = (unsigned)(seconds % 86400);
	unsigned month, day;
	char *p = text;
	int year;

	civil_from_days((int64_t)day_number, &year, &month, &day);
	memcpy(p, days + day_number % 7 * 3, 3);
	memcpy(p + 3, ", ", 2);
	p = put_digits(p + 5, day, 2);
	*p++ = ' ';
	memcpy(p, months + (month - 1) * 3, 3);
	p[3] = ' ';
	p = put_digits(p + 4, (unsigned)year, 4);
	*p++ = ' ';
	p = put_digits(p, rest / 3600, 2);
	*p++ = ':';
	p = put_digits(p, rest / 60 % 60, 2);
	*p++ = ':';
	p = put_digits(p, rest % 60, 2);
	memcpy(p, " GMT", 5);
}
