/*
 * httpd/list.c - pages of keys, and the deletion of all keys of a prefix.
 */
#include "httpd/auth.h"
#include "httpd/handlers.h"
#include "httpd/json.h"
#include "httpd/reply.h"
#include "httpd/request.h"

struct page {
	struct buf keys, prefixes;
	bool values;
};

static enum err add_value(struct buf *b, const struct store_list_item *item)
{
	enum err err;

	if (item->value_err)
		return buf_addf(b, ",\"value\":null,\"value_error\":\"%s\"",
				error_problem(item->value_err).code);
	err = buf_add(b, ",", 1);
	if (err)
		return err;
	return json_add_member(b, "value", "value_encoding", item->value);
}

/* As X-Raftcask-TTL says it. */
static enum err add_ttl(struct buf *b, uint64_t ttl_ns)
{
	uint64_t ms = (ttl_ns + 999999) / 1000000;

	return buf_addf(b, ",\"ttl\":\"%lu.%03lu\"", ms / 1000, ms % 1000);
}

static enum err add_prefix(struct buf *b, struct bytes prefix)
{
	enum err err = b->n ? buf_add(b, ",", 1) : OK;

	if (err)
		return err;
	if (json_is_utf8(prefix))
		return json_add_string(b, prefix);
	err = buf_add(b, "{", 1);
	if (!err)
		err = json_add_member(b, "prefix", "encoding", prefix);
	if (!err)
		err = buf_add(b, "}", 1);
	return err;
}

static enum err add_item(void *ctx, const struct store_list_item *item)
{
	struct page *page = ctx;
	struct buf *b = &page->keys;
	enum err err;

	if (item->is_prefix)
		return add_prefix(&page->prefixes, item->key);
	err = b->n ? buf_add(b, ",{", 2) : buf_add(b, "{", 1);
	if (!err)
		err = json_add_member(b, "key", "encoding", item->key);
	if (!err)
		err = buf_addf(b, ",\"rev\":%lu,\"size\":%lu", item->info.rev,
			       item->info.bytes);
	if (!err && page->values && item->info.has_ttl && item->info.ttl_ns)
		err = add_ttl(b, item->info.ttl_ns);
	if (!err && page->values)
		err = add_value(b, item);
	if (!err)
		err = buf_add(b, "}", 1);
	return err;
}

/* A revision is a number while there is one partition, else a string. */
static enum err add_revision(struct request *r, struct buf *b,
			     const struct store_list *list)
{
	if (store_partition_count(r->h->o.store) == 1)
		return buf_add(b, list->revision.p, list->revision.n);
	return json_add_string(b, buf_bytes(&list->revision));
}

static enum err write_page(struct request *r, const struct page *page,
			   const struct store_list *list, struct buf *b)
{
	enum err err;

	err = buf_reserve(b, page->keys.n + page->prefixes.n + 128);
	if (!err)
		err = buf_addf(b, "{\"keys\":[");
	if (!err && page->keys.n)
		err = buf_add(b, page->keys.p, page->keys.n);
	if (!err)
		err = buf_addf(b, "],\"prefixes\":[");
	if (!err && page->prefixes.n)
		err = buf_add(b, page->prefixes.p, page->prefixes.n);
	if (!err)
		err = buf_addf(b, "],\"more\":%s,\"next\":",
			       list->more ? "true" : "false");
	if (!err && list->more)
		err = json_add_string(b, buf_bytes(&list->next));
	else if (!err)
		err = buf_addf(b, "null");
	if (!err)
		err = buf_addf(b, ",\"revision\":");
	if (!err)
		err = add_revision(r, b, list);
	if (!err)
		err = buf_add(b, "}", 1);
	return err;
}

static enum MHD_Result list_answer(struct request *r)
{
	struct page page = { .values = r->q.values };
	struct buf b = BUF_INIT;
	struct store_list list = {
		.prefix = r->q.prefix,
		.start = r->q.start,
		.end = r->q.end,
		.after = r->q.after,
		.delimiter = r->q.delimiter,
		.limit = r->q.has_limit ? r->q.limit : LIST_LIMIT_DEFAULT,
		.bytes_max = LIST_BYTES_MAX,
		.reverse = r->q.reverse,
		.values = r->q.values,
	};
	enum err err;

	if (!auth_allows(r, STORE_RIGHT_READ, r->q.prefix)) /* it has waited */
		return auth_refuse(r);
	if (list.limit > LIST_LIMIT_MAX)
		list.limit = LIST_LIMIT_MAX;
	err = store_list(r->h->o.store, &list, add_item, &page);
	if (!err)
		err = write_page(r, &page, &list, &b);
	if (!err)
		err = request_take_memory(r, b.n);
	buf_done(&page.keys);
	buf_done(&page.prefixes);
	buf_done(&list.next);
	buf_done(&list.revision);
	if (!err &&
	    !read_is_fresh(r, read_partition_of_prefix(r, r->q.prefix))) {
		buf_done(&b);
		return read_when_fresh(r,
				       read_partition_of_prefix(r, r->q.prefix),
				       list_answer);
	}
	if (err) {
		buf_done(&b);
		return reply_error(r, err);
	}
	return reply_json(r, 200, &b);
}

static enum MHD_Result list_read(struct request *r)
{
	return read_when_fresh(r, read_partition_of_prefix(r, r->q.prefix),
			       list_answer);
}

enum MHD_Result list_begin(struct request *r)
{
	if (!auth_allows(r, STORE_RIGHT_READ, r->q.prefix))
		return auth_refuse(r);
	r->run = list_read;
	return MHD_YES;
}

static enum MHD_Result prefix_deleted(struct request *r)
{
	struct buf b = BUF_INIT;
	enum err err;

	if (!request_woken(r))
		return reply_error(r, ERR_UNKNOWN);
	if (r->write.err)
		return reply_error(r, r->write.err);
	r->show_rev = true;
	r->rev = r->write.revision;
	err = buf_addf(&b, "{\"deleted\":%lu%s}", r->write.deleted,
		       r->write.atomic ? "" : ",\"atomic\":false");
	if (err) {
		buf_done(&b);
		return reply_error(r, ERR_IO);
	}
	return reply_json(r, 200, &b);
}

/* Thread: the store's. */
static void delete_done(struct store_write *w)
{
	request_done(w->user);
}

static enum MHD_Result delete_prefix(struct request *r)
{
	enum err err;

	stats_add(&r->h->stats.cmd_delete, 1);
	r->write = (struct store_write){ .delete_prefix = true,
					 .prefix = r->q.prefix,
					 .done = delete_done,
					 .user = r };
	request_arm(r);
	err = store_write(r->h->o.store, &r->write);
	if (err) {
		request_disarm(r);
		return reply_error(r, err);
	}
	return request_park(r, STAGE_RUNNING, request_commit_timeout_ns(r),
			    prefix_deleted);
}

enum MHD_Result list_delete_begin(struct request *r)
{
	if (!auth_allows(r, STORE_RIGHT_WRITE, r->q.prefix))
		return auth_refuse(r);
	if (r->q.prefix.n == 0 && !r->q.all)
		return reply_problem(r, 400, "bad_request",
				     "an empty prefix deletes every key: say "
				     "all=1 if that is meant");
	r->run = delete_prefix;
	return MHD_YES;
}
