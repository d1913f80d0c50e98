/*
 * base/crc32c.c - CRC-32C, fast.
 *
 * The SSE4.2 crc32 instruction takes 8 bytes every cycle but answers only
 * after three, so one stream runs at a third of the speed. Long inputs are
 * cut into three equal stretches that are summed at the same time:
 *
 *     |  a: k words  |  b: k words  |  c: k words  | tail < 24 bytes
 *
 * A CRC is linear: the sum of the whole is sum(a) moved over the 16k bytes
 * that follow it, xor sum(b) moved over 8k bytes, xor sum(c). Moving over
 * n bytes is a multiplication by x^(8n) modulo the polynomial. PCLMULQDQ
 * multiplies by a constant; the crc32 instruction itself reduces the 64-bit
 * product, for it computes v * x^32 mod P (bit-reflected, hence the odd 33 in
 * the exponents below: 32 for that, 1 for the reflected product's offset).
 * shift_words[i] holds the constant for moving over i words.
 *
 * Three places at once are more than the processor's own read-ahead follows:
 * what is not in its caches is asked for while the block before is summed.
 *
 * Without the instructions: slicing-by-8 (Kounavis and Berry 2005).
 *
 * The tables are filled before main() by a constructor and only read after.
 */
#include "base/crc32c.h"

#include <stdbool.h>
#include <string.h>

enum {
	STRETCH_WORDS_MAX = 128, /* k: 3 KiB in all, well inside L1 */
	STRETCH_WORDS_MIN = 4,	 /* below, combining costs more     */
	LINE_BYTES = 64,
};

#define POLY_REFLECTED 0x82f63b78u

static uint32_t slice[8][256];

static void fill_slices(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = (c >> 1) ^ (c & 1 ? POLY_REFLECTED : 0);
		slice[0][i] = c;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int t = 1; t < 8; t++)
			slice[t][i] = (slice[t - 1][i] >> 8) ^
				      slice[0][slice[t - 1][i] & 255];
}

uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n)
{
	const uint8_t *b = p;
	uint32_t c = ~crc;
	uint64_t w;

	for (; n >= 8; n -= 8, b += 8) {
		memcpy(&w, b, 8);
		w ^= c;
		c = slice[7][w & 255] ^ slice[6][(w >> 8) & 255] ^
		    slice[5][(w >> 16) & 255] ^ slice[4][(w >> 24) & 255] ^
		    slice[3][(w >> 32) & 255] ^ slice[2][(w >> 40) & 255] ^
		    slice[1][(w >> 48) & 255] ^ slice[0][w >> 56];
	}
	for (; n; n--)
		c = (c >> 8) ^ slice[0][(c ^ *b++) & 255];
	return ~c;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define HARDWARE __attribute__((target("sse4.2,pclmul")))
#define INLINE	 static inline __attribute__((always_inline))

static bool have_hardware;
static uint32_t shift_words[2 * STRETCH_WORDS_MAX + 1];

/* shift_words[i] = x^(64 i - 33) mod P; entry 0 is not used. */
HARDWARE static void fill_shifts(void)
{
	uint32_t c = 1; /* x^31: the lowest bit is the highest power */

	for (int i = 1; i <= 2 * STRETCH_WORDS_MAX; i++) {
		shift_words[i] = c;
		c = (uint32_t)_mm_crc32_u64(c, 0);
	}
}

/* c moved over the given number of words, not yet reduced to 32 bits. */
HARDWARE INLINE uint64_t move_over(uint64_t c, size_t words)
{
	__m128i product = _mm_clmulepi64_si128(
		_mm_cvtsi64_si128((long long)c),
		_mm_cvtsi32_si128((int)shift_words[words]), 0);

	return (uint64_t)_mm_cvtsi128_si64(product);
}

INLINE uint64_t load_word(const uint8_t *p)
{
	uint64_t w;

	memcpy(&w, p, 8);
	return w;
}

/* One loop serves both: with copy constant, the compiler makes two of it. */
HARDWARE INLINE uint64_t sum_word(uint64_t c, uint8_t *d, const uint8_t *s,
				  bool copy)
{
	uint64_t w = load_word(s);

	if (copy)
		memcpy(d, &w, 8);
	return _mm_crc32_u64(c, w);
}

/* Ask for three lines of the block at next, of which i / 64 were asked for. */
INLINE void ask_for(const uint8_t *next, size_t i)
{
	for (size_t line = 0; line < 3; line++)
		__builtin_prefetch(next + 3 * i + line * LINE_BYTES);
}

HARDWARE INLINE uint64_t sum_stretches(uint64_t c, uint8_t *d, const uint8_t *s,
				       size_t k, bool more, bool copy)
{
	size_t stretch = 8 * k;
	uint64_t a = c, b = 0;

	c = 0;
	for (size_t i = 0; i < stretch;) {
		size_t end =
			i + LINE_BYTES < stretch ? i + LINE_BYTES : stretch;

		if (more)
			ask_for(s + 3 * stretch, i);
		for (; i < end; i += 8) {
			a = sum_word(a, d + i, s + i, copy);
			b = sum_word(b, d + i + stretch, s + i + stretch, copy);
			c = sum_word(c, d + i + 2 * stretch,
				     s + i + 2 * stretch, copy);
		}
	}
	return c ^ _mm_crc32_u64(0, move_over(a, 2 * k) ^ move_over(b, k));
}

HARDWARE INLINE uint32_t sum_hardware(uint32_t crc, uint8_t *d,
				      const uint8_t *s, size_t n, bool copy)
{
	uint64_t c = ~crc;
	size_t k, bytes;

	while (n >= 24 * STRETCH_WORDS_MIN) {
		k = n / 24;
		if (k > STRETCH_WORDS_MAX)
			k = STRETCH_WORDS_MAX;
		bytes = 24 * k;
		c = sum_stretches(c, d, s, k, n >= 2 * bytes, copy);
		n -= bytes;
		s += bytes;
		d += bytes;
	}
	for (; n >= 8; n -= 8, s += 8, d += 8)
		c = sum_word(c, d, s, copy);
	for (; n; n--, s++, d++) {
		if (copy)
			*d = *s;
		c = _mm_crc32_u8((uint32_t)c, *s);
	}
	return ~(uint32_t)c;
}

/* The destination only moves along, nothing is written to it. */
HARDWARE static uint32_t hardware(uint32_t crc, const void *p, size_t n)
{
	return sum_hardware(crc, (uint8_t *)(uintptr_t)p, p, n, false);
}

HARDWARE static uint32_t hardware_copy(uint32_t crc, void *dst, const void *src,
				       size_t n)
{
	return sum_hardware(crc, dst, src, n, true);
}

static bool detect_hardware(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("sse4.2") &&
	       __builtin_cpu_supports("pclmul");
}

#else

static const bool have_hardware = false;

static uint32_t hardware(uint32_t crc, const void *p, size_t n)
{
	return crc32c_portable(crc, p, n);
}

static uint32_t hardware_copy(uint32_t crc, void *dst, const void *src,
			      size_t n)
{
	memcpy(dst, src, n);
	return crc32c_portable(crc, dst, n);
}
#endif

__attribute__((constructor(101))) static void fill_tables(void)
{
	fill_slices();
#if defined(__x86_64__)
	have_hardware = detect_hardware();
	if (have_hardware)
		fill_shifts();
#endif
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	return have_hardware ? hardware(crc, p, n) : crc32c_portable(crc, p, n);
}

uint32_t crc32c_copy(uint32_t crc, void *dst, const void *src, size_t n)
{
	if (have_hardware)
		return hardware_copy(crc, dst, src, n);
	if (n)
		memcpy(dst, src, n);
	return crc32c_portable(crc, src, n);
}
