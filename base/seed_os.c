/*
 * base/seed_os.c - a seed from the system's entropy.
 *
 * The four state words come straight from getrandom(2). An all-zero state is
 * the one xoshiro cannot leave, so it is drawn again; in practice never.
 */
#include "base/seed.h"

#include <errno.h>
#include <sys/random.h>

enum err seed_init_os(struct seed *s)
{
	struct seed drawn;
	ssize_t n;

	do {
		n = getrandom(&drawn, sizeof(drawn), 0);
		if (n < 0 && errno != EINTR)
			return ERR_IO;
		/* Up to 256 bytes come whole or, interrupted, not at all. */
	} while (n != sizeof(drawn) ||
		 !(drawn.s[0] | drawn.s[1] | drawn.s[2] | drawn.s[3]));
	*s = drawn;
	return OK;
}
