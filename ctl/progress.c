/*
 * ctl/progress.c - see progress.h.
 *
 *   backup   [############--------]  61%  1.2 GiB  88.4 MiB/s  0:09 left
 *   backup   1.2 GiB of 2.0 GiB, 88.4 MiB/s, 0:09 left
 */
#include "ctl/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"

#define BAR_NS	200000000ull   /* between two drawings of a bar              */
#define LINE_NS 10000000000ull /* between two plain lines                    */
#define RATE_NS 1000000000ull  /* over which a rate is taken                 */

enum { WIDTH_MAX = 160, BAR_CELLS_MAX = 30 };

const char *progress_amount(enum progress_unit unit, double n,
			    char text[PROGRESS_TEXT_BYTES])
{
	static const char *const names[] = { "B",   "KiB", "MiB",
					     "GiB", "TiB", "PiB" };
	int i = 0;

	if (unit == PROGRESS_COUNT) {
		snprintf(text, PROGRESS_TEXT_BYTES, "%.0f", n);
		return text;
	}
	for (; n >= 1024 && i < 5; i++)
		n /= 1024;
	snprintf(text, PROGRESS_TEXT_BYTES, i ? "%.1f %s" : "%.0f %s", n,
		 names[i]);
	return text;
}

/* "0:09", "1:02:03". */
static const char *span_text(double seconds, char text[PROGRESS_TEXT_BYTES])
{
	uint64_t s = seconds > 359999 ? 359999 : (uint64_t)seconds;

	if (s >= 3600)
		snprintf(text, PROGRESS_TEXT_BYTES, "%u:%02u:%02u",
			 (unsigned)(s / 3600), (unsigned)(s / 60 % 60),
			 (unsigned)(s % 60));
	else
		snprintf(text, PROGRESS_TEXT_BYTES, "%u:%02u",
			 (unsigned)(s / 60), (unsigned)(s % 60));
	return text;
}

/* What is done never looks like all before it is. */
static double share_of(const struct progress *p)
{
	double share;

	if (!p->total)
		return 0;
	share = (double)p->done / (double)p->total;
	return share > 0.99 ? 0.99 : share;
}

/* The bar, as long as what stands behind it leaves room for. */
static void add_bar(const struct progress *p, char *text, size_t width,
		    size_t behind)
{
	char cells[BAR_CELLS_MAX + 1];
	size_t others = strlen(p->what) < 8 ? 8 : strlen(p->what);
	double share = share_of(p);
	int n = BAR_CELLS_MAX;

	others += strlen(" [] 100%") + behind + 1;
	if (width < others + BAR_CELLS_MAX)
		n = width < others ? 0 : (int)(width - others);
	for (int i = 0; i < n; i++)
		cells[i] = i < (int)(share * n) ? '#' : '-';
	cells[n] = 0;
	snprintf(text, width, "%-8s [%s] %3d%%", p->what, cells,
		 (int)(share * 100));
}

void progress_text(const struct progress *p, uint64_t now_ns, bool bar,
		   char *text, unsigned width)
{
	char done[PROGRESS_TEXT_BYTES], total[PROGRESS_TEXT_BYTES];
	char rate[PROGRESS_TEXT_BYTES], left[PROGRESS_TEXT_BYTES];
	char behind[4 * PROGRESS_TEXT_BYTES + 16];
	double seconds = (double)(now_ns - p->begun_ns) / 1e9;
	double pace = p->rate > 0   ? p->rate
		      : seconds > 0 ? (double)p->done / seconds
				    : 0;
	const char *gap = bar ? "  " : ", ";
	size_t n;

	progress_amount(p->unit, (double)p->done, done);
	progress_amount(p->unit, (double)p->total, total);
	progress_amount(p->unit, pace, rate);
	snprintf(behind, sizeof(behind), "%s%s%s%s%s%s/s", bar ? "  " : " ",
		 done, !bar && p->total ? " of " : "",
		 !bar && p->total ? total : "", gap, rate);
	n = strlen(behind);
	if (p->total > p->done && pace > 0)
		snprintf(behind + n, sizeof(behind) - n, "%s%s left", gap,
			 span_text((double)(p->total - p->done) / pace, left));
	if (bar && p->total)
		add_bar(p, text, width, strlen(behind));
	else
		snprintf(text, width, "%-8s", p->what);
	n = strlen(text);
	snprintf(text + n, width - n, "%s", behind);
}

static unsigned terminal_width(void)
{
	struct winsize w;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) || w.ws_col < 20)
		return 80;
	return w.ws_col < WIDTH_MAX ? w.ws_col : WIDTH_MAX;
}

static void show(struct progress *p, uint64_t now_ns)
{
	char text[WIDTH_MAX];

	p->shown_ns = now_ns;
	progress_text(p, now_ns, p->is_terminal, text,
		      p->is_terminal ? terminal_width() : sizeof(text));
	if (p->is_terminal)
		fprintf(stderr, "\r%s\033[K", text);
	else
		fprintf(stderr, "%s\n", text);
	fflush(stderr);
	p->is_drawn = p->is_terminal;
}

void progress_begin(struct progress *p, const char *what,
		    enum progress_unit unit, uint64_t total)
{
	uint64_t now_ns = clock_mono_ns(clock_os());

	*p = (struct progress){ .what = what,
				.unit = unit,
				.total = total,
				.is_terminal = isatty(STDERR_FILENO),
				.begun_ns = now_ns,
				.shown_ns = now_ns,
				.rate_ns = now_ns };
}

void progress_to(struct progress *p, uint64_t done)
{
	uint64_t now_ns = clock_mono_ns(clock_os());

	p->done = done;
	if (now_ns - p->rate_ns >= RATE_NS) {
		double now = (double)(done - p->rate_done) * 1e9 /
			     (double)(now_ns - p->rate_ns);

		p->rate = p->rate > 0 ? 0.7 * p->rate + 0.3 * now : now;
		p->rate_ns = now_ns;
		p->rate_done = done;
	}
	if (!p->is_quiet &&
	    now_ns - p->shown_ns >= (p->is_terminal ? BAR_NS : LINE_NS))
		show(p, now_ns);
}

void progress_end(struct progress *p)
{
	if (p->is_drawn)
		fputs("\r\033[K", stderr);
	p->is_drawn = false;
}
