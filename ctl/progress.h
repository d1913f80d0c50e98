/*
 * ctl/progress.h - how far a long piece of work has come, on stderr.
 *
 * On a terminal a bar that is drawn anew a few times a second and is gone when
 * the work ends; otherwise a plain line now and then. Nothing of it goes to
 * stdout. Thread: one at a time.
 */
#ifndef CTL_PROGRESS_H
#define CTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

enum progress_unit { PROGRESS_BYTES, PROGRESS_COUNT };

struct progress {
	const char *what; /* "backup"; valid until progress_end              */
	enum progress_unit unit;
	uint64_t total; /* 0: not known. An estimate is good enough          */
	uint64_t done;
	bool is_terminal, is_drawn;
	bool is_quiet; /* set it after progress_begin: nothing is shown     */
	uint64_t begun_ns, shown_ns;
	uint64_t rate_ns, rate_done; /* where the present rate began         */
	double rate;		     /* a second                             */
};

enum { PROGRESS_TEXT_BYTES = 32 };

/* Begin now. total may be 0. */
void progress_begin(struct progress *p, const char *what,
		    enum progress_unit unit, uint64_t total);

/* So much is done in all; shows it when it is time to. */
void progress_to(struct progress *p, uint64_t done);

/* The work is over, well or not: the bar goes. */
void progress_end(struct progress *p);

/* The text of a bar or line, cut to width bytes; for progress.c and tests. */
void progress_text(const struct progress *p, uint64_t now_ns, bool bar,
		   char *text, unsigned width);

/* n as "34.1 MiB" or "1234567". */
const char *progress_amount(enum progress_unit unit, double n,
			    char text[PROGRESS_TEXT_BYTES]);

#endif
