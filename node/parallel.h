/*
 * node/parallel.h - the daemon's way to use every processor for one job.
 */
#ifndef NODE_PARALLEL_H
#define NODE_PARALLEL_H

#include <stdint.h>

/*
 * Run fn(arg, i) for each i of 0..n-1 on up to as many threads as there are
 * processors, the calling one included, and return when all are done. When no
 * thread can be made, the caller does it all. Thread: any.
 */
void parallel_run(void (*fn)(void *arg, uint32_t i), void *arg, uint32_t n);

#endif
