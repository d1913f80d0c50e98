/*
 * tests/lib/install_world.h - two engines: one whose state is handed out, one
 * in which it is installed. Partition 0 of both.
 */
#ifndef TESTS_LIB_INSTALL_WORLD_H
#define TESTS_LIB_INSTALL_WORLD_H

#include "engine/replica.h"
#include "tests/lib/engine_world.h"

enum {
	INSTALL_VALUE_BYTES = 20000,
	INSTALL_TAIL = 400, /* entries of a receiver's divergent tail        */
	INSTALL_SEED = 900, /* of senders                                    */
};

/* One entry, synced and settled. */
void install_change(struct world *w, uint16_t partition, uint8_t type,
		    uint8_t key);

/* n puts, over all partitions in turn and keys first_key and on. */
void install_churn(struct world *w, uint32_t first_key, uint32_t keys,
		   uint32_t n);

/* A sender: tombstones of every kind, some of it merged, some in the log. */
void install_sender(struct world *w, uint64_t seed, uint32_t entries);

/*
 * A receiver of three partitions: everything is its own alone; in partition 0
 * a tail follows that another leader's entries will have replaced.
 */
void install_receiver(struct world *w, uint64_t seed);
/* The same in a world that is initialised and was never opened. */
void install_receiver_in(struct world *w);

/* As above, all settled: much of it lies in segments that can be merged. */
void install_receiver_settled(struct world *w, uint64_t seed);

/* By the model, w's partition 0 is from's up to index from now on. */
void install_adopt(struct world *w, const struct world *from, uint64_t index);

/* Records of the sender's state, read once. */
struct install_state {
	struct buf records; /* encoded with seed 0, one behind the other    */
	uint64_t index, term, stamp_ns;
};

/* Read it; st->records is the caller's. */
void install_take_state(struct world *from, struct install_state *st);

/* An install of st, up to and with finish. On an error none is left. */
enum err install_build(struct world *w, const struct install_state *st,
		       struct engine_install **out);

/* new_term: the hard state changes with it, so that a frame is appended. */
enum err install_commit(struct world *w, struct engine_install *in,
			bool new_term);

/* Both, with a new term. */
enum err install_state(struct world *w, const struct install_state *st);

/* The log goes on behind the installed state, and everything holds. */
void install_go_on(struct world *w);

struct engine_stats install_stats(struct world *w);

#endif
