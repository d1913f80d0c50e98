/*
 * conf/print.c - the effective configuration as a file, and what differs.
 *
 * The schema's order is kept and its names open and close the groups, so the
 * output is a valid file whatever rows are added.
 */
#include "conf/schema.h"

#include <string.h>

#include "base/check.h"

/* How many leading parts a and b have in common, and the bytes of them. */
static unsigned common_parts(const char *a, const char *b, size_t *bytes)
{
	unsigned parts = 0;

	*bytes = 0;
	for (size_t i = 0; a[i] && a[i] == b[i]; i++) {
		if (a[i] == '.') {
			parts++;
			*bytes = i + 1;
		}
	}
	return parts;
}

static unsigned count_parts(const char *name)
{
	unsigned parts = 0;

	for (; *name; name++)
		parts += *name == '.';
	return parts;
}

static enum err indent(unsigned depth, struct buf *out)
{
	enum err err = OK;

	while (!err && depth--)
		err = buf_add(out, "\t", 1);
	return err;
}

/* Close groups from depth down to keep. */
static enum err close_groups(unsigned depth, unsigned keep, struct buf *out)
{
	enum err err = OK;

	while (!err && depth-- > keep) {
		err = indent(depth, out);
		if (!err)
			err = buf_addf(out, "};\n");
	}
	return err;
}

/* Open the groups of name below its first keep parts. */
static enum err open_groups(const char *name, size_t kept_bytes, unsigned keep,
			    struct buf *out)
{
	const char *part = name + kept_bytes, *dot;
	enum err err = OK;

	for (; !err && (dot = strchr(part, '.')); part = dot + 1) {
		err = indent(keep++, out);
		if (!err)
			err = buf_addf(out, "%.*s: {\n", (int)(dot - part),
				       part);
	}
	return err;
}

/* A comment must stay on its line, whatever a file is called. */
static enum err print_origin(const struct conf_origin *o, struct buf *out)
{
	const char *name = o->name ? o->name : "default";
	enum err err =
		buf_addf(out, ";  # %s", o->name && !o->line ? "flag " : "");

	for (; !err && *name; name++)
		err = buf_add(out, (unsigned char)*name < 0x20 ? "?" : name, 1);
	if (!err && o->line)
		err = buf_addf(out, ":%u", o->line);
	return err ? err : buf_addf(out, "\n");
}

enum err conf_print(const struct conf *c, struct buf *out)
{
	const char *before = "";
	unsigned depth = 0, keep;
	size_t kept_bytes;
	enum err err = OK;

	for (uint32_t i = 0; !err && i < conf_schema_count; i++) {
		const struct conf_key *key = &conf_schema[i];

		keep = common_parts(before, key->name, &kept_bytes);
		CHECK(keep <= depth);
		err = close_groups(depth, keep, out);
		if (!err)
			err = open_groups(key->name, kept_bytes, keep, out);
		depth = count_parts(key->name);
		before = key->name;
		if (!err)
			err = indent(depth, out);
		if (!err)
			err = buf_addf(out,
				       "%s = ", strrchr(key->name, '.') + 1);
		if (!err)
			err = value_format(c, key, out);
		if (!err)
			err = print_origin(&c->origin[i], out);
	}
	return err ? err : close_groups(depth, 0, out);
}

enum err conf_compare(const struct conf *a, const struct conf *b,
		      void (*fn)(void *ctx, const char *key, bool reloadable),
		      void *ctx)
{
	struct buf text_a = BUF_INIT, text_b = BUF_INIT;
	enum err err = OK;

	for (uint32_t i = 0; !err && i < conf_schema_count; i++) {
		const struct conf_key *key = &conf_schema[i];

		text_a.n = text_b.n = 0;
		err = value_format(a, key, &text_a);
		if (!err)
			err = value_format(b, key, &text_b);
		if (!err &&
		    !bytes_equal(buf_bytes(&text_a), buf_bytes(&text_b)))
			fn(ctx, key->name, key->reloadable);
	}
	buf_done(&text_b);
	buf_done(&text_a);
	return err;
}
