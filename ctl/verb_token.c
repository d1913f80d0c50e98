/*
 * ctl/verb_token.c - tokens: who may do what.
 *
 * add, list and remove ask a node; init works on a data directory that no
 * daemon has open. A token is printed once, alone on standard output.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "base/vfs.h"
#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/http.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "node/first_token.h"

/* ----------------------------------------------------------- exchanges --- */

/* Make the exchange; *root is the answer's object, the caller's to put. */
static enum ctl_exit ask(struct ctl *c, const struct http_request *r,
			 struct json_object **root)
{
	struct json_tokener *tokener;
	struct http_answer a;
	enum ctl_exit result = http_call(c, r, &a);

	*root = NULL;
	if (result)
		return result;
	result = http_judge(&a);
	tokener = result ? NULL : json_tokener_new();
	if (tokener)
		*root = json_tokener_parse_ex(tokener, (char *)a.body.p,
					      (int)a.body.n);
	if (tokener)
		json_tokener_free(tokener);
	if (!result && !json_object_is_type(*root, json_type_object)) {
		ctl_say("the answer is not what was asked for");
		result = CTL_RUNTIME;
	}
	if (!result && c->json)
		printf("%.*s\n", (int)a.body.n, (char *)a.body.p);
	http_answer_done(&a);
	return result;
}

static enum ctl_exit add_token(struct ctl *c, const char *name,
			       const char *prefix, const char *rights)
{
	struct http_request r = { .method = "POST", .path = "/_/tokens" };
	struct json_object *body = json_object_new_object(), *root = NULL;
	enum ctl_exit result = CTL_RUNTIME;

	if (!body ||
	    json_object_object_add(body, "name",
				   json_object_new_string(name)) ||
	    !text_add_json(body, "prefix", "encoding", bytes_str(prefix)) ||
	    json_object_object_add(body, "rights",
				   json_object_new_string(rights))) {
		ctl_say("out of memory");
		json_object_put(body);
		return CTL_RUNTIME;
	}
	r.body = bytes_str(
		json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN));
	r.header[r.header_count++] = "Content-Type: application/json";
	result = ask(c, &r, &root);
	if (!result && !c->json)
		printf("%s\n", table_text(root, "token"));
	json_object_put(root);
	json_object_put(body);
	return result ? result : ctl_flush();
}

static void cell_prefix(struct json_object *row, char *text)
{
	const char *prefix = table_text(row, "prefix");
	bool coded = table_text(row, "encoding")[0];

	snprintf(text, TABLE_CELL_BYTES, "%s%s", coded ? "base64:" : "",
		 prefix[0] ? prefix : "(all)");
}

static enum ctl_exit list_tokens(struct ctl *c)
{
	static const struct table_column columns[] = {
		{ "NAME", NULL, "name" },
		{ "RIGHTS", NULL, "rights" },
		{ "PREFIX", cell_prefix, "" },
	};
	struct http_request r = { .method = "GET", .path = "/_/tokens" };
	struct json_object *root, *tokens;
	enum ctl_exit result = ask(c, &r, &root);

	if (!result && !c->json &&
	    json_object_object_get_ex(root, "tokens", &tokens))
		table_print(columns,
			    (int)(sizeof(columns) / sizeof(columns[0])),
			    tokens);
	json_object_put(root);
	return result ? result : ctl_flush();
}

static enum ctl_exit remove_token(struct ctl *c, const char *name)
{
	struct http_request r = { .method = "DELETE" };
	struct buf path = BUF_INIT;
	struct json_object *root = NULL;
	enum ctl_exit result = CTL_RUNTIME;

	if (buf_addf(&path, "/_/tokens/") ||
	    text_add_escaped(&path, bytes_str(name)) || buf_add(&path, "", 1)) {
		ctl_say("out of memory");
	} else {
		r.path = (char *)path.p;
		result = ask(c, &r, &root);
	}
	if (!result && !c->json)
		printf("removed %s\n", name);
	json_object_put(root);
	buf_done(&path);
	return result ? result : ctl_flush();
}

/* ---------------------------------------------------------------- init --- */

static enum ctl_exit judge(enum err err, const char *dir)
{
	if (err == ERR_BUSY) {
		ctl_say("%s is in use by a daemon: stop it first", dir);
		return CTL_BUSY;
	}
	ctl_say("%s: %s", dir, err_text(err));
	return CTL_RUNTIME;
}

/*
 * The directory that no daemon has, made when it is absent. A lock file that
 * is not there is not made: the daemon may be another user's.
 */
static enum err take_dir(const char *dir, struct vfs_file **lock)
{
	char path[FIRST_TOKEN_PATH_BYTES];
	enum err err = vfs_mkdir(vfs_os(), dir);

	*lock = NULL;
	if (err && err != ERR_EXISTS)
		return err;
	snprintf(path, sizeof(path), "%s/LOCK", dir);
	if (access(path, F_OK))
		return OK;
	return vfs_lock(vfs_os(), path, lock);
}

/* Whoever has the directory has the file: the daemon reads and removes it. */
static void give_away(const char *dir)
{
	char path[FIRST_TOKEN_PATH_BYTES];
	struct stat st;

	first_token_path(dir, path);
	if (stat(dir, &st) || st.st_uid == geteuid() ||
	    chown(path, st.st_uid, st.st_gid) == 0)
		return;
	ctl_say("%s must belong to the daemon's user", path);
}

static enum ctl_exit init_token(struct ctl *c, const char *dir,
				const char *name)
{
	struct store_token t = { .right = STORE_RIGHT_ADMIN };
	char text[SECRET_TEXT_BYTES];
	struct vfs_file *lock;
	enum err err;

	if (!store_token_name_is_sound(name)) {
		ctl_say("a name is of at most 63 letters, digits and . _ -");
		return CTL_USAGE;
	}
	memcpy(t.name, name, strlen(name) + 1);
	err = take_dir(dir, &lock);
	if (err)
		return judge(err, dir);
	err = secret_make(text);
	if (!err)
		err = secret_hash(bytes_of(text, sizeof(text) - 1), t.hash);
	if (!err)
		err = first_token_save(vfs_os(), dir, &t);
	if (!err)
		give_away(dir);
	vfs_close(lock);
	if (err)
		return judge(err, dir);
	if (c->json)
		printf("{\"name\":\"%s\",\"token\":\"%s\"}\n", name, text);
	else
		printf("%s\n", text);
	ctl_say("it counts when the node serves again; it is not shown twice");
	return ctl_flush();
}

/* ----------------------------------------------------------------- verb -- */

enum ctl_exit verb_token(struct ctl *c, int argc, char **argv)
{
	const char *prefix = NULL, *rights = NULL, *dir = NULL, *name = NULL;
	const struct args_option options[] = {
		{ .name = "--prefix", .value = &prefix },
		{ .name = "--rights", .value = &rights },
		{ .name = "--data-dir", .value = &dir },
		{ .name = "--name", .value = &name },
		{ .name = NULL },
	};
	const char *what = argc ? argv[0] : "list";

	if (!args_take(&argc, argv, options, true))
		return CTL_USAGE;
	if (argc <= 1 && strcmp(what, "list") == 0)
		return list_tokens(c);
	if (argc == 2 && strcmp(what, "add") == 0 && prefix && rights)
		return add_token(c, argv[1], prefix, rights);
	if (argc == 2 && strcmp(what, "remove") == 0)
		return remove_token(c, argv[1]);
	if (argc == 1 && strcmp(what, "init") == 0 && dir)
		return init_token(c, dir, name ? name : "admin");
	return ctl_usage(c);
}
