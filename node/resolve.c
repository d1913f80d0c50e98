/* node/resolve.c - see resolve.h. */
#include "node/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/listen.h"
#include "base/net.h"

struct question {
	struct question *next;
	char address[NET_ADDRESS_BYTES_MAX];
	struct resolved answer;
};

struct questions {
	struct question *head, **tail;
};

struct resolver {
	void (*wake)(void *ctx);
	void *ctx;
	pthread_mutex_t lock; /* of all below                                */
	struct questions open, done;
	uint32_t count; /* in both, and those that are being looked up       */
	uint32_t threads;
	struct question *busy[RESOLVE_THREADS_MAX]; /* NULL: none            */
	bool stop; /* the last thread frees it                               */
};

static void init(struct questions *l)
{
	l->head = NULL;
	l->tail = &l->head;
}

static void add(struct questions *l, struct question *q)
{
	q->next = NULL;
	*l->tail = q;
	l->tail = &q->next;
}

static struct question *take(struct questions *l)
{
	struct question *q = l->head;

	if (!q)
		return NULL;
	l->head = q->next;
	if (!l->head)
		l->tail = &l->head;
	return q;
}

/* flags: AI_NUMERICHOST or 0. */
static bool look_up(const char *address, int flags, struct resolved *a)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_NUMERICSERV | flags };
	struct addrinfo *list;
	char host[LISTEN_HOST_BYTES];
	const char *port;

	a->count = 0;
	if (listen_split(address, host, &port) ||
	    getaddrinfo(host[0] ? host : NULL, port, &hints, &list))
		return false;
	for (struct addrinfo *i = list; i; i = i->ai_next) {
		struct resolved_address *at = &a->at[a->count];

		if (a->count == RESOLVE_ADDRESSES_MAX)
			break;
		if (i->ai_addrlen > sizeof(at->address))
			continue;
		memcpy(&at->address, i->ai_addr, i->ai_addrlen);
		at->address_bytes = i->ai_addrlen;
		a->count++;
	}
	freeaddrinfo(list);
	return a->count > 0;
}

/* ------------------------------------------------------------- the threads */

static void free_resolver(struct resolver *r)
{
	struct question *q;

	while ((q = take(&r->open)) || (q = take(&r->done)))
		free(q);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static bool is_busy(const struct resolver *r, const char *address)
{
	for (int i = 0; i < RESOLVE_THREADS_MAX; i++)
		if (r->busy[i] && strcmp(r->busy[i]->address, address) == 0)
			return true;
	return false;
}

/* The oldest question for a name that nobody looks up now, into a busy place. */
static struct question **begin_next(struct resolver *r)
{
	struct questions rest;
	struct question *q, *found = NULL;
	int place = 0;

	init(&rest);
	while ((q = take(&r->open))) {
		if (!found && !is_busy(r, q->address))
			found = q;
		else
			add(&rest, q);
	}
	init(&r->open);
	while ((q = take(&rest)))
		add(&r->open, q);
	if (!found)
		return NULL;
	while (r->busy[place])
		place++;
	r->busy[place] = found;
	return &r->busy[place];
}

/* q is answered, and with it whoever asked the same. */
static void answer(struct resolver *r, struct question *q)
{
	struct questions rest;
	struct question *other;

	init(&rest);
	while ((other = take(&r->open))) {
		uint64_t token = other->answer.token;

		if (strcmp(other->address, q->address) != 0) {
			add(&rest, other);
			continue;
		}
		other->answer = q->answer;
		other->answer.token = token;
		add(&r->done, other);
	}
	init(&r->open);
	while ((other = take(&rest)))
		add(&r->open, other);
	add(&r->done, q);
}

static void *resolver_main(void *arg)
{
	struct resolver *r = arg;
	struct question **place, *q;
	bool last;

	pthread_mutex_lock(&r->lock);
	while (!r->stop && (place = begin_next(r))) {
		q = *place;
		pthread_mutex_unlock(&r->lock);
		(void)look_up(q->address, 0, &q->answer); /* it is in count */
		pthread_mutex_lock(&r->lock);
		*place = NULL;
		answer(r, q);
		if (!r->stop)
			r->wake(r->ctx);
	}
	last = --r->threads == 0 && r->stop;
	pthread_mutex_unlock(&r->lock);
	if (last)
		free_resolver(r);
	return NULL;
}

/* A thread of its own for what waits; false: there is none at all. */
static bool start_thread(struct resolver *r)
{
	pthread_attr_t detached;
	pthread_t thread;
	bool started;

	if (r->threads == RESOLVE_THREADS_MAX)
		return true;
	if (pthread_attr_init(&detached))
		return r->threads > 0;
	started = !pthread_attr_setdetachstate(&detached,
					       PTHREAD_CREATE_DETACHED) &&
		  !pthread_create(&thread, &detached, resolver_main, r);
	pthread_attr_destroy(&detached);
	r->threads += started;
	return r->threads > 0;
}

/* ------------------------------------------------------------------ public */

enum err resolver_new(void (*wake)(void *ctx), void *ctx, struct resolver **out)
{
	struct resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	r->wake = wake;
	r->ctx = ctx;
	pthread_mutex_init(&r->lock, NULL);
	init(&r->open);
	init(&r->done);
	*out = r;
	return OK;
}

void resolver_free(struct resolver *r)
{
	bool last;

	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	last = r->threads == 0;
	pthread_mutex_unlock(&r->lock);
	if (last)
		free_resolver(r);
}

static enum err ask(struct resolver *r, struct question *q)
{
	enum err err = OK;

	pthread_mutex_lock(&r->lock);
	if (r->count == RESOLVE_WAITING_MAX) {
		err = ERR_FULL;
	} else if (!is_busy(r, q->address) && !start_thread(r)) {
		err = ERR_NOMEM;
	} else {
		r->count++;
		add(&r->open, q);
	}
	pthread_mutex_unlock(&r->lock);
	return err;
}

enum err resolve(struct resolver *r, const char *address, uint64_t token,
		 struct resolved *a)
{
	struct question *q;
	char host[LISTEN_HOST_BYTES];
	const char *port;
	enum err err;

	memset(a, 0, sizeof(*a));
	a->token = token;
	if (strlen(address) >= NET_ADDRESS_BYTES_MAX ||
	    listen_split(address, host, &port))
		return ERR_INVALID;
	if (look_up(address, AI_NUMERICHOST, a))
		return OK;
	q = calloc(1, sizeof(*q));
	if (!q)
		return ERR_NOMEM;
	snprintf(q->address, sizeof(q->address), "%s", address);
	q->answer.token = token;
	err = ask(r, q);
	if (err) {
		free(q);
		return err;
	}
	return ERR_PENDING;
}

bool resolve_take(struct resolver *r, struct resolved *a)
{
	struct question *q;

	pthread_mutex_lock(&r->lock);
	q = take(&r->done);
	if (q)
		r->count--;
	pthread_mutex_unlock(&r->lock);
	if (!q)
		return false;
	*a = q->answer;
	free(q);
	return true;
}
