/*
 * raft/conf.c - who belongs to the group, and how a change alters that.
 *
 * A configuration is a table of members with roles. A joint one (paper 6,
 * thesis 4.3) has two halves: VOTER of the incoming, VOTER_OUT of the outgoing
 * one, and both majorities must agree. A voter that shall become a learner is
 * LEARNER_NEXT as long as the outgoing half still counts its vote, so that
 * nobody is ever voter and learner at once.
 */
#include "raft/core.h"

static uint32_t find_slot(const struct raft_conf *c, uint64_t id)
{
	uint32_t i = 0;

	while (i < c->count && c->id[i] < id)
		i++;
	return i;
}

static bool has_id(const struct raft_conf *c, uint32_t i, uint64_t id)
{
	return i < c->count && c->id[i] == id;
}

static void set_role(struct raft_conf *c, uint64_t id, uint8_t role)
{
	uint32_t i = find_slot(c, id);

	CHECK(has_id(c, i, id));
	c->role[i] = role;
	if (role)
		return;
	for (; i + 1 < c->count; i++) {
		c->id[i] = c->id[i + 1];
		c->role[i] = c->role[i + 1];
	}
	c->count--;
}

enum err raft_conf_add(struct raft_conf *c, uint64_t id, uint8_t role)
{
	uint32_t i = find_slot(c, id), k;

	if (id == RAFT_NOBODY || role == 0)
		return ERR_INVALID;
	if (has_id(c, i, id)) {
		c->role[i] |= role;
		return OK;
	}
	if (c->count == RAFT_MEMBERS_MAX)
		return ERR_FULL;
	for (k = c->count; k > i; k--) {
		c->id[k] = c->id[k - 1];
		c->role[k] = c->role[k - 1];
	}
	c->id[i] = id;
	c->role[i] = role;
	c->count++;
	return OK;
}

uint8_t raft_conf_role(const struct raft_conf *c, uint64_t id)
{
	uint32_t i = find_slot(c, id);

	return has_id(c, i, id) ? c->role[i] : 0;
}

uint32_t conf_voters(const struct raft_conf *c, uint8_t role)
{
	uint32_t i, n = 0;

	for (i = 0; i < c->count; i++)
		n += (c->role[i] & role) != 0;
	return n;
}

bool raft_conf_is_joint(const struct raft_conf *c)
{
	return conf_voters(c, RAFT_VOTER_OUT) > 0;
}

bool conf_is_voter(const struct raft_conf *c, uint64_t id)
{
	return raft_conf_role(c, id) & (RAFT_VOTER | RAFT_VOTER_OUT);
}

enum err raft_conf_check(const struct raft_conf *c)
{
	uint32_t i;

	if (c->count > RAFT_MEMBERS_MAX)
		return ERR_INVALID;
	for (i = 0; i < c->count; i++) {
		uint8_t role = c->role[i];

		if (c->id[i] <= (i ? c->id[i - 1] : RAFT_NOBODY))
			return ERR_INVALID;
		if (role == 0 || role > 15)
			return ERR_INVALID;
		if ((role & RAFT_LEARNER) && role != RAFT_LEARNER)
			return ERR_INVALID;
		if ((role & RAFT_LEARNER_NEXT) &&
		    role != (RAFT_LEARNER_NEXT | RAFT_VOTER_OUT))
			return ERR_INVALID;
	}
	if (c->auto_leave && !raft_conf_is_joint(c))
		return ERR_INVALID;
	return OK;
}

static enum err make_voter(struct raft_conf *c, uint64_t id)
{
	uint8_t role = raft_conf_role(c, id);

	if (!role)
		return raft_conf_add(c, id, RAFT_VOTER);
	role &= ~(RAFT_LEARNER | RAFT_LEARNER_NEXT);
	set_role(c, id, role | RAFT_VOTER);
	return OK;
}

static enum err make_learner(struct raft_conf *c, uint64_t id)
{
	uint8_t role = raft_conf_role(c, id);

	if (!role)
		return raft_conf_add(c, id, RAFT_LEARNER);
	if (role & RAFT_LEARNER)
		return OK;
	if (role & RAFT_VOTER_OUT)
		set_role(c, id, RAFT_VOTER_OUT | RAFT_LEARNER_NEXT);
	else
		set_role(c, id, RAFT_LEARNER);
	return OK;
}

static enum err apply_items(struct raft_conf *c,
			    const struct raft_change *change)
{
	uint32_t i;
	enum err err = OK;

	for (i = 0; i < change->count && !err; i++) {
		uint64_t id = change->item[i].id;

		if (id == RAFT_NOBODY)
			continue; /* a change taken back by its maker */
		switch (change->item[i].op) {
		case RAFT_ADD_VOTER:
			err = make_voter(c, id);
			break;
		case RAFT_ADD_LEARNER:
			err = make_learner(c, id);
			break;
		case RAFT_REMOVE:
			if (raft_conf_role(c, id))
				set_role(c, id,
					 raft_conf_role(c, id) &
						 RAFT_VOTER_OUT);
			break;
		case RAFT_UPDATE:
			break;
		default:
			err = ERR_INVALID;
		}
	}
	if (!err && conf_voters(c, RAFT_VOTER) == 0)
		err = ERR_INVALID;
	return err;
}

static enum err enter_joint(struct raft_conf *c,
			    const struct raft_change *change)
{
	uint32_t i;

	if (raft_conf_is_joint(c) || conf_voters(c, RAFT_VOTER) == 0)
		return ERR_INVALID;
	for (i = 0; i < c->count; i++) {
		if (c->role[i] & RAFT_VOTER)
			c->role[i] |= RAFT_VOTER_OUT;
	}
	c->auto_leave = change->transition != RAFT_EXPLICIT;
	return apply_items(c, change);
}

static enum err leave_joint(struct raft_conf *c)
{
	uint32_t i;

	if (!raft_conf_is_joint(c))
		return ERR_INVALID;
	for (i = c->count; i-- > 0;) {
		uint8_t role = c->role[i];

		if (role & RAFT_LEARNER_NEXT)
			role = RAFT_LEARNER;
		set_role(c, c->id[i], role & ~RAFT_VOTER_OUT);
	}
	c->auto_leave = false;
	return OK;
}

/* How many are voters in one of a, b and not in the other. */
static uint32_t count_changed(const struct raft_conf *a,
			      const struct raft_conf *b)
{
	uint32_t i, n = 0;

	for (i = 0; i < a->count; i++)
		n += (a->role[i] & RAFT_VOTER) &&
		     !(raft_conf_role(b, a->id[i]) & RAFT_VOTER);
	for (i = 0; i < b->count; i++)
		n += (b->role[i] & RAFT_VOTER) &&
		     !(raft_conf_role(a, b->id[i]) & RAFT_VOTER);
	return n;
}

enum err raft_conf_change(const struct raft_conf *from,
			  const struct raft_change *change,
			  struct raft_conf *to)
{
	struct raft_conf c = *from;
	enum err err;

	if (change->count > RAFT_CHANGES_MAX)
		return ERR_INVALID;
	if (change->transition == RAFT_AUTO && change->count == 0) {
		err = leave_joint(&c);
	} else if (change->transition != RAFT_AUTO || change->count > 1) {
		err = enter_joint(&c, change);
	} else if (raft_conf_is_joint(&c)) {
		err = ERR_INVALID;
	} else {
		err = apply_items(&c, change);
		/* thesis 4.1: majorities overlap if one voter differs */
		if (!err && count_changed(from, &c) > 1)
			err = ERR_INVALID;
	}
	if (err)
		return err;
	CHECK(raft_conf_check(&c) == OK);
	*to = c;
	return OK;
}
