/*
 * store/restore.c - see restore.h.
 *
 *   begin    an engine on the empty directory; for each partition an install
 *            (engine/replica.h) at index of the state + RESTORE_LEAP, term 1
 *   add      the record goes into its partition's install; in term 1, for the
 *            terms of the old cluster mean nothing here
 *   commit   what makes the node a cluster of one is added at the new index:
 *            "\0g" in every partition, "\0m" and "\0n" in partition 0; every
 *            install is finished and put in force, the log is synced
 *
 * The slot table "\0r" is the state's own: keys stay in their partitions.
 * Uploads that were under way ("\0s" and their chunks) are collected by the
 * new node when they have been idle long enough, as those of any lost client.
 */
#include "store/restore.h"

#include <stdlib.h>

#include "base/check.h"
#include "engine/replica.h"
#include "store/hidden.h"
#include "store/keyrules.h"
#include "store/members_internal.h"
#include "store/wire.h"

enum { NODE_ID = 1, FIRST_TERM = 1 };

struct restore_partition {
	struct engine_install *install; /* NULL: it was put in force         */
	uint64_t index;
	uint64_t clock_ns;
};

struct restore {
	struct engine *engine;
	struct clock *clock;
	struct store_member node;
	uint32_t partitions;
	bool has_slots; /* the table was among the records                   */
	uint64_t keys;
	struct restore_partition parts[];
};

/* ----------------------------------------------------------------- begin - */

static enum err open_engine(const struct restore_options *o, struct restore *r,
			    struct buf *why)
{
	struct engine_options e;

	engine_options_default(&e);
	e.vfs = o->vfs;
	e.clock = o->clock;
	e.seed = o->seed;
	e.dir = o->dir;
	e.partitions = o->partitions;
	e.node_id = NODE_ID;
	e.min_free_bytes = 0; /* how much stays free is the daemon's to say  */
	if (o->segment_bytes)
		e.segment_bytes = o->segment_bytes;
	return engine_open(&e, &r->engine, why);
}

static enum err open_installs(const struct restore_options *o,
			      struct restore *r)
{
	enum err err = OK;

	for (uint32_t i = 0; i < r->partitions && !err; i++) {
		struct restore_partition *p = &r->parts[i];

		p->index = o->parts[i].index + RESTORE_LEAP;
		p->clock_ns = o->parts[i].clock_ns;
		if (o->parts[i].index > RESTORE_INDEX_MAX - RESTORE_LEAP)
			return ERR_TOO_LARGE;
		err = engine_install_open(r->engine, (uint16_t)i, p->index,
					  FIRST_TERM, &p->install);
	}
	return err;
}

enum err restore_begin(const struct restore_options *o, struct restore **out,
		       struct buf *why)
{
	struct restore *r;
	enum err err = OK;

	if (o->partitions == 0 || o->partitions > ENGINE_PARTITIONS_MAX)
		return ERR_INVALID;
	r = calloc(1, sizeof(*r) + o->partitions * sizeof(r->parts[0]));
	if (!r)
		return ERR_NOMEM;
	r->clock = o->clock;
	r->partitions = o->partitions;
	r->node.id = NODE_ID;
	if (strlen(o->node_name) >= sizeof(r->node.name))
		err = ERR_INVALID;
	else
		memcpy(r->node.name, o->node_name, strlen(o->node_name));
	if (!err && !member_is_sound(&r->node))
		err = ERR_INVALID;
	if (err)
		(void)!buf_addf(why, "%s is not a name for a node",
				o->node_name);
	if (!err)
		err = open_engine(o, r, why);
	if (!err)
		err = open_installs(o, r);
	if (err)
		restore_end(r);
	else
		*out = r;
	return err;
}

void restore_end(struct restore *r)
{
	if (!r)
		return;
	for (uint32_t i = 0; i < r->partitions; i++)
		engine_install_abort(r->parts[i].install);
	engine_close(r->engine);
	free(r);
}

/* ------------------------------------------------------------------- add - */

/* Who belonged to the old cluster, and what became of its requests. */
static bool is_of_old_cluster(struct bytes key)
{
	return key.n >= 2 && key.p[0] == 0 && strchr("fgmn", key.p[1]);
}

enum err restore_add(struct restore *r, const struct record *rec)
{
	struct restore_partition *p;
	struct record copy = *rec;

	if (rec->partition >= r->partitions)
		return ERR_INVALID;
	p = &r->parts[rec->partition];
	if (rec->index > p->index - RESTORE_LEAP)
		return ERR_INVALID;
	if (is_of_old_cluster(rec->key))
		return OK;
	if (rec->partition == 0 && rec->type == RECORD_PUT &&
	    bytes_equal(rec->key, ring_key()))
		r->has_slots = true;
	copy.term = FIRST_TERM;
	return engine_install_add(p->install, &copy);
}

/* ---------------------------------------------------------------- commit - */

struct founding {
	struct restore *r;
	struct restore_partition *p;
	struct record record; /* the fields that all have                    */
};

static enum err add_own(struct founding *f, struct bytes key,
			struct bytes value)
{
	enum err err;

	f->record.key = key;
	f->record.value = value;
	err = engine_install_add(f->p->install, &f->record);
	f->record.key = f->record.value = bytes_of(NULL, 0); /* lent */
	f->record.position++;
	return err;
}

/* This node is the one voter. */
static enum err add_membership(struct founding *f)
{
	static const struct raft_change none = { .transition = RAFT_AUTO };
	struct raft_conf conf = { 0 };
	struct buf value = BUF_INIT;
	enum err err = raft_conf_add(&conf, NODE_ID, RAFT_VOTER);

	if (!err)
		err = wire_change_encode(&value, &none);
	if (!err)
		err = wire_conf_encode(&value, &conf);
	if (!err)
		err = add_own(f, conf_key(), buf_bytes(&value));
	buf_done(&value);
	return err;
}

/* The member map: this node, and which id comes next. */
static enum err add_map(struct founding *f)
{
	const struct member m = { .m = f->r->node,
				  .claim = MEMBER_CLAIM_FOUNDER };
	uint8_t key[MEMBER_KEY_BYTES], next_id[8];
	struct buf value = BUF_INIT;
	enum err err = member_encode(&value, &m);

	put_u64(next_id, NODE_ID + 1);
	if (!err)
		err = add_own(f, member_key(key, NODE_ID), buf_bytes(&value));
	if (!err)
		err = add_own(f, next_id_key(),
			      bytes_of(next_id, sizeof(next_id)));
	buf_done(&value);
	return err;
}

static enum err found_partition(struct restore *r, uint16_t id)
{
	struct restore_partition *p = &r->parts[id];
	struct founding f = {
		.r = r,
		.p = p,
		.record = { .type = RECORD_PUT,
			    .partition = id,
			    .index = p->index,
			    .term = FIRST_TERM,
			    .stamp_ns = p->clock_ns,
			    .mtime_ns = clock_wall_ns(r->clock) },
	};
	enum err err = add_membership(&f);

	return err || id != 0 ? err : add_map(&f);
}

static enum err finish_partition(struct restore *r, uint16_t id)
{
	struct restore_partition *p = &r->parts[id];
	const struct engine_hard_state hs = { .term = FIRST_TERM,
					      .commit = p->index };
	struct engine_install *install = p->install;
	enum err err = found_partition(r, id);

	if (!err) {
		engine_install_stamp(install, p->clock_ns);
		err = engine_install_finish(install);
	}
	if (err)
		return err;
	err = engine_install_commit(install, &hs);
	if (err != ERR_NOSPC && err != ERR_NOMEM)
		p->install = NULL; /* the commit has freed it */
	return err;
}

static void count_user_keys(struct restore *r, uint16_t partition)
{
	struct engine_iter it;
	struct engine_info info;
	struct bytes key;
	bool more;

	engine_iter_begin(r->engine, partition, &it);
	more = engine_iter_seek(&it, bytes_of("\1", 1), &key, &info);
	for (; more; more = engine_iter_next(&it, &key, &info))
		r->keys += key_is_user(key);
	engine_iter_end(&it);
}

enum err restore_commit(struct restore *r)
{
	enum err err = OK;

	if (r->partitions > 1 && !r->has_slots)
		return ERR_CORRUPT;
	for (uint32_t i = 0; i < r->partitions && !err; i++)
		err = finish_partition(r, (uint16_t)i);
	if (!err)
		err = engine_sync(r->engine);
	for (uint32_t i = 0; i < r->partitions && !err; i++)
		count_user_keys(r, (uint16_t)i);
	return err;
}

void restore_cluster_id(const struct restore *r, uint8_t id[16])
{
	uint64_t node_id;

	engine_identity(r->engine, id, &node_id);
}

uint64_t restore_keys(const struct restore *r)
{
	return r->keys;
}
