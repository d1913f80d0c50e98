/*
 * ctl/terminal.h - a terminal that shows a live picture, and is given back.
 *
 * Whatever ends the process short of SIGKILL (return, exit, SIGINT, SIGTERM,
 * SIGHUP, SIGQUIT), the terminal is as it was: line mode and echo on, cursor
 * shown, the old screen back. SIGTSTP gives it back until SIGCONT. Thread:
 * main.
 */
#ifndef CTL_TERMINAL_H
#define CTL_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* Take standard input and output over. False: they are no terminal. */
bool terminal_begin(void);
/* Give them back. */
void terminal_end(void);

/* Columns and lines now; 80 and 24 when nobody knows. */
void terminal_size(unsigned *width, unsigned *height);

/* Show lines (separated by '\n') instead of what is there. */
void terminal_show(struct bytes lines);

/* A key, or 0 after wait_ms or when the window's size has changed. */
int terminal_key(uint64_t wait_ms);

#endif
