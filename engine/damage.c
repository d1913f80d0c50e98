/*
 * engine/damage.c - what is known to be damaged.
 */
#include <stdlib.h>

#include "engine/engine_internal.h"

static bool is_known(const struct damage *d, uint16_t partition,
		     uint64_t version, struct bytes key)
{
	for (uint32_t i = 0; i < d->key_count; i++) {
		const struct engine_damaged *k = d->keys[i];

		if (k->partition == partition && k->version == version &&
		    bytes_equal(bytes_of(k->key, k->key_bytes), key))
			return true;
	}
	return false;
}

void damage_note_key(struct engine *e, uint16_t partition, uint64_t version,
		     struct bytes key)
{
	struct engine_damaged *k = malloc(sizeof(*k));
	struct damage *d = &e->damage;

	if (!k)
		return; /* a later read tells it again */
	k->partition = partition;
	k->version = version;
	k->key_bytes = key.n;
	if (key.n)
		memcpy(k->key, key.p, key.n);
	pthread_mutex_lock(&e->stats_lock);
	if (d->key_count < DAMAGE_KEYS_MAX &&
	    !is_known(d, partition, version, key)) {
		d->keys[d->key_count++] = k;
		k = NULL;
	}
	pthread_mutex_unlock(&e->stats_lock);
	free(k);
}

void damage_note_entry(struct partition *p, uint64_t index)
{
	const struct tail_entry *found = tail_at(&p->tail, index);

	if (found) {
		struct tail_entry t = *found;

		t.loc |= LOC_DAMAGED;
		tail_set(&p->tail, index, &t);
	}
	if (!p->missing || index < p->missing)
		p->missing = index;
}

void damage_find_missing(struct partition *p)
{
	uint64_t i = atomic_load(&p->applied_index) + 1;

	p->missing = 0;
	for (; i <= p->terms.last_index && !p->missing; i++) {
		const struct tail_entry *t = tail_at(&p->tail, i);

		if (!t || loc_flags(t->loc) & LOC_DAMAGED)
			p->missing = i;
	}
}

void damage_done(struct engine *e)
{
	struct damage *d = &e->damage;

	for (uint32_t i = 0; i < d->key_count; i++)
		free(d->keys[i]);
	for (uint32_t i = 0; i < d->heal_count; i++)
		free(d->heals[i].key);
	free(d->heals);
	*d = (struct damage){ 0 };
}
