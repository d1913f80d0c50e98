/*
 * ctl/terminal.c - see terminal.h.
 */
#include "ctl/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;
static volatile sig_atomic_t is_taken;

/* The other screen, no cursor; and back. */
static const char enter[] = "\033[?1049h\033[?25l";
static const char leave[] = "\033[?25h\033[?1049l";

static void take(void)
{
	struct termios raw = before;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	is_taken = 1;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	(void)!write(STDOUT_FILENO, enter, sizeof(enter) - 1);
}

/* Also from a signal's handler. */
static void give_back(void)
{
	if (!is_taken)
		return;
	is_taken = 0;
	(void)!write(STDOUT_FILENO, leave, sizeof(leave) - 1);
	tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static void on_end(int number)
{
	give_back();
	signal(number, SIG_DFL);
	raise(number);
}

static void on_stop(int number)
{
	int err = errno;

	(void)number;
	give_back();
	raise(SIGSTOP);
	take(); /* it goes on here */
	errno = err;
}

static void on_resize(int number)
{
	(void)number; /* it has ended the poll */
}

static void handle(int number, void (*fn)(int))
{
	struct sigaction a = { .sa_handler = fn };

	sigaction(number, &a, NULL);
}

bool terminal_begin(void)
{
	static bool registered;

	if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO) ||
	    tcgetattr(STDIN_FILENO, &before))
		return false;
	if (!registered)
		atexit(give_back);
	registered = true;
	handle(SIGINT, on_end);
	handle(SIGTERM, on_end);
	handle(SIGHUP, on_end);
	handle(SIGQUIT, on_end);
	handle(SIGTSTP, on_stop);
	handle(SIGWINCH, on_resize);
	take();
	return true;
}

void terminal_end(void)
{
	give_back();
}

void terminal_size(unsigned *width, unsigned *height)
{
	struct winsize w;

	*width = 80;
	*height = 24;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col && w.ws_row) {
		*width = w.ws_col;
		*height = w.ws_row;
	}
}

void terminal_show(struct bytes lines)
{
	struct buf b = BUF_INIT;
	bool ok = !buf_addf(&b, "\033[H");
	size_t from = 0;

	for (size_t i = 0; i <= lines.n && ok; i++) {
		if (i < lines.n && lines.p[i] != '\n')
			continue;
		ok = !buf_add(&b, lines.p + from, i - from) &&
		     !buf_addf(&b, i < lines.n ? "\033[K\r\n" : "\033[K");
		from = i + 1;
	}
	if (ok && !buf_addf(&b, "\033[J"))
		(void)!write(STDOUT_FILENO, b.p, b.n);
	buf_done(&b);
}

int terminal_key(uint64_t wait_ms)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	unsigned char key;

	if (poll(&p, 1, (int)wait_ms) <= 0)
		return 0;
	if (read(STDIN_FILENO, &key, 1) == 1)
		return key;
	return 'q'; /* the terminal is gone */
}
