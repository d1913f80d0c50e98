/*
 * bench/lib/emit.h - figures on their way into the report.
 *
 * Lines of the form that bench/results.py describes, appended to the file
 * named by $BENCH_OUT, or to the standard output. Each call writes one whole
 * line at once, so that a program that is cut short leaves whole lines. No
 * text may contain a tab or a newline. A line that cannot be written ends the
 * program.
 * Threads: any.
 */
#ifndef BENCH_LIB_EMIT_H
#define BENCH_LIB_EMIT_H

/*
 * A table comes into being. name: its key, without blanks. x: what its cases
 * are ("value bytes", "connections"). plot: "line" (x are numbers, drawn on a
 * logarithmic axis), "bar" or "none".
 */
void emit_table(const char *name, const char *title, const char *x,
		const char *plot);

/*
 * One figure of one round. who: "raftcask" and what begins so is ours. metric:
 * what is measured ("time", "rate", "p99"). unit: with "/s" in it more is
 * better, without it less is. round: from 0; figures of the same round were
 * taken next to each other.
 */
void emit_figure(const char *table, const char *x, const char *who,
		 const char *metric, const char *unit, int round, double value);

/* The same with a number as the case. */
void emit_figure_at(const char *table, unsigned long long x, const char *who,
		    const char *metric, const char *unit, int round,
		    double value);

/* Something is not in the table, and why. */
void emit_missing(const char *table, const char *who, const char *why);

/* A sentence that the reader of the table needs. */
void emit_note(const char *table, const char *text);

#endif
