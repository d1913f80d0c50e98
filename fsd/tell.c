/*
 * fsd/tell.c - what the kernel must not cache any longer.
 *
 * A notification waits in the kernel for locks that are held until some request
 * is answered. So one thread does nothing else, and nobody ever waits for it:
 * answers of HTTP that it could make late are held by the store, for a while.
 *
 *   observer -> held -> ready -> teller -> kernel
 *                '--> dropped: this mount's own change, which the kernel knows
 *
 * Which entries are this mount's own is known when their changes end, just
 * after they are applied and in their order. So while a change of this mount's
 * is in the store items are held, at most HELD_MS.
 *
 * The items of an entry come one by one, and the teller may be done with the
 * first before there is a second: only an END says that the entry is told.
 *
 * Listings that the kernel keeps go with the pages of their directory. A name
 * is made invalid first: that waits for listings under way, of before the
 * change, whose pages are there then.
 *
 * An item about a file first makes its name expire: that waits for lookups of
 * it that are under way, so that the inode that one of them brings with
 * attributes of before is there when these are made invalid.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "fsd/internal.h"

enum { HELD_MS = 20 };

struct tell_item {
	struct tell_item *next;
	enum tell_kind kind;
	uint64_t id, parent;
	uint64_t rev;
	uint64_t since_ns;
	uint32_t partition;
	uint8_t n;
	uint8_t name[];
};

static void push(struct tell_list *list, struct tell_item *item)
{
	item->next = NULL;
	if (!list->first)
		list->last = &list->first;
	*list->last = item;
	list->last = &item->next;
}

static struct tell_item *pop(struct tell_list *list)
{
	struct tell_item *item = list->first;

	if (item)
		list->first = item->next;
	return item;
}

void tell(struct fsd *f, enum tell_kind kind, uint64_t id,
	  const struct node *parent, struct bytes name, uint32_t partition,
	  uint64_t rev)
{
	struct tell_item *item = calloc(1, sizeof(*item) + name.n);

	if (item) {
		item->kind = kind;
		item->id = id;
		item->parent = parent ? parent->id : 0;
		item->rev = rev;
		item->partition = partition;
		item->since_ns = fsd_now(f);
		item->n = (uint8_t)name.n;
		if (name.n)
			memcpy(item->name, name.p, name.n);
	}
	pthread_mutex_lock(&f->tell_lock);
	if (!item || f->told_count >= FSD_TELL_MAX) {
		free(item);
		f->tell_all = true;
	} else {
		f->told_count++;
		push(rev && f->own ? &f->held : &f->ready, item);
	}
	pthread_cond_signal(&f->tell);
	pthread_mutex_unlock(&f->tell_lock);
}

void tell_everything(struct fsd *f)
{
	pthread_mutex_lock(&f->tell_lock);
	f->tell_all = true;
	pthread_cond_signal(&f->tell);
	pthread_mutex_unlock(&f->tell_lock);
}

void tell_own_begin(struct fsd *f)
{
	pthread_mutex_lock(&f->tell_lock);
	f->own++;
	pthread_mutex_unlock(&f->tell_lock);
	call_wake_ticker(f);
}

void tell_own_end(struct fsd *f, uint32_t partition, uint64_t rev)
{
	struct tell_list held = { 0 };
	struct tell_item *item;
	bool all, ready = false;

	pthread_mutex_lock(&f->tell_lock);
	all = --f->own == 0;
	while ((item = pop(&f->held))) {
		if (item->partition == partition && item->rev == rev) {
			f->told_count--;
			free(item);
		} else if (all ||
			   (item->partition == partition && item->rev < rev)) {
			push(&f->ready, item);
			ready = true;
		} else {
			push(&held, item);
		}
	}
	f->held = held; /* not empty: last points into its last item */
	if (ready)
		pthread_cond_signal(&f->tell);
	pthread_mutex_unlock(&f->tell_lock);
}

uint64_t tell_tick(struct fsd *f)
{
	const uint64_t held_ns = HELD_MS * 1000000ull;
	uint64_t now = fsd_now(f), due = UINT64_MAX;

	pthread_mutex_lock(&f->tell_lock);
	while (f->held.first && f->held.first->since_ns + held_ns <= now) {
		push(&f->ready, pop(&f->held));
		pthread_cond_signal(&f->tell);
	}
	if (f->held.first)
		due = f->held.first->since_ns + held_ns;
	pthread_mutex_unlock(&f->tell_lock);
	return due;
}

void tell_done(struct fsd *f)
{
	struct tell_item *item;

	while ((item = pop(&f->held)) || (item = pop(&f->ready)))
		free(item);
}

/* -------------------------------------------------------------- the teller */

/* The kernel answers that it knows no such thing: then there is no need. */
static void expire(struct fsd *f, const struct tell_item *item)
{
	(void)fuse_lowlevel_notify_expire_entry(f->session, item->parent,
						(const char *)item->name,
						item->n, FUSE_LL_EXPIRE_ONLY);
}

static void say(struct fsd *f, const struct tell_item *item)
{
	struct node *node;

	switch (item->kind) {
	case TELL_ENTRY:
		(void)fuse_lowlevel_notify_inval_entry(f->session, item->parent,
						       (const char *)item->name,
						       item->n);
		if (atomic_load(&f->alone))
			(void)fuse_lowlevel_notify_inval_inode(
				f->session, item->parent, 0, 0);
		return;
	case TELL_INODE:
		table_lock(&f->table);
		node = table_node(&f->table, item->id);
		if (node)
			node->cached_rev = 0;
		table_unlock(&f->table);
		if (item->n)
			expire(f, item);
		(void)fuse_lowlevel_notify_inval_inode(f->session, item->id, 0,
						       0);
		return;
	case TELL_ATTR:
		if (item->n)
			expire(f, item);
		(void)fuse_lowlevel_notify_inval_inode(f->session, item->id, -1,
						       0);
		return;
	case TELL_END:
		store_observed(f->store, item->partition, item->rev);
		return;
	}
}

/* Ids of everything, copied, for the kernel cannot be told under the lock. */
struct all {
	struct fsd *f;
	struct tell_list list;
};

static void add_name(void *ctx, struct name *name)
{
	struct all *all = ctx;
	struct tell_item *item = calloc(1, sizeof(*item) + name->n);

	if (!item)
		return;
	item->kind = TELL_ENTRY;
	item->parent = name->parent->id;
	item->n = name->n;
	memcpy(item->name, name->p, name->n);
	push(&all->list, item);
}

static void add_node(void *ctx, struct node *node)
{
	struct all *all = ctx;
	struct tell_item *item = calloc(1, sizeof(*item));

	subdirs_forget(node);
	if (!item)
		return;
	item->kind = TELL_INODE;
	item->id = node->id;
	push(&all->list, item);
}

static void say_all(struct fsd *f)
{
	struct all all = { .f = f };
	struct tell_item *item;

	log_info("mount", "caches_dropped");
	table_lock(&f->table);
	table_each_name(&f->table, add_name, &all);
	table_each_node(&f->table, add_node, &all);
	table_unlock(&f->table);
	while ((item = pop(&all.list))) {
		say(f, item);
		free(item);
	}
}

void fsd_tell(struct fsd *f)
{
	struct tell_item *item;
	bool all;

	pthread_mutex_lock(&f->tell_lock);
	while (!f->tell_stop) {
		all = f->tell_all;
		f->tell_all = false;
		item = pop(&f->ready);
		if (item)
			f->told_count--;
		if (!item && !all) {
			pthread_cond_wait(&f->tell, &f->tell_lock);
			continue;
		}
		pthread_mutex_unlock(&f->tell_lock);
		if (all)
			say_all(f);
		if (item) {
			say(f, item);
			free(item);
		}
		pthread_mutex_lock(&f->tell_lock);
	}
	pthread_mutex_unlock(&f->tell_lock);
}
