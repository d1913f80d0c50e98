/*
 * node/notify.h - telling the service manager how the daemon is.
 *
 * systemd's notification protocol by hand: one datagram to $NOTIFY_SOCKET.
 * Without that variable nothing is sent. Thread: main.
 */
#ifndef NODE_NOTIFY_H
#define NODE_NOTIFY_H

#include <stdint.h>

/* Send state ("READY=1", "STOPPING=1", ...; several lines at once). */
void notify_send(const char *state);

/* "RELOADING=1" with the clock reading that the protocol asks for. */
void notify_reloading(uint64_t mono_ns);

/*
 * How often the manager wants "WATCHDOG=1" at most apart: half of what
 * $WATCHDOG_USEC says, in ms. 0: it does not watch this process.
 */
uint64_t notify_watchdog_ms(void);

#endif
