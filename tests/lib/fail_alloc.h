/*
 * tests/lib/fail_alloc.h - make the nth allocation fail.
 *
 * Test programs are linked with --wrap for malloc, calloc, realloc,
 * aligned_alloc, posix_memalign, strdup and strndup, in every flavour: calls
 * made by the code under test are counted here, those inside shared libraries
 * (cmocka, json-c) are not. The usual loop:
 *
 *     for (uint64_t nth = 1;; nth++) {
 *             fail_alloc_at(nth, false);
 *             err = thing_new(&t);
 *             if (!fail_alloc_off())
 *                     break;                  the nth was never reached
 *             assert_int_equal(err, ERR_NOMEM);
 *     }
 *
 * Threads: the count is the process's; switch it on and off from one thread.
 */
#ifndef TESTS_LIB_FAIL_ALLOC_H
#define TESTS_LIB_FAIL_ALLOC_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Let the nth (from 1, counted from now) allocation return NULL; with forever
 * all later ones too. Replaces what was set before.
 */
void fail_alloc_at(uint64_t nth, bool forever);

/* No more failures; true when one was delivered since fail_alloc_at(). */
bool fail_alloc_off(void);

/* How many allocations were asked for so far. */
uint64_t fail_alloc_calls(void);

#endif
