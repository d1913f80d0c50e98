/*
 * base/process.h - what the system says of this process.
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdint.h>

struct process_figures {
	double cpu_s;	/* user and system, since the start               */
	double start_s; /* wall clock, since 1970                         */
	uint64_t rss_bytes, threads;
	uint64_t files, files_max; /* descriptors                            */
};

/* A moment's figures; what cannot be known is 0. Thread: any. */
void process_figures(struct process_figures *f);

#endif
