/*
 * tests/sim/glance.c - has anything changed? Told from the nodes' own memory.
 *
 * The oracle looks at every partition of a node after every call into it, and
 * mostly nothing is new. What engine_partition_info gathers is looked up here
 * where it lies; the oracle goes by that call once a number differs.
 */
#include "engine/engine_internal.h"
#include "tests/sim/sim.h"

void sim_glance(const struct engine *e, uint32_t p, struct sim_glance *g)
{
	const struct partition *ep = &e->partitions[p];
	const struct terms *t = &ep->terms;

	*g = (struct sim_glance){
		.applied = atomic_load(&ep->applied_index),
		.last_index = t->last_index,
		.last_term =
			t->count ? t->steps[t->count - 1].term : t->floor_term,
		.installs = atomic_load(&ep->installs),
	};
}
