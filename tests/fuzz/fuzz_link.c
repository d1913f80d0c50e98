/*
 * Whatever bytes come over a connection from another node, before or after a
 * greeting: nothing crashes, and only whole messages of a peer that was let in
 * are handed over. The first byte chooses: raw bytes, or frames with right
 * checksums made of the input, behind a greeting or without one.
 *
 * Decodes: node/link_wire.c
 * Decodes in part: node/link_conn.c node/link_greet.c node/chan.c
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "node/link_internal.h"

enum { ROUNDS = 4, GREETED = 1, FRAMED = 2 };

static bool greeted;
static volatile uint32_t touched;

static enum err on_receive(void *ctx, uint64_t from, struct bytes m)
{
	CHECK(greeted || !"a message without a greeting");
	CHECK(from == 3);
	touched = crc32c(touched, m.p, m.n); /* every byte is there */
	return OK;
}

static void on_link(void *ctx, uint64_t peer, bool up)
{
}

static enum links_standing on_standing(void *ctx, uint64_t id)
{
	return id == 3 ? LINKS_MEMBER : LINKS_UNKNOWN;
}

static enum err on_question(void *ctx, struct bytes question,
			    struct buf *answer)
{
	return buf_add(answer, question.p, question.n);
}

static void put_frame(struct buf *b, enum link_kind kind, struct bytes body)
{
	static const uint8_t zeros[8];
	uint8_t h[LINK_HEADER_BYTES];

	link_header_encode(h, kind, (uint32_t)body.n,
			   crc32c(0, body.p, body.n));
	CHECK(buf_add(b, h, sizeof(h)) == OK);
	CHECK(buf_add(b, body.p, body.n) == OK);
	CHECK(buf_add(b, zeros,
		      link_frame_bytes(body.n) - sizeof(h) - body.n) == OK);
}

static void put_greeting(struct buf *b, const uint8_t cluster[16])
{
	static const uint8_t no_mac[LINK_MAC_BYTES];
	struct link_hello h = {
		.purpose = LINK_FOR_MESSAGES, .from = 3, .to = 1, .name = "n3"
	};
	struct buf body = BUF_INIT;

	memcpy(h.cluster_id, cluster, 16);
	CHECK(link_hello_encode(&body, &h) == OK);
	put_frame(b, LINK_HELLO, buf_bytes(&body));
	put_frame(b, LINK_PROOF, bytes_of(no_mac, sizeof(no_mac)));
	buf_done(&body);
}

/* kind, length, bytes; again and again. */
static void put_frames(struct buf *b, struct bytes in)
{
	while (in.n >= 3) {
		size_t n = get_u16(in.p + 1);

		if (n > in.n - 3)
			n = in.n - 3;
		put_frame(b,
			  (enum link_kind)(1 + in.p[0] % (LINK_KIND_MAX - 1)),
			  bytes_of(in.p + 3, n));
		in = bytes_of(in.p + 3 + n, in.n - 3 - n);
	}
}

static struct links *shared_links(void)
{
	static const uint8_t cluster[16] = { 1 };
	static struct links *l;
	static struct seed seed;
	struct links_options o = { .listen = "127.0.0.1:0",
				   .name = "n1",
				   .clock = clock_os(),
				   .seed = &seed,
				   .receive = on_receive,
				   .link = on_link,
				   .standing = on_standing,
				   .question = on_question };
	struct buf why = BUF_INIT;

	if (l)
		return l;
	log_set_level(LOG_ERROR);
	seed_init(&seed, 1);
	CHECK(links_open(&o, &l, &why) == OK);
	links_identify(l, cluster, 1);
	return l;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct links *l = shared_links();
	struct buf b = BUF_INIT;
	struct conn *c;
	uint8_t room[4096];
	size_t off = 0;
	int fd[2];
	bool idle;

	if (n == 0)
		return 0;
	greeted = data[0] & GREETED;
	if (greeted)
		put_greeting(&b, l->cluster_id);
	if (data[0] & FRAMED)
		put_frames(&b, bytes_of(data + 1, n - 1));
	else
		CHECK(buf_add(&b, data + 1, n - 1) == OK);
	if (!(data[0] & GREETED))
		greeted = data[0] & FRAMED; /* it may make its own */
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) == 0);
	c = conn_new(l, CONN_ACCEPTED);
	CHECK(c);
	conn_attach(c, fd[0]);
	for (int i = 0; i < ROUNDS; i++) {
		ssize_t sent = b.n > off ? send(fd[1], b.p + off, b.n - off,
						MSG_NOSIGNAL)
					 : 0;

		off += sent > 0 ? (size_t)sent : 0;
		CHECK(links_wait(l, 0, &idle) == OK);
		while (recv(fd[1], room, sizeof(room), 0) > 0)
			;
	}
	close(fd[1]);
	CHECK(links_wait(l, 0, &idle) == OK);
	CHECK(links_wait(l, 0, &idle) == OK);
	buf_done(&b);
	return 0;
}
