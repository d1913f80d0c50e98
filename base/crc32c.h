/*
 * base/crc32c.h - CRC-32C (Castagnoli), the checksum of every format here.
 *
 * Hardware (SSE4.2, several streams at once for long inputs) where the CPU has
 * it, table-driven otherwise; both give the same bytes. Thread: any.
 */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * Continue crc over n bytes at p. Start with 0; results chain:
 * crc32c(crc32c(0, a), b) is the checksum of a followed by b. The usual
 * pre- and post-inversion is inside (check value of "123456789": 0xe3069283).
 */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

/* The portable implementation, for tests to compare with. Same contract. */
uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n);

/*
 * Copy n bytes from src to dst (not overlapping) and return
 * crc32c(crc, src, n), in one pass over memory where that is faster.
 */
uint32_t crc32c_copy(uint32_t crc, void *dst, const void *src, size_t n);

#endif
