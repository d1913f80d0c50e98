/*
 * node/mountpoint.h - the directory that is mounted over.
 */
#ifndef NODE_MOUNTPOINT_H
#define NODE_MOUNTPOINT_H

#include <stdbool.h>

#include "base/bytes.h"

/*
 * Make path fit to be mounted over: detach a mount whose daemon is gone, make
 * the directory when it is missing. False: it does not fit; why gets a
 * sentence.
 */
bool mountpoint_prepare(const char *path, const char *data_dir,
			struct buf *why);

/*
 * Take the mount off path at once, whoever uses it. abort: also end every
 * request that waits in the kernel. Errors are logged.
 */
void mountpoint_detach(const char *path, bool abort);

#endif
