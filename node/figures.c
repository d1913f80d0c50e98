/*
 * node/figures.c - what /_/metrics shows beside the figures of HTTP and store:
 * certificates, links to other nodes, the mount.
 */
#include "node/link.h"
#include "node/node_internal.h"

static enum err add_certificates(struct node *n, struct buf *b)
{
	static const char name[] =
		"raftcask_certificate_expiry_timestamp_seconds";
	uint64_t http_s = atomic_load(&n->http_expires_s);
	uint64_t peer_s = atomic_load(&n->peer_expires_s);
	enum err err;

	if (!http_s && !peer_s)
		return OK;
	err = buf_addf(b,
		       "# HELP %s When it expires, since 1970.\n"
		       "# TYPE %s gauge\n",
		       name, name);
	if (!err && http_s)
		err = buf_addf(b, "%s{use=\"http\"} %lu\n", name, http_s);
	if (!err && peer_s)
		err = buf_addf(b, "%s{use=\"peer\"} %lu\n", name, peer_s);
	return err;
}

static enum err add_links(struct links *l, struct buf *b)
{
	struct links_stats s;
	enum err err = OK;

	links_stats(l, &s);
	const struct {
		const char *name, *help;
		uint64_t n;
	} rows[] = {
		{ "sent_messages", "Messages to other nodes.",
		  s.messages_sent },
		{ "sent_bytes", "Bytes of them.", s.bytes_sent },
		{ "received_messages", "Messages from other nodes.",
		  s.messages_received },
		{ "received_bytes", "Bytes of them.", s.bytes_received },
		{ "dropped_messages",
		  "Messages that found no link, or a full one.",
		  s.messages_dropped },
		{ "dials", "Connections begun to other nodes.", s.dials },
		{ "accepts", "Connections accepted from other nodes.",
		  s.accepts },
		{ "accept_failures",
		  "Times that no descriptor was left for a connection.",
		  s.accept_failures },
		{ "refusals", "Connections of other nodes that were refused.",
		  s.refused },
	};

	for (size_t i = 0; !err && i < sizeof(rows) / sizeof(rows[0]); i++)
		err = buf_addf(b,
			       "# HELP raftcask_peer_%s_total %s\n"
			       "# TYPE raftcask_peer_%s_total counter\n"
			       "raftcask_peer_%s_total %lu\n",
			       rows[i].name, rows[i].help, rows[i].name,
			       rows[i].name, rows[i].n);
	return err;
}

enum err node_figures(void *ctx, struct buf *b)
{
	struct node *n = ctx;
	struct mount *mount;
	enum err err;

	pthread_mutex_lock(&n->lock);
	mount = n->mount; /* it outlives HTTP */
	pthread_mutex_unlock(&n->lock);
	err = add_certificates(n, b);
	if (!err && n->cluster.links)
		err = add_links(n->cluster.links, b);
	if (!err && mount)
		err = mount_figures(mount, b);
	return err;
}
