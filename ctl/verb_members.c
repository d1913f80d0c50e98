/*
 * ctl/verb_members.c - members and transfer: who belongs to the cluster, and
 * who leads it.
 */
#include <stdio.h>
#include <string.h>

#include "ctl/args.h"
#include "ctl/ctl.h"
#include "ctl/http.h"
#include "ctl/members.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "ctl/wait.h"

/* -------------------------------------------------------------- table ---- */

static void cell_role(struct json_object *row, char *text)
{
	snprintf(text, TABLE_CELL_BYTES, "%s%s", table_text(row, "role"),
		 table_text(row, "leaving")[0] ? " (leaving)" : "");
}

static void cell_state(struct json_object *row, char *text)
{
	bool up = strcmp(table_text(row, "up"), "true") == 0;

	snprintf(text, TABLE_CELL_BYTES, "%s", up ? "up" : "down");
}

static void cell_contact(struct json_object *row, char *text)
{
	const char *ms = table_text(row, "last_contact_ms");

	if (ms[0])
		snprintf(text, TABLE_CELL_BYTES, "%s ms", ms);
}

void members_print(struct json_object *members)
{
	static const struct table_column columns[] = {
		{ "NAME", NULL, "name" },      { "ID", NULL, "id" },
		{ "ROLE", cell_role, "" },     { "STATE", cell_state, "" },
		{ "MATCH", NULL, "match" },    { "LAG", NULL, "lag" },
		{ "HEARD", cell_contact, "" }, { "PEER", NULL, "peer" },
		{ "HTTP", NULL, "http" },
	};

	table_print(columns, (int)(sizeof(columns) / sizeof(columns[0])),
		    members);
}

/* ----------------------------------------------------------- exchanges --- */

/* Make the exchange and judge it; *root is the answer's object. */
static enum ctl_exit ask(struct ctl *c, const struct http_request *r,
			 struct http_answer *a, struct json_object **root)
{
	struct json_tokener *tokener;
	enum ctl_exit result = http_call(c, r, a);

	*root = NULL;
	if (result)
		return result;
	result = http_judge(a);
	tokener = result ? NULL : json_tokener_new();
	if (tokener)
		*root = json_tokener_parse_ex(tokener, (char *)a->body.p,
					      (int)a->body.n);
	if (tokener)
		json_tokener_free(tokener);
	if (!result && !json_object_is_type(*root, json_type_object)) {
		ctl_say("the answer is not what was asked for");
		result = CTL_RUNTIME;
	}
	if (!result && c->json)
		printf("%.*s\n", (int)a->body.n, (char *)a->body.p);
	if (result)
		http_answer_done(a);
	return result;
}

static void let_go(struct http_answer *a, struct json_object *root)
{
	json_object_put(root);
	http_answer_done(a);
}

static struct json_object *new_object(void)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		ctl_say("out of memory");
	return o;
}

/*
 * POST or DELETE path; body may be NULL (it is released). id gets the member's,
 * or is empty.
 */
static enum ctl_exit change(struct ctl *c, const char *method, const char *path,
			    struct json_object *body, const char *what,
			    const char *name, char id[TABLE_CELL_BYTES])
{
	struct http_request r = { .method = method, .path = path };
	struct json_object *root;
	struct http_answer a;
	enum ctl_exit result;

	if (body) {
		r.body = bytes_str(json_object_to_json_string_ext(
			body, JSON_C_TO_STRING_PLAIN));
		r.header[r.header_count++] = "Content-Type: application/json";
	}
	result = ask(c, &r, &a, &root);
	json_object_put(body);
	id[0] = 0;
	if (result)
		return result;
	snprintf(id, TABLE_CELL_BYTES, "%s", table_text(root, "id"));
	if (!c->json)
		printf("%s %s", what, name);
	if (!c->json && id[0])
		printf(", id %s", id);
	if (!c->json)
		putchar('\n');
	let_go(&a, root);
	return ctl_flush();
}

/* ------------------------------------------------------------- members --- */

static enum ctl_exit list(struct ctl *c, int argc, char **argv)
{
	const struct http_request r = { .method = "GET", .path = "/_/members" };
	struct json_object *root, *members;
	struct http_answer a;
	enum ctl_exit result;

	(void)argv;
	if (argc)
		return ctl_usage(c);
	result = ask(c, &r, &a, &root);
	if (result)
		return result;
	if (!c->json && json_object_object_get_ex(root, "members", &members) &&
	    json_object_is_type(members, json_type_array))
		members_print(members);
	let_go(&a, root);
	return ctl_flush();
}

static enum ctl_exit add(struct ctl *c, int argc, char **argv)
{
	bool learner = false, wait = false;
	char id[TABLE_CELL_BYTES];
	enum ctl_exit result;
	const struct args_option options[] = {
		{ .name = "--learner", .set = &learner },
		{ .name = "--wait", .set = &wait },
		{ .name = NULL },
	};
	struct json_object *body;

	if (!args_take(&argc, argv, options, true) || argc < 2 || argc > 3)
		return ctl_usage(c);
	body = new_object();
	if (!body)
		return CTL_RUNTIME;
	json_object_object_add(body, "name", json_object_new_string(argv[0]));
	json_object_object_add(body, "peer", json_object_new_string(argv[1]));
	if (argc == 3)
		json_object_object_add(body, "http",
				       json_object_new_string(argv[2]));
	if (learner)
		json_object_object_add(body, "learner",
				       json_object_new_boolean(true));
	result = change(c, "POST", "/_/members", body, "added", argv[0], id);
	if (!result && wait)
		result = wait_member(c, argv[0], id, false);
	return result;
}

/* An action on the member that the one argument names. */
static enum ctl_exit act(struct ctl *c, int argc, char **argv,
			 const char *method, const char *action,
			 const char *what)
{
	bool wait = false, force = false;
	bool replaces = strcmp(action, "/replace") == 0;
	char id[TABLE_CELL_BYTES];
	const struct args_option options[] = {
		{ .name = "--wait", .set = &wait },
		{ .name = replaces ? "--force" : NULL, .set = &force },
		{ .name = NULL },
	};
	struct buf path = BUF_INIT;
	enum ctl_exit result;
	enum err err;

	if (!args_take(&argc, argv, options, true) || argc != 1)
		return ctl_usage(c);
	if (!argv[0][0] || strchr(argv[0], '/')) {
		ctl_say("\"%s\" is not the name of a member", argv[0]);
		return CTL_USAGE;
	}
	err = buf_addf(&path, "/_/members/");
	if (!err)
		err = text_add_escaped(&path, bytes_str(argv[0]));
	if (!err)
		err = buf_addf(&path, "%s%s%c", action, force ? "?force=1" : "",
			       0);
	if (err) {
		buf_done(&path);
		ctl_say("out of memory");
		return CTL_RUNTIME;
	}
	result = change(c, method, (char *)path.p, NULL, what, argv[0], id);
	buf_done(&path);
	if (!result && wait)
		result = wait_member(c, argv[0], id, method[0] == 'D');
	return result;
}

enum ctl_exit verb_members(struct ctl *c, int argc, char **argv)
{
	const char *action = argc ? argv[0] : "list";

	if (argc) {
		argc--;
		argv++;
	}
	if (strcmp(action, "list") == 0)
		return list(c, argc, argv);
	if (strcmp(action, "add") == 0)
		return add(c, argc, argv);
	if (strcmp(action, "remove") == 0)
		return act(c, argc, argv, "DELETE", "", "removing");
	if (strcmp(action, "promote") == 0)
		return act(c, argc, argv, "POST", "/promote", "promoting");
	if (strcmp(action, "replace") == 0)
		return act(c, argc, argv, "POST", "/replace", "replacing");
	ctl_say("members has no action \"%s\"", action);
	return ctl_usage(c);
}

enum ctl_exit verb_transfer(struct ctl *c, int argc, char **argv)
{
	const struct args_option none[] = { { .name = NULL } };
	struct json_object *body;
	char id[TABLE_CELL_BYTES];

	if (!args_take(&argc, argv, none, true) || argc != 1)
		return ctl_usage(c);
	body = new_object();
	if (!body)
		return CTL_RUNTIME;
	json_object_object_add(body, "to", json_object_new_string(argv[0]));
	return change(c, "POST", "/_/transfer", body, "leader is", argv[0], id);
}
