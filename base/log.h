/*
 * base/log.h - event lines with fields, on stderr.
 *
 * One line an event: `level area event key=value ...`, with a timestamp when
 * stderr is not the journal ($JOURNAL_STREAM set: "<N>" priority prefix
 * instead). error: an operator must act; warn: degraded, carrying on; info:
 * role, membership, start, stop; debug: for developers. Never keys or values
 * of users. Each line is written with one write(2). Thread: any.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above level are dropped. Default LOG_INFO. Takes effect at once. */
void log_set_level(enum log_level level);

/* Is level heard? For lines that cost something to make. */
bool log_is_on(enum log_level level);

/* One event line; fmt begins with the event's name. At most 1 KiB, cut. */
void log_line(enum log_level level, const char *area, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * What a line on stderr that is no event begins with, such as the reason why a
 * program ends: its priority for the journal, or "". Static.
 */
const char *log_priority(enum log_level level);

#define log_error(area, ...) log_line(LOG_ERROR, area, __VA_ARGS__)
#define log_warn(area, ...)  log_line(LOG_WARN, area, __VA_ARGS__)
#define log_info(area, ...)  log_line(LOG_INFO, area, __VA_ARGS__)
#define log_debug(area, ...) log_line(LOG_DEBUG, area, __VA_ARGS__)

#endif
