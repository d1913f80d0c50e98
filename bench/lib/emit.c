/*
 * bench/lib/emit.c - see emit.h.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/lib/emit.h"

static int out_fd(void)
{
	static int fd = -1;
	const char *path = getenv("BENCH_OUT");

	if (fd >= 0)
		return fd;
	if (!path || !*path)
		return fd = STDOUT_FILENO;
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

__attribute__((format(printf, 1, 2))) static void line(const char *form, ...)
{
	char text[1024];
	va_list args;
	int n;

	va_start(args, form);
	n = vsnprintf(text, sizeof(text), form, args);
	va_end(args);
	if (n < 0 || n >= (int)sizeof(text) ||
	    write(out_fd(), text, (size_t)n) != n) {
		fprintf(stderr, "bench: a figure could not be written\n");
		exit(1);
	}
}

void emit_table(const char *name, const char *title, const char *x,
		const char *plot)
{
	line("table\t%s\t%s\t%s\t%s\n", name, title, x, plot);
}

void emit_figure(const char *table, const char *x, const char *who,
		 const char *metric, const char *unit, int round, double value)
{
	line("fig\t%s\t%s\t%s\t%s\t%s\t%d\t%.6g\n", table, x, who, metric, unit,
	     round, value);
}

void emit_figure_at(const char *table, unsigned long long x, const char *who,
		    const char *metric, const char *unit, int round,
		    double value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", x);
	emit_figure(table, text, who, metric, unit, round, value);
}

void emit_missing(const char *table, const char *who, const char *why)
{
	line("missing\t%s\t%s\t%s\n", table, who, why);
}

void emit_note(const char *table, const char *text)
{
	line("note\t%s\t%s\n", table, text);
}
