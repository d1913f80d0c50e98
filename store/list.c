/*
 * store/list.c - one page of keys in order.
 *
 * A page is gathered under the key directory's lock (keys and figures only,
 * at most PAGE_ITEMS_MAX of them), then the lock is dropped, values are read
 * and the items handed out. Several partitions are walked side by side and
 * merged, each held for the page, so that each shows one moment. With a
 * delimiter a folded prefix is jumped over as a whole.
 *
 * Cursor: hex of one byte 'k' (the last item was this key) or 'p' (this folded
 * prefix), then its bytes.
 */
#include <stdlib.h>

#include "base/check.h"
#include "store/keyrules.h"
#include "store/store_internal.h"

enum { PAGE_ITEMS_MAX = 8192, KEY_ROOM = RECORD_KEY_BYTES_MAX + 1 };

/* One partition's walk. */
struct lane {
	struct engine_iter it;
	uint16_t partition;
	bool has;
	struct bytes key;
	struct engine_info info;
};

struct page_item {
	size_t key_off; /* in keys */
	size_t key_bytes;
	bool is_prefix;
	uint16_t partition;
	struct engine_info info;
};

struct page {
	struct store *s;
	struct store_list *list;
	struct lane *lanes;
	uint32_t lane_count;
	struct buf low, high; /* low <= key < high; high.n 0: open */
	struct page_item *items;
	uint32_t item_count, item_cap;
	struct buf keys;
	uint64_t bytes;
	bool more;
};

static enum err max_low(struct page *g, struct bytes low)
{
	if (bytes_compare(low, buf_bytes(&g->low)) <= 0)
		return OK;
	g->low.n = 0;
	return buf_add(&g->low, low.p, low.n);
}

static enum err min_high(struct page *g, struct bytes high)
{
	if (g->high.n > 0 && bytes_compare(high, buf_bytes(&g->high)) >= 0)
		return OK;
	g->high.n = 0;
	return buf_add(&g->high, high.p, high.n);
}

/* ---------------------------------------------------------------- cursor - */

static enum err encode_cursor(struct buf *out, bool is_prefix, struct bytes key)
{
	enum err err = buf_addf(out, "%02x", is_prefix ? 'p' : 'k');

	for (size_t i = 0; i < key.n && !err; i++)
		err = buf_addf(out, "%02x", key.p[i]);
	return err;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static enum err decode_cursor(struct bytes text, uint8_t room[KEY_ROOM],
			      bool *is_prefix, struct bytes *key)
{
	size_t n = text.n / 2;

	if (text.n % 2 || n < 2 || n > KEY_ROOM)
		return ERR_INVALID;
	for (size_t i = 0; i < n; i++) {
		int high = hex_digit(text.p[2 * i]);
		int low = hex_digit(text.p[2 * i + 1]);

		if (high < 0 || low < 0)
			return ERR_INVALID;
		room[i] = (uint8_t)(high << 4 | low);
	}
	if (room[0] != 'k' && room[0] != 'p')
		return ERR_INVALID;
	*is_prefix = room[0] == 'p';
	*key = bytes_of(room + 1, n - 1);
	return OK;
}

/* Narrow the range to what follows the cursor in the page's direction. */
static enum err apply_cursor(struct page *g)
{
	uint8_t room[KEY_ROOM], next[KEY_ROOM];
	bool is_prefix;
	struct bytes key;
	enum err err;
	size_t n;

	if (g->list->after.n == 0)
		return OK;
	err = decode_cursor(g->list->after, room, &is_prefix, &key);
	if (err)
		return err;
	if (g->list->reverse)
		return min_high(g, key);
	if (!is_prefix) {
		memcpy(next, key.p, key.n);
		next[key.n] = 0;
		return max_low(g, bytes_of(next, key.n + 1));
	}
	n = prefix_successor(key, next);
	if (n == 0) { /* nothing follows: an empty range */
		err = min_high(g, bytes_of("\1", 1));
		return err;
	}
	return max_low(g, bytes_of(next, n));
}

static enum err set_range(struct page *g)
{
	uint8_t next[KEY_ROOM];
	enum err err;
	size_t n;

	if (g->list->prefix.n >= KEY_ROOM)
		return ERR_INVALID;
	err = max_low(g, bytes_of("\1", 1)); /* past the hidden keys */
	if (!err)
		err = max_low(g, g->list->prefix);
	if (!err)
		err = max_low(g, g->list->start);
	n = prefix_successor(g->list->prefix, next);
	if (!err && n > 0)
		err = min_high(g, bytes_of(next, n));
	if (!err && g->list->end.n > 0)
		err = min_high(g, g->list->end);
	if (!err)
		err = apply_cursor(g);
	return err;
}

/* ----------------------------------------------------------------- lanes - */

static void clip(struct page *g, struct lane *l)
{
	if (!l->has)
		return;
	if (bytes_compare(l->key, buf_bytes(&g->low)) < 0)
		l->has = false;
	else if (g->high.n > 0 &&
		 bytes_compare(l->key, buf_bytes(&g->high)) >= 0)
		l->has = false;
}

static void seek_lane(struct page *g, struct lane *l)
{
	struct bytes high = buf_bytes(&g->high);

	if (high.n == 0)
		high.p = NULL;
	if (g->list->reverse)
		l->has = engine_iter_seek_before(&l->it, high, &l->key,
						 &l->info);
	else
		l->has = engine_iter_seek(&l->it, buf_bytes(&g->low), &l->key,
					  &l->info);
	clip(g, l);
}

static void step_lane(struct page *g, struct lane *l)
{
	l->has = g->list->reverse ? engine_iter_prev(&l->it, &l->key, &l->info)
				  : engine_iter_next(&l->it, &l->key, &l->info);
	clip(g, l);
}

/* Jump over all keys that begin with prefix. */
static void jump_lane(struct page *g, struct lane *l, struct bytes prefix)
{
	uint8_t next[KEY_ROOM];
	size_t n;

	if (g->list->reverse) {
		l->has = engine_iter_seek_before(&l->it, prefix, &l->key,
						 &l->info);
	} else {
		n = prefix_successor(prefix, next);
		l->has = n > 0 && engine_iter_seek(&l->it, bytes_of(next, n),
						   &l->key, &l->info);
	}
	clip(g, l);
}

static struct lane *best_lane(struct page *g)
{
	struct lane *best = NULL;

	for (uint32_t i = 0; i < g->lane_count; i++) {
		struct lane *l = &g->lanes[i];
		int order;

		if (!l->has)
			continue;
		order = best ? bytes_compare(l->key, best->key) : 0;
		if (!best || (g->list->reverse ? order > 0 : order < 0))
			best = l;
	}
	return best;
}

static enum err begin_lanes(struct page *g)
{
	uint32_t from = 0, to = g->s->partition_count;

	if (g->list->prefix.n > 0 &&
	    memchr(g->list->prefix.p, '/', g->list->prefix.n)) {
		from = store_partition_of(g->s, g->list->prefix);
		to = from + 1;
	}
	g->lanes = calloc(to - from, sizeof(*g->lanes));
	if (!g->lanes)
		return ERR_NOMEM;
	for (uint32_t i = from; i < to; i++) {
		struct lane *l = &g->lanes[g->lane_count++];

		l->partition = (uint16_t)i;
		engine_iter_begin(g->s->engine, l->partition, &l->it);
		seek_lane(g, l);
	}
	return OK;
}

static void end_lanes(struct page *g)
{
	for (uint32_t i = 0; i < g->lane_count; i++)
		engine_iter_end(&g->lanes[i].it);
	free(g->lanes);
}

/* ------------------------------------------------------------- gathering - */

/* The part of key that the delimiter folds it to; n 0: it is not folded. */
static struct bytes fold(const struct store_list *list, struct bytes key)
{
	const uint8_t *rest, *at;

	if (list->delimiter.n == 0 || key.n <= list->prefix.n)
		return bytes_of(NULL, 0);
	rest = key.p + list->prefix.n;
	at = memmem(rest, key.n - list->prefix.n, list->delimiter.p,
		    list->delimiter.n);
	if (!at)
		return bytes_of(NULL, 0);
	return bytes_of(key.p, (size_t)(at - key.p) + list->delimiter.n);
}

static enum err add_item(struct page *g, struct bytes key, bool is_prefix,
			 const struct lane *l)
{
	struct page_item *item;

	if (g->item_count == g->item_cap) {
		uint32_t cap = g->item_cap ? 2 * g->item_cap : 64;
		void *items = realloc(g->items, cap * sizeof(*g->items));

		if (!items)
			return ERR_NOMEM;
		g->items = items;
		g->item_cap = cap;
	}
	item = &g->items[g->item_count];
	*item = (struct page_item){
		.key_off = g->keys.n,
		.key_bytes = key.n,
		.is_prefix = is_prefix,
		.partition = l->partition,
		.info = l->info,
	};
	if (buf_add(&g->keys, key.p, key.n) != OK)
		return ERR_NOMEM;
	g->item_count++;
	g->bytes += key.n;
	if (g->list->values && !is_prefix &&
	    l->info.value_bytes <= STORE_INLINE_BYTES_MAX)
		g->bytes += l->info.value_bytes;
	return OK;
}

static struct bytes item_key(const struct page *g, uint32_t i)
{
	return bytes_of(g->keys.p + g->items[i].key_off, g->items[i].key_bytes);
}

static enum err gather(struct page *g)
{
	uint32_t limit = g->list->limit;
	struct lane *l;

	if (limit > PAGE_ITEMS_MAX)
		limit = PAGE_ITEMS_MAX;
	while ((l = best_lane(g))) {
		struct bytes folded = fold(g->list, l->key);
		bool is_prefix = folded.n > 0;
		enum err err;

		if (g->item_count == limit ||
		    (g->item_count > 0 && g->list->bytes_max &&
		     g->bytes >= g->list->bytes_max)) {
			g->more = true;
			return OK;
		}
		err = add_item(g, is_prefix ? folded : l->key, is_prefix, l);
		if (err)
			return err;
		if (!is_prefix) {
			step_lane(g, l);
			continue;
		}
		folded = item_key(g, g->item_count - 1);
		for (uint32_t i = 0; i < g->lane_count; i++) {
			if (g->lanes[i].has &&
			    bytes_begins(g->lanes[i].key, folded))
				jump_lane(g, &g->lanes[i], folded);
		}
	}
	return OK;
}

/* ------------------------------------------------------------ handing out */

/* False: the key went between the picture and the reading of its value. */
static bool read_value(struct page *g, struct page_item *it,
		       struct store_list_item *item, struct store_value **v)
{
	item->value_err = value_get(g->s, it->partition, item->key, v);
	if (item->value_err == ERR_NOT_FOUND)
		return false;
	if (item->value_err)
		return true;
	item->info = *store_value_info(*v);
	if (item->info.bytes > STORE_INLINE_BYTES_MAX)
		item->value_err = ERR_TOO_LARGE;
	else
		item->value_err = store_value_read(*v, 0, &item->value);
	return true;
}

static enum err
hand_out(struct page *g,
	 enum err (*fn)(void *ctx, const struct store_list_item *), void *ctx)
{
	for (uint32_t i = 0; i < g->item_count; i++) {
		struct page_item *it = &g->items[i];
		unsigned flags = loc_flags(it->info.loc);
		struct store_list_item item = { .key = item_key(g, i),
						.is_prefix = it->is_prefix };
		struct store_value *v = NULL;
		bool there = true;
		enum err err = OK;

		if (!it->is_prefix) {
			item.info.rev = version_index(it->info.version);
			item.info.bytes = it->info.value_bytes;
			item.info.has_ttl = flags & LOC_EXPIRES;
			item.info.is_dir = key_is_dir(item.key);
			item.info.is_link = flags & LOC_LINK;
			item.info.is_special = flags & LOC_SPECIAL;
			if (g->list->values &&
			    item.info.bytes > STORE_INLINE_BYTES_MAX)
				item.value_err = ERR_TOO_LARGE;
			else if (g->list->values)
				there = read_value(g, it, &item, &v);
		}
		if (there)
			err = fn(ctx, &item);
		store_value_done(v);
		if (err)
			return err;
	}
	return OK;
}

static enum err finish(struct page *g)
{
	uint32_t last = g->item_count - 1;

	g->list->more = g->more;
	if (!g->more)
		return OK;
	CHECK(g->item_count > 0);
	return encode_cursor(&g->list->next, g->items[last].is_prefix,
			     item_key(g, last));
}

enum err store_list(struct store *s, struct store_list *list,
		    enum err (*item)(void *ctx, const struct store_list_item *),
		    void *ctx)
{
	struct page g = { .s = s, .list = list };
	enum err err;

	list->more = false;
	list->next = BUF_INIT;
	list->revision = BUF_INIT;
	if (list->limit == 0)
		return ERR_INVALID;
	if (!atomic_load_explicit(&s->started, memory_order_acquire))
		return ERR_STARTING;
	err = set_range(&g);
	if (!err)
		err = watch_cursor_now(s, &list->revision);
	if (!err) {
		err = begin_lanes(&g);
		if (!err)
			err = gather(&g);
		end_lanes(&g);
	}
	if (!err)
		err = hand_out(&g, item, ctx);
	if (!err)
		err = finish(&g);
	if (err) {
		buf_done(&list->next);
		buf_done(&list->revision);
	}
	buf_done(&g.low);
	buf_done(&g.high);
	buf_done(&g.keys);
	free(g.items);
	return err;
}
