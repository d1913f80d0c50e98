/*
 * ctl/wait.h - staying until what was asked for has come about.
 *
 * With a bar on a terminal. Interrupting it ends the waiting only. Thread:
 * main.
 */
#ifndef CTL_WAIT_H
#define CTL_WAIT_H

#include "ctl/ctl.h"

/*
 * One node of c's: the first that answers, so that what follows is asked of
 * the same. CTL_RUNTIME: none does; it has been said.
 */
enum ctl_exit wait_choose_node(const struct ctl *c, struct ctl *one);

/* How many merges the node of one has made; before one is asked for. */
uint64_t wait_merges(const struct ctl *one);

/* Until a merge that was asked of one after `merges` is over. */
enum ctl_exit wait_merge(const struct ctl *one, uint64_t merges);

/*
 * Until member name with that id (empty: whatever it has) has caught up: it is
 * up, votes unless it stays a learner, and is no more than a moment behind, if
 * whoever leads can be asked. With gone: until it has left.
 */
enum ctl_exit wait_member(const struct ctl *c, const char *name, const char *id,
			  bool gone);

#endif
