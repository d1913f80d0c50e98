/*
 * conf/load.c - files and flags into a struct conf.
 *
 * libconfig parses; what it lets through in silence is found here: it cuts
 * integers over 32 bits, so the text is scanned for them first; it counts
 * lines in 16 bits, so longer files are refused; @include would escape both
 * checks and is refused in favour of conf.d. Every fault is reported, not
 * only the first, because an operator wants to mend a file once.
 */
#include "conf/schema.h"

#include <ctype.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { LINES_MAX = 65535, NAME_BYTES_MAX = 256, WHY_BYTES_MAX = 512 };

struct loader {
	struct conf *c;
	struct buf *errors;
	const char *file; /* owned by c->files */
	enum err err;	  /* ERR_INVALID once a fault was told, or ERR_NOMEM */
};

static void fault(struct loader *l, unsigned line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void fault(struct loader *l, unsigned line, const char *fmt, ...)
{
	char text[WHY_BYTES_MAX + NAME_BYTES_MAX];
	enum err err;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (line)
		err = buf_addf(l->errors, "%s:%u: %s\n", l->file, line, text);
	else
		err = buf_addf(l->errors, "%s: %s\n", l->file, text);
	if (l->err != ERR_NOMEM)
		l->err = err ? err : ERR_INVALID;
}

/* ------------------------------------------------- what libconfig hides -- */

/* After the string or comment that starts at p, or p itself. */
static const char *skip_quiet(const char *p, const char *end, unsigned *line)
{
	const char *from = p;

	if (*p == '"') {
		for (p++; p < end && *p != '"'; p++) {
			if (*p == '\\' && p + 1 < end)
				p++;
		}
		p += p < end;
	} else if (*p == '#' || (p[0] == '/' && p[1] == '/')) {
		while (p < end && *p != '\n')
			p++;
	} else if (p[0] == '/' && p[1] == '*') {
		for (p += 2; p < end && !(p[0] == '*' && p[1] == '/'); p++)
			;
		p = p < end ? p + 2 : end;
	}
	for (; from < p; from++)
		*line += *from == '\n';
	return p;
}

/* A run of letters, digits and points: an integer that libconfig would cut? */
static bool is_cut_integer(const char *p, size_t n)
{
	bool hex = n > 2 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
	char digits[32];
	char *end;

	if (!isdigit((unsigned char)p[0]) || memchr(p, '.', n))
		return false;
	if (n >= sizeof(digits))
		return true;
	memcpy(digits, p, n);
	digits[n] = '\0';
	return strtoull(digits, &end, hex ? 16 : 10) > INT32_MAX;
}

/* text is followed by a NUL. */
static void scan_text(struct loader *l, const char *text, size_t bytes)
{
	const char *p = text, *end = text + bytes;
	unsigned line = 1;

	while (p < end) {
		const char *from = p;

		p = skip_quiet(p, end, &line);
		if (p > from)
			continue;
		while (p < end &&
		       (isalnum((unsigned char)*p) || strchr("_.", *p)))
			p++;
		if (p > from && is_cut_integer(from, (size_t)(p - from)))
			fault(l, line, "%.*s is too large for an integer",
			      (int)(p - from < 40 ? p - from : 40), from);
		if (p > from)
			continue;
		if (strncmp(p, "@include", 8) == 0)
			fault(l, line,
			      "@include is not taken: put the file "
			      "into conf.d");
		line += *p == '\n';
		p++;
	}
	if (line > LINES_MAX)
		fault(l, 0, "more than %d lines", LINES_MAX);
}

/* ------------------------------------------------------------- one value - */

static bool wants_string(enum conf_type type)
{
	switch (type) {
	case CONF_COUNT:
	case CONF_RATIO:
	case CONF_BOOL:
	case CONF_MEMBERS:
		return false;
	case CONF_TEXT:
	case CONF_NAME:
	case CONF_PATH:
	case CONF_SIZE:
	case CONF_TIME:
	case CONF_CHOICE:
	case CONF_WINDOW:
	case CONF_MODE:
	case CONF_ADDR:
	case CONF_ADDRS:
		return true;
	}
	return false;
}

/* What to write instead of a value of the wrong type. */
static const char *type_advice(enum conf_type type)
{
	switch (type) {
	case CONF_SIZE:
		return "a size is a string: write \"64M\" (K M G T), or "
		       "\"100\" for bytes";
	case CONF_TIME:
		return "a time is a string: write \"250ms\" (ms s m h d)";
	case CONF_MODE:
		return "a mode is a string: write \"0644\"";
	case CONF_ADDR:
		return "an address is a string: write \"127.0.0.1:8080\"";
	case CONF_ADDRS:
		return "is an array of addresses: write "
		       "[ \"127.0.0.1:8080\" ]";
	case CONF_WINDOW:
		return "a window is a string: write \"22:00-06:00\"";
	case CONF_TEXT:
	case CONF_NAME:
	case CONF_PATH:
	case CONF_CHOICE:
		return "is a string: write it in double quotes";
	case CONF_COUNT:
		return "is a whole number: write it without quotes";
	case CONF_RATIO:
		return "is a number from 0 to 1: write 0.5";
	case CONF_BOOL:
		return "is true or false, without quotes";
	case CONF_MEMBERS:
		return "is a list of groups: write "
		       "( { name = \"n1\"; peer = \"HOST:PORT\"; "
		       "http = \"HOST:PORT\"; } )";
	}
	return "";
}

/* The text of a scalar, or NULL when its type is not what key wants. */
static const char *scalar_text(const struct conf_key *key,
			       const config_setting_t *s, char room[64])
{
	int type = config_setting_type(s);

	if (wants_string(key->type))
		return type == CONFIG_TYPE_STRING ? config_setting_get_string(s)
						  : NULL;
	if (key->type == CONF_BOOL && type == CONFIG_TYPE_BOOL)
		return config_setting_get_bool(s) ? "true" : "false";
	if (key->type == CONF_RATIO && type == CONFIG_TYPE_FLOAT)
		snprintf(room, 64, "%.17g", config_setting_get_float(s));
	else if ((key->type == CONF_RATIO || key->type == CONF_COUNT) &&
		 type == CONFIG_TYPE_INT)
		snprintf(room, 64, "%d", config_setting_get_int(s));
	else if ((key->type == CONF_RATIO || key->type == CONF_COUNT) &&
		 type == CONFIG_TYPE_INT64)
		snprintf(room, 64, "%lld", config_setting_get_int64(s));
	else
		return NULL;
	return room;
}

static void load_scalar(struct loader *l, const struct conf_key *key,
			const config_setting_t *s)
{
	char room[64], why[WHY_BYTES_MAX];
	const char *text = scalar_text(key, s, room);
	unsigned line = config_setting_source_line(s);

	if (!text)
		fault(l, line, "%s: %s", key->name, type_advice(key->type));
	else if (value_parse(l->c, key, text, why, sizeof(why)))
		fault(l, line, "%s: %s", key->name, why);
}

static void load_addrs(struct loader *l, const struct conf_key *key,
		       const config_setting_t *s)
{
	struct conf_addrs *list =
		(struct conf_addrs *)((char *)l->c + key->off);
	int type = config_setting_type(s);

	if (type != CONFIG_TYPE_ARRAY && type != CONFIG_TYPE_LIST) {
		fault(l, config_setting_source_line(s), "%s: %s", key->name,
		      type_advice(key->type));
		return;
	}
	memset(list, 0, sizeof(*list));
	if (config_setting_length(s) == 0)
		fault(l, config_setting_source_line(s),
		      "%s: needs at least one address", key->name);
	for (int i = 0; i < config_setting_length(s); i++)
		load_scalar(l, key, config_setting_get_elem(s, (unsigned)i));
}

static void load_member_addr(struct loader *l, const config_setting_t *s,
			     struct conf_addr *addr)
{
	char why[WHY_BYTES_MAX];
	unsigned line = config_setting_source_line(s);

	if (config_setting_type(s) != CONFIG_TYPE_STRING)
		fault(l, line, "cluster.members: %s: %s",
		      config_setting_name(s), type_advice(CONF_ADDR));
	else if (value_parse_addr(config_setting_get_string(s), addr, why,
				  sizeof(why)))
		fault(l, line, "cluster.members: %s: %s",
		      config_setting_name(s), why);
}

static void load_member_name(struct loader *l, const config_setting_t *s,
			     struct conf_member *m)
{
	char why[WHY_BYTES_MAX];
	unsigned line = config_setting_source_line(s);

	if (config_setting_type(s) != CONFIG_TYPE_STRING)
		fault(l, line, "cluster.members: name: %s",
		      type_advice(CONF_NAME));
	else if (value_parse_name(config_setting_get_string(s), m->name,
				  sizeof(m->name), why, sizeof(why)))
		fault(l, line, "cluster.members: name: %s", why);
}

static void load_member(struct loader *l, const config_setting_t *s,
			struct conf_member *m)
{
	unsigned line = config_setting_source_line(s);

	if (!config_setting_is_group(s)) {
		fault(l, line, "cluster.members: %s",
		      type_advice(CONF_MEMBERS));
		return;
	}
	for (int i = 0; i < config_setting_length(s); i++) {
		config_setting_t *f = config_setting_get_elem(s, (unsigned)i);
		const char *name = config_setting_name(f);

		if (strcmp(name, "name") == 0)
			load_member_name(l, f, m);
		else if (strcmp(name, "peer") == 0)
			load_member_addr(l, f, &m->peer);
		else if (strcmp(name, "http") == 0)
			load_member_addr(l, f, &m->http);
		else
			fault(l, config_setting_source_line(f),
			      "cluster.members: unknown key %s: a member has "
			      "name, peer and http",
			      name);
	}
	if (!config_setting_get_member(s, "name") ||
	    !config_setting_get_member(s, "peer") ||
	    !config_setting_get_member(s, "http"))
		fault(l, line,
		      "cluster.members: a member needs name, peer and "
		      "http");
}

static void load_members(struct loader *l, const config_setting_t *s)
{
	struct conf_members *list = &l->c->members;
	unsigned line = config_setting_source_line(s);

	memset(list, 0, sizeof(*list));
	if (config_setting_type(s) != CONFIG_TYPE_LIST) {
		fault(l, line, "cluster.members: %s",
		      type_advice(CONF_MEMBERS));
		return;
	}
	for (int i = 0; i < config_setting_length(s); i++) {
		const config_setting_t *e =
			config_setting_get_elem(s, (unsigned)i);
		struct conf_member *m = &list->member[list->count];

		if (list->count == CONF_MEMBERS_MAX) {
			fault(l, line, "cluster.members: more than %d members",
			      CONF_MEMBERS_MAX);
			return;
		}
		load_member(l, e, m);
		for (uint32_t j = 0; j < list->count; j++) {
			if (strcmp(list->member[j].name, m->name) == 0)
				fault(l, config_setting_source_line(e),
				      "cluster.members: the name %s is there "
				      "twice",
				      m->name);
		}
		list->count++;
	}
}

static void load_key(struct loader *l, const struct conf_key *key,
		     const config_setting_t *s)
{
	struct conf_origin *origin = schema_origin(l->c, key);

	if (key->type == CONF_ADDRS)
		load_addrs(l, key, s);
	else if (key->type == CONF_MEMBERS)
		load_members(l, s);
	else
		load_scalar(l, key, s);
	origin->name = l->file;
	origin->line = config_setting_source_line(s);
}

/* ------------------------------------------------------------- the tree -- */

static void load_group(struct loader *l, const config_setting_t *group,
		       const char *path);

static void load_setting(struct loader *l, const config_setting_t *s,
			 const char *parent)
{
	char name[NAME_BYTES_MAX], near[NAME_BYTES_MAX];
	unsigned line = config_setting_source_line(s);
	const struct conf_key *key;

	snprintf(name, sizeof(name), "%s%s%s", parent, parent[0] ? "." : "",
		 config_setting_name(s));
	key = schema_find(name);
	if (key) {
		load_key(l, key, s);
	} else if (schema_is_group(name)) {
		if (config_setting_is_group(s))
			load_group(l, s, name);
		else
			fault(l, line, "%s is a group: write %s: { ... };",
			      name, config_setting_name(s));
	} else {
		schema_nearest(name, config_setting_is_group(s), near,
			       sizeof(near));
		fault(l, line, "unknown key %s; the nearest known name is %s",
		      name, near);
	}
}

static void load_group(struct loader *l, const config_setting_t *group,
		       const char *path)
{
	for (int i = 0; i < config_setting_length(group); i++)
		load_setting(l, config_setting_get_elem(group, (unsigned)i),
			     path);
}

static void load_text(struct loader *l, const char *text, size_t bytes)
{
	config_t cfg;

	if (memchr(text, '\0', bytes)) {
		fault(l, 0, "not a text file: it has a NUL byte");
		return;
	}
	scan_text(l, text, bytes);
	if (l->err)
		return;
	config_init(&cfg);
	if (config_read_string(&cfg, text) == CONFIG_TRUE)
		load_group(l, config_root_setting(&cfg), "");
	else
		fault(l, (unsigned)config_error_line(&cfg), "%s",
		      config_error_text(&cfg));
	config_destroy(&cfg);
}

/* ---------------------------------------------------------------- files -- */

/* Remember a file's name for origins. The room is CHECKed by the caller. */
static enum err keep_name(struct conf *c, const char *name, const char **kept)
{
	char *copy = strdup(name);

	if (!copy)
		return ERR_NOMEM;
	CHECK(c->file_count < CONF_FILES_MAX);
	c->files[c->file_count++] = copy;
	*kept = copy;
	return OK;
}

static enum err load_file(struct conf *c, struct vfs *vfs, const char *path,
			  bool optional, struct buf *errors)
{
	struct loader l = { .c = c, .errors = errors };
	struct buf text = BUF_INIT;
	enum err err;

	if (c->file_count == CONF_FILES_MAX)
		return buf_addf(errors, "%s: more than %d files\n", path,
				CONF_FILES_MAX)
			       ? ERR_NOMEM
			       : ERR_INVALID;
	err = keep_name(c, path, &l.file);
	if (err)
		return err;
	err = vfs_read_all(vfs, path, CONF_FILE_BYTES_MAX, &text);
	if (err == ERR_NOT_FOUND && optional)
		goto out_ok;
	if (err) {
		fault(&l, 0, "cannot be read: %s", err_text(err));
		goto out;
	}
	err = buf_add(&text, "", 1);
	if (err)
		goto out;
	load_text(&l, (const char *)text.p, text.n - 1);
out_ok:
	err = l.err;
out:
	buf_done(&text);
	return l.err == ERR_NOMEM ? ERR_NOMEM : err;
}

struct names {
	char *name[CONF_FILES_MAX];
	uint32_t count;
};

static enum err add_conf_name(void *ctx, const char *name)
{
	struct names *names = ctx;
	size_t n = strlen(name);

	if (n < 6 || name[0] == '.' || strcmp(name + n - 5, ".conf") != 0)
		return OK;
	if (names->count == CONF_FILES_MAX)
		return ERR_FULL;
	names->name[names->count] = strdup(name);
	if (!names->name[names->count])
		return ERR_NOMEM;
	names->count++;
	return OK;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* An error that says more wins: broken memory, then a fault, then none. */
static enum err worse(enum err a, enum err b)
{
	return a == ERR_NOMEM || !b ? a : b == ERR_NOMEM || !a ? b : a;
}

static enum err load_dir(struct conf *c, struct vfs *vfs, const char *dir,
			 struct buf *errors)
{
	char path[CONF_PATH_BYTES_MAX + NAME_BYTES_MAX];
	struct names names = { .count = 0 };
	enum err err, file_err;

	err = vfs_list(vfs, dir, add_conf_name, &names);
	if (err == ERR_NOT_FOUND)
		err = OK;
	else if (err && err != ERR_NOMEM &&
		 buf_addf(errors, "%s: cannot be listed: %s\n", dir,
			  err_text(err)))
		err = ERR_NOMEM;
	if (names.count)
		qsort(names.name, names.count, sizeof(names.name[0]),
		      compare_names);
	for (uint32_t i = 0; i < names.count; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names.name[i]);
		file_err = load_file(c, vfs, path, false, errors);
		err = worse(err, file_err);
		free(names.name[i]);
	}
	return err;
}

enum err conf_load(struct conf *c, struct vfs *vfs, const char *path,
		   bool optional, struct buf *errors)
{
	const char *slash = strrchr(path, '/');
	char dir[CONF_PATH_BYTES_MAX];
	enum err err, dir_err;

	if (strlen(path) + sizeof("/conf.d") > sizeof(dir))
		return buf_addf(errors, "%s: the path is too long\n", path)
			       ? ERR_NOMEM
			       : ERR_INVALID;
	err = load_file(c, vfs, path, optional, errors);
	snprintf(dir, sizeof(dir), "%.*sconf.d",
		 slash ? (int)(slash - path + 1) : 0, path);
	dir_err = load_dir(c, vfs, dir, errors);
	return worse(err, dir_err);
}

/* ---------------------------------------------------------------- flags -- */

enum err conf_set_flag(struct conf *c, const char *flag, const char *key_name,
		       const char *text, struct buf *errors)
{
	const struct conf_key *key = schema_find(key_name);
	char why[WHY_BYTES_MAX];
	struct conf_origin *origin;
	struct conf_addrs before;

	CHECK(key);
	origin = schema_origin(c, key);
	before = c->http_listen;
	if (key->type == CONF_ADDRS && origin->name != flag) {
		CHECK(key->bytes == sizeof(before));
		memset(&c->http_listen, 0, sizeof(c->http_listen));
	}
	if (value_parse(c, key, text, why, sizeof(why))) {
		c->http_listen = before;
		return buf_addf(errors, "flag %s: %s: %s\n", flag, key->name,
				why)
			       ? ERR_NOMEM
			       : ERR_INVALID;
	}
	origin->name = flag;
	origin->line = 0;
	return OK;
}

enum err conf_new(struct conf **out)
{
	struct conf *c = calloc(1, sizeof(*c));
	char why[WHY_BYTES_MAX];
	enum err err;

	if (!c)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < conf_schema_count; i++) {
		const struct conf_key *key = &conf_schema[i];

		if (key->type == CONF_MEMBERS)
			continue;
		err = value_parse(c, key, key->default_text, why, sizeof(why));
		CHECK(!err);
	}
	*out = c;
	return OK;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < c->file_count; i++)
		free(c->files[i]);
	free(c);
}
