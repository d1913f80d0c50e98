/*
 * base/listen_os.c - addresses as text, and sockets that listen on them.
 */
#include "base/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

/* For the operator; that it cannot be said is no reason to fail otherwise. */
static void explain(struct buf *why, const char *address, const char *what)
{
	enum err err = buf_addf(why, "cannot listen on %s: %s", address, what);

	(void)err;
}

enum err listen_split(const char *address, char host[LISTEN_HOST_BYTES],
		      const char **port)
{
	const char *colon = strrchr(address, ':');
	const char *end = colon;
	size_t n;

	if (!colon || !colon[1] ||
	    strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
	    strlen(colon + 1) > 5)
		return ERR_INVALID;
	if (*address == '[') {
		address++;
		end--;
		if (end < address || *end != ']')
			return ERR_INVALID;
	} else if (memchr(address, ':', (size_t)(colon - address))) {
		return ERR_INVALID; /* an IPv6 address without brackets */
	}
	n = (size_t)(end - address);
	if (n >= LISTEN_HOST_BYTES)
		return ERR_INVALID;
	memcpy(host, address, n);
	host[n] = 0;
	if (strcmp(host, "*") == 0)
		host[0] = 0;
	*port = colon + 1;
	return OK;
}

static enum err bind_one(const struct addrinfo *a, bool any, int *out)
{
	int on = 1, v6_only = !any, fd;
	enum err err = ERR_IO;

	fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
		    0);
	if (fd < 0)
		return ERR_IO;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only,
			   sizeof(v6_only));
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 &&
	    listen(fd, BACKLOG) == 0) {
		*out = fd;
		return OK;
	}
	if (errno == EADDRINUSE)
		err = ERR_BUSY;
	else if (errno == EACCES)
		err = ERR_PERMISSION;
	else if (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT)
		err = ERR_INVALID;
	close(fd);
	return err;
}

static uint16_t bound_port(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} a = { 0 };
	socklen_t n = sizeof(a);

	if (getsockname(fd, &a.any, &n))
		return 0;
	return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port
						 : a.v4.sin_port);
}

static const char *reason(enum err err)
{
	switch (err) {
	case ERR_BUSY:
		return "the address is in use";
	case ERR_PERMISSION:
		return "permission denied";
	case ERR_INVALID:
		return "this machine has no such address";
	default:
		return "the system refused";
	}
}

enum err listen_open(const char *address, int *fd, uint16_t *port,
		     struct buf *why)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *list, *a;
	char host[LISTEN_HOST_BYTES];
	const char *service;
	enum err err = ERR_INVALID;

	if (listen_split(address, host, &service)) {
		explain(why, address, "not host:port or [v6]:port");
		return ERR_INVALID;
	}
	if (!host[0])
		hints.ai_family = AF_INET6; /* takes IPv4 as well */
	if (getaddrinfo(host[0] ? host : NULL, service, &hints, &list)) {
		explain(why, address, "no such host");
		return ERR_INVALID;
	}
	for (a = list; a; a = a->ai_next) {
		err = bind_one(a, !host[0], fd);
		if (!err)
			break;
	}
	freeaddrinfo(list);
	if (err && !host[0]) { /* a kernel without IPv6 */
		hints.ai_family = AF_INET;
		if (getaddrinfo(NULL, service, &hints, &list) == 0) {
			if (err != ERR_BUSY)
				err = bind_one(list, true, fd);
			freeaddrinfo(list);
		}
	}
	if (err) {
		explain(why, address, reason(err));
		return err;
	}
	*port = bound_port(*fd);
	return OK;
}

bool listen_is_loopback(int fd)
{
	struct sockaddr_storage a = { 0 };
	const struct sockaddr_in6 *six = (const void *)&a;
	const struct sockaddr_in *four = (const void *)&a;
	socklen_t n = sizeof(a);

	if (getsockname(fd, (struct sockaddr *)&a, &n))
		return false;
	if (a.ss_family == AF_INET)
		return ntohl(four->sin_addr.s_addr) >> 24 == 127;
	return a.ss_family == AF_INET6 &&
	       (IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) ||
		(IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) &&
		 six->sin6_addr.s6_addr[12] == 127));
}
