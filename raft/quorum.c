/*
 * raft/quorum.c - what majorities say.
 *
 * A decision needs a majority of the voters, and of both halves while the
 * configuration is joint (paper 6, thesis 4.3). An empty half agrees to
 * everything, so that a plain configuration is a joint one without outgoing
 * half.
 */
#include "raft/core.h"

typedef uint64_t value_fn(const struct raft *r, const struct progress *p);

/* The largest value that a majority of the voters of this half has reached. */
static uint64_t half_reached(const struct raft *r, uint8_t half,
			     value_fn *value)
{
	uint64_t v[RAFT_MEMBERS_MAX];
	uint32_t i, k, n = 0;

	for (i = 0; i < r->conf.count; i++) {
		uint64_t x;

		if (!(r->conf.role[i] & half))
			continue;
		CHECK(r->peer[i].id == r->conf.id[i]);
		x = value(r, &r->peer[i]);
		for (k = n; k > 0 && v[k - 1] < x; k--)
			v[k] = v[k - 1];
		v[k] = x; /* v falls from left to right */
		n++;
	}
	return n ? v[n / 2] : UINT64_MAX;
}

static uint64_t reached(const struct raft *r, value_fn *value)
{
	uint64_t in = half_reached(r, RAFT_VOTER, value);
	uint64_t out = half_reached(r, RAFT_VOTER_OUT, value);

	return in < out ? in : out;
}

static uint64_t value_match(const struct raft *r, const struct progress *p)
{
	return p->match;
}

static uint64_t value_round(const struct raft *r, const struct progress *p)
{
	return p->id == r->c.id ? r->round_sent : p->acked_round;
}

static uint64_t value_stamp(const struct raft *r, const struct progress *p)
{
	return p->id == r->c.id ? r->now_ns : p->acked_ns;
}

static uint64_t value_active(const struct raft *r, const struct progress *p)
{
	return p->active;
}

uint64_t quorum_match(const struct raft *r)
{
	return reached(r, value_match);
}

uint64_t quorum_round(const struct raft *r)
{
	return reached(r, value_round);
}

uint64_t quorum_stamp(const struct raft *r)
{
	return reached(r, value_stamp);
}

bool quorum_active(const struct raft *r)
{
	return reached(r, value_active) > 0;
}

static bool half_has(const struct raft *r, uint8_t half, uint64_t id)
{
	uint32_t i, n = 0, have = 0;

	for (i = 0; i < r->conf.count; i++) {
		if (!(r->conf.role[i] & half))
			continue;
		n++;
		have += r->conf.id[i] == r->c.id || r->conf.id[i] == id;
	}
	return n == 0 || have > n / 2;
}

bool quorum_with(const struct raft *r, uint64_t id)
{
	return half_has(r, RAFT_VOTER, id) && half_has(r, RAFT_VOTER_OUT, id);
}

static enum quorum_result half_votes(const struct raft *r, uint8_t half)
{
	uint32_t i, n = 0, granted = 0, open = 0;

	for (i = 0; i < r->conf.count; i++) {
		if (!(r->conf.role[i] & half))
			continue;
		n++;
		granted += r->peer[i].vote == VOTE_GRANTED;
		open += r->peer[i].vote == VOTE_NONE;
	}
	CHECK(granted + open <= n);
	if (n == 0 || granted > n / 2)
		return QUORUM_WON;
	return granted + open > n / 2 ? QUORUM_PENDING : QUORUM_LOST;
}

enum quorum_result quorum_votes(const struct raft *r)
{
	enum quorum_result in = half_votes(r, RAFT_VOTER);
	enum quorum_result out = half_votes(r, RAFT_VOTER_OUT);

	if (in == out)
		return in;
	if (in == QUORUM_LOST || out == QUORUM_LOST)
		return QUORUM_LOST;
	return QUORUM_PENDING;
}
