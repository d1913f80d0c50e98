/*
 * ctl/verb_top.c - top: the cluster, live.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/http.h"
#include "ctl/terminal.h"
#include "ctl/text.h"
#include "ctl/top.h"

enum {
	ASK_MS_MAX = 1000, /* one node, of the picture's time                */
	WAIT_MS_MIN = 100,
	PLAIN_WIDTH = 160,
	PLAIN_HEIGHT = 10000,
	FOOT_LINES = 1,
};

static const char *clock_text(char text[16])
{
	time_t now = (time_t)(clock_wall_ns(clock_os()) / 1000000000);
	struct tm tm;

	if (!localtime_r(&now, &tm) || !strftime(text, 16, "%H:%M:%S", &tm))
		text[0] = 0;
	return text;
}

static void pause_for(uint64_t ms)
{
	const struct timespec t = { .tv_sec = (time_t)(ms / 1000),
				    .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

/* ----------------------------------------------------------------- plain - */

/* Nobody said who the members are: what other verbs would say. */
static enum ctl_exit say_why(const struct ctl *c)
{
	const struct http_request r = { .method = "GET", .path = "/_/status" };
	struct http_answer a;

	if (http_call(c, &r, &a))
		return CTL_RUNTIME;
	if (http_judge(&a) == CTL_OK)
		ctl_say("no node answers");
	http_answer_done(&a);
	return CTL_RUNTIME;
}

static enum ctl_exit print_once(const struct ctl *c, const struct top *t)
{
	struct buf b = BUF_INIT;
	char text[16];

	if (!t->answered)
		return say_why(c);
	if (c->json) {
		text_print_json(top_json(t));
		return ctl_flush();
	}
	if (!top_draw(t, clock_text(text), PLAIN_WIDTH, PLAIN_HEIGHT, &b))
		printf("%.*s\n", (int)b.n, (char *)b.p);
	buf_done(&b);
	return ctl_flush();
}

static enum ctl_exit run_plain(const struct ctl *c, struct top *t,
			       uint64_t count, uint64_t wait_ms)
{
	enum ctl_exit result = CTL_OK;

	for (uint64_t i = 0; i < count && !result && t->answered; i++) {
		pause_for(wait_ms);
		top_sample(c, t);
		if (i && !c->json)
			putchar('\n');
		result = print_once(c, t);
	}
	return t->answered ? result : print_once(c, t);
}

/* ------------------------------------------------------------------ live - */

static void show(const struct top *t, uint64_t wait_ms)
{
	unsigned width, height, lines = 1;
	struct buf b = BUF_INIT;
	char text[16], foot[64];
	enum err err;

	terminal_size(&width, &height);
	err = top_draw(t, clock_text(text), width,
		       height > FOOT_LINES ? height - FOOT_LINES : height, &b);
	for (size_t i = 0; i < b.n; i++)
		lines += b.p[i] == '\n';
	for (; !err && height > FOOT_LINES && lines < height; lines++)
		err = buf_add(&b, "\n", 1);
	snprintf(foot, sizeof(foot), "every %.1f s (+ -)   q ends",
		 (double)wait_ms / 1000);
	if (!err && height > FOOT_LINES)
		err = buf_add(&b, foot,
			      strlen(foot) < width ? strlen(foot) : width);
	if (!err)
		terminal_show(buf_bytes(&b));
	buf_done(&b);
}

/* False: it is to end. */
static bool obey(int key, uint64_t *wait_ms)
{
	if (key == '+' && *wait_ms < 60000)
		*wait_ms *= 2;
	if (key == '-' && *wait_ms / 2 >= WAIT_MS_MIN)
		*wait_ms /= 2;
	return key != 'q' && key != 'Q' && key != 3 && key != 27;
}

static enum ctl_exit run_live(const struct ctl *c, struct top *t,
			      uint64_t count, uint64_t wait_ms)
{
	uint64_t shown = 0;
	bool more = true;

	show(t, wait_ms);
	while (more && shown < count) {
		uint64_t due_ns = clock_mono_ns(clock_os()) + wait_ms * 1000000;
		uint64_t now_ns = due_ns - wait_ms * 1000000;
		int key = 0;

		while (more && key != ' ' && now_ns < due_ns) {
			key = terminal_key((due_ns - now_ns) / 1000000 + 1);
			more = obey(key, &wait_ms);
			show(t, wait_ms);
			now_ns = clock_mono_ns(clock_os());
		}
		if (more)
			top_sample(c, t);
		show(t, wait_ms);
		shown++;
	}
	terminal_end();
	return CTL_OK;
}

enum ctl_exit verb_top(struct ctl *c, int argc, char **argv)
{
	const char *count_text = NULL, *delay = NULL;
	const struct args_option options[] = {
		{ .name = "-n", .value = &count_text },
		{ .name = "-d", .value = &delay },
		{ .name = NULL },
	};
	uint64_t count = UINT64_MAX, wait_ms = 1000;
	enum ctl_exit result;
	struct top *t;
	char *end = "";

	if (!args_take(&argc, argv, options, true) || argc)
		return ctl_usage(c);
	if (count_text)
		count = strtoull(count_text, &end, 10);
	if (*end || !count || (delay && text_parse_span(delay, &wait_ms)) ||
	    wait_ms < WAIT_MS_MIN)
		return ctl_usage(c);
	if (c->timeout_ms > ASK_MS_MAX)
		c->timeout_ms = ASK_MS_MAX;
	t = calloc(1, sizeof(*t));
	if (!t) {
		ctl_say("out of memory");
		return CTL_RUNTIME;
	}
	top_sample(c, t);
	if (!t->answered)
		result = say_why(c);
	else if (!c->json && terminal_begin())
		result = run_live(c, t, count, wait_ms);
	else
		result = run_plain(c, t, count_text ? count : 1, wait_ms);
	free(t);
	return result;
}
