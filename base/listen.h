/*
 * base/listen.h - addresses as text, and sockets that listen on them.
 */
#ifndef BASE_LISTEN_H
#define BASE_LISTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum { LISTEN_HOST_BYTES = 256 };

/*
 * Take "host:port", "[v6]:port", ":port" or "*:port" apart: host without the
 * brackets, empty for every address; *port points into address. ERR_INVALID.
 */
MUST_CHECK enum err listen_split(const char *address,
				 char host[LISTEN_HOST_BYTES],
				 const char **port);

/*
 * Listen on "host:port", "[v6]:port" or ":port" (every address). *fd is the
 * caller's to close; *port is what it is bound to.
 * ERR_INVALID (not an address), ERR_BUSY (in use), ERR_PERMISSION, ERR_IO:
 * *why has a sentence appended.
 */
MUST_CHECK enum err listen_open(const char *address, int *fd, uint16_t *port,
				struct buf *why);

/*
 * Does fd, a bound socket, take connections of this machine only? False also
 * when that cannot be told.
 */
bool listen_is_loopback(int fd);

#endif
