/*
 * engine/offline.h - tools for a data directory that no daemon has open.
 *
 * Each takes the directory's lock first: ERR_BUSY while a daemon runs.
 * Text for people goes through say, one line a call, without a newline.
 */
#ifndef ENGINE_OFFLINE_H
#define ENGINE_OFFLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/vfs.h"
#include "engine/record.h"

typedef void offline_say_fn(void *ctx, const char *line);

struct offline_report {
	uint64_t files, records, bytes; /* looked at                         */
	uint64_t damaged;		/* places that fail their checksum   */
	uint64_t torn;			/* torn tails (harmless: never acked)*/
};

/*
 * Verify every checksum of every listed file; changes nothing.
 * OK even when damage was found: look at *report. ERR_CORRUPT: the manifest
 * itself cannot be read. Others: could not look.
 */
MUST_CHECK enum err offline_check(struct vfs *vfs, const char *dir,
				  offline_say_fn *say, void *ctx,
				  struct offline_report *report);

/*
 * Called for each record; r is valid during the call. NULL: nothing is known
 * of what lies there.
 */
typedef void offline_record_fn(void *ctx, const char *file, uint64_t off,
			       enum record_state state, const struct record *r);

/*
 * Call fn for every readable record of every file in stream order, damaged
 * ones with the state and what is known of them. Errors as check.
 */
MUST_CHECK enum err offline_dump(struct vfs *vfs, const char *dir,
				 offline_record_fn *fn, void *ctx);

/* Write every hint file anew from the data. *count: hints written. */
MUST_CHECK enum err offline_rebuild_hints(struct vfs *vfs, const char *dir,
					  offline_say_fn *say, void *ctx,
					  uint64_t *count);

/*
 * Make a directory that engine_open refuses open again. Without accept_loss
 * only says what would be lost and changes nothing: ERR_CORRUPT if something
 * would be, OK if nothing need be given up. With it: records the damaged
 * ranges as accepted losses, rebuilds a lost manifest from the files.
 */
MUST_CHECK enum err offline_repair(struct vfs *vfs, const char *dir,
				   bool accept_loss, offline_say_fn *say,
				   void *ctx);

#endif
