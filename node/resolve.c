/*
 * node/resolve.c - see resolve.h. One question at a time, oldest first.
 */
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
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t asked;
	struct questions open, done;
	uint32_t count;
	bool stop, has_thread;
	pthread_t thread;
};

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

	if (listen_split(address, host, &port) ||
	    getaddrinfo(host[0] ? host : NULL, port, &hints, &list))
		return false;
	a->found = list->ai_addrlen <= sizeof(a->address);
	if (a->found) {
		memcpy(&a->address, list->ai_addr, list->ai_addrlen);
		a->address_bytes = list->ai_addrlen;
	}
	freeaddrinfo(list);
	return a->found;
}

static void *resolver_main(void *arg)
{
	struct resolver *r = arg;
	struct question *q;

	pthread_mutex_lock(&r->lock);
	while (!r->stop) {
		q = take(&r->open);
		if (!q) {
			pthread_cond_wait(&r->asked, &r->lock);
			continue;
		}
		pthread_mutex_unlock(&r->lock);
		(void)look_up(q->address, 0, &q->answer); /* it is in found */
		pthread_mutex_lock(&r->lock);
		add(&r->done, q);
		r->wake(r->ctx);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

enum err resolver_new(void (*wake)(void *ctx), void *ctx, struct resolver **out)
{
	struct resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return ERR_NOMEM;
	r->wake = wake;
	r->ctx = ctx;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->asked, NULL);
	r->open.tail = &r->open.head;
	r->done.tail = &r->done.head;
	*out = r;
	return OK;
}

void resolver_free(struct resolver *r)
{
	struct question *q;

	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_signal(&r->asked);
	pthread_mutex_unlock(&r->lock);
	if (r->has_thread)
		pthread_join(r->thread, NULL);
	while ((q = take(&r->open)) || (q = take(&r->done)))
		free(q);
	pthread_cond_destroy(&r->asked);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static enum err ask(struct resolver *r, struct question *q)
{
	enum err err = OK;

	pthread_mutex_lock(&r->lock);
	if (r->count == RESOLVE_WAITING_MAX) {
		err = ERR_FULL;
	} else if (!r->has_thread &&
		   pthread_create(&r->thread, NULL, resolver_main, r)) {
		err = ERR_NOMEM;
	} else {
		r->has_thread = true;
		r->count++;
		add(&r->open, q);
		pthread_cond_signal(&r->asked);
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
