/*
 * engine/settle.h - private to engine/: what engine_close must release.
 */
#ifndef ENGINE_SETTLE_H
#define ENGINE_SETTLE_H

struct engine;

/* Free the memory that engine_settle keeps between calls. */
void settle_done(struct engine *e);

#endif
