/*
 * engine/offline_internal.h - shared by offline*.c only.
 */
#ifndef ENGINE_OFFLINE_INTERNAL_H
#define ENGINE_OFFLINE_INTERNAL_H

#include "engine/datafile.h"
#include "engine/manifest.h"
#include "engine/offline.h"
#include "engine/walk.h"

struct offline_dir {
	struct vfs *vfs;
	const char *dir;
	struct vfs_file *lock;
	struct manifest manifest;
	bool has_manifest;
	struct datafile_owner owner;
	offline_say_fn *say;
	void *ctx;
};

/* One place that is not as it was written. */
struct offline_damage {
	uint32_t file_id;
	enum datafile_kind kind;
	bool value; /* only a value: its key answers "corrupt"        */
	bool tail;  /* log: synced frames are gone from here to the end */
	uint64_t off, bytes;
	uint64_t sequence; /* log: of the frame that is hit or missing       */
};

/* Everything a check found. */
struct offline_found {
	struct offline_report report;
	struct offline_damage *damages;
	uint32_t count, cap;
	uint64_t proven;   /* frames up to it were durable                   */
	uint64_t expected; /* sequence of the next frame of the stream       */
	uint32_t missing_files;
	/* Where the stream broke off last: the place a lost frame leaves.   */
	uint32_t end_file;
	uint64_t end_off, end_bytes;
	/* The last bytes since then that are no frame: what an open blames. */
	uint32_t gap_file;
	uint64_t gap_off, gap_bytes;
	/* Where it broke off first since the last frame.                    */
	uint32_t tail_file;
	uint64_t tail_off, tail_bytes;
};

/*
 * Lock and read the manifest. ERR_BUSY, ERR_CORRUPT: no readable manifest
 * (locked all the same; has_manifest false). offline_leave in every case.
 */
MUST_CHECK enum err offline_enter(struct offline_dir *d, struct vfs *vfs,
				  const char *dir, offline_say_fn *say,
				  void *ctx);
void offline_leave(struct offline_dir *d);

/* One formatted line to say. */
void offline_sayf(struct offline_dir *d, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Walk all listed files, tell what is wrong. found: offline_found_done. */
MUST_CHECK enum err offline_look(struct offline_dir *d,
				 struct offline_found *found);
void offline_found_done(struct offline_found *found);

/*
 * How many partitions have term and vote damaged in both places; each is told.
 * give_up: begin anew for these above every term found. ERR_IO, ERR_NOMEM ...
 */
MUST_CHECK enum err offline_states(struct offline_dir *d, bool give_up,
				   uint32_t *lost);

/* A torn end: nothing in it was ever acknowledged. */
bool offline_is_torn(const struct offline_found *found,
		     const struct offline_damage *x);

#endif
