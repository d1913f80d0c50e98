/*
 * ctl/verb_txn.c - a transaction: JSON in, the server's JSON out.
 */
#include <stdio.h>
#include <string.h>

#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/http.h"

enum { TXN_BYTES_MAX = 16 << 20 }; /* the server's own limit is lower */

static enum err read_all(FILE *f, struct buf *b)
{
	char piece[16384];
	enum err err = OK;
	size_t n;

	while (!err && (n = fread(piece, 1, sizeof(piece), f)) > 0)
		err = b->n + n > TXN_BYTES_MAX ? ERR_TOO_LARGE
					       : buf_add(b, piece, n);
	return err ? err : ferror(f) ? ERR_IO : OK;
}

static enum ctl_exit send_txn(struct ctl *c, const struct buf *text)
{
	const struct http_request r = {
		.method = "POST",
		.path = "/_/txn",
		.header = { "Content-Type: application/json" },
		.header_count = 1,
		.body = buf_bytes(text),
	};
	struct http_answer a;
	enum ctl_exit result = http_call(c, &r, &a);

	if (result)
		return result;
	result = http_judge(&a);
	if (!result) {
		fwrite(a.body.p, 1, a.body.n, stdout);
		if (!a.body.n || a.body.p[a.body.n - 1] != '\n')
			putchar('\n');
		result = ctl_flush();
	}
	http_answer_done(&a);
	return result;
}

enum ctl_exit verb_txn(struct ctl *c, int argc, char **argv)
{
	const struct args_option none[] = { { .name = NULL } };
	struct buf text = BUF_INIT;
	enum ctl_exit result = CTL_RUNTIME;
	FILE *f = NULL;
	enum err err;

	if (!args_take(&argc, argv, none, true) || argc > 1)
		return ctl_usage(c);
	if (argc && strcmp(argv[0], "-") != 0) {
		const char *name = argv[0] + (argv[0][0] == '@');

		f = fopen(name, "rb");
		if (!f) {
			ctl_say("%s cannot be read", name);
			return CTL_RUNTIME;
		}
	}
	err = read_all(f ? f : stdin, &text);
	if (err)
		ctl_say("the transaction cannot be read: %s", err_text(err));
	else
		result = send_txn(c, &text);
	if (f)
		fclose(f);
	buf_done(&text);
	return result;
}
