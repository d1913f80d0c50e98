/*
 * bench/lib/kv_bare.c - the system calls themselves: what physics allows.
 *
 * One flat file of fixed-size slots; the key is its number in the first bytes,
 * so that no index is measured. Reads by memcpy out of a mapping, with or
 * without a checksum, or by pread; synced writes over zero-filled space and as
 * appends.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "bench/lib/kv.h"

enum { ZERO_FILLED_BYTES = 128 << 20 }; /* more than any case writes */

struct kv {
	int fd;
	size_t slot_bytes;
	uint64_t slots;
	uint64_t next_off; /* of appended or overwritten records */
	const uint8_t *map;
	volatile uint32_t sink;
};

static struct kv *bare_open(const char *dir, size_t value_bytes,
			    uint64_t key_count)
{
	struct kv *kv = calloc(1, sizeof(*kv));
	char path[4096];

	if (!kv)
		abort();
	snprintf(path, sizeof(path), "%s/flat", dir);
	kv->fd = open(path, O_RDWR | O_CREAT, 0644);
	kv->slot_bytes = value_bytes;
	kv->slots = key_count;
	if (kv->fd < 0) {
		perror(path);
		free(kv);
		return NULL;
	}
	return kv;
}

static struct kv *bare_open_zeroed(const char *dir, size_t value_bytes,
				   uint64_t key_count)
{
	struct kv *kv = bare_open(dir, value_bytes, key_count);
	char *zeros = calloc(1, 1 << 20);

	for (uint64_t off = 0; kv && off < ZERO_FILLED_BYTES; off += 1 << 20)
		if (pwrite(kv->fd, zeros, 1 << 20, (off_t)off) != 1 << 20)
			abort();
	if (kv && fsync(kv->fd))
		abort();
	free(zeros);
	return kv;
}

static void bare_close(struct kv *kv)
{
	if (kv->map)
		munmap((void *)(uintptr_t)kv->map, kv->slots * kv->slot_bytes);
	close(kv->fd);
	free(kv);
}

/* The decimal number at the key's end is its slot. */
static uint64_t slot_of(const void *key, size_t key_bytes)
{
	const uint8_t *p = key;
	uint64_t slot = 0;

	for (size_t i = key_bytes - 12; i < key_bytes; i++)
		slot = slot * 10 + (p[i] - '0');
	return slot;
}

static bool bare_fill(struct kv *kv, const void *key, size_t key_bytes,
		      const void *value, size_t value_bytes, bool sync)
{
	off_t off = (off_t)(slot_of(key, key_bytes) * kv->slot_bytes);

	return pwrite(kv->fd, value, value_bytes, off) == (ssize_t)value_bytes;
}

/* The next record's place, 512-aligned as any log that resyncs would be. */
static bool bare_log(struct kv *kv, const void *key, size_t key_bytes,
		     const void *value, size_t value_bytes, bool sync)
{
	ssize_t n = pwrite(kv->fd, value, value_bytes, (off_t)kv->next_off);

	kv->next_off += (value_bytes + 511) & ~511ull;
	return n == (ssize_t)value_bytes && (!sync || fdatasync(kv->fd) == 0);
}

static void bare_settle(struct kv *kv)
{
	kv->map = mmap(NULL, kv->slots * kv->slot_bytes, PROT_READ, MAP_SHARED,
		       kv->fd, 0);
	if (kv->map == MAP_FAILED)
		abort();
}

static size_t bare_get_copy(struct kv *kv, const void *key, size_t key_bytes,
			    void *dst, size_t dst_bytes)
{
	memcpy(dst, kv->map + slot_of(key, key_bytes) * kv->slot_bytes,
	       kv->slot_bytes);
	return kv->slot_bytes;
}

static size_t bare_get_copy_crc(struct kv *kv, const void *key,
				size_t key_bytes, void *dst, size_t dst_bytes)
{
	bare_get_copy(kv, key, key_bytes, dst, dst_bytes);
	kv->sink = crc32c(0, dst, kv->slot_bytes);
	return kv->slot_bytes;
}

static size_t bare_get_pread(struct kv *kv, const void *key, size_t key_bytes,
			     void *dst, size_t dst_bytes)
{
	off_t off = (off_t)(slot_of(key, key_bytes) * kv->slot_bytes);
	ssize_t n = pread(kv->fd, dst, kv->slot_bytes, off);

	return n < 0 ? 0 : (size_t)n;
}

const struct kv_kind kv_bare_copy = {
	.name = "bare copy",
	.open = bare_open,
	.close = bare_close,
	.put = bare_fill,
	.settle = bare_settle,
	.get = bare_get_copy,
};

const struct kv_kind kv_bare_copy_crc = {
	.name = "bare copy+crc",
	.open = bare_open,
	.close = bare_close,
	.put = bare_fill,
	.settle = bare_settle,
	.get = bare_get_copy_crc,
};

const struct kv_kind kv_bare_pread = {
	.name = "bare pread",
	.open = bare_open,
	.close = bare_close,
	.put = bare_fill,
	.settle = bare_settle,
	.get = bare_get_pread,
};

const struct kv_kind kv_bare_overwrite = {
	.name = "bare overwrite",
	.open = bare_open_zeroed,
	.close = bare_close,
	.put = bare_log,
};

const struct kv_kind kv_bare_append = {
	.name = "bare append",
	.open = bare_open,
	.close = bare_close,
	.put = bare_log,
};
