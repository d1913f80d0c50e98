/*
 * base/guard.h - reading mapped files without dying of SIGBUS.
 *
 * A bad sector or a truncated file under a mapping raises SIGBUS. The
 * functions here turn that into ERR_CORRUPT for the bytes at hand.
 * Thread: any, after guard_install().
 */
#ifndef BASE_GUARD_H
#define BASE_GUARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Install the process's SIGBUS handler; the main thread, at start. A SIGBUS
 * outside the reads below still ends the process. Calling it again is harmless:
 * a cmocka test must, inside the test, for cmocka takes SIGBUS before each.
 */
void guard_install(void);

/* memcpy from a mapping. ERR_CORRUPT: a page of src cannot be read. */
MUST_CHECK enum err guard_copy(void *dst, const void *src, size_t n);

/* *out = crc32c(crc, src, n) over a mapping. ERR_CORRUPT as above. */
MUST_CHECK enum err guard_crc32c(uint32_t crc, const void *src, size_t n,
				 uint32_t *out);

/* Copy and checksum in one pass. ERR_CORRUPT: dst holds a part. */
MUST_CHECK enum err guard_crc32c_copy(uint32_t crc, void *dst, const void *src,
				      size_t n, uint32_t *out);

#endif
