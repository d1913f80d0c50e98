/*
 * ctl/verb_recover.c - recover: a cluster that has lost its majority for good
 * goes on from one of its nodes.
 *
 * The state that this node's log holds becomes a new cluster of one, as restore
 * makes one; the old files are kept beside it. Without consent it only says
 * what that would mean.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/guard.h"
#include "base/log.h"
#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/newdir.h"
#include "ctl/progress.h"
#include "ctl/text.h"
#include "node/identity.h"
#include "store/rescue.h"
#include "store/restore.h"

enum { ASIDE_BYTES = 64 };

struct recovery {
	const char *dir;
	struct seed seed;
	struct rescue *rescue;
	struct restore *restore;
	struct newdir newdir;
	struct progress progress;
	struct store_member members[RESCUE_MEMBERS_MAX], self;
	uint32_t member_count;
	char aside[ASIDE_BYTES]; /* where the old files go, below dir        */
	char old_cluster[33], new_cluster[33];
	uint8_t new_id[16];
	uint64_t keys, damaged;
	struct rescue_damaged *damaged_list;
	uint32_t damaged_count;
	struct buf why;
};

/* ------------------------------------------------------------------ look - */

static enum ctl_exit say_err(const struct recovery *r, enum err err)
{
	if (err == ERR_BUSY) {
		ctl_say("%s is in use by another process", r->dir);
		return CTL_BUSY;
	}
	if (r->why.n)
		ctl_say("%.*s", (int)r->why.n, (const char *)r->why.p);
	else
		ctl_say("%s: %s", r->dir, err_text(err));
	return CTL_RUNTIME;
}

static enum ctl_exit look(struct recovery *r)
{
	const struct rescue_options o = { .vfs = vfs_os(),
					  .clock = clock_os(),
					  .seed = &r->seed,
					  .dir = r->dir };
	uint8_t id[16];
	uint64_t self;
	enum err err = seed_init_os(&r->seed);

	if (!err)
		err = rescue_open(&o, &r->rescue, &r->why);
	if (err)
		return say_err(r, err);
	self = rescue_identity(r->rescue, id);
	text_hex(id, r->old_cluster);
	snprintf(r->aside, sizeof(r->aside), "cluster-%.16s", r->old_cluster);
	r->member_count = rescue_members(r->rescue, r->members);
	snprintf(r->self.name, sizeof(r->self.name), "n%" PRIu64, self);
	for (uint32_t i = 0; i < r->member_count; i++)
		if (r->members[i].id == self)
			r->self = r->members[i];
	r->self.id = self;
	if (r->member_count < 2) {
		ctl_say("%s is of a node that is alone: it needs no majority. "
			"Nothing was changed",
			r->dir);
		return CTL_RUNTIME;
	}
	return CTL_OK;
}

static void list_part(const struct recovery *r, uint32_t i)
{
	const struct rescue_part *p = rescue_part(r->rescue, i);

	printf("partition %u: term %" PRIu64 ", committed to entry %" PRIu64
	       ", kept to %" PRIu64 "\n",
	       i, p->term, p->commit, p->last);
	if (p->last > p->commit)
		printf("  not known to have been committed, but acknowledged "
		       "or not they will count: %" PRIu64 "\n",
		       p->last - p->commit);
	if (p->lost)
		printf("  entry %" PRIu64 " and all behind it are damaged "
		       "here: lost\n",
		       p->lost);
}

/* What this node has, and what nobody can know. */
static void list(const struct recovery *r)
{
	printf("cluster %s, node %s (id %" PRIu64 ")\nmembers", r->old_cluster,
	       r->self.name, r->self.id);
	for (uint32_t i = 0; i < r->member_count; i++)
		printf(" %s", r->members[i].name);
	putchar('\n');
	for (uint32_t i = 0; i < rescue_partitions(r->rescue); i++)
		list_part(r, i);
	puts("May be lost: what the other members acknowledged and this one "
	     "had not got yet;\nof their clients' last writes nobody can tell. "
	     "What other members still hold is\nnot looked at: recover the "
	     "member that is kept furthest.");
}

static struct json_object *describe(const struct recovery *r)
{
	struct json_object *o = json_object_new_object();
	struct json_object *names = json_object_new_array();
	struct json_object *parts = json_object_new_array();

	json_object_object_add(o, "cluster",
			       json_object_new_string(r->old_cluster));
	json_object_object_add(o, "node", json_object_new_string(r->self.name));
	for (uint32_t i = 0; i < r->member_count; i++)
		json_object_array_add(
			names, json_object_new_string(r->members[i].name));
	json_object_object_add(o, "members", names);
	for (uint32_t i = 0; i < rescue_partitions(r->rescue); i++) {
		const struct rescue_part *p = rescue_part(r->rescue, i);
		struct json_object *part = json_object_new_object();

		json_object_object_add(part, "id", json_object_new_int((int)i));
		json_object_object_add(part, "term",
				       json_object_new_uint64(p->term));
		json_object_object_add(part, "commit",
				       json_object_new_uint64(p->commit));
		json_object_object_add(part, "kept",
				       json_object_new_uint64(p->last));
		json_object_object_add(part, "lost",
				       json_object_new_uint64(p->lost));
		json_object_array_add(parts, part);
	}
	json_object_object_add(o, "partitions", parts);
	return o;
}

/* ------------------------------------------------------------------ make - */

static enum err add(void *ctx, const struct record *rec)
{
	struct recovery *r = ctx;

	progress_to(&r->progress, r->progress.done + rec->value.n + rec->key.n +
					  RECORD_HEADER_BYTES);
	return restore_add(r->restore, rec);
}

static enum err make_state(struct recovery *r)
{
	const struct restore_options o = {
		.vfs = vfs_os(),
		.clock = clock_os(),
		.seed = &r->seed,
		.dir = r->newdir.work,
		.node_name = r->self.name,
		.partitions = rescue_partitions(r->rescue),
		.parts = rescue_parts(r->rescue),
	};
	uint64_t records;
	enum err err = restore_begin(&o, &r->restore, &r->why);

	progress_begin(&r->progress, "recover", PROGRESS_BYTES, 0);
	if (!err)
		err = rescue_read(r->rescue, add, r, &records);
	progress_end(&r->progress);
	if (!err)
		err = restore_commit(r->restore);
	if (err)
		return err;
	r->damaged_list = calloc(RESCUE_DAMAGED_MAX, sizeof(*r->damaged_list));
	if (!r->damaged_list)
		return ERR_NOMEM;
	r->damaged =
		rescue_damaged(r->rescue, r->damaged_list, &r->damaged_count);
	r->keys = restore_keys(r->restore);
	restore_cluster_id(r->restore, r->new_id);
	text_hex(r->new_id, r->new_cluster);
	return OK;
}

/* So that the node starts as what it is, whatever cluster.members lists. */
static enum err make_identity(const struct recovery *r)
{
	static struct identity id;

	id = (struct identity){ .state = IDENTITY_MEMBER,
				.partitions = rescue_partitions(r->rescue),
				.node_id = 1,
				.roster.count = 1 };
	memcpy(id.cluster_id, r->new_id, 16);
	id.roster.member[0] = r->self;
	id.roster.member[0].id = 1;
	return identity_save(vfs_os(), r->newdir.work, &id);
}

static enum ctl_exit make(struct recovery *r)
{
	enum ctl_exit result = newdir_begin_beside(&r->newdir, r->dir);
	enum err err;

	if (result)
		return result;
	err = make_state(r);
	restore_end(r->restore); /* both are synced; close what is open */
	if (!err)
		err = make_identity(r);
	if (err) {
		newdir_discard_beside(&r->newdir);
		return say_err(r, err);
	}
	return CTL_OK;
}

static void print_made(const struct recovery *r)
{
	printf("%" PRIu64 " keys, new cluster %s; the old files are in %s/%s\n",
	       r->keys, r->new_cluster, r->dir, r->aside);
	if (r->damaged)
		printf("%" PRIu64 " damaged values are lost:\n", r->damaged);
	for (uint32_t i = 0; i < r->damaged_count; i++) {
		fputs("  ", stdout);
		text_print(stdout, bytes_of(r->damaged_list[i].key,
					    r->damaged_list[i].key_bytes));
		putchar('\n');
	}
	puts("Start it, empty the directories of the other members, and add "
	     "each again with\n`raftcask members add`.");
}

static void show_made(const struct ctl *c, const struct recovery *r,
		      struct json_object *o)
{
	if (!c->json) {
		print_made(r);
		return;
	}
	json_object_object_add(o, "keys", json_object_new_uint64(r->keys));
	json_object_object_add(o, "damaged",
			       json_object_new_uint64(r->damaged));
	json_object_object_add(o, "new_cluster",
			       json_object_new_string(r->new_cluster));
	json_object_object_add(o, "aside", json_object_new_string(r->aside));
	text_print_json(json_object_get(o));
}

/* Say what there is; with consent, do it. */
static enum ctl_exit recover(const struct ctl *c, struct recovery *r,
			     bool force)
{
	struct json_object *o;
	enum ctl_exit result = look(r);

	if (result)
		return result;
	o = describe(r);
	if (!c->json)
		list(r);
	if (!force) {
		if (c->json)
			text_print_json(json_object_get(o));
		fflush(stdout);
		ctl_say("nothing was changed; --force-new-cluster makes a new "
			"cluster of what this node has");
		result = CTL_RUNTIME;
	} else {
		result = make(r);
	}
	rescue_close(r->rescue);
	r->rescue = NULL;
	if (!result)
		result = newdir_replace(&r->newdir, r->aside);
	if (!result)
		show_made(c, r, o);
	json_object_put(o);
	return result;
}

enum ctl_exit verb_recover(struct ctl *c, int argc, char **argv)
{
	static struct recovery r;
	bool force = false;
	const struct args_option options[] = {
		{ .name = "--data-dir", .value = &r.dir },
		{ .name = "--force-new-cluster", .set = &force },
		{ .name = NULL },
	};
	enum ctl_exit result;

	if (!args_take(&argc, argv, options, true) || argc || !r.dir)
		return ctl_usage(c);
	guard_install();
	log_set_level(LOG_WARN);
	if (force &&
	    newdir_was_replacing(&r.newdir, r.dir, r.aside, sizeof(r.aside))) {
		result = newdir_replace(&r.newdir, r.aside);
		if (!result)
			printf("%s: what was begun is done; the old files are "
			       "in %s\n",
			       r.dir, r.aside);
		return result ? result : ctl_flush();
	}
	result = recover(c, &r, force);
	rescue_close(r.rescue);
	free(r.damaged_list);
	buf_done(&r.why);
	return result ? result : ctl_flush();
}
