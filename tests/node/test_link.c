/*
 * Links between endpoints of one process, over loopback, each driven by hand:
 * what is sent arrives whole and in order; strangers, liars and the slow are
 * kept away and cost nothing; what breaks comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "node/link.h"
#include "node/link_wire.h"
#include "tests/lib/certs.h"
#include "tests/lib/tmpdir.h"

enum { ENDS_MAX = 4, PATIENCE_MS = 10000, MESSAGE_BYTES = 24 };

struct end {
	struct links *l;
	struct seed seed;
	uint64_t id;
	char name[8], listen[32], address[32];
	uint64_t received[ENDS_MAX + 1], last[ENDS_MAX + 1];
	uint64_t received_bytes;
	int up[ENDS_MAX + 1], ups, downs;
	bool whole, aligned;
	enum links_standing standing;
	char removed_by[64];
	uint64_t questions;
	/* What answered said. */
	int answers;
	enum err answer_err;
	char answer[256];
};

static struct end ends[ENDS_MAX + 1]; /* by id */
static uint8_t cluster[16] = { 7, 7 };

/* A message: its number, how long it is, and bytes that follow from both. */
static void fill(uint8_t *p, size_t n, uint64_t number)
{
	put_u64(p, number);
	put_u64(p + 8, n);
	for (size_t i = 16; i < n; i++)
		p[i] = (uint8_t)(number + i * 7);
}

static enum err on_receive(void *ctx, uint64_t from, struct bytes m)
{
	struct end *e = ctx;
	uint8_t *want = malloc(m.n);

	assert_true(from >= 1 && from <= ENDS_MAX);
	assert_true(m.n >= 16);
	fill(want, m.n, get_u64(m.p));
	e->whole &= memcmp(want, m.p, m.n) == 0 && get_u64(m.p + 8) == m.n;
	e->aligned &= (uintptr_t)m.p % 8 == 0;
	assert_true(get_u64(m.p) > e->last[from]);
	e->last[from] = get_u64(m.p);
	e->received[from]++;
	e->received_bytes += m.n;
	free(want);
	return OK;
}

static void on_link(void *ctx, uint64_t peer, bool up)
{
	struct end *e = ctx;

	assert_int_equal(e->up[peer], !up);
	e->up[peer] = up;
	if (up)
		e->ups++;
	else
		e->downs++;
}

static enum links_standing on_standing(void *ctx, uint64_t id)
{
	struct end *e = ctx;

	return e->standing;
}

static void on_removed(void *ctx, const char *by)
{
	struct end *e = ctx;

	snprintf(e->removed_by, sizeof(e->removed_by), "%s", by);
}

static enum err on_question(void *ctx, struct bytes question,
			    struct buf *answer)
{
	struct end *e = ctx;

	e->questions++;
	return buf_addf(answer, "%s heard %.*s", e->name, (int)question.n,
			(const char *)question.p);
}

static void on_answer(void *ctx, enum err err, struct bytes answer)
{
	struct end *e = ctx;

	e->answers++;
	e->answer_err = err;
	snprintf(e->answer, sizeof(e->answer), "%.*s", (int)answer.n,
		 (const char *)answer.p);
}

/*
 * In place of the C library's: two-addresses.test is 127.0.0.2, where nobody
 * listens unless a case does, and 127.0.0.1.
 */
int getaddrinfo(const char *host, const char *port,
		const struct addrinfo *hints, struct addrinfo **list)
{
	int (*real)(const char *, const char *, const struct addrinfo *,
		    struct addrinfo **);
	int r;

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (!host || strcmp(host, "two-addresses.test") != 0)
		return real(host, port, hints, list);
	r = real("127.0.0.2", port, hints, list);
	return r ? r : real("127.0.0.1", port, hints, &(*list)->ai_next);
}

/* Fill o for end id; the rest is the caller's. */
static struct links_options options_of(uint64_t id)
{
	struct end *e = &ends[id];

	return (struct links_options){
		.listen = e->listen,
		.name = e->name,
		.clock = clock_os(),
		.seed = &e->seed,
		.receive = on_receive,
		.link = on_link,
		.standing = on_standing,
		.removed = on_removed,
		.question = on_question,
		.ctx = e,
	};
}

static void open_end(uint64_t id, const struct links_options *o)
{
	struct end *e = &ends[id];
	struct buf why = BUF_INIT;
	enum err err = links_open(o, &e->l, &why);

	if (err)
		fail_msg("%.*s", (int)why.n, (const char *)why.p);
	buf_done(&why);
	snprintf(e->address, sizeof(e->address), "127.0.0.1:%u",
		 links_port(e->l));
	memcpy(e->listen, e->address, sizeof(e->listen));
}

static int set_up(void **state)
{
	memset(ends, 0, sizeof(ends));
	for (uint64_t id = 1; id <= ENDS_MAX; id++) {
		struct end *e = &ends[id];

		e->id = id;
		seed_init(&e->seed, id);
		e->whole = e->aligned = true;
		snprintf(e->name, sizeof(e->name), "n%u", (unsigned)id);
		snprintf(e->listen, sizeof(e->listen), "127.0.0.1:0");
	}
	return 0;
}

static void close_end(uint64_t id)
{
	struct end *e = &ends[id];

	links_close(e->l);
	e->l = NULL;
	memset(e->up, 0, sizeof(e->up));
}

static int tear_down(void **state)
{
	for (uint64_t id = 1; id <= ENDS_MAX; id++)
		close_end(id);
	return 0;
}

static void open_plain(uint64_t id)
{
	struct links_options o = options_of(id);

	open_end(id, &o);
	links_identify(ends[id].l, cluster, id);
}

static void know(uint64_t who, uint64_t whom)
{
	struct net *n = links_net(ends[who].l);

	assert_int_equal(n->peer(n, whom, ends[whom].address), OK);
}

static void run_round(void)
{
	bool idle;

	for (uint64_t id = 1; id <= ENDS_MAX; id++) {
		if (ends[id].l)
			assert_int_equal(links_wait(ends[id].l, 1, &idle), OK);
	}
}

static uint64_t now_ms(void)
{
	return clock_mono_ns(clock_os()) / 1000000;
}

#define RUN_UNTIL(cond)                                                        \
	do {                                                                   \
		uint64_t end_ms = now_ms() + PATIENCE_MS;                      \
                                                                               \
		while (!(cond) && now_ms() < end_ms)                           \
			run_round();                                           \
		assert_true(cond);                                             \
	} while (0)

static void run_for(uint64_t ms)
{
	uint64_t end_ms = now_ms() + ms;

	while (now_ms() < end_ms)
		run_round();
}

static enum err send_one(uint64_t from, uint64_t to, uint64_t number, size_t n)
{
	struct net *net = links_net(ends[from].l);
	uint8_t *p = malloc(n);
	struct bytes parts[3] = { { p, 5 }, { p + 5, 0 }, { p + 5, n - 5 } };
	enum err err;

	fill(p, n, number);
	err = net->send(net, to, parts, 3);
	free(p);
	return err;
}

static bool up(uint64_t from, uint64_t to)
{
	struct net *net = links_net(ends[from].l);

	return net->is_up(net, to);
}

/* ------------------------------------------------------- what must work -- */

static void messages_arrive_whole_aligned_and_in_order(void **state)
{
	open_plain(1);
	open_plain(2);
	know(1, 2);
	know(2, 1);
	assert_int_equal(send_one(1, 2, 1, 100), ERR_CLOSED);
	RUN_UNTIL(ends[1].up[2] && ends[2].up[1]);
	for (uint64_t i = 1; i <= 500; i++) {
		assert_int_equal(send_one(1, 2, i, 16 + i * 13 % 3000), OK);
		assert_int_equal(send_one(2, 1, i, 17), OK);
	}
	RUN_UNTIL(ends[2].received[1] == 500 && ends[1].received[2] == 500);
	assert_true(ends[1].whole && ends[2].whole);
	assert_true(ends[1].aligned && ends[2].aligned);
	assert_int_equal(ends[1].downs + ends[2].downs, 0);
}

static void three_nodes_reach_each_other(void **state)
{
	for (uint64_t id = 1; id <= 3; id++)
		open_plain(id);
	for (uint64_t a = 1; a <= 3; a++)
		for (uint64_t b = 1; b <= 3; b++)
			if (a != b)
				know(a, b);
	RUN_UNTIL(ends[1].ups == 2 && ends[2].ups == 2 && ends[3].ups == 2);
	for (uint64_t a = 1; a <= 3; a++)
		for (uint64_t b = 1; b <= 3; b++)
			if (a != b)
				assert_int_equal(send_one(a, b, 1, 64), OK);
	RUN_UNTIL(ends[1].received[2] && ends[1].received[3] &&
		  ends[2].received[1] && ends[2].received[3] &&
		  ends[3].received[1] && ends[3].received[2]);
}

static void the_largest_message_goes_through(void **state)
{
	open_plain(1);
	open_plain(2);
	know(1, 2);
	RUN_UNTIL(up(1, 2));
	assert_int_equal(send_one(1, 2, 1, NET_MESSAGE_BYTES_MAX), OK);
	assert_int_equal(send_one(1, 2, 2, 100), OK);
	assert_int_equal(send_one(1, 2, 3, NET_MESSAGE_BYTES_MAX + 1),
			 ERR_TOO_LARGE);
	RUN_UNTIL(ends[2].received[1] == 2);
	assert_true(ends[2].whole && ends[2].aligned);
}

static void many_parts_are_one_message(void **state)
{
	struct bytes parts[100];
	uint8_t p[1600];
	struct net *net;

	open_plain(1);
	open_plain(2);
	know(1, 2);
	RUN_UNTIL(up(1, 2));
	fill(p, sizeof(p), 1);
	for (int i = 0; i < 100; i++)
		parts[i] = bytes_of(p + 16 * i, 16);
	net = links_net(ends[1].l);
	assert_int_equal(net->send(net, 2, parts, 100), OK);
	RUN_UNTIL(ends[2].received[1] == 1);
	assert_true(ends[2].whole);
}

/* The receiver sleeps: a bounded queue, then whole messages are dropped. */
static void a_slow_peer_costs_a_bounded_queue(void **state)
{
	struct links_options o = options_of(1);
	uint64_t sent = 0, number = 0;
	enum err err = OK;
	bool idle;

	o.queue_bytes_max = 4 << 20;
	open_end(1, &o);
	links_identify(ends[1].l, cluster, 1);
	open_plain(2);
	know(1, 2);
	RUN_UNTIL(up(1, 2));
	for (int i = 0; i < 4000; i++) {
		err = send_one(1, 2, ++number, 64 << 10);
		assert_true(err == OK || err == ERR_FULL);
		sent += err == OK;
		assert_int_equal(links_wait(ends[1].l, 0, &idle), OK);
	}
	assert_int_equal(err, ERR_FULL);
	assert_true(sent * (64 << 10) < 64 << 20);
	RUN_UNTIL(ends[2].received[1] == sent);
	assert_true(ends[2].whole);
	assert_int_equal(send_one(1, 2, ++number, 64 << 10), OK);
	RUN_UNTIL(ends[2].received[1] == sent + 1);
	assert_int_equal(ends[1].downs, 0);
}

static void a_peer_that_comes_back_is_found_again(void **state)
{
	open_plain(1);
	open_plain(2);
	know(1, 2);
	know(2, 1);
	RUN_UNTIL(ends[1].up[2] && ends[2].up[1]);
	close_end(2);
	RUN_UNTIL(!ends[1].up[2]);
	assert_int_equal(send_one(1, 2, 1, 100), ERR_CLOSED);
	run_for(500);
	open_plain(2);
	know(2, 1);
	RUN_UNTIL(ends[1].up[2] && ends[2].up[1]);
	ends[2].last[1] = 0;
	assert_int_equal(send_one(1, 2, 2, 100), OK);
	RUN_UNTIL(ends[2].received[1] == 1);
}

static void a_host_name_is_resolved(void **state)
{
	struct net *net;
	char address[64];

	open_plain(1);
	open_plain(2);
	snprintf(address, sizeof(address), "localhost:%u",
		 links_port(ends[2].l));
	net = links_net(ends[1].l);
	assert_int_equal(net->peer(net, 2, address), OK);
	assert_int_equal(net->peer(net, 3, "no-such-host.invalid:1"), OK);
	RUN_UNTIL(up(1, 2));
}

/* The first address that the system has for it is 127.0.0.1, or ::1. */
static void each_address_of_a_name_is_tried(void **state)
{
	struct links_options o = options_of(2);
	struct net *net;
	char address[64];

	open_plain(1);
	snprintf(ends[2].listen, sizeof(ends[2].listen), "127.0.0.1:0");
	open_end(2, &o);
	links_identify(ends[2].l, cluster, 2);
	snprintf(address, sizeof(address), "two-addresses.test:%u",
		 links_port(ends[2].l));
	net = links_net(ends[1].l);
	assert_int_equal(net->peer(net, 2, address), OK);
	RUN_UNTIL(up(1, 2));
	assert_int_equal(links_ask(ends[1].l, address, bytes_str("hello"),
				   on_answer, &ends[1]),
			 OK);
	RUN_UNTIL(ends[1].answers == 1);
	assert_int_equal(ends[1].answer_err, OK);
}

/* Who answers at the first address is another node. */
static void a_wrong_node_at_one_address_does_not_hide_the_other(void **state)
{
	struct links_options o = options_of(3);
	struct net *net;
	char address[64];

	open_plain(1);
	open_plain(2);
	snprintf(ends[3].listen, sizeof(ends[3].listen), "127.0.0.2:%u",
		 links_port(ends[2].l));
	open_end(3, &o);
	links_identify(ends[3].l, cluster, 3);
	snprintf(address, sizeof(address), "two-addresses.test:%u",
		 links_port(ends[2].l));
	net = links_net(ends[1].l);
	assert_int_equal(net->peer(net, 2, address), OK);
	RUN_UNTIL(up(1, 2));
}

static void a_peer_without_an_address_is_dropped(void **state)
{
	struct net *net;

	open_plain(1);
	open_plain(2);
	know(1, 2);
	know(1, 2); /* the same again changes nothing */
	RUN_UNTIL(up(1, 2));
	net = links_net(ends[1].l);
	assert_int_equal(net->peer(net, 2, NULL), OK);
	assert_int_equal(net->peer(net, 2, NULL), OK);
	assert_int_equal(send_one(1, 2, 1, 100), ERR_CLOSED);
	run_for(50);
	assert_int_equal(ends[1].downs, 0); /* who dropped it knows */
	ends[1].up[2] = 0;
	know(1, 2);
	RUN_UNTIL(up(1, 2));
	assert_int_equal(send_one(1, 2, 2, 100), OK);
	RUN_UNTIL(ends[2].received[1] == 1);
}

static void *wake_later(void *arg)
{
	usleep(30000);
	links_wake(arg);
	return NULL;
}

static void a_wake_ends_the_sleep(void **state)
{
	uint64_t from = now_ms();
	pthread_t t;
	bool idle;

	open_plain(1);
	assert_int_equal(links_wait(ends[1].l, 20, &idle), OK);
	assert_true(idle);
	assert_int_equal(pthread_create(&t, NULL, wake_later, ends[1].l), 0);
	assert_int_equal(links_wait(ends[1].l, 30000, &idle), OK);
	assert_false(idle);
	pthread_join(t, NULL);
	links_wake(ends[1].l);
	assert_int_equal(links_wait(ends[1].l, 30000, &idle), OK);
	assert_false(idle);
	assert_true(now_ms() - from < 20000);
}

/* ------------------------------------------------------------ questions -- */

static void a_question_is_answered_by_anyone(void **state)
{
	struct links_options o = options_of(1), q = options_of(2);

	open_end(1, &o); /* neither knows yet who it is */
	open_end(2, &q);
	assert_int_equal(links_ask(ends[1].l, ends[2].address,
				   bytes_str("hello"), on_answer, &ends[1]),
			 OK);
	RUN_UNTIL(ends[1].answers == 1);
	assert_int_equal(ends[1].answer_err, OK);
	assert_string_equal(ends[1].answer, "n2 heard hello");
	links_identify(ends[2].l, cluster, 2); /* nor does it matter */
	assert_int_equal(links_ask(ends[1].l, ends[2].address,
				   bytes_str("again"), on_answer, &ends[1]),
			 OK);
	RUN_UNTIL(ends[1].answers == 2);
	assert_string_equal(ends[1].answer, "n2 heard again");
}

static void a_question_to_nobody_says_why(void **state)
{
	struct links_options o = options_of(1);
	struct end gone;

	open_end(2, &o);
	gone = ends[2];
	close_end(2);
	open_plain(1);
	assert_int_equal(links_ask(ends[1].l, gone.address, bytes_str("?"),
				   on_answer, &ends[1]),
			 OK);
	RUN_UNTIL(ends[1].answers == 1);
	assert_int_equal(ends[1].answer_err, ERR_CLOSED);
	assert_string_equal(ends[1].answer, "Connection refused");
	assert_int_equal(links_ask(ends[1].l, "nonsense", bytes_str("?"),
				   on_answer, &ends[1]),
			 OK);
	RUN_UNTIL(ends[1].answers == 2);
	assert_string_equal(ends[1].answer, "not an address");
	assert_int_equal(links_ask(ends[1].l, gone.address, bytes_str("?"),
				   on_answer, &ends[1]),
			 OK);
	close_end(1); /* it is told even then */
	assert_int_equal(ends[1].answers, 3);
}

/* ------------------------------------------------------------- refusals -- */

/* Nothing gets through, and nobody is busy with trying. */
static void expect_no_link(uint64_t from, uint64_t to)
{
	struct links_stats s;

	run_for(700);
	assert_false(up(from, to));
	assert_int_equal(send_one(from, to, 1, 100), ERR_CLOSED);
	links_stats(ends[from].l, &s);
	assert_true(s.dials >= 1);
	assert_true(s.dials <= 12);
	assert_int_equal(ends[to].received[from], 0);
}

static void another_cluster_is_refused(void **state)
{
	static const uint8_t other[16] = { 9 };
	struct links_options o = options_of(2);
	struct links_stats s;

	open_plain(1);
	open_end(2, &o);
	links_identify(ends[2].l, other, 2);
	know(1, 2);
	expect_no_link(1, 2);
	links_stats(ends[2].l, &s);
	assert_int_equal(s.refused, 1); /* and it came once */
}

static void another_node_at_the_address_is_refused(void **state)
{
	struct net *net;

	open_plain(1);
	open_plain(2);
	net = links_net(ends[1].l);
	assert_int_equal(net->peer(net, 3, ends[2].address), OK);
	expect_no_link(1, 3);
}

static void a_stranger_is_refused_until_it_is_known(void **state)
{
	open_plain(1);
	open_plain(2);
	ends[2].standing = LINKS_UNKNOWN;
	know(1, 2);
	expect_no_link(1, 2);
	assert_string_equal(ends[1].removed_by, "");
	ends[2].standing = LINKS_MEMBER;
	RUN_UNTIL(up(1, 2));
}

static void a_removed_node_is_told(void **state)
{
	open_plain(1);
	open_plain(2);
	know(1, 2);
	RUN_UNTIL(up(1, 2));
	ends[2].standing = LINKS_REMOVED; /* while the link stands */
	RUN_UNTIL(ends[1].removed_by[0]);
	assert_string_equal(ends[1].removed_by, "n2");
	RUN_UNTIL(ends[1].downs == 1);
	assert_false(up(1, 2));
}

static void a_removed_node_is_told_when_it_comes(void **state)
{
	open_plain(1);
	open_plain(2);
	ends[2].standing = LINKS_REMOVED;
	know(1, 2);
	RUN_UNTIL(ends[1].removed_by[0]);
	expect_no_link(1, 2);
}

static void before_it_knows_who_it_is_a_node_lets_no_link_in(void **state)
{
	struct links_options o = options_of(2);

	open_plain(1);
	open_end(2, &o);
	know(1, 2);
	expect_no_link(1, 2);
	links_identify(ends[2].l, cluster, 2);
	RUN_UNTIL(up(1, 2));
}

static void a_member_that_is_no_peer_yet_is_answered(void **state)
{
	struct links_options o = options_of(1);

	open_end(1, &o); /* which port it gets */
	close_end(1);
	o.address = ends[1].address;
	open_end(1, &o);
	links_identify(ends[1].l, cluster, 1);
	open_plain(2);
	know(1, 2);
	RUN_UNTIL(ends[1].up[2] && ends[2].up[1]);
	assert_int_equal(send_one(2, 1, 1, 100), OK);
	RUN_UNTIL(ends[1].received[2] == 1);
}

static void open_secret(uint64_t id, const char *secret)
{
	struct links_options o = options_of(id);

	o.secret = bytes_str(secret);
	open_end(id, &o);
	links_identify(ends[id].l, cluster, id);
}

static void the_same_secret_lets_in(void **state)
{
	open_secret(1, "correct horse battery");
	open_secret(2, "correct horse battery");
	know(1, 2);
	RUN_UNTIL(up(1, 2));
	assert_int_equal(send_one(1, 2, 1, 100), OK);
	RUN_UNTIL(ends[2].received[1] == 1);
	assert_int_equal(links_ask(ends[1].l, ends[2].address, bytes_str("?"),
				   on_answer, &ends[1]),
			 OK);
	RUN_UNTIL(ends[1].answers == 1);
	assert_int_equal(ends[1].answer_err, OK);
}

static void another_secret_is_refused(void **state)
{
	open_secret(1, "correct horse battery");
	open_secret(2, "correct horse batterz");
	ends[2].standing = LINKS_REMOVED; /* a liar may not say so */
	know(1, 2);
	know(2, 1);
	expect_no_link(1, 2);
	expect_no_link(2, 1);
	assert_string_equal(ends[1].removed_by, "");
	assert_int_equal(links_ask(ends[1].l, ends[2].address, bytes_str("?"),
				   on_answer, &ends[1]),
			 OK);
	RUN_UNTIL(ends[1].answers == 1);
	assert_int_equal(ends[1].answer_err, ERR_CLOSED);
	assert_int_equal(ends[2].questions, 0);
}

static void one_without_the_secret_is_refused(void **state)
{
	open_secret(1, "correct horse battery");
	open_plain(2);
	know(1, 2);
	know(2, 1);
	expect_no_link(1, 2);
	expect_no_link(2, 1);
}

static void a_short_secret_is_no_secret(void **state)
{
	struct links_options o = options_of(1);
	struct buf why = BUF_INIT;

	o.secret = bytes_str("short");
	assert_int_equal(links_open(&o, &ends[1].l, &why), ERR_INVALID);
	assert_true(why.n > 0);
	buf_done(&why);
}

/* ------------------------------------------------------------------ TLS -- */

struct identity {
	char cert[128], key[128], ca[128];
};

static struct identity identity_of(const char *dir, const char *cert,
				   const char *ca)
{
	struct identity i;

	snprintf(i.cert, sizeof(i.cert), "%s/%s-cert.pem", dir, cert);
	snprintf(i.key, sizeof(i.key), "%s/%s-key.pem", dir, cert);
	snprintf(i.ca, sizeof(i.ca), "%s/%s-ca.pem", dir, ca);
	return i;
}

static void open_tls(uint64_t id, const struct identity *i)
{
	struct links_options o = options_of(id);

	o.tls_cert = i->cert;
	o.tls_key = i->key;
	o.tls_ca = i->ca;
	open_end(id, &o);
	links_identify(ends[id].l, cluster, id);
}

static void tls_carries_messages_both_ways(void **state)
{
	char *dir = tmpdir_make();
	struct identity i;
	uint64_t bytes = 0;

	certs_make(dir, "a");
	i = identity_of(dir, "a", "a");
	open_tls(1, &i);
	open_tls(2, &i);
	know(1, 2);
	know(2, 1);
	RUN_UNTIL(ends[1].up[2] && ends[2].up[1]);
	for (uint64_t n = 1; n <= 100; n++) {
		size_t size = n % 10 ? n * 100 : 1 << 20;

		assert_int_equal(send_one(1, 2, n, size), OK);
		assert_int_equal(send_one(2, 1, n, 100), OK);
		bytes += size;
	}
	RUN_UNTIL(ends[2].received[1] == 100 && ends[1].received[2] == 100);
	assert_true(ends[1].whole && ends[2].whole);
	assert_int_equal(ends[2].received_bytes, bytes);
	tmpdir_remove(dir);
}

static void a_certificate_of_another_authority_is_refused(void **state)
{
	char *dir = tmpdir_make();
	struct identity good, bad;

	certs_make(dir, "a");
	certs_make(dir, "b");
	good = identity_of(dir, "a", "a");
	bad = identity_of(dir, "b", "a"); /* trusts us, but is not trusted */
	open_tls(1, &good);
	open_tls(2, &bad);
	know(1, 2);
	know(2, 1);
	expect_no_link(1, 2);
	expect_no_link(2, 1);
	tmpdir_remove(dir);
}

static void plain_and_tls_do_not_mix(void **state)
{
	char *dir = tmpdir_make();
	struct identity i;

	certs_make(dir, "a");
	i = identity_of(dir, "a", "a");
	open_tls(1, &i);
	open_plain(2);
	know(1, 2);
	know(2, 1);
	expect_no_link(1, 2);
	expect_no_link(2, 1);
	tmpdir_remove(dir);
}

static void a_missing_certificate_is_named(void **state)
{
	struct links_options o = options_of(1);
	struct buf why = BUF_INIT;

	o.tls_cert = "/nonexistent/cert.pem";
	o.tls_key = "/nonexistent/key.pem";
	o.tls_ca = "/nonexistent/ca.pem";
	assert_int_equal(links_open(&o, &ends[1].l, &why), ERR_INVALID);
	assert_non_null(memmem(why.p, why.n, "/nonexistent/ca.pem", 19));
	buf_done(&why);
}

/* -------------------------------------------------------------- hostile -- */

static int connect_to(uint64_t id)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(links_port(ends[id].l)),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* No descriptor is left for who knocks: the rest goes on, then he is let in. */
static void without_descriptors_the_core_sleeps(void **state)
{
	uint64_t rounds = 0, until_ms;
	struct rlimit old, low;
	struct links_stats s;
	int taken[64], n = 0, stranger;
	bool idle;

	open_plain(1);
	open_plain(2);
	know(1, 2);
	RUN_UNTIL(up(1, 2));
	taken[n++] = dup(0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)taken[0] + 10;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (n < 64 && (taken[n] = dup(0)) >= 0)
		n++;
	close(taken[--n]);
	stranger = connect_to(2);
	until_ms = now_ms() + 350;
	while (now_ms() < until_ms) {
		assert_int_equal(links_wait(ends[2].l, 50, &idle), OK);
		rounds++;
	}
	assert_int_equal(send_one(1, 2, 1, 100), OK);
	RUN_UNTIL(ends[2].received[1] == 1);
	links_stats(ends[2].l, &s);
	assert_true(s.accept_failures > 0);
	assert_true(rounds < 100);
	while (n > 0)
		close(taken[--n]);
	n = (int)s.accepts;
	do {
		run_round();
		links_stats(ends[2].l, &s);
	} while (s.accepts == (uint64_t)n);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	close(stranger);
}

static bool was_cut(int fd)
{
	char room[4096];
	ssize_t n;

	do
		n = recv(fd, room, sizeof(room), MSG_DONTWAIT);
	while (n > 0);
	return n == 0 || errno != EAGAIN;
}

static void put_frame(struct buf *b, enum link_kind kind, const void *p,
		      size_t n)
{
	static const uint8_t zeros[8];
	uint8_t h[LINK_HEADER_BYTES];

	link_header_encode(h, kind, (uint32_t)n, crc32c(0, p, n));
	assert_int_equal(buf_add(b, h, sizeof(h)), OK);
	assert_int_equal(buf_add(b, p, n), OK);
	assert_int_equal(buf_add(b, zeros, link_frame_bytes(n) - sizeof(h) - n),
			 OK);
}

/* A whole greeting of node 3, by hand. */
static void greet_for(int fd, uint64_t to, enum link_purpose purpose)
{
	struct link_hello h = {
		.purpose = purpose, .from = 3, .to = to, .name = "n3"
	};
	static const uint8_t no_mac[LINK_MAC_BYTES];
	struct buf body = BUF_INIT, b = BUF_INIT;

	memcpy(h.cluster_id, cluster, 16);
	assert_int_equal(link_hello_encode(&body, &h), OK);
	put_frame(&b, LINK_HELLO, body.p, body.n);
	put_frame(&b, LINK_PROOF, no_mac, sizeof(no_mac));
	assert_int_equal(write(fd, b.p, b.n), b.n);
	buf_done(&body);
	buf_done(&b);
}

static void greet(int fd, uint64_t to)
{
	greet_for(fd, to, LINK_FOR_MESSAGES);
}

static void garbage_is_cut_and_the_links_stay(void **state)
{
	struct buf b = BUF_INIT;
	uint8_t noise[4096], h[LINK_HEADER_BYTES];
	struct seed seed;
	struct links_stats s;
	int fd[4];

	open_plain(1);
	open_plain(2);
	know(1, 2);
	RUN_UNTIL(up(1, 2));
	seed_init(&seed, 5);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)seed_next(&seed);
	for (int i = 0; i < 4; i++)
		fd[i] = connect_to(2);
	assert_int_equal(write(fd[0], noise, sizeof(noise)), sizeof(noise));
	/* A huge length, before anyone is known. */
	link_header_encode(h, LINK_HELLO, NET_MESSAGE_BYTES_MAX, 0);
	assert_int_equal(write(fd[1], h, sizeof(h)), sizeof(h));
	/* A message without a greeting. */
	put_frame(&b, LINK_MESSAGE, noise, 100);
	assert_int_equal(write(fd[2], b.p, b.n), b.n);
	/* Another version. */
	h[4] = 99;
	put_u32(h + 20, crc32c(0, h, 20));
	assert_int_equal(write(fd[3], h, sizeof(h)), sizeof(h));
	for (int i = 0; i < 4; i++) {
		RUN_UNTIL(was_cut(fd[i]));
		close(fd[i]);
	}
	links_stats(ends[2].l, &s);
	assert_int_equal(s.malformed, 4);
	assert_int_equal(send_one(1, 2, 1, 100), OK);
	RUN_UNTIL(ends[2].received[1] == 1);
	assert_int_equal(ends[1].downs, 0);
	buf_done(&b);
}

static void a_damaged_message_is_never_handed_over(void **state)
{
	struct buf b = BUF_INIT;
	uint8_t m[64];
	int fd;

	open_plain(2);
	fill(m, sizeof(m), 1);
	put_frame(&b, LINK_MESSAGE, m, sizeof(m));
	for (size_t at = 0; at < LINK_HEADER_BYTES + sizeof(m); at += 5) {
		fd = connect_to(2);
		greet(fd, 2);
		b.p[at] ^= 4;
		assert_int_equal(write(fd, b.p, b.n), b.n);
		b.p[at] ^= 4;
		RUN_UNTIL(was_cut(fd));
		close(fd);
	}
	assert_int_equal(ends[2].received[3], 0);
	fd = connect_to(2);
	greet(fd, 2);
	assert_int_equal(write(fd, b.p, b.n), b.n);
	RUN_UNTIL(ends[2].received[3] == 1);
	close(fd);
	buf_done(&b);
}

static void half_a_frame_takes_no_room(void **state)
{
	uint8_t h[LINK_HEADER_BYTES], m[MESSAGE_BYTES];
	struct buf b = BUF_INIT;
	int fd, again;

	open_plain(2);
	fd = connect_to(2);
	greet(fd, 2);
	/* It says 32 MiB and sends a few bytes; nothing else is held up. */
	link_header_encode(h, LINK_MESSAGE, NET_MESSAGE_BYTES_MAX, 0);
	assert_int_equal(write(fd, h, sizeof(h)), sizeof(h));
	assert_int_equal(write(fd, h, sizeof(h)), sizeof(h));
	run_for(50);
	assert_int_equal(ends[2].received[3], 0);
	/* It dials again: the old connection goes. */
	again = connect_to(2);
	greet(again, 2);
	fill(m, sizeof(m), 1);
	put_frame(&b, LINK_MESSAGE, m, sizeof(m));
	for (size_t i = 0; i < b.n; i++) { /* byte by byte */
		assert_int_equal(write(again, b.p + i, 1), 1);
		run_round();
	}
	RUN_UNTIL(ends[2].received[3] == 1);
	close(fd);
	close(again);
	buf_done(&b);
}

static void many_connections_do_not_keep_a_peer_out(void **state)
{
	enum { MANY = 300 };
	int fd[MANY];

	open_plain(2);
	for (int i = 0; i < MANY; i++) {
		fd[i] = connect_to(2);
		if (i % 10 == 0)
			run_round();
	}
	run_for(50);
	open_plain(1);
	know(1, 2);
	RUN_UNTIL(up(1, 2));
	assert_int_equal(send_one(1, 2, 1, 100), OK);
	RUN_UNTIL(ends[2].received[1] == 1);
	for (int i = 0; i < MANY; i++)
		close(fd[i]);
}

/* Without a secret anyone may greet: that must not cost a descriptor each. */
static void who_greets_and_never_asks_takes_no_more_places(void **state)
{
	enum { MANY = 200 };
	int fd[MANY], cut = 0;

	open_plain(2);
	for (int i = 0; i < MANY; i++) {
		fd[i] = connect_to(2);
		greet_for(fd[i], 2, LINK_FOR_QUESTIONS);
		if (i % 10 == 0)
			run_round();
	}
	run_for(100);
	for (int i = 0; i < MANY; i++)
		cut += was_cut(fd[i]);
	assert_true(cut >= MANY - LINKS_STRANGERS_MAX);
	RUN_UNTIL(was_cut(fd[MANY - 1]));
	for (int i = 0; i < MANY; i++)
		close(fd[i]);
}

static void a_silent_stranger_is_cut_after_a_while(void **state)
{
	int fd;

	open_plain(2);
	fd = connect_to(2);
	run_for(200);
	assert_false(was_cut(fd));
	RUN_UNTIL(was_cut(fd));
	close(fd);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(messages_arrive_whole_aligned_and_in_order),
		CASE(three_nodes_reach_each_other),
		CASE(the_largest_message_goes_through),
		CASE(many_parts_are_one_message),
		CASE(a_slow_peer_costs_a_bounded_queue),
		CASE(a_peer_that_comes_back_is_found_again),
		CASE(a_host_name_is_resolved),
		CASE(each_address_of_a_name_is_tried),
		CASE(a_wrong_node_at_one_address_does_not_hide_the_other),
		CASE(a_peer_without_an_address_is_dropped),
		CASE(a_wake_ends_the_sleep),
		CASE(a_question_is_answered_by_anyone),
		CASE(a_question_to_nobody_says_why),
		CASE(another_cluster_is_refused),
		CASE(another_node_at_the_address_is_refused),
		CASE(a_stranger_is_refused_until_it_is_known),
		CASE(a_removed_node_is_told),
		CASE(a_removed_node_is_told_when_it_comes),
		CASE(before_it_knows_who_it_is_a_node_lets_no_link_in),
		CASE(a_member_that_is_no_peer_yet_is_answered),
		CASE(the_same_secret_lets_in),
		CASE(another_secret_is_refused),
		CASE(one_without_the_secret_is_refused),
		CASE(a_short_secret_is_no_secret),
		CASE(tls_carries_messages_both_ways),
		CASE(a_certificate_of_another_authority_is_refused),
		CASE(plain_and_tls_do_not_mix),
		CASE(a_missing_certificate_is_named),
		CASE(garbage_is_cut_and_the_links_stay),
		CASE(a_damaged_message_is_never_handed_over),
		CASE(half_a_frame_takes_no_room),
		CASE(without_descriptors_the_core_sleeps),
		CASE(many_connections_do_not_keep_a_peer_out),
		CASE(who_greets_and_never_asks_takes_no_more_places),
		CASE(a_silent_stranger_is_cut_after_a_while),
	};

	log_set_level(getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
