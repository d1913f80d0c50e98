/*
 * base/process.h - what the system says of this process.
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

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
