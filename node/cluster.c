/*
 * node/cluster.c - the node's place in a cluster: what its directory says and
 * the configuration asks for, the links, and the questions of other nodes.
 *
 *   directory            cluster settings       plan
 *   no "cluster" file,   none                   single: no peer port
 *     an engine or not   listen only            alone: a cluster of one, to
 *                                               which others can be added
 *                        members, no data       form, or join
 *                        members, data          exit 78 (a list of one: alone)
 *   claiming, prepared   any                    go on forming or joining
 *   formed, joining      any                    make the engine directory, run
 *   member, alone        any; members ignored   run
 *   damaged, or a member any                    open it, if there is a
 *     without a manifest                        manifest; else wait for an id
 *   removed              any                    wait for ever
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "node/node_internal.h"

enum { LOOK_MS = 1000, MEMBERS_SECRET_BYTES_MAX = LINKS_SECRET_BYTES_MAX };

/* How long a directory that is in use is looked at again. */
enum { BUSY_LOOK_MS = 10, BUSY_MS = 2000 };

#define SAY(why, ...) (void)!buf_addf(why, __VA_ARGS__)

static bool is_given(const struct conf *c, const char *key)
{
	struct buf where = BUF_INIT;
	bool given;

	/* "key: " alone means that it is a default. */
	given = conf_where(c, key, &where) == OK && where.n > strlen(key) + 2;
	buf_done(&where);
	return given;
}

uint32_t cluster_partitions(const struct node *n)
{
	uint32_t partitions = n->cluster.identity.partitions;

	return partitions && !is_given(n->conf, "cluster.partitions")
		       ? partitions
		       : n->conf->partitions;
}

static enum node_exit bad_conf(const struct node *n, const char *key,
			       struct buf *why)
{
	(void)!conf_where(n->conf, key, why);
	return NODE_CONFIG;
}

/* ---------------------------------------------------------- the callbacks  */

static enum err on_receive(void *ctx, uint64_t from, struct bytes message)
{
	struct node *n = ctx;

	return n->store ? store_receive(n->store, from, message) : OK;
}

static void on_link(void *ctx, uint64_t peer, bool up)
{
	struct node *n = ctx;

	if (n->store)
		store_link(n->store, peer, up);
}

/*
 * Whom the map does not know may be a newer member than this node has heard
 * of, even the one that leads: refused, it could never tell.
 */
static enum links_standing on_standing(void *ctx, uint64_t id)
{
	struct node *n = ctx;

	if (!n->store)
		return LINKS_UNKNOWN;
	switch (store_standing(n->store, id)) {
	case STORE_REMOVED:
		return LINKS_REMOVED;
	case STORE_MEMBER:
	case STORE_UNKNOWN:
		break;
	}
	return LINKS_MEMBER;
}

static void on_removed(void *ctx, const char *by)
{
	struct node *n = ctx;
	struct cluster *k = &n->cluster;
	struct identity next = k->identity;
	char reason[CONF_PATH_BYTES_MAX + 128];
	enum err err;

	if (k->identity.state == IDENTITY_REMOVED)
		return;
	next.state = IDENTITY_REMOVED;
	err = identity_save(vfs_os(), n->conf->data_dir, &next);
	k->identity.state = IDENTITY_REMOVED;
	snprintf(reason, sizeof(reason),
		 "this node was removed from the cluster; empty %s to add it "
		 "again",
		 n->conf->data_dir);
	log_error("cluster", "removed by=%s saved=\"%s\" reason=\"%s\"", by,
		  err_text(err), reason);
	node_hold(n, "removed", reason);
	atomic_store(&n->serving, false);
}

static void fill_report(struct node *n, struct report *r)
{
	struct cluster *k = &n->cluster;
	uint32_t count = store_members(n->store, k->members, ROSTER_MAX);

	memset(r, 0, sizeof(*r));
	snprintf(r->name, sizeof(r->name), "%s", n->conf->node_name);
	r->state = k->identity.state;
	r->partitions = k->identity.partitions;
	memcpy(r->cluster_id, k->identity.cluster_id, 16);
	r->node_id = k->identity.node_id;
	r->roster.count = count < ROSTER_MAX ? count : ROSTER_MAX;
	for (uint32_t i = 0; i < r->roster.count; i++)
		r->roster.member[i] = k->members[i].member;
}

static void claim_decided(struct store_change *change)
{
	struct claim_slot *s = change->user;

	s->busy = false;
	s->decided = true;
	s->result = change->err == OK		   ? CLAIM_GRANTED
		    : change->err == ERR_NOT_FOUND ? CLAIM_UNKNOWN
		    : change->err == ERR_EXISTS	   ? CLAIM_TAKEN
						   : CLAIM_REFUSED;
}

static enum claim_result claim_through(struct node *n, const struct question *q,
				       uint64_t *id)
{
	struct claim_slot *s = &n->cluster.claim;

	if (s->busy)
		return CLAIM_PENDING; /* this one or another node's */
	if (s->decided && s->change.claim == q->claim &&
	    strcmp(s->change.member.name, q->name) == 0) {
		s->decided = false;
		*id = s->change.id;
		return s->result;
	}
	memset(s, 0, sizeof(*s));
	s->change.kind = STORE_MEMBER_CLAIM;
	snprintf(s->change.member.name, sizeof(s->change.member.name), "%s",
		 q->name);
	s->change.claim = q->claim;
	s->change.done = claim_decided;
	s->change.user = s;
	if (store_change(n->store, &s->change))
		return CLAIM_REFUSED;
	s->busy = true;
	return CLAIM_PENDING;
}

/*
 * A node that has others is never again one that may found a cluster. Nobody
 * can have joined without an answer of this node, or of one that joined: so
 * this is on disk before any answer.
 */
static enum err note_members(struct node *n)
{
	struct cluster *k = &n->cluster;
	struct identity next = k->identity;
	uint32_t count;
	enum err err;

	if (next.state == IDENTITY_REMOVED ||
	    (next.state == IDENTITY_MEMBER && next.roster.count > 1))
		return OK;
	count = store_members(n->store, k->members, ROSTER_MAX);
	if (count < 2)
		return OK;
	next.state = IDENTITY_MEMBER;
	next.roster.count = count < ROSTER_MAX ? count : ROSTER_MAX;
	for (uint32_t i = 0; i < next.roster.count; i++)
		next.roster.member[i] = k->members[i].member;
	err = identity_save(vfs_os(), n->conf->data_dir, &next);
	if (err)
		log_error("cluster", "identity_unsaved dir=\"%s\"",
			  n->conf->data_dir);
	else
		k->identity = next;
	return err;
}

static enum err on_question(void *ctx, struct bytes question,
			    struct buf *answer)
{
	struct node *n = ctx;
	struct claimed *c;
	struct question q;
	enum err err;

	if (!n->store && n->cluster.formation)
		return formation_answer(n->cluster.formation, question, answer);
	if (!n->store)
		return ERR_STARTING;
	err = question_decode(question, &q);
	if (!err)
		err = note_members(n);
	if (err)
		return err;
	c = malloc(sizeof(*c));
	if (!c)
		return ERR_NOMEM;
	fill_report(n, &c->report);
	if (q.is_claim) {
		c->result = claim_through(n, &q, &c->report.node_id);
		err = claimed_encode(c, answer);
	} else {
		err = report_encode(&c->report, answer);
	}
	free(c);
	return err;
}

/* ------------------------------------------------------------- the links - */

static enum err read_secret(struct node *n, struct buf *why)
{
	const char *path = n->conf->cluster_secret_file;
	struct buf *b = &n->cluster.secret;
	struct vfs_file *f;
	size_t got = 0;
	enum err err;

	if (!path[0])
		return OK;
	err = vfs_open(vfs_os(), path, VFS_READ, &f);
	if (!err) {
		err = buf_reserve(b, MEMBERS_SECRET_BYTES_MAX + 2);
		if (!err)
			err = vfs_pread(f, b->p, MEMBERS_SECRET_BYTES_MAX + 2,
					0, &got);
		vfs_close(f);
	}
	if (err) {
		SAY(why, "%s: %s\n", path, err_text(err));
		return err;
	}
	while (got && (b->p[got - 1] == '\n' || b->p[got - 1] == '\r'))
		got--; /* what an editor adds is not part of it */
	b->n = got;
	if (got)
		return OK;
	SAY(why, "%s is empty\n", path);
	return ERR_INVALID;
}

/* Where to listen: as said, or where the list says that this node is. */
static void listen_address(const struct node *n, char *out)
{
	const struct conf *c = n->conf;

	if (is_given(c, "cluster.listen") || !n->cluster.self.peer[0])
		roster_address(&c->cluster_listen, out);
	else
		snprintf(out, STORE_ADDRESS_BYTES_MAX, "%s",
			 n->cluster.self.peer);
}

static enum node_exit open_links(struct node *n, struct buf *why)
{
	const struct conf *c = n->conf;
	struct cluster *k = &n->cluster;
	struct buf below = BUF_INIT;
	char listen[STORE_ADDRESS_BYTES_MAX];
	struct links_options o = {
		.listen = listen,
		.name = c->node_name,
		.address = k->self.peer,
		.clock = clock_os(),
		.seed = &n->store_seed,
		.loopback_only = !conf_cluster_is_guarded(c) && !c->insecure,
		.tls_cert = c->peer_cert[0] ? c->peer_cert : NULL,
		.tls_key = c->peer_key,
		.tls_ca = c->peer_ca,
		.receive = on_receive,
		.link = on_link,
		.standing = on_standing,
		.removed = on_removed,
		.question = on_question,
		.ctx = n,
	};
	enum err err;

	if (read_secret(n, &below)) {
		bad_conf(n, "security.cluster_secret_file", why);
		SAY(why, "%.*s", (int)below.n, (const char *)below.p);
		buf_done(&below);
		return NODE_CONFIG;
	}
	o.secret = buf_bytes(&k->secret);
	listen_address(n, listen);
	err = links_open(&o, &k->links, &below);
	if (err)
		SAY(why, "cluster.listen %s: %.*s\n", listen, (int)below.n,
		    below.n ? (const char *)below.p : "");
	buf_done(&below);
	if (err == ERR_INVALID || (err == ERR_PERMISSION && o.loopback_only))
		return NODE_CONFIG;
	return err ? NODE_RUNTIME : NODE_OK;
}

/* --------------------------------------------------------------- the plan  */

/* Does the engine directory hold a client's write? */
static enum node_exit look_for_data(struct node *n, bool *data, struct buf *why)
{
	enum node_exit result = node_open_engine(n, why);
	struct engine_partition_info info;

	*data = false;
	if (result)
		return result;
	for (uint32_t i = 0; i < cluster_partitions(n); i++) {
		engine_partition_info(n->engine, (uint16_t)i, &info);
		*data |= info.client_entries > 0;
	}
	engine_close(n->engine);
	n->engine = NULL;
	return NODE_OK;
}

/* A directory that may become a founder's or a newcomer's. */
static enum node_exit plan_empty(struct node *n, bool has_engine,
				 struct buf *why)
{
	struct cluster *k = &n->cluster;
	bool data = false;

	if (has_engine) {
		enum node_exit result = look_for_data(n, &data, why);

		if (result)
			return result;
	}
	if (!data) {
		k->plan = PLAN_FORM;
		if (k->identity.state == IDENTITY_ALONE)
			memset(&k->identity, 0, sizeof(k->identity));
		return NODE_OK;
	}
	if (k->roster.count == 1) {
		k->plan = PLAN_RUN; /* alone, and now with addresses */
		return NODE_OK;
	}
	bad_conf(n, "cluster.members", why);
	SAY(why,
	    "%s holds the data of a node that was alone: it cannot become one "
	    "of several founders. Either start it with cluster.listen and no "
	    "members and add the others with `raftcask members add NAME PEER "
	    "HTTP` (that is also how a `raftcask backup` grows that was "
	    "restored), or `raftcask export` its keys, start all with empty "
	    "directories and `raftcask import` them\n",
	    n->conf->data_dir);
	return NODE_CONFIG;
}

static enum node_exit plan_stateful(struct node *n, bool has_engine,
				    struct buf *why)
{
	struct cluster *k = &n->cluster;

	k->plan = PLAN_RUN;
	if (has_engine || cluster_can_wait(n))
		return NODE_OK; /* without an engine: cluster_hurt */
	SAY(why,
	    "%s: the file cluster says that this is node %llu, but its data is "
	    "gone. Empty the directory and run `raftcask members replace %s` "
	    "on another node\n",
	    n->conf->data_dir, (unsigned long long)k->identity.node_id,
	    n->conf->node_name);
	return NODE_RUNTIME;
}

static enum node_exit choose_plan(struct node *n, struct buf *why)
{
	struct cluster *k = &n->cluster;
	const struct conf *c = n->conf;
	bool listed = c->members.count > 0, has_engine;
	enum err err = identity_has_engine(vfs_os(), c->data_dir, &has_engine);

	if (err) {
		SAY(why, "data directory %s: %s\n", c->data_dir, err_text(err));
		return NODE_RUNTIME;
	}
	switch (k->identity.state) {
	case IDENTITY_REMOVED:
		k->plan = PLAN_REMOVED;
		return NODE_OK;
	case IDENTITY_FORMED:
	case IDENTITY_JOINING:
		k->plan = PLAN_RUN;
		return NODE_OK;
	case IDENTITY_MEMBER:
	case IDENTITY_DAMAGED:
		return plan_stateful(n, has_engine, why);
	case IDENTITY_ALONE:
		if (listed && c->members.count > 1 && has_engine)
			return plan_empty(n, true, why);
		return plan_stateful(n, has_engine, why);
	case IDENTITY_CLAIMING:
	case IDENTITY_PREPARED:
		return plan_empty(n, has_engine, why);
	case IDENTITY_NONE:
	case IDENTITY_STATE_MAX:
		break;
	}
	if (listed)
		return plan_empty(n, has_engine, why);
	k->plan = is_given(c, "cluster.listen") ? PLAN_RUN : PLAN_SINGLE;
	return NODE_OK;
}

/* This node as others shall know it: its name and addresses. */
static void know_self(struct node *n)
{
	struct cluster *k = &n->cluster;
	const struct conf *c = n->conf;
	const struct store_member *m = roster_find(&k->roster, c->node_name);

	memset(&k->self, 0, sizeof(k->self));
	if (m)
		k->self = *m;
	snprintf(k->self.name, sizeof(k->self.name), "%s", c->node_name);
	if (!k->self.peer[0] || (is_given(c, "cluster.listen") &&
				 !c->members.count && c->cluster_listen.port))
		roster_address(&c->cluster_listen, k->self.peer);
	if (!k->self.http[0] && c->http_listen.count)
		roster_address(&c->http_listen.addr[0], k->self.http);
	k->self.id = k->identity.node_id;
}

static enum node_exit
make_formation(struct node *n, const struct roster *roster, struct buf *why)
{
	struct cluster *k = &n->cluster;
	const struct formation_options o = {
		.vfs = vfs_os(),
		.clock = clock_os(),
		.seed = &n->store_seed,
		.links = k->links,
		.dir = n->conf->data_dir,
		.name = n->conf->node_name,
		.identity = &k->identity,
		.roster = roster,
		.partitions = k->damaged ? cluster_partitions(n)
					 : n->conf->partitions,
		.partitions_given = is_given(n->conf, "cluster.partitions"),
	};

	if (!roster_find(roster, n->conf->node_name)) {
		bad_conf(n, "node.name", why);
		SAY(why, "%s is not in the list that %s was prepared with\n",
		    n->conf->node_name, n->conf->data_dir);
		return NODE_CONFIG;
	}
	if (formation_new(&o, &k->formation)) {
		SAY(why, "out of memory\n");
		return NODE_RUNTIME;
	}
	return NODE_OK;
}

/* Before any port is opened: one daemon at a time has the directory. */
static enum node_exit lock_directory(struct node *n, struct buf *why)
{
	const char *dir = n->conf->data_dir;
	char path[CONF_PATH_BYTES_MAX + 8];
	enum err err = vfs_mkdir(vfs_os(), dir);

	snprintf(path, sizeof(path), "%s/LOCK", dir);
	if (!err || err == ERR_EXISTS)
		err = vfs_lock(vfs_os(), path, &n->cluster.lock);
	if (!err)
		return NODE_OK;
	if (err == ERR_BUSY)
		SAY(why, "data directory %s is in use by another process\n",
		    dir);
	else
		SAY(why, "data directory %s: %s\n", dir, err_text(err));
	return err == ERR_BUSY ? NODE_BUSY : NODE_RUNTIME;
}

void cluster_unlock(struct node *n)
{
	vfs_close(n->cluster.lock);
	n->cluster.lock = NULL;
}

/*
 * Who was killed holds the lock until the kernel has taken its memory back,
 * which with millions of keys lasts longer than starting the next one. Whoever
 * still has it afterwards is alive: those who lock it will say so.
 */
static void await_the_killed(const char *dir)
{
	char path[CONF_PATH_BYTES_MAX + 8];
	struct vfs_file *lock;

	snprintf(path, sizeof(path), "%s/LOCK", dir);
	for (int ms = 0; ms < BUSY_MS && !access(path, F_OK);
	     ms += BUSY_LOOK_MS) {
		if (vfs_lock(vfs_os(), path, &lock) == OK) {
			vfs_close(lock);
			return;
		}
		(void)!poll(NULL, 0, BUSY_LOOK_MS);
	}
}

enum node_exit cluster_begin(struct node *n, struct buf *why)
{
	struct cluster *k = &n->cluster;
	struct buf below = BUF_INIT;
	enum node_exit result;
	enum err err;

	await_the_killed(n->conf->data_dir);
	err = identity_load(vfs_os(), n->conf->data_dir, &k->identity, &below);
	if (err)
		SAY(why, "%.*s\n", (int)below.n, (const char *)below.p);
	buf_done(&below);
	if (err)
		return NODE_RUNTIME;
	if (n->conf->members.count)
		roster_of_conf(&n->conf->members, &k->roster);
	else
		k->roster = k->identity.roster;
	result = choose_plan(n, why);
	if (result || k->plan == PLAN_SINGLE || k->plan == PLAN_REMOVED)
		return result;
	know_self(n);
	result = lock_directory(n, why);
	if (!result)
		result = open_links(n, why);
	if (!result && k->plan == PLAN_FORM)
		result = make_formation(n, &k->roster, why);
	return result;
}

/* Whom a member without its files can ask; NULL: nobody is known. */
static const struct roster *others(const struct node *n)
{
	const struct cluster *k = &n->cluster;
	const struct roster *places[] = { &k->roster, &k->identity.roster };

	for (int i = 0; i < 2; i++)
		if (places[i]->count > 1 &&
		    roster_find(places[i], n->conf->node_name))
			return places[i];
	return NULL;
}

bool cluster_can_wait(const struct node *n)
{
	enum identity_state state = n->cluster.identity.state;

	return (state == IDENTITY_MEMBER || state == IDENTITY_DAMAGED) &&
	       others(n);
}

/* The number that it claims by is its own from the first question on. */
static enum err write_damaged(struct node *n)
{
	struct cluster *k = &n->cluster;
	struct identity next = k->identity;
	enum err err;

	if (next.state == IDENTITY_DAMAGED)
		return OK;
	next.state = IDENTITY_DAMAGED;
	next.claim = seed_next(&n->store_seed) | 1ull << 63;
	err = identity_save(vfs_os(), n->conf->data_dir, &next);
	if (!err)
		k->identity = next;
	return err;
}

enum node_exit cluster_hurt(struct node *n, const struct buf *below,
			    struct buf *why)
{
	struct cluster *k = &n->cluster;
	const char *name = n->conf->node_name;
	enum node_exit result = lock_directory(n, why);
	enum err err;

	if (result)
		return result;
	err = write_damaged(n);
	if (!err)
		err = buf_addf(&k->hurt,
			       "the files of this member are damaged, it takes "
			       "no part in the cluster: run `raftcask members "
			       "replace %s` on another one (%.*s)",
			       name, (int)below->n,
			       below->n ? (const char *)below->p : "");
	if (err) {
		SAY(why, "data directory %s: %.*s; %s\n", n->conf->data_dir,
		    (int)below->n, below->n ? (const char *)below->p : "",
		    err_text(err));
		return NODE_RUNTIME;
	}
	k->damaged = true;
	k->plan = PLAN_FORM;
	log_error("cluster", "damaged reason=\"%.*s\"", (int)k->hurt.n,
		  (const char *)k->hurt.p);
	return make_formation(n, others(n), why);
}

/* In front of what the formation waits for: why it does. */
static void say_hurt(const struct cluster *k, struct buf *reason)
{
	struct buf all = BUF_INIT;

	if (!k->damaged)
		return;
	if (!buf_add(&all, k->hurt.p, k->hurt.n) && reason->n)
		(void)!buf_addf(&all, "; %.*s", (int)reason->n,
				(const char *)reason->p);
	buf_done(reason);
	*reason = all;
}

enum node_exit cluster_wait(struct node *n, bool *done, struct buf *why)
{
	struct cluster *k = &n->cluster;
	struct buf reason = BUF_INIT;
	uint64_t wait_ms;
	enum node_exit result = NODE_OK;
	enum err err;
	bool idle;

	err = formation_step(k->formation, done, &wait_ms, &reason);
	if (err == ERR_INVALID)
		result = bad_conf(n, formation_key(k->formation), why);
	else if (err)
		result = NODE_RUNTIME;
	if (err)
		SAY(why, "%.*s%s\n", (int)reason.n,
		    reason.n ? (const char *)reason.p : "",
		    err == ERR_INVALID ? "" : err_text(err));
	if (!err && !*done) {
		say_hurt(k, &reason);
		(void)!buf_add(&reason, "", 1); /* its end */
		node_hold(n, "starting",
			  reason.n > 1 ? (const char *)reason.p : "starting");
		(void)!links_wait(k->links, wait_ms, &idle); /* no store */
	} else if (!err) {
		k->damaged = false;
		k->identity = *formation_identity(k->formation);
		k->self.id = k->identity.node_id;
	}
	buf_done(&reason);
	return result;
}

/* ---------------------------------------------------------- while it runs  */

enum err cluster_opened(struct node *n, struct buf *why)
{
	struct cluster *k = &n->cluster;
	struct identity next = k->identity;
	uint8_t cluster_id[16];
	enum err err = OK;

	if (!k->links)
		return OK;
	engine_identity(n->engine, cluster_id, &next.node_id);
	if (next.state == IDENTITY_NONE) {
		next.state = IDENTITY_ALONE;
		next.partitions = cluster_partitions(n);
		next.roster = (struct roster){ .count = 1 };
		next.roster.member[0] = k->self;
		next.roster.member[0].id = next.node_id;
		memcpy(next.cluster_id, cluster_id, 16);
	} else if (next.state == IDENTITY_FORMED ||
		   next.state == IDENTITY_JOINING) {
		next.state = IDENTITY_MEMBER;
	} else if (next.state == IDENTITY_DAMAGED) {
		next.state = IDENTITY_MEMBER; /* it was mended meanwhile */
	}
	if (memcmp(next.cluster_id, cluster_id, 16) != 0 ||
	    (k->identity.node_id && k->identity.node_id != next.node_id)) {
		SAY(why,
		    "%s: the file cluster and the data are not of the same "
		    "node\n",
		    n->conf->data_dir);
		return ERR_FOREIGN;
	}
	if (next.state != k->identity.state)
		err = identity_save(vfs_os(), n->conf->data_dir, &next);
	if (err)
		SAY(why, "%s/cluster: %s\n", n->conf->data_dir, err_text(err));
	if (err)
		return err;
	k->identity = next;
	k->self.id = next.node_id;
	links_identify(k->links, cluster_id, next.node_id);
	return OK;
}

void cluster_round(struct node *n)
{
	struct cluster *k = &n->cluster;
	uint64_t now_ns = clock_mono_ns(clock_os());

	if (now_ns - k->looked_ns < LOOK_MS * 1000000ull)
		return;
	k->looked_ns = now_ns;
	(void)note_members(n); /* it is logged; again in a second */
}

void cluster_end(struct node *n)
{
	struct cluster *k = &n->cluster;

	links_close(k->links);
	formation_free(k->formation);
	cluster_unlock(n);
	buf_done(&k->secret);
	buf_done(&k->hurt);
}
