/*
 * engine/frame.h - the batch frame: the unit in which the log is written.
 *
 * A log segment is a file header (datafile.h) and then frames, each beginning
 * at a multiple of FRAME_ALIGN_BYTES. Only there does a scan look for a frame,
 * so that a value which contains the bytes of a frame is never taken for one.
 *
 *  off  size  frame header, little-endian
 *    0     4  header_crc       crc32c(file seed, bytes 4..64)
 *    4     4  magic            FRAME_MAGIC
 *    8     8  sequence         one up per frame over the whole stream, from 1
 *   16     8  synced_sequence  frames up to it were durable when this was made
 *   24     8  file_off         where this header stands in its file
 *   32     8  body_bytes       of the records that follow, without padding
 *   40     4  record_count
 *   44     4  flags            enum frame_flags
 *   48    16  zero
 *   64     -  records back to back, zeros to the next FRAME_ALIGN_BYTES
 *
 * The body has no checksum of its own: each record carries two.
 */
#ifndef ENGINE_FRAME_H
#define ENGINE_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/record.h"

enum {
	FRAME_HEADER_BYTES = 64,
	FRAME_ALIGN_BYTES = 512,
	FRAME_MAGIC = 0x4d524652, /* "RFRM" */
};

enum frame_flags {
	FRAME_MARK = 1,	   /* no records: only proves what was synced        */
	FRAME_SETTLED = 2, /* its entries need no commit (embedded writes)   */
	FRAME_HEALED = 4,  /* its puts are no entries: bytes of settled keys */
};

struct frame {
	uint64_t sequence, synced_sequence;
	uint64_t file_off;
	uint64_t body_bytes;
	uint32_t record_count;
	uint32_t flags;
};

/* Bytes a frame with that body takes in its file, padding included. */
static inline uint64_t frame_bytes(uint64_t body_bytes)
{
	return (FRAME_HEADER_BYTES + body_bytes + FRAME_ALIGN_BYTES - 1) &
	       ~(uint64_t)(FRAME_ALIGN_BYTES - 1);
}

/* Write the header of f to dst, FRAME_HEADER_BYTES long. */
void frame_encode(uint8_t *dst, uint32_t file_seed, const struct frame *f);

/*
 * Read the header at src (FRAME_HEADER_BYTES readable), which stands at
 * file_off of a file of file_bytes. False: not a frame of this place in this
 * use of this file; *f is not set.
 */
bool frame_decode(const uint8_t *src, uint32_t file_seed, uint64_t file_off,
		  uint64_t file_bytes, struct frame *f);

#endif
