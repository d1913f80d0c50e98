/*
 * store/forward_leader.c - deciding what other nodes ask.
 *
 * A request becomes a proxy, which waits and is decided among this node's own;
 * when it is over its result goes back as an answer.
 *
 * A copy of a request names the term of the leader that it is for, and only
 * that leader in that term decides it. So what must be told apart is little:
 *
 *   in this term      a table of what was seen, by slot: a copy of what is
 *                     under way is dropped, of what was answered gets the same
 *                     answer. What appended something is answered from the
 *                     record "\0f" of its entry, the rest is kept until the
 *                     asking node says that it has it (floor).
 *   in earlier terms  a leader decides nothing before it has applied all that
 *                     came before its term; then the record "\0f" says whether
 *                     the request is part of the state. Asked only when an
 *                     earlier copy may have been decided.
 *
 * A refusal is not in the log. If its answer was lost and another leads, it is
 * decided again, perhaps otherwise: nobody was told of the first decision, and
 * it changed nothing. A copy for an earlier term can no longer be decided by
 * anyone, so a refusal that was told stays true.
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/forward_internal.h"
#include "store/group.h"
#include "store/hidden.h"
#include "store/members.h"

enum {
	PROXIES_KEPT_MAX = 1024,
	PROXY_BYTES_KEPT_MAX = 64 << 10,
	SLOT_BYTES_KEPT_MAX = 512, /* of a slot whose answer is over    */
	ANSWERS_KEPT_BYTES_MAX = 64 << 20,
};

enum seen_state {
	SEEN_NONE,
	SEEN_PENDING, /* a proxy is under way                                */
	SEEN_DONE,    /* answered: answer, or if that is empty its entry     */
	SEEN_LOST,    /* only its entry knows, if there is one               */
};

struct seen {
	uint64_t sequence, term;
	uint16_t partition;
	uint8_t state;
	struct buf answer;
};

/* A node that asks. */
struct origin {
	uint64_t node, incarnation, floor;
	uint64_t past[FORWARD_PAST_MAX];
	uint32_t past_count;
	struct seen slot[FORWARD_WINDOW];
};

struct leader_side {
	struct origin *origins[FORWARD_ORIGINS_MAX];
	uint32_t count;
	struct proxy *free;
	uint32_t free_count;
	uint64_t kept_bytes;
	struct buf answer;
};

/* ------------------------------------------------------------- proxies --- */

static void free_proxy(struct proxy *x)
{
	buf_done(&x->bytes);
	free(x->conditions);
	free(x->ops);
	free(x->results);
	free(x);
}

static struct proxy *take_proxy(struct store *s)
{
	struct leader_side *ls = s->forward->leader;
	struct proxy *x = ls->free;

	if (x) {
		ls->free = x->next;
		ls->free_count--;
	} else {
		x = calloc(1, sizeof(*x));
		if (!x)
			return NULL;
		x->s = s;
	}
	x->known = x->only_known = false;
	return x;
}

static void give_proxy(struct proxy *x)
{
	struct leader_side *ls = x->s->forward->leader;

	results_drop(&x->write);
	x->bytes.n = 0;
	if (x->bytes.cap > PROXY_BYTES_KEPT_MAX)
		buf_done(&x->bytes);
	if (ls->free_count == PROXIES_KEPT_MAX) {
		free_proxy(x);
		return;
	}
	x->next = ls->free;
	ls->free = x;
	ls->free_count++;
}

static struct store_queued *queued_of(struct proxy *x)
{
	switch ((enum request_kind)x->head.kind) {
	case REQUEST_WRITE:
		return &x->write.queued;
	case REQUEST_STAGE:
	case REQUEST_ABANDON:
		return &x->upload.queued;
	case REQUEST_FILE:
		return &x->file.queued;
	case REQUEST_CHANGE:
		break;
	}
	return &x->change.queued;
}

static struct proxy *proxy_of(struct store_queued *q)
{
	CHECK(q->no_forward);
	switch ((enum request_kind)q->kind) {
	case REQUEST_WRITE:
		return write_of(q)->user;
	case REQUEST_STAGE:
	case REQUEST_ABANDON:
		return upload_of(q)->user;
	case REQUEST_FILE:
		return file_of(q)->user;
	case REQUEST_CHANGE:
		break;
	}
	return change_of(q)->user;
}

/* ------------------------------------------------------------- origins --- */

static void drop_answer(struct leader_side *ls, struct seen *seen)
{
	CHECK(ls->kept_bytes >= seen->answer.n);
	ls->kept_bytes -= seen->answer.n;
	seen->answer.n = 0;
	if (seen->answer.cap > SLOT_BYTES_KEPT_MAX)
		buf_done(&seen->answer);
}

static void free_origin(struct leader_side *ls, struct origin *o)
{
	for (uint32_t i = 0; i < FORWARD_WINDOW; i++) {
		drop_answer(ls, &o->slot[i]);
		buf_done(&o->slot[i].answer);
	}
	free(o);
}

/* Nodes that are no members ask no more. */
static void drop_gone(struct store *s, struct leader_side *ls)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < ls->count; i++) {
		struct origin *o = ls->origins[i];

		if (member_by_id(s, o->node))
			ls->origins[kept++] = o;
		else
			free_origin(ls, o);
	}
	ls->count = kept;
}

static bool is_past(const struct origin *o, uint64_t incarnation)
{
	uint32_t n = o->past_count < FORWARD_PAST_MAX ? o->past_count
						      : FORWARD_PAST_MAX;

	for (uint32_t i = 0; i < n; i++) {
		if (o->past[i] == incarnation)
			return true;
	}
	return false;
}

/* The node began anew: of what it asked before nothing is decided any more. */
static void begin_incarnation(struct leader_side *ls, struct origin *o,
			      uint64_t incarnation)
{
	o->past[o->past_count++ % FORWARD_PAST_MAX] = o->incarnation;
	o->incarnation = incarnation;
	o->floor = 0;
	for (uint32_t i = 0; i < FORWARD_WINDOW; i++) {
		drop_answer(ls, &o->slot[i]);
		o->slot[i].sequence = 0;
		o->slot[i].state = SEEN_NONE;
	}
}

static struct origin *find_origin(struct leader_side *ls, uint64_t node)
{
	for (uint32_t i = 0; i < ls->count; i++) {
		if (ls->origins[i]->node == node)
			return ls->origins[i];
	}
	return NULL;
}

/* NULL: no room, or an incarnation that is over. */
static struct origin *origin_of(struct store *s, uint64_t node,
				uint64_t incarnation)
{
	struct leader_side *ls = s->forward->leader;
	struct origin *o = find_origin(ls, node);

	if (!o) {
		if (ls->count == FORWARD_ORIGINS_MAX)
			drop_gone(s, ls);
		if (ls->count == FORWARD_ORIGINS_MAX)
			return NULL;
		o = calloc(1, sizeof(*o));
		if (!o)
			return NULL;
		o->node = node;
		o->incarnation = incarnation;
		ls->origins[ls->count++] = o;
	}
	if (is_past(o, incarnation))
		return NULL;
	if (o->incarnation != incarnation)
		begin_incarnation(ls, o, incarnation);
	return o;
}

/* The asking node has what was answered below floor. */
static void raise_floor(struct leader_side *ls, struct origin *o,
			uint64_t floor)
{
	uint64_t from = o->floor;

	if (floor <= o->floor)
		return;
	if (floor - from > FORWARD_WINDOW)
		from = floor - FORWARD_WINDOW;
	for (; from < floor; from++) {
		struct seen *seen = &o->slot[from % FORWARD_WINDOW];

		if (seen->sequence < floor)
			drop_answer(ls, seen);
	}
	o->floor = floor;
}

/* ----------------------------------------------------------- answering --- */

static void send_answer(struct store *s, uint64_t to, uint16_t partition,
			struct bytes body)
{
	struct buf *b;

	if (to == s->self_id) {
		struct item item = { .kind = ITEM_ANSWER,
				     .partition = partition,
				     .body = body };

		forward_answered(s, to, &item);
		return;
	}
	b = outbox_begin(s, to, ITEM_ANSWER, partition);
	if (!b) /* lost: the request comes again */
		return;
	if (buf_add(b, body.p, body.n))
		outbox_drop(s);
	else
		outbox_end(s);
}

static void answer_not_here(struct store *s, uint64_t to, uint16_t partition,
			    const struct request_head *head)
{
	struct leader_side *ls = s->forward->leader;
	struct answer_head answer = { .incarnation = head->incarnation,
				      .sequence = head->sequence,
				      .term = head->term,
				      .kind = head->kind,
				      .status = ANSWER_NOT_HERE };

	ls->answer.n = 0;
	if (!answer_encode(&ls->answer, &answer, NULL))
		send_answer(s, to, partition, buf_bytes(&ls->answer));
}

/* What became of x, in the words of an answer. */
static struct answer_head judge(struct proxy *x, enum err err)
{
	struct store_queued *q = queued_of(x);
	struct answer_head a = { .incarnation = x->head.incarnation,
				 .sequence = x->head.sequence,
				 .term = x->head.term,
				 .index = x->known ? x->known_index : q->index,
				 .kind = x->head.kind,
				 .status = ANSWER_DONE,
				 .err = (uint8_t)err,
				 .appended = x->known || q->entries > 0 };
	bool dead = upload_outcome(&x->upload) != OK;

	if (x->known || dead)
		return a;
	if (err == ERR_NO_LEADER || err == ERR_CLOSED)
		a.status = ANSWER_NOT_HERE;
	else if (err == ERR_UNKNOWN)
		a.status = ANSWER_LOST;
	return a;
}

static bool has_values(const struct proxy *x)
{
	const struct store_write *w = &x->write;
	uint32_t count = w->succeeded ? w->then_count : w->else_count;

	for (uint32_t i = 0; w->results && i < count; i++) {
		if (w->results[i].found)
			return true;
	}
	return false;
}

/* Remember what a later copy must be told. */
static void remember(struct proxy *x, const struct answer_head *a)
{
	struct leader_side *ls = x->s->forward->leader;
	struct origin *o = find_origin(ls, x->node);
	struct seen *seen;
	struct bytes answer = buf_bytes(&ls->answer);

	if (!o || o->incarnation != x->head.incarnation)
		return;
	seen = &o->slot[x->head.sequence % FORWARD_WINDOW];
	if (seen->sequence != x->head.sequence || seen->term != x->head.term)
		return;
	seen->state = a->status == ANSWER_DONE	 ? SEEN_DONE
		      : a->status == ANSWER_LOST ? SEEN_LOST
						 : SEEN_NONE;
	if (a->status != ANSWER_DONE || x->head.sequence < o->floor ||
	    (a->appended && !has_values(x)))
		return;
	if (ls->kept_bytes + answer.n > ANSWERS_KEPT_BYTES_MAX ||
	    buf_add(&seen->answer, answer.p, answer.n)) {
		seen->state = SEEN_LOST;
		return;
	}
	ls->kept_bytes += answer.n;
}

/* x is over: tell who asked. */
static void finish(struct proxy *x, enum err err)
{
	struct leader_side *ls = x->s->forward->leader;
	struct answer_head a = judge(x, err);
	enum err bad;

	ls->answer.n = 0;
	bad = answer_encode(&ls->answer, &a, x);
	if (bad) { /* the values of its GETs cannot be told */
		results_drop(&x->write);
		x->write.err = bad;
		a.err = (uint8_t)bad;
		if (a.appended)
			a.status = ANSWER_LOST;
		ls->answer.n = 0;
		bad = answer_encode(&ls->answer, &a, x);
	}
	if (!bad) {
		remember(x, &a);
		send_answer(x->s, x->node, x->partition,
			    buf_bytes(&ls->answer));
		group_tell(&x->s->partitions[x->partition], x->node);
	}
	give_proxy(x);
}

static void write_done(struct store_write *w)
{
	finish(w->user, w->err);
}

static void file_done(struct store_file_op *op)
{
	finish(op->user, op->err);
}

static void change_done(struct store_change *c)
{
	finish(c->user, c->err);
}

static void upload_done(void *user, enum err err)
{
	finish(user, err);
}

/* ----------------------------------------------------------- receiving --- */

/* True: this node leads p in that term, if perhaps not ready to decide. */
static bool leads_in(const struct partition *p, uint64_t term)
{
	return p->office_index > 0 && p->office_term == term;
}

static enum err check_file(struct store *s, struct proxy *x)
{
	enum err err = file_check(s, &x->file);

	if (!err && x->file.queued.partition != x->partition)
		err = ERR_CROSS_PART;
	return err;
}

/* What store_write and its kin check before they queue a request. */
static enum err check_request(struct store *s, struct proxy *x)
{
	struct store_write *w = &x->write;
	enum err err;

	if (x->head.kind == REQUEST_CHANGE)
		return x->partition ? ERR_INVALID : change_check(s, &x->change);
	if (x->head.kind == REQUEST_FILE)
		return check_file(s, x);
	if (x->head.kind != REQUEST_WRITE)
		return OK;
	err = write_check(s, w);
	if (err)
		return err;
	if (w->delete_prefix) /* a share, or all of it below one directory */
		return OK;
	return w->queued.partition == x->partition ? OK : ERR_CROSS_PART;
}

static void prepare(struct proxy *x)
{
	struct store_queued *q = queued_of(x);

	x->write.user = x->change.user = x->upload.user = x->file.user = x;
	x->write.done = write_done;
	x->change.done = change_done;
	x->upload.done = upload_done;
	x->file.done = file_done;
	*q = (struct store_queued){
		.since_ns = clock_mono_ns(x->s->o.clock),
		.partition = x->partition,
		.kind = x->head.kind,
		.no_forward = true,
	};
}

/* A copy that is to be decided, or with only_known answered by its entry. */
static void accept(struct store *s, const struct origin *o, struct seen *seen,
		   const struct request_head *head, const struct item *item,
		   struct bytes body, bool only_known)
{
	struct proxy *x = take_proxy(s);
	enum err err;

	if (!x) /* dropped: it comes again */
		return;
	x->node = o->node;
	x->partition = item->partition;
	x->head = *head;
	x->only_known = only_known;
	err = buf_add(&x->bytes, body.p, body.n);
	if (!err)
		err = request_decode(x);
	if (!err)
		err = check_request(s, x);
	if (err) {
		x->write.results = NULL;
		give_proxy(x);
		return;
	}
	drop_answer(s->forward->leader, seen);
	seen->sequence = head->sequence;
	seen->term = head->term;
	seen->partition = item->partition;
	seen->state = SEEN_PENDING;
	prepare(x);
	core_submit(s, queued_of(x));
}

void forward_receive(struct store *s, uint64_t from, const struct item *item)
{
	struct bytes body = item->body;
	struct request_head head;
	struct origin *o;
	struct seen *seen;
	bool seen_here;

	if (item->partition >= s->partition_count ||
	    request_head_decode(&body, &head) || member_is_leaving(s, from) ||
	    !atomic_load_explicit(&s->started, memory_order_relaxed))
		return;
	if (!leads_in(&s->partitions[item->partition], head.term)) {
		answer_not_here(s, from, item->partition, &head);
		return;
	}
	o = origin_of(s, from, head.incarnation);
	if (!o)
		return;
	raise_floor(s->forward->leader, o, head.floor);
	seen = &o->slot[head.sequence % FORWARD_WINDOW];
	if (head.sequence < o->floor || seen->sequence > head.sequence)
		return; /* it is over */
	seen_here = seen->sequence == head.sequence &&
		    seen->term == head.term && seen->state != SEEN_NONE;
	if (seen_here && seen->state == SEEN_PENDING)
		return;
	if (seen_here && seen->answer.n > 0)
		send_answer(s, from, item->partition, buf_bytes(&seen->answer));
	else
		accept(s, o, seen, &head, item, body, seen_here);
}

/* ------------------------------------------------------------ deciding --- */

static enum err look_up(struct store *s, struct proxy *x,
			enum window_match *match)
{
	uint8_t room[WINDOW_KEY_BYTES];
	uint16_t slot = (uint16_t)(x->head.sequence % FORWARD_WINDOW);
	struct engine_value v;
	enum err err;

	*match = WINDOW_NEW;
	err = engine_get(s->engine, x->partition,
			 window_key(room, x->node, slot), ENGINE_VERIFY, &v);
	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	*match = window_decode(v.value, v.version, x);
	engine_value_done(&v);
	return OK;
}

bool forward_may_decide(struct store *s, struct store_queued *q, enum err *err)
{
	struct proxy *x = proxy_of(q);
	enum window_match match;
	enum err bad;

	*err = ERR_NO_LEADER;
	if (!leads_in(&s->partitions[x->partition], x->head.term))
		return false;
	if (!x->head.again && !x->only_known)
		return true;
	bad = look_up(s, x, &match);
	if (!bad && match == WINDOW_NEW && !x->only_known)
		return true;
	*err = !bad && match == WINDOW_SAME ? OK : ERR_UNKNOWN;
	return false;
}

static bool values_fit(const struct store_write *w)
{
	uint64_t left = FORWARD_VALUES_BYTES_MAX;
	uint32_t count = w->succeeded ? w->then_count : w->else_count;

	for (uint32_t i = 0; w->results && i < count; i++) {
		uint64_t bytes;

		if (!w->results[i].found)
			continue;
		bytes = store_value_info(w->results[i].value)->bytes;
		if (bytes > left)
			return false;
		left -= bytes;
	}
	return true;
}

uint64_t forward_asker(struct store *s)
{
	return s->forwarding ? proxy_of(s->forwarding)->node : s->self_id;
}

enum err forward_record(struct store *s, struct partition *p)
{
	struct proxy *x = proxy_of(s->forwarding);

	CHECK(x->partition == p->id);
	s->forwarding = NULL;
	if (x->head.kind == REQUEST_WRITE && !values_fit(&x->write))
		return ERR_TOO_LARGE;
	return window_encode(&s->entry, x);
}

enum err leader_side_new(struct leader_side **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? OK : ERR_NOMEM;
}

void leader_side_free(struct leader_side *ls)
{
	if (!ls)
		return;
	for (uint32_t i = 0; i < ls->count; i++)
		free_origin(ls, ls->origins[i]);
	while (ls->free) {
		struct proxy *x = ls->free;

		ls->free = x->next;
		free_proxy(x);
	}
	buf_done(&ls->answer);
	free(ls);
}
