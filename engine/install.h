/*
 * engine/install.h - struct engine_install, for install*.c only.
 */
#ifndef ENGINE_INSTALL_H
#define ENGINE_INSTALL_H

#include "engine/engine_internal.h"
#include "engine/output.h"
#include "engine/replica.h"

struct engine_install {
	struct engine *e;
	uint16_t partition;
	uint64_t index, term, stamp_ns; /* of the entry it is the state of   */
	struct output output;		/* the file being written            */
	uint64_t room_checked_bytes;	/* written since room was looked for */
	struct datafile **files;	/* sealed, listed nowhere            */
	uint32_t file_count, file_cap;
	struct keydir *kd; /* what follows is built by finish                */
	struct expiry expiry;
	uint64_t client_entries;
	bool finished;
	bool in_doubt; /* the manifest on the disk may name the files        */
};

#endif
