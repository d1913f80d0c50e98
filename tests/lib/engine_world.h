/*
 * tests/lib/engine_world.h - an engine on a simulated disk beside a model.
 *
 * Every change goes to both; what the engine answers is compared with what
 * the model says. The model is the list of all entries of each partition, so
 * after a crash it can say what must be there for any last index.
 * One thread.
 */
#ifndef TESTS_LIB_ENGINE_WORLD_H
#define TESTS_LIB_ENGINE_WORLD_H

#include "base/vfs_sim.h"
#include "engine/engine.h"

enum {
	WORLD_PARTITIONS_MAX = 4,
	WORLD_KEYS = 48,
	WORLD_DIRS = 4, /* key i is "d<i % 4>/<i>" */
};

struct world_op {
	uint8_t type; /* enum record_type */
	uint8_t key;  /* DELETE_PREFIX: the directory */
	uint32_t value_bytes;
};

struct world_part {
	struct world_op *ops; /* ops[i] is entry i + 1 */
	uint64_t count, cap;
	uint64_t acked; /* entries up to it must survive anything */
	/* An entry that another overwrote, or will; it may stand in a crash. */
	struct world_op doomed;
	uint64_t doomed_index;
};

enum { WORLD_DOOMED_TERM = 1000000 };

struct world {
	struct vfs_sim *sim;
	struct clock_sim clock;
	struct seed seed;
	struct engine_options o;
	struct engine *e; /* NULL: closed */
	struct world_part parts[WORLD_PARTITIONS_MAX];
};

void world_init(struct world *w, uint64_t seed, uint32_t partitions);
void world_done(struct world *w);

/* A second world on a copy of the disk, closed; the model is copied too. */
void world_clone(const struct world *w, uint64_t seed, struct world *copy);

/* Open and settle what the log holds. The error of engine_open. */
enum err world_open(struct world *w);

/* Open; afterwards the model ends where the log does; compare all. */
void world_reopen(struct world *w);
void world_close(struct world *w);

/* One entry: append, and with sync also sync and settle. */
enum err world_change(struct world *w, uint16_t partition, struct world_op op,
		      bool sync);

/* Keeper steps until idle, or an error; at most steps. */
enum err world_keep(struct world *w, uint32_t steps);

/* Ask for a merge and drive it to its end. */
enum err world_merge(struct world *w);

/* Every key of every partition, by get and by walk. */
void world_check(struct world *w);

/* Bytes a PUT of that entry has. */
void world_value(uint16_t partition, uint64_t index, uint32_t n, uint8_t *p);

size_t world_key(uint8_t key, char text[16]);

#endif
