/*
 * Any bytes as another node's report: refused, or within bounds, and then its
 * JSON is one line and its bytes, encoded again, say the same.
 *
 * Decodes: httpd/report.c
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "httpd/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct report rep, again;
	uint8_t *copy = malloc(n ? n : 1); /* so that one past it is seen */
	struct buf b = BUF_INIT;

	CHECK(copy);
	if (n)
		memcpy(copy, data, n);
	if (httpd_report_decode(bytes_of(copy, n), &rep) == OK) {
		CHECK(httpd_report_json(&rep, &b) == OK);
		CHECK(!memchr(b.p, '\n', b.n));
		b.n = 0;
		CHECK(httpd_report_encode(&rep, &b) == OK);
		CHECK(httpd_report_decode(buf_bytes(&b), &again) == OK);
		CHECK(memcmp(&rep, &again, sizeof(rep)) == 0);
	}
	buf_done(&b);
	free(copy);
	return 0;
}
