/*
 * base/log_os.c - log lines to stderr, one write(2) each.
 *
 * Lines of several threads never mix, because each leaves in one write and is
 * shorter than PIPE_BUF. Two forms:
 *
 *     2026-03-01T12:00:00.123Z warn raft step_down term=7      a terminal, file
 *     <4>raft step_down term=7                                 the journal
 *
 * The journal keeps time and priority itself. systemd sets $JOURNAL_STREAM to
 * "device:inode" of the stream it made; only if stderr still is that stream
 * does the prefix make sense (a unit may redirect stderr into a file).
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINE_BYTES_MAX = 1024 };

static const char *const level_names[] = { "error", "warn", "info", "debug" };

/* The one process-wide setting that log.h promises. */
static _Atomic enum log_level level_now = LOG_INFO;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&level_now, level, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
	return level <= atomic_load_explicit(&level_now, memory_order_relaxed);
}

static int stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (!stream || sscanf(stream, "%llu:%llu", &dev, &ino) != 2)
		return 0;
	return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev &&
	       st.st_ino == ino;
}

const char *log_priority(enum log_level level)
{
	static const char *const prefix[] = { "<3>", "<4>", "<6>", "<7>" };

	return stderr_is_journal() ? prefix[level] : "";
}

/* The line's beginning, up to the area. Never cut: it is short. */
static size_t format_head(char *line, enum log_level level, const char *area)
{
	const char *prefix = log_priority(level);
	struct timespec ts;
	struct tm tm;
	size_t n;
	int rc;

	if (prefix[0]) {
		rc = snprintf(line, LOG_LINE_BYTES_MAX, "%s%.64s ", prefix,
			      area);
		return (size_t)rc;
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = strftime(line, LOG_LINE_BYTES_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	rc = snprintf(line + n, LOG_LINE_BYTES_MAX - n, ".%03ldZ %s %.64s ",
		      ts.tv_nsec / 1000000, level_names[level], area);
	return n + (size_t)rc;
}

void log_line(enum log_level level, const char *area, const char *fmt, ...)
{
	char line[LOG_LINE_BYTES_MAX];
	int saved_errno = errno;
	size_t n;
	va_list ap;
	int rc;

	if (!log_is_on(level))
		return;
	n = format_head(line, level, area);
	va_start(ap, fmt);
	rc = vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	if (rc > 0)
		n += (size_t)rc;
	if (n > sizeof(line) - 1)
		n = sizeof(line) - 1;
	line[n++] = '\n';
	rc = (int)write(STDERR_FILENO, line, n);
	(void)rc; /* nowhere to report that the log itself cannot be written */
	errno = saved_errno;
}
