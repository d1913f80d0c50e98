/*
 * tests/sim/client.c - clients of the simulated cluster, and their history.
 *
 * A client does one thing at a time: think, ask one node, wait for the answer.
 * What it asks is drawn: reads of every consistency, puts, deletes, conditional
 * writes, transactions, prefix deletions, values that expire, uploads. Every
 * value is unique and says by itself how long it is and what its bytes are.
 *
 * What was answered goes into the history for the judge of linear.h. Besides,
 * at once: an acknowledged write is in the committed history at its revision;
 * a read sees the state of the index that its node has applied, which is, when
 * it must be fresh, not below what any node had applied when it was asked.
 *
 * An answer that says that nothing happened is taken at its word: the write is
 * not in the history, and its value may be seen by nobody.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "tests/sim/sim.h"

enum {
	LETTERS = 12,
	OPS_MAX = 4,
	ID_BYTES = 32,
	PIECE_BYTES = 48 << 10,
	RETRY_MS = 50,
	HOT_NS = 20000000,
	HOT_KEYS = 4,
	ANSWER_MS_MAX = 60000,
	PREFIX_LETTERS = 2, /* a, b: prefixes that are deleted whole         */
	TXN_LETTERS = 2,    /* c, d: keys that transactions join             */
};

enum stage { THINKING, READING, WRITING, UPLOADING };

enum action {
	ACT_READ,
	ACT_PUT,
	ACT_DELETE,
	ACT_CAS,
	ACT_TXN,
	ACT_PREFIX,
	ACT_UPLOAD,
};

/* What a client knows of a key. */
struct known {
	char id[ID_BYTES]; /* "": absent or not known                        */
	uint64_t rev;
};

struct client {
	struct sim *s;
	uint32_t number;
	uint64_t due, node, starts; /* starts: of the node, when asked       */
	enum stage stage;
	enum action action;
	bool answered, gone; /* gone: the node went down meanwhile           */
	enum err err;
	uint64_t start_ns, floor, values_made;
	uint32_t keys[OPS_MAX]; /* of then_ops                               */
	uint32_t partition;
	enum store_consistency consistency;
	struct store_barrier barrier;
	struct store_write w;
	struct store_op ops[OPS_MAX], else_op;
	struct store_condition condition;
	struct store_result results[OPS_MAX];
	char ids[OPS_MAX][ID_BYTES], expect[ID_BYTES];
	struct buf values[OPS_MAX], expect_value;
	struct store_upload *upload;
	bool piece_pending;
	bool hurried; /* what it does next was told it                       */
	uint64_t hurried_to; /* a write through that node; 0: a read         */
	struct known known[SIM_KEYS_MAX];
};

static char key_names[SIM_KEYS_MAX][8];

static struct bytes key_of(uint32_t k)
{
	return bytes_str(key_names[k]);
}

/* ---------------------------------------------------------------- values - */

/* id begins with its length; the rest follows from it. */
static void spell_value(const char *id, uint32_t bytes, struct buf *b)
{
	uint64_t x = model_hash(bytes_str(id));
	size_t at;

	b->n = 0;
	CHECK(buf_reserve(b, bytes + ID_BYTES + 8) == OK);
	CHECK(buf_addf(b, "%s:", id) == OK);
	while (b->n < bytes) {
		x = x * 6364136223846793005 + 1442695040888963407;
		at = b->n;
		put_u64(b->p + at, x);
		b->n = bytes - at < 8 ? bytes : at + 8;
	}
}

static void make_value(struct client *c, uint32_t i, uint32_t bytes)
{
	if (bytes < ID_BYTES)
		bytes = ID_BYTES;
	snprintf(c->ids[i], ID_BYTES, "%u.%u.%llu", bytes, c->number,
		 (unsigned long long)++c->values_made);
	spell_value(c->ids[i], bytes, &c->values[i]);
}

static uint32_t draw_bytes(struct client *c)
{
	const struct sim_plan *p = &c->s->plan;

	if (sim_chance(c->s, p->big_permille))
		return 1 + (uint32_t)sim_draw(c->s, p->value_bytes_max);
	return ID_BYTES + (uint32_t)sim_draw(c->s, 100);
}

static uint32_t bytes_of_id(const char *id)
{
	return (uint32_t)strtoul(id, NULL, 10);
}

/* The id of a value that was read; it must be what was once written. */
static void check_value(struct client *c, uint32_t k, const struct buf *got,
			char id[ID_BYTES])
{
	const uint8_t *colon =
		got->n ? memchr(got->p, ':',
				got->n < ID_BYTES ? got->n : ID_BYTES)
		       : NULL;
	struct buf want = BUF_INIT;

	if (!colon)
		sim_fail(c->s, "client %u: %s has a value that nobody wrote",
			 c->number, key_names[k]);
	memcpy(id, got->p, (size_t)(colon - got->p));
	id[colon - got->p] = '\0';
	spell_value(id, bytes_of_id(id), &want);
	if (!bytes_equal(buf_bytes(&want), buf_bytes(got)))
		sim_fail(c->s, "client %u: the value %s of %s is damaged",
			 c->number, id, key_names[k]);
	buf_done(&want);
}

/* --------------------------------------------------------------- history - */

static struct linear_item item_of(uint32_t k, const char *id)
{
	return (struct linear_item){ .key = key_of(k),
				     .kind = id && id[0] ? LINEAR_VALUE
							 : LINEAR_ABSENT,
				     .value = bytes_str(id ? id : "") };
}

static struct linear_item there(uint32_t k, bool existed)
{
	return (struct linear_item){ .key = key_of(k),
				     .kind = existed ? LINEAR_EXISTS
						     : LINEAR_ABSENT };
}

static void add_read(struct client *c, uint32_t k, const char *id)
{
	struct linear_item sight = item_of(k, id);
	struct linear_op op = { .client = c->number,
				.start_ns = c->start_ns,
				.end_ns = c->s->c.now_ns,
				.sights = &sight,
				.sight_count = 1 };

	linear_add(c->s->history, &op);
}

static void add_write(struct client *c, enum linear_outcome outcome)
{
	struct linear_item condition, sights[OPS_MAX + 1], changes[OPS_MAX];
	struct linear_op op = { .client = c->number,
				.start_ns = c->start_ns,
				/* unknown: it may still happen */
				.end_ns = outcome == LINEAR_UNKNOWN
						  ? 0
						  : c->s->c.now_ns,
				.outcome = outcome,
				.conditions = &condition,
				.condition_count = c->w.condition_count,
				.sights = sights,
				.changes = changes,
				.delete_prefix = c->w.delete_prefix,
				.prefix = c->w.prefix };

	if (op.condition_count) {
		condition = item_of(c->keys[0], c->expect);
		if (c->condition.kind == STORE_IF_EXISTS)
			condition.kind = LINEAR_EXISTS;
	}
	for (uint32_t i = 0; i < c->w.then_count; i++) {
		const struct store_result *r = &c->results[i];
		const struct store_op *o = &c->ops[i];

		if (o->kind == STORE_GET)
			continue;
		changes[op.change_count++] = item_of(
			c->keys[i], o->kind == STORE_PUT ? c->ids[i] : NULL);
		op.expires = op.expires || o->ttl_ns;
		if (outcome == LINEAR_DONE)
			sights[op.sight_count++] =
				there(c->keys[i], r->existed);
	}
	linear_add(c->s->history, &op);
}

/* ----------------------------------------------------------------- reads - */

/* A leader has just changed: who relies on leases looks closely. */
static bool is_hot(const struct sim *s)
{
	return s->plan.leases && !s->ending && s->c.now_ns < s->hot_until;
}

static void forget_answer(struct client *c)
{
	c->stage = THINKING;
	c->answered = c->gone = false;
	c->due =
		c->s->c.now_ns +
		(is_hot(c->s)
			 ? sim_draw(c->s, HOT_NS) + 1
			 : SIM_MS * (1 + sim_about(c->s, c->s->plan.think_ms)));
	if (!is_hot(c->s))
		c->due = sim_busy(c->s, c->due);
}

/* The node is as it was when it was asked. */
static bool alive(struct client *c)
{
	struct cluster_node *n = &c->s->c.node[c->node];

	return c->stage != THINKING && n->store && n->starts == c->starts;
}

static enum err read_whole(struct store_value *v, struct buf *b)
{
	uint64_t off = 0, bytes = store_value_info(v)->bytes;
	enum err err = OK;

	while (off < bytes && !err) {
		struct bytes piece;

		err = store_value_read(v, off, &piece);
		if (!err)
			err = buf_add(b, piece.p, piece.n);
		if (!err)
			off += piece.n;
	}
	return err;
}

/* What is read is the state of the index that the node has applied. */
static void check_read(struct client *c, uint32_t k, uint64_t applied,
		       bool found, uint64_t rev)
{
	const struct sim_model *m = &c->s->oracle.partition[c->partition].model;
	uint32_t mk = model_find(m, key_of(k));
	const struct sim_version *v;

	if (c->consistency != STORE_STALE && applied < c->floor)
		sim_fail(c->s,
			 "client %u reads %s through n%llu at %llu, but %llu "
			 "was applied when it asked",
			 c->number, key_names[k], (unsigned long long)c->node,
			 (unsigned long long)applied,
			 (unsigned long long)c->floor);
	if (m->applied < applied)
		return;
	v = mk == UINT32_MAX ? NULL : model_at(m, mk, applied);
	if (found != !!v || (v && version_index(v->version) != rev))
		sim_fail(c->s,
			 "client %u reads %s through n%llu: rev %llu at index "
			 "%llu, where it is %llu",
			 c->number, key_names[k], (unsigned long long)c->node,
			 found ? (unsigned long long)rev : 0ull,
			 (unsigned long long)applied,
			 v ? (unsigned long long)version_index(v->version)
			   : 0ull);
}

static void do_read(struct client *c)
{
	struct cluster_node *n = &c->s->c.node[c->node];
	uint32_t k = c->keys[0];
	char id[ID_BYTES] = "";
	struct buf b = BUF_INIT;
	struct store_value *v;
	uint64_t applied, rev = 0;
	enum err err;

	applied = engine_applied_index(n->engine, (uint16_t)c->partition);
	err = store_get(n->store, key_of(k), &v);
	if (!err) {
		rev = store_value_info(v)->rev;
		err = read_whole(v, &b);
		store_value_done(v);
	}
	if (c->consistency == STORE_LEASE &&
	    !store_lease_holds(n->store, (int32_t)c->partition))
		goto out;
	if (err == ERR_CORRUPT || err == ERR_IO) {
		if (!c->s->damaged[c->node])
			sim_fail(c->s,
				 "n%llu, whose disk is good, says %s of %s",
				 (unsigned long long)c->node, err_text(err),
				 key_names[k]);
		goto out;
	}
	if (err && err != ERR_NOT_FOUND)
		sim_fail(c->s, "a read of %s: %s", key_names[k], err_text(err));
	if (!err)
		check_value(c, k, &b, id);
	check_read(c, k, applied, !err, rev);
	if (c->consistency == STORE_STALE) {
		c->s->count[SIM_stale_reads]++;
		goto out;
	}
	c->s->count[c->consistency == STORE_LEASE ? SIM_lease_reads
						  : SIM_reads]++;
	add_read(c, k, id);
	snprintf(c->known[k].id, ID_BYTES, "%s", id);
	c->known[k].rev = rev;
out:
	buf_done(&b);
}

static void barrier_done(struct store_barrier *b, enum err err)
{
	struct client *c = b->user;

	c->answered = true;
	c->err = err;
	c->due = c->s->c.now_ns;
}

static void start_read(struct client *c, uint32_t k, bool lease)
{
	struct sim *s = c->s;
	struct store *store = s->c.node[c->node].store;
	uint64_t r = sim_draw(s, 100);
	enum err err;

	c->keys[0] = k;
	c->consistency =
		r < 60 || !s->plan.leases ? STORE_LINEARIZABLE : STORE_LEASE;
	if (r >= 85)
		c->consistency = STORE_STALE;
	if (lease)
		c->consistency = STORE_LEASE;
	c->partition = store_partition_of(store, key_of(k));
	c->floor = s->oracle.partition[c->partition].applied_max;
	c->barrier = (struct store_barrier){ .done = barrier_done, .user = c };
	c->stage = READING;
	c->answered = false;
	err = store_barrier(store, (int32_t)c->partition, c->consistency,
			    &c->barrier);
	if (err == ERR_PENDING) {
		c->due = CLUSTER_NEVER;
		return;
	}
	if (!err)
		do_read(c);
	forget_answer(c);
}

/* ---------------------------------------------------------------- writes - */

/* An acknowledged write stands in the committed history. */
static void check_acked(struct client *c, uint32_t i)
{
	const struct sim_model *m = &c->s->oracle.partition[c->partition].model;
	uint32_t mk = model_find(m, key_of(c->keys[i]));
	const struct sim_version *v;
	bool put = c->ops[i].kind == STORE_PUT;

	if (c->ops[i].kind == STORE_GET || m->applied < c->w.revision)
		return;
	v = mk == UINT32_MAX ? NULL : model_at(m, mk, c->w.revision);
	if (put ? !v || version_index(v->version) != c->results[i].rev
		: v != NULL)
		sim_fail(
			c->s,
			"client %u was told that %s of %s is entry %llu, which "
			"it is not",
			c->number, put ? "the put" : "the delete",
			key_names[c->keys[i]],
			(unsigned long long)c->w.revision);
}

static void note_acked(struct client *c)
{
	struct sim *s = c->s;

	s->count[SIM_acked_writes]++;
	switch (c->action) {
	case ACT_PREFIX:
		s->count[SIM_prefix_deletes]++;
		break;
	case ACT_TXN:
		s->count[SIM_txns]++;
		break;
	case ACT_UPLOAD:
		s->count[SIM_uploads]++;
		break;
	default:
		break;
	}
	for (uint32_t i = 0; i < c->w.then_count; i++) {
		struct known *known = &c->known[c->keys[i]];

		check_acked(c, i);
		known->rev = c->results[i].rev;
		snprintf(known->id, ID_BYTES, "%s",
			 c->ops[i].kind == STORE_PUT ? c->ids[i] : "");
	}
}

/* What GET operations of a transaction saw: only released here. */
static void release_results(struct client *c)
{
	for (uint32_t i = 0; i < OPS_MAX; i++) {
		store_value_done(c->results[i].value);
		c->results[i].value = NULL;
	}
}

static void finish_write(struct client *c)
{
	struct sim *s = c->s;
	enum err err = c->w.err;

	switch (err) {
	case OK:
		if (c->w.is_txn && !c->w.succeeded) {
			s->count[SIM_refusals]++;
			add_write(c, LINEAR_REFUSED);
			break;
		}
		add_write(c, LINEAR_DONE);
		note_acked(c);
		break;
	case ERR_PRECONDITION:
		s->count[SIM_refusals]++;
		add_write(c, LINEAR_REFUSED);
		break;
	case ERR_UNKNOWN:
		s->count[SIM_unknown_outcomes]++;
		add_write(c, LINEAR_UNKNOWN);
		break;
	case ERR_NO_LEADER:
	case ERR_CLOSED:
	case ERR_NOSPC:
	case ERR_FULL:
	case ERR_BUSY:
	case ERR_STARTING:
		break; /* nothing happened, nothing will */
	case ERR_CORRUPT:
		if (s->plan.victims)
			break;
		/* fall through */
	default:
		sim_fail(s, "client %u: a write of %s: %s", c->number,
			 key_names[c->keys[0]], err_text(err));
	}
	sim_trace(s, "client %u: action %d of %s %s through n%llu: %s rev %llu",
		  c->number, c->action,
		  c->action == ACT_PREFIX ? "a prefix" : key_names[c->keys[0]],
		  c->ids[0], (unsigned long long)c->node, err_text(err),
		  (unsigned long long)c->w.revision);
	sim_mix(s, (uint64_t)err << 56 ^ c->w.revision);
	forget_answer(c);
}

static void close_upload(struct client *c)
{
	struct store_upload *u = c->upload;

	c->upload = NULL;
	store_upload_close(u);
}

static void write_done(struct store_write *w)
{
	struct client *c = w->user;

	release_results(c);
	close_upload(c);
	c->answered = true;
	c->due = c->s->c.now_ns;
}

static void hand_in(struct client *c)
{
	struct store *store = c->s->c.node[c->node].store;
	enum err err;

	c->stage = WRITING;
	c->answered = false;
	c->w.done = write_done;
	c->w.user = c;
	c->w.results = c->results;
	c->w.then_ops = c->ops;
	err = store_write(store, &c->w);
	if (!err) {
		c->due = CLUSTER_NEVER;
		return;
	}
	if (err != ERR_FULL && err != ERR_STARTING && err != ERR_CLOSED &&
	    !(c->upload && (err == ERR_NO_LEADER || err == ERR_NOSPC)))
		sim_fail(c->s, "store_write: %s", err_text(err));
	close_upload(c);
	forget_answer(c);
}

static void set_put(struct client *c, uint32_t i, uint32_t k)
{
	make_value(c, i, draw_bytes(c));
	c->keys[i] = k;
	c->ops[i] = (struct store_op){ .kind = STORE_PUT,
				       .key = key_of(k),
				       .value = buf_bytes(&c->values[i]) };
	if (sim_chance(c->s, c->s->plan.ttl_permille))
		c->ops[i].ttl_ns = SIM_MS * (200 + sim_draw(c->s, 4000));
}

static void set_delete(struct client *c, uint32_t i, uint32_t k)
{
	c->keys[i] = k;
	c->ids[i][0] = '\0';
	c->ops[i] = (struct store_op){ .kind = STORE_DELETE, .key = key_of(k) };
}

static void set_condition(struct client *c, uint32_t k)
{
	struct known *known = &c->known[k];
	uint64_t r = sim_draw(c->s, 10);

	c->condition = (struct store_condition){ .key = key_of(k) };
	c->expect[0] = '\0';
	c->w.conditions = &c->condition;
	c->w.condition_count = 1;
	if (r < 2 || !known->id[0]) {
		c->condition.kind = r ? STORE_IF_ABSENT : STORE_IF_EXISTS;
		return;
	}
	snprintf(c->expect, ID_BYTES, "%s", known->id);
	c->condition.kind = STORE_IF_REV;
	c->condition.rev = known->rev;
	if (r < 5 || bytes_of_id(known->id) > 20000)
		return;
	c->condition.kind = STORE_IF_VALUE;
	spell_value(known->id, bytes_of_id(known->id), &c->expect_value);
	c->condition.value = buf_bytes(&c->expect_value);
}

/* Keys that transactions join have the letters after the prefixes'. */
static uint32_t txn_key(struct client *c, uint32_t letter)
{
	uint32_t per = c->s->plan.keys / LETTERS + 1, k;

	do
		k = letter + LETTERS * (uint32_t)sim_draw(c->s, per);
	while (k >= c->s->plan.keys);
	return k;
}

/* Is k one of the first count keys? A transaction names each once. */
static bool is_in(const struct client *c, uint32_t k, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (c->keys[i] == k)
			return true;
	return false;
}

static void set_txn(struct client *c)
{
	uint32_t letter =
		PREFIX_LETTERS + (uint32_t)sim_draw(c->s, TXN_LETTERS);
	uint32_t a = txn_key(c, letter),
		 more = (uint32_t)sim_draw(c->s, OPS_MAX);

	set_put(c, 0, a);
	c->w.then_count = 1;
	for (uint32_t i = 0; i < more; i++) {
		uint32_t b = txn_key(c, letter), at = c->w.then_count;

		if (is_in(c, b, at))
			continue;
		if (sim_chance(c->s, 300))
			set_delete(c, at, b);
		else
			set_put(c, at, b);
		c->w.then_count = at + 1;
	}
	c->w.is_txn = true;
	if (sim_chance(c->s, 600))
		set_condition(c, a);
	c->else_op = (struct store_op){ .kind = STORE_GET, .key = key_of(a) };
	c->w.else_ops = &c->else_op;
	c->w.else_count = c->w.condition_count;
}

/* ---------------------------------------------------------------- uploads  */

static void feed_upload(struct client *c);

static void piece_done(void *user, enum err err)
{
	struct client *c = user;

	c->piece_pending = false;
	c->answered = true;
	c->err = err;
	c->due = c->s->c.now_ns;
	if (err || c->gone)
		close_upload(c);
}

/* Until a piece must wait or all are in. */
static void feed_upload(struct client *c)
{
	enum err err = OK;

	while (!err) {
		uint64_t off = store_upload_bytes(c->upload);
		size_t left = c->values[0].n - off;

		if (left == 0) {
			c->w.upload = c->upload;
			hand_in(c);
			return;
		}
		c->answered = false;
		c->piece_pending = true;
		err = store_upload_add(c->upload, c->values[0].p + off,
				       left < PIECE_BYTES ? left : PIECE_BYTES);
		c->piece_pending = err == ERR_PENDING;
	}
	if (err == ERR_PENDING) {
		c->due = CLUSTER_NEVER;
		return;
	}
	close_upload(c);
	forget_answer(c);
}

static void start_upload(struct client *c, uint32_t k)
{
	uint32_t bytes = (66 << 10) + (uint32_t)sim_draw(c->s, 100 << 10);

	c->keys[0] = k;
	make_value(c, 0, bytes);
	if (sim_chance(c->s, 200)) /* staged in several entries */
		make_value(c, 0, 3 * bytes);
	c->ops[0] = (struct store_op){ .kind = STORE_PUT, .key = key_of(k) };
	c->w.then_count = 1;
	c->stage = UPLOADING;
	if (store_upload_open(c->s->c.node[c->node].store, key_of(k),
			      piece_done, c, &c->upload)) {
		c->upload = NULL;
		forget_answer(c);
		return;
	}
	feed_upload(c);
}

/* ------------------------------------------------------------------ round  */

static enum action draw_action(struct client *c)
{
	const struct sim_plan *p = &c->s->plan;

	if (sim_draw(c->s, 100) < p->read_percent)
		return ACT_READ;
	if (sim_chance(c->s, p->prefix_permille))
		return ACT_PREFIX;
	if (sim_chance(c->s, p->upload_permille))
		return ACT_UPLOAD;
	switch (sim_draw(c->s, 10)) {
	case 0:
		return ACT_DELETE;
	case 1:
	case 2:
		return ACT_CAS;
	case 3:
		return ACT_TXN;
	default:
		return ACT_PUT;
	}
}

static void start_write(struct client *c, uint32_t k)
{
	struct store *store = c->s->c.node[c->node].store;

	c->w = (struct store_write){ 0 };
	c->condition = (struct store_condition){ 0 };
	memset(c->results, 0, sizeof(c->results));
	switch (c->action) {
	case ACT_PREFIX:
		c->keys[0] = (uint32_t)sim_draw(c->s, PREFIX_LETTERS);
		c->ids[0][0] = '\0';
		c->w.delete_prefix = true;
		c->w.prefix = bytes_of(key_names[c->keys[0]], 2);
		break;
	case ACT_TXN:
		set_txn(c);
		break;
	case ACT_DELETE:
		set_delete(c, 0, k);
		c->w.then_count = 1;
		break;
	case ACT_UPLOAD:
		c->partition = store_partition_of(store, key_of(k));
		start_upload(c, k);
		return;
	case ACT_CAS:
		set_condition(c, k);
		/* fall through */
	default:
		set_put(c, 0, k);
		c->w.then_count = 1;
		break;
	}
	c->partition = store_partition_of(store, key_of(c->keys[0]));
	hand_in(c);
}

static void start_one(struct client *c)
{
	struct sim *s = c->s;
	uint32_t k = (uint32_t)sim_draw(s, s->plan.keys);
	bool hot = is_hot(s) && !c->hurried;
	bool lease = hot && sim_chance(s, 600);

	if (hot) { /* few keys, the old leader and the new one */
		k %= HOT_KEYS;
		c->node = s->hot_node[lease ? sim_draw(s, 2) : 0];
	} else if (sim_chance(s, 400))
		c->node = cluster_leader(&s->c, 0);
	if (c->hurried) {
		c->node = c->hurried_to;
		/* not many unknown writes where the judge needs them all */
		while (k % LETTERS < PREFIX_LETTERS + TXN_LETTERS)
			k = (uint32_t)sim_draw(s, s->plan.keys);
	}
	if (!cluster_awake(&s->c, c->node) || s->c.node[c->node].removed ||
	    (!hot && !c->hurried && sim_chance(s, 200)))
		c->node = sim_any_node(s);
	if (!c->node) {
		c->due = s->c.now_ns + RETRY_MS * SIM_MS;
		return;
	}
	c->starts = s->c.node[c->node].starts;
	c->start_ns = s->c.now_ns;
	c->action = lease ? ACT_READ : draw_action(c);
	if (c->hurried)
		c->action = c->hurried_to ? ACT_PUT : ACT_READ;
	c->hurried = false;
	c->gone = c->answered = false;
	if (c->action == ACT_READ)
		start_read(c, k, lease);
	else
		start_write(c, k);
}

void clients_hurry(struct sim *s, uint64_t id)
{
	uint64_t ms = s->c.o.election_ms;

	for (uint32_t i = 0; i < s->plan.clients && !s->ending; i++) {
		struct client *c = &s->client[i];

		if (c->stage != THINKING || (!id && sim_draw(s, 2)))
			continue;
		c->hurried = true;
		c->hurried_to = id;
		c->due = s->c.now_ns + sim_draw(s, ms * SIM_MS / 2);
	}
}

void clients_ask_lease(struct sim *s, uint64_t id)
{
	struct cluster_node *n = &s->c.node[id];
	struct client *c = NULL;

	if (!s->plan.leases || s->ending || !n->store)
		return;
	for (uint32_t i = 0; i < s->plan.clients && !c; i++)
		if (s->client[i].stage == THINKING)
			c = &s->client[i];
	if (!c)
		return;
	cluster_clock_rate(&s->c, id, n->rate_ppb); /* its clock is read */
	c->node = id;
	c->starts = n->starts;
	c->start_ns = s->c.now_ns;
	c->action = ACT_READ;
	c->gone = c->answered = false;
	start_read(c, (uint32_t)sim_draw(s, s->plan.keys) % HOT_KEYS, true);
}

static void check_patience(struct client *c)
{
	if (c->s->c.now_ns - c->start_ns > ANSWER_MS_MAX * SIM_MS)
		sim_fail(c->s, "client %u waited %llu ms for n%llu", c->number,
			 (unsigned long long)((c->s->c.now_ns - c->start_ns) /
					      SIM_MS),
			 (unsigned long long)c->node);
}

static void go_on(struct client *c)
{
	struct cluster_node *n = &c->s->c.node[c->node];

	if (c->stage != THINKING)
		check_patience(c);
	if (alive(c) && !cluster_awake(&c->s->c, c->node)) {
		c->due = n->paused_until; /* and so are its front ends */
		return;
	}
	switch (c->stage) {
	case THINKING:
		start_one(c);
		return;
	case READING:
		if (c->answered && !c->err && alive(c))
			do_read(c);
		forget_answer(c);
		return;
	case WRITING:
		CHECK(c->answered);
		finish_write(c);
		return;
	case UPLOADING:
		if (c->answered && !c->err && c->upload && alive(c))
			feed_upload(c);
		else
			forget_answer(c);
		return;
	}
}

uint64_t clients_due(struct sim *s)
{
	uint64_t due = CLUSTER_NEVER;

	for (uint32_t i = 0; i < s->plan.clients; i++) {
		struct client *c = &s->client[i];

		if (s->ending && c->stage == THINKING)
			continue;
		if (c->due < due)
			due = c->due;
	}
	return due;
}

void clients_run(struct sim *s)
{
	for (uint32_t i = 0; i < s->plan.clients; i++) {
		struct client *c = &s->client[i];

		if (c->due > s->c.now_ns || (s->ending && c->stage == THINKING))
			continue;
		go_on(c);
	}
}

void clients_node_down(struct sim *s, struct cluster_node *n)
{
	for (uint32_t i = 0; i < s->plan.clients; i++) {
		struct client *c = &s->client[i];

		if (c->node != n->id || c->stage == THINKING)
			continue;
		c->gone = true;
		if (c->stage != UPLOADING || c->piece_pending)
			continue; /* store_free answers */
		close_upload(c);
		c->due = s->c.now_ns;
	}
}

bool clients_idle(struct sim *s)
{
	for (uint32_t i = 0; i < s->plan.clients; i++) {
		if (s->client[i].stage == THINKING)
			continue;
		check_patience(&s->client[i]);
		return false;
	}
	return true;
}

void clients_start(struct sim *s)
{
	s->client = calloc(SIM_CLIENTS_MAX, sizeof(*s->client));
	CHECK(s->client);
	for (uint32_t k = 0; k < s->plan.keys; k++)
		snprintf(key_names[k], sizeof(key_names[k]), "%c/%02u",
			 'a' + k % LETTERS, k % 100);
	for (uint32_t i = 0; i < s->plan.clients; i++) {
		s->client[i] = (struct client){ .s = s, .number = i };
		s->client[i].due = s->c.now_ns +
				   SIM_MS * sim_draw(s, 2 * s->plan.think_ms);
	}
}

/* ---------------------------------------------------------------- the end  */

struct last_read {
	bool done;
	enum err err;
};

static void last_read_done(struct store_barrier *b, enum err err)
{
	struct last_read *l = b->user;

	l->done = true;
	l->err = err;
}

static void read_at_last(struct sim *s, struct client *c, uint32_t k)
{
	struct store *store = s->c.node[c->node].store;
	struct last_read l = { 0 };
	struct store_barrier b = { .done = last_read_done, .user = &l };
	uint64_t until = s->c.now_ns + ANSWER_MS_MAX * SIM_MS;

	c->start_ns = s->c.now_ns;
	c->keys[0] = k;
	c->consistency = STORE_LINEARIZABLE;
	c->partition = store_partition_of(store, key_of(k));
	c->floor = s->oracle.partition[c->partition].applied_max;
	l.err = store_barrier(store, (int32_t)c->partition, c->consistency, &b);
	if (l.err == ERR_PENDING)
		while (!l.done && cluster_step(&s->c, until))
			;
	admin_follow(s);
	if (s->c.node[c->node].removed)
		return; /* a change of before came into force */
	if (l.err || !cluster_runs(&s->c, c->node))
		sim_fail(s,
			 "with all faults off, a read of %s through n%llu: %s",
			 key_names[k], (unsigned long long)c->node,
			 err_text(l.err));
	do_read(c);
}

void clients_read_all(struct sim *s, uint64_t id)
{
	struct client *c = &s->client[0];

	c->node = id;
	c->starts = s->c.node[id].starts;
	for (uint32_t k = 0; k < s->plan.keys; k++)
		read_at_last(s, c, k);
}

void clients_done(struct sim *s)
{
	for (uint32_t i = 0; i < SIM_CLIENTS_MAX; i++) {
		for (uint32_t j = 0; j < OPS_MAX; j++)
			buf_done(&s->client[i].values[j]);
		buf_done(&s->client[i].expect_value);
	}
	free(s->client);
}
