/*
 * node/formation.c - a node that waits: asks, judges, writes down, goes on.
 */
#include "node/formation.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"

enum {
	ASK_EVERY_MS = 200,
	FRESH_MS = 3000, /* older reports are silence                        */
	SILENCE_BYTES = 120,
};

static const uint64_t ns_per_ms = 1000000;

/* What is known of one place of the list. */
struct place {
	struct formation *f;
	bool asking;
	uint64_t ask_ns;   /* not before                                    */
	uint64_t heard_ns; /* of the report; 0: none                        */
	struct report *report;
	char silence[SILENCE_BYTES];
};

struct formation {
	struct formation_options o;
	struct identity identity;
	struct roster roster;
	struct place place[ROSTER_MAX];
	bool claiming;	   /* a claim is under way                         */
	uint64_t claim_ns; /* not before                                   */
	struct claimed *claimed; /* its last answer                          */
	bool has_claimed;
	const char *key; /* of a setting that is wrong                       */
	char said[256];	 /* the reason that was logged last                   */
};

/* ------------------------------------------------------------ questions -- */

static uint64_t now_ns(const struct formation *f)
{
	return clock_mono_ns(f->o.clock);
}

static void report_came(void *ctx, enum err err, struct bytes answer)
{
	struct place *p = ctx;
	struct formation *f = p->f;

	p->asking = false;
	p->ask_ns = now_ns(f) + f->o.ask_ms * ns_per_ms;
	if (!err && report_decode(answer, p->report) == OK) {
		p->heard_ns = now_ns(f);
		p->silence[0] = 0;
	} else if (!err) {
		p->heard_ns = 0; /* the report may be half written */
		snprintf(p->silence, sizeof(p->silence),
			 "its answer is malformed");
	} else {
		snprintf(p->silence, sizeof(p->silence), "%.*s", (int)answer.n,
			 (const char *)answer.p);
	}
}

static void ask_report(struct formation *f, uint32_t i)
{
	static const struct question q = { .is_claim = false };
	struct place *p = &f->place[i];
	struct buf b = BUF_INIT;
	enum err err = question_encode(&q, &b);

	if (!err)
		err = links_ask(f->o.links, f->roster.member[i].peer,
				buf_bytes(&b), report_came, p);
	p->asking = !err;
	p->ask_ns = now_ns(f) + f->o.ask_ms * ns_per_ms;
	if (err)
		snprintf(p->silence, sizeof(p->silence), "%s", err_text(err));
	buf_done(&b);
}

static void ask_all(struct formation *f)
{
	for (uint32_t i = 0; i < f->roster.count; i++) {
		struct place *p = &f->place[i];

		if (strcmp(f->roster.member[i].name, f->o.name) != 0 &&
		    !p->asking && p->ask_ns <= now_ns(f))
			ask_report(f, i);
	}
}

enum err formation_answer(struct formation *f, struct bytes question,
			  struct buf *answer)
{
	struct question q;
	struct claimed c = { .result = CLAIM_REFUSED };
	enum err err = question_decode(question, &q);

	if (err)
		return err;
	snprintf(c.report.name, sizeof(c.report.name), "%s", f->o.name);
	c.report.partitions = f->o.partitions;
	c.report.roster = f->roster;
	if (formation_is_prepared(&f->identity, &f->roster, f->o.partitions) ||
	    f->identity.state == IDENTITY_REMOVED ||
	    f->identity.state == IDENTITY_DAMAGED) {
		c.report.state = f->identity.state;
		memcpy(c.report.cluster_id, f->identity.cluster_id, 16);
	}
	return q.is_claim ? claimed_encode(&c, answer)
			  : report_encode(&c.report, answer);
}

/* ----------------------------------------------------------------- steps - */

/* What is not on the disk is not so: nobody hears of it. */
static enum err become(struct formation *f, const struct identity *next)
{
	enum err err = identity_save(f->o.vfs, f->o.dir, next);

	if (!err)
		f->identity = *next;
	return err;
}

static void log_step(const struct formation *f, const char *step)
{
	char id[33];

	for (int i = 0; i < 16; i++)
		snprintf(id + 2 * i, 3, "%02x", f->identity.cluster_id[i]);
	log_info("cluster", "%s cluster=%s id=%llu partitions=%u", step, id,
		 (unsigned long long)f->identity.node_id,
		 f->identity.partitions);
}

static enum err prepare(struct formation *f, const uint8_t cluster_id[16])
{
	static const uint8_t none[16];
	struct identity next = { .state = IDENTITY_PREPARED,
				 .node_id =
					 roster_find(&f->roster, f->o.name)->id,
				 .partitions = f->o.partitions,
				 .claim = f->identity.claim,
				 .roster = f->roster };
	enum err err;

	memcpy(next.cluster_id, cluster_id, 16);
	if (memcmp(cluster_id, none, 16) == 0) {
		put_u64(next.cluster_id, seed_next(f->o.seed));
		put_u64(next.cluster_id + 8, seed_next(f->o.seed) | 1);
	}
	err = become(f, &next);
	if (!err)
		log_step(f, "prepared");
	return err;
}

static enum err form(struct formation *f)
{
	struct identity next = f->identity;
	enum err err;

	CHECK(f->identity.state == IDENTITY_PREPARED);
	next.state = IDENTITY_FORMED;
	err = become(f, &next);
	if (!err)
		log_step(f, "formed");
	return err;
}

static void claim_came(void *ctx, enum err err, struct bytes answer)
{
	struct formation *f = ctx;

	f->claiming = false;
	f->claim_ns = now_ns(f) + f->o.ask_ms * ns_per_ms;
	f->has_claimed = !err && claimed_decode(answer, f->claimed) == OK;
}

/* The number that the id is claimed by is on disk before anyone hears it. */
static enum err ask_claim(struct formation *f, uint32_t at)
{
	struct question q = { .is_claim = true };
	struct buf b = BUF_INIT;
	enum err err = OK;

	if (f->identity.state != IDENTITY_CLAIMING &&
	    f->identity.state != IDENTITY_DAMAGED) {
		struct identity next = {
			.state = IDENTITY_CLAIMING,
			.claim = seed_next(f->o.seed) | 1ull << 63,
			.partitions = f->o.partitions,
			.roster = f->roster,
		};

		err = become(f, &next);
	}
	if (err || f->claiming || f->claim_ns > now_ns(f))
		return err;
	q.claim = f->identity.claim;
	snprintf(q.name, sizeof(q.name), "%s", f->o.name);
	f->claim_ns = now_ns(f) + f->o.ask_ms * ns_per_ms;
	err = question_encode(&q, &b);
	if (!err && !links_ask(f->o.links, f->roster.member[at].peer,
			       buf_bytes(&b), claim_came, f))
		f->claiming = true;
	buf_done(&b);
	return err;
}

/* What a damaged member is granted is a new id in the cluster it was in. */
static bool is_anothers(const struct formation *f, const struct report *r)
{
	const struct identity *id = &f->identity;

	return id->state == IDENTITY_DAMAGED &&
	       (memcmp(id->cluster_id, r->cluster_id, 16) != 0 ||
		id->node_id == r->node_id);
}

/*
 * The old id goes with the old files, before the new one is written down: a
 * crash in between finds a damaged member without a manifest, which waits and
 * is granted the same id again.
 */
static enum err give_up_files(struct formation *f)
{
	const struct identity *id = &f->identity;

	if (id->state != IDENTITY_DAMAGED)
		return OK;
	return identity_set_aside(f->o.vfs, f->o.dir, id->node_id);
}

static enum err join(struct formation *f, struct buf *why)
{
	const struct report *r = &f->claimed->report;
	struct identity next = { .state = IDENTITY_JOINING,
				 .joined = true,
				 .node_id = r->node_id,
				 .partitions = r->partitions,
				 .claim = f->identity.claim,
				 .roster = r->roster };
	enum err err;

	if (f->o.partitions_given && f->o.partitions != r->partitions) {
		f->key = "cluster.partitions";
		(void)!buf_addf(why,
				"%u partitions here, %u in the cluster: the "
				"number must be the same",
				f->o.partitions, r->partitions);
		return ERR_INVALID;
	}
	if (!r->node_id || !r->partitions || is_anothers(f, r))
		return OK; /* nonsense: ask again */
	memcpy(next.cluster_id, r->cluster_id, 16);
	err = give_up_files(f);
	if (!err)
		err = become(f, &next);
	if (!err)
		log_step(f, "joining");
	return err;
}

static enum err claim(struct formation *f, uint32_t at, struct buf *why)
{
	const char *name = f->o.name;
	enum err err = ask_claim(f, at);

	if (err || !f->has_claimed)
		return err;
	switch (f->claimed->result) {
	case CLAIM_GRANTED:
		f->has_claimed = false;
		return join(f, why);
	case CLAIM_UNKNOWN:
		why->n = 0;
		(void)!buf_addf(why,
				"the cluster has no member %s: run `raftcask "
				"members add %s PEER HTTP`",
				name, name);
		return OK;
	case CLAIM_TAKEN:
		why->n = 0;
		if (f->identity.state == IDENTITY_DAMAGED)
			return OK; /* what it waits for is said already */
		(void)!buf_addf(why,
				"%s has lost its data, its old id is not used "
				"again: run `raftcask members replace %s`",
				name, name);
		return OK;
	case CLAIM_PENDING:
		return OK;
	case CLAIM_REFUSED:
		(void)!buf_addf(why, "; it has no leader now");
		return OK;
	}
	return OK;
}

static void look(struct formation *f, struct formation_view *v)
{
	uint64_t now = now_ns(f);

	*v = (struct formation_view){ .name = f->o.name,
				      .identity = &f->identity,
				      .roster = &f->roster,
				      .partitions = f->o.partitions };
	for (uint32_t i = 0; i < f->roster.count; i++) {
		struct place *p = &f->place[i];

		if (p->heard_ns && now - p->heard_ns < FRESH_MS * ns_per_ms)
			v->report[i] = p->report;
		else
			v->silence[i] = p->silence;
	}
}

/* Each reason once. */
static void say(struct formation *f, const struct buf *why)
{
	int n = why->n < sizeof(f->said) - 1 ? (int)why->n
					     : (int)sizeof(f->said) - 1;

	if (n == (int)strlen(f->said) &&
	    memcmp(f->said, why->n ? (const char *)why->p : "", (size_t)n) == 0)
		return;
	snprintf(f->said, sizeof(f->said), "%.*s", n,
		 why->n ? (const char *)why->p : "");
	if (n)
		log_info("cluster", "waiting reason=\"%s\"", f->said);
}

enum err formation_step(struct formation *f, bool *done, uint64_t *wait_ms,
			struct buf *why)
{
	struct formation_view v;
	struct formation_decision d;
	enum err err;

	*done = false;
	*wait_ms = f->o.ask_ms / 4;
	why->n = 0;
	ask_all(f);
	look(f, &v);
	err = formation_judge(&v, &d, why);
	if (err)
		return err;
	switch (d.action) {
	case FORMATION_WAIT:
		break;
	case FORMATION_PREPARE:
		err = prepare(f, d.cluster_id);
		*wait_ms = 0;
		break;
	case FORMATION_FORM:
		err = form(f);
		break;
	case FORMATION_CLAIM:
		err = claim(f, d.at, why);
		break;
	case FORMATION_REFUSE:
		f->key = d.key;
		return ERR_INVALID;
	}
	*done = !err && (f->identity.state == IDENTITY_FORMED ||
			 f->identity.state == IDENTITY_JOINING);
	if (!err && !*done)
		say(f, why);
	return err;
}

const char *formation_key(const struct formation *f)
{
	return f->key;
}

const struct identity *formation_identity(const struct formation *f)
{
	return &f->identity;
}

/* ---------------------------------------------------------- new and free - */

enum err formation_new(const struct formation_options *o,
		       struct formation **out)
{
	struct formation *f = calloc(1, sizeof(*f));

	if (!f)
		return ERR_NOMEM;
	f->o = *o;
	if (!f->o.ask_ms)
		f->o.ask_ms = ASK_EVERY_MS;
	f->identity = *o->identity;
	f->roster = *o->roster;
	CHECK(roster_find(&f->roster, o->name));
	f->claimed = calloc(1, sizeof(*f->claimed));
	if (!f->claimed)
		goto out;
	for (uint32_t i = 0; i < f->roster.count; i++) {
		f->place[i].f = f;
		f->place[i].report = calloc(1, sizeof(struct report));
		if (!f->place[i].report)
			goto out;
	}
	*out = f;
	return OK;
out:
	formation_free(f);
	return ERR_NOMEM;
}

void formation_free(struct formation *f)
{
	if (!f)
		return;
	for (uint32_t i = 0; i < f->roster.count; i++)
		free(f->place[i].report);
	free(f->claimed);
	free(f);
}
