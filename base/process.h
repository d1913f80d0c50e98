/*
 * base/process.h - what the system says of this process.
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * The first thing that main does. Descriptors 0, 1 and 2 that the caller has
 * closed would go to the next files that are opened, and what is printed or
 * logged into them: into the log of a data directory. So they are taken, and
 * whoever reads or writes them is refused. ERR_IO: they could not be.
 */
MUST_CHECK enum err process_take_standard_files(void);

struct process_figures {
	double cpu_s;	/* user and system, since the start               */
	double start_s; /* wall clock, since 1970                         */
	uint64_t rss_bytes, threads;
	uint64_t files, files_max; /* descriptors                            */
};

/* A moment's figures; what cannot be known is 0. Thread: any. */
void process_figures(struct process_figures *f);

/*
 * Write this process's number into the file, which is there, in place of what
 * is in it. A full disk or a file that cannot be written is no harm: then
 * nothing is known of it. Thread: any.
 */
void process_sign_file(const char *path);

/*
 * Has the process that signed the file been killed, without being gone yet? One
 * of its threads may hang in the kernel and keep what is open from being
 * closed. False also when nothing can be known. Thread: any.
 */
bool process_of_file_is_ending(const char *path);

#endif
