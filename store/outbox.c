/*
 * store/outbox.c - what a round has to say to each peer, as one message.
 *
 * Items of all partitions gather in one buffer a peer and leave together. A
 * buffer that has grown beyond FLUSH_BYTES leaves before the next item begins,
 * so that together they always fit into a message. What the net refuses is
 * lost, as on any net; consensus and its kin repeat what matters.
 *
 * Between rounds no peer has a buffer: they are put together and taken by whom
 * there is something to say to. So there are as many as peers were written to
 * in one round, whoever has come and gone.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/net.h"
#include "store/group_internal.h"

enum {
	FLUSH_BYTES = 1 << 20,
	KEEP_BYTES = 4 << 20, /* of a spare buffer; what is above is freed  */
	PEERS_MAX = 2 * RAFT_MEMBERS_MAX,
};

_Static_assert(FLUSH_BYTES + 2 * ITEM_HEADER_BYTES + ITEM_BODY_BYTES_MAX <=
		       NET_MESSAGE_BYTES_MAX,
	       "one more item always fits");

static void put_aside(struct groups *g, struct buf *b)
{
	b->n = 0;
	if (b->cap <= KEEP_BYTES && g->outbox_spare_count < OUTBOX_SPARES_MAX)
		g->outbox_spares[g->outbox_spare_count++] = *b;
	else
		buf_done(b);
	*b = BUF_INIT;
}

static void flush_peer(struct store *s, struct outbox_peer *peer)
{
	struct bytes part = buf_bytes(&peer->buf);

	if (peer->buf.n == 0)
		return;
	if (s->o.net->send(s->o.net, peer->id, &part, 1))
		count_up(&s->messages_lost, 1);
	else
		count_up(&s->messages_sent, 1);
	put_aside(s->groups, &peer->buf);
}

void outbox_flush(struct store *s)
{
	struct groups *g = s->groups;

	CHECK(!g->open);
	for (uint32_t i = 0; i < g->peer_count; i++)
		flush_peer(s, &g->peers[i]);
}

static struct outbox_peer *find_peer(struct groups *g, uint64_t id)
{
	struct outbox_peer *peers;

	for (uint32_t i = 0; i < g->peer_count; i++) {
		if (g->peers[i].id == id)
			return &g->peers[i];
	}
	if (g->peer_count == PEERS_MAX) {
		/* ids are never used again: the first has long been gone */
		buf_done(&g->peers[0].buf);
		memmove(g->peers, g->peers + 1,
			--g->peer_count * sizeof(*g->peers));
	}
	if (!g->peers) {
		peers = calloc(PEERS_MAX, sizeof(*peers));
		if (!peers)
			return NULL;
		g->peers = peers;
	}
	g->peers[g->peer_count] = (struct outbox_peer){ .id = id };
	return &g->peers[g->peer_count++];
}

struct buf *outbox_begin(struct store *s, uint64_t to, enum item_kind kind,
			 uint16_t partition)
{
	struct groups *g = s->groups;
	struct outbox_peer *peer;

	CHECK(!g->open);
	if (!s->o.net)
		return NULL;
	peer = find_peer(g, to);
	if (!peer)
		return NULL;
	if (peer->buf.n >= FLUSH_BYTES)
		flush_peer(s, peer);
	if (!peer->buf.p && g->outbox_spare_count)
		peer->buf = g->outbox_spares[--g->outbox_spare_count];
	if (item_begin(&peer->buf, kind, partition, &g->open_at))
		return NULL;
	g->open = peer;
	return &peer->buf;
}

void outbox_end(struct store *s)
{
	struct groups *g = s->groups;

	CHECK(g->open);
	if (item_end(&g->open->buf, g->open_at)) {
		outbox_drop(s);
		return;
	}
	g->open = NULL;
}

void outbox_drop(struct store *s)
{
	struct groups *g = s->groups;

	CHECK(g->open);
	g->open->buf.n = g->open_at;
	g->open = NULL;
}

void outbox_free(struct store *s)
{
	struct groups *g = s->groups;

	for (uint32_t i = 0; i < g->peer_count; i++)
		buf_done(&g->peers[i].buf);
	for (uint32_t i = 0; i < g->outbox_spare_count; i++)
		buf_done(&g->outbox_spares[i]);
	free(g->peers);
}
