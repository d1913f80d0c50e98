/*
 * engine/frame.c - frame headers: encode, and decode what may be anything.
 *
 * A header passes only in the file, the use of the file (salt) and at the
 * offset it was made for; see the drawing in frame.h.
 */
#include "engine/frame.h"

#include "base/check.h"
#include "base/crc32c.h"

void frame_encode(uint8_t *dst, uint32_t file_seed, const struct frame *f)
{
	CHECK(f->file_off % FRAME_ALIGN_BYTES == 0);
	CHECK(f->sequence > f->synced_sequence);
	memset(dst, 0, FRAME_HEADER_BYTES);
	put_u32(dst + 4, FRAME_MAGIC);
	put_u64(dst + 8, f->sequence);
	put_u64(dst + 16, f->synced_sequence);
	put_u64(dst + 24, f->file_off);
	put_u64(dst + 32, f->body_bytes);
	put_u32(dst + 40, f->record_count);
	put_u32(dst + 44, f->flags);
	put_u32(dst, crc32c(file_seed, dst + 4, FRAME_HEADER_BYTES - 4));
}

bool frame_decode(const uint8_t *src, uint32_t file_seed, uint64_t file_off,
		  uint64_t file_bytes, struct frame *f)
{
	struct frame got;

	if (get_u32(src + 4) != FRAME_MAGIC)
		return false;
	if (get_u32(src) != crc32c(file_seed, src + 4, FRAME_HEADER_BYTES - 4))
		return false;
	got.sequence = get_u64(src + 8);
	got.synced_sequence = get_u64(src + 16);
	got.file_off = get_u64(src + 24);
	got.body_bytes = get_u64(src + 32);
	got.record_count = get_u32(src + 40);
	got.flags = get_u32(src + 44);
	if (got.file_off != file_off || got.sequence <= got.synced_sequence)
		return false;
	if (got.body_bytes > file_bytes ||
	    frame_bytes(got.body_bytes) > file_bytes - file_off)
		return false;
	*f = got;
	return true;
}
