/*
 * engine/keep.h - background work: what engine_close must release.
 *
 * Private to engine/. engine_keep itself is in engine.h.
 */
#ifndef ENGINE_KEEP_H
#define ENGINE_KEEP_H

struct engine;

/*
 * Give up what is under way (a merge before its switch leaves no trace),
 * close files that are out of the table, release e->keep. No keeper inside,
 * no reader, no pin. Nothing was ever begun: does nothing.
 */
void keep_free(struct engine *e);

struct replaced;

/*
 * Free a list of what installs replaced; files in it stay the file table's.
 * As keep_free. NULL is accepted.
 */
void keep_replaced_free(struct replaced *list);

#endif
