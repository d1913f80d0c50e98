/*
 * Whatever stands between the method and the version of a request line: it is
 * taken apart or refused, its query and header fields too; what comes out lies
 * inside what went in.
 *
 * Decodes: httpd/target.c httpd/field.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "httpd/field.h"
#include "httpd/target.h"

static void check_inside(struct bytes part, const uint8_t *p, size_t n)
{
	if (part.n == 0)
		return;
	CHECK(part.p >= p);
	CHECK(part.p + part.n <= p + n);
}

static void try_target(uint8_t *p, size_t n)
{
	struct bytes path, query;
	struct target_query q;
	const char *why = NULL;
	size_t path_n, query_at;

	if (target_split(bytes_of(p, n), &path, &query))
		return;
	check_inside(path, p, n);
	check_inside(query, p, n);
	path_n = path.n;
	if (path_n && target_decode(p + (path.p - p), &path_n, false) == OK)
		CHECK(path_n <= path.n);
	if (!query.n)
		return;
	query_at = (size_t)(query.p - p);
	if (target_parse_query(p + query_at, query.n, &q, &why)) {
		CHECK(why);
		return;
	}
	check_inside(q.after, p, n);
	check_inside(q.prefix, p, n);
	check_inside(q.start, p, n);
	check_inside(q.end, p, n);
	check_inside(q.delimiter, p, n);
}

static void try_fields(const char *text)
{
	uint64_t first = 0, count = 0;
	struct field_tags tags;

	if (field_parse_tags(text, &tags) == OK) {
		CHECK(tags.any || tags.count);
		CHECK(tags.count <= FIELD_TAGS_MAX);
	}
	if (field_parse_range(text, 1000, &first, &count) == FIELD_RANGE_PART) {
		CHECK(count >= 1);
		CHECK(count <= 1000);
		CHECK(first <= 1000 - count);
	}
	(void)field_lists(text, "application/octet-stream");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	uint8_t *copy = malloc(n + 1);

	CHECK(copy);
	memcpy(copy, data, n);
	copy[n] = 0;
	try_fields((const char *)copy);
	try_target(copy, n);
	free(copy);
	return 0;
}
