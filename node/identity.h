/*
 * node/identity.h - what a node's directory says about its place in a cluster.
 *
 * One small file, "cluster", in the data directory, replaced as a whole. It is
 * there from the moment a cluster takes shape, before the engine's files are;
 * and it stays, so that a directory whose other files were removed is not taken
 * for a new one: such a node would vote twice.
 *
 * Drawn in docs/format.md. Thread: one at a time.
 */
#ifndef NODE_IDENTITY_H
#define NODE_IDENTITY_H

#include "base/vfs.h"
#include "node/roster.h"

enum identity_state {
	IDENTITY_NONE,	   /* no file                                        */
	IDENTITY_CLAIMING, /* empty; `claim` is the number it claims an id by */
	IDENTITY_PREPARED, /* a founder: waits until all are prepared        */
	IDENTITY_FORMED,   /* a founder: its engine directory is to be made  */
	IDENTITY_JOINING,  /* has got its id: likewise                       */
	IDENTITY_MEMBER,   /* the engine directory is there                  */
	IDENTITY_ALONE,	   /* it is, and has never had another member        */
	IDENTITY_REMOVED,  /* never serves again                             */
	IDENTITY_DAMAGED,  /* a member whose files do not open; waits, `claim`
			      being the number it claims its next id by      */
	IDENTITY_STATE_MAX
};

struct identity {
	enum identity_state state;
	bool joined; /* not a founder                                        */
	uint32_t partitions;
	uint8_t cluster_id[16];
	uint64_t node_id, claim;
	struct roster roster; /* when it was written                         */
};

/* Append the bytes of the file. ERR_NOMEM. */
MUST_CHECK enum err identity_encode(const struct identity *id, struct buf *b);

/* ERR_CORRUPT; ERR_VERSION: of a newer program. */
MUST_CHECK enum err identity_decode(struct bytes in, struct identity *id);

/*
 * Read dir/cluster. No file or no directory: OK, IDENTITY_NONE. why: on error
 * a sentence for the operator is appended. ERR_CORRUPT, ERR_VERSION, ERR_IO...
 */
MUST_CHECK enum err identity_load(struct vfs *vfs, const char *dir,
				  struct identity *id, struct buf *why);

/*
 * Replace dir/cluster, making dir when it is absent; durable on OK. On error
 * the old file or the new one is there.
 */
MUST_CHECK enum err identity_save(struct vfs *vfs, const char *dir,
				  const struct identity *id);

/* True if the engine's manifest is in dir. ERR_IO and its like. */
MUST_CHECK enum err identity_has_engine(struct vfs *vfs, const char *dir,
					bool *has);

/* Remove the engine's files from dir, the manifest first. */
MUST_CHECK enum err identity_clear_engine(struct vfs *vfs, const char *dir);

/*
 * Move the engine's files from dir to dir/damaged-NODE_ID, the manifest first:
 * without it the rest is never taken for a state. Durable on OK; after an
 * error or a crash each file is in one of the two, and a call goes on.
 */
MUST_CHECK enum err identity_set_aside(struct vfs *vfs, const char *dir,
				       uint64_t node_id);

/* Has it belonged to a cluster of several? Then others count on its votes. */
bool identity_has_peers(const struct identity *id);

#endif
