/*
 * ctl/verb_node.c - status and merge: what a node tells about itself, and
 * what it is told to do.
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

/* "name value" for a member, found by its path of two names at most. */
static void print_member(struct json_object *root, const char *group,
			 const char *name)
{
	struct json_object *obj = root, *member;

	if (group && !json_object_object_get_ex(root, group, &obj))
		return;
	if (!json_object_object_get_ex(obj, name, &member))
		return;
	printf("%s %s\n", name, member ? json_object_get_string(member) : "-");
}

static void print_damage(struct json_object *root)
{
	struct json_object *storage, *list;

	if (!json_object_object_get_ex(root, "storage", &storage) ||
	    !json_object_object_get_ex(storage, "corrupt", &list) ||
	    !json_object_is_type(list, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(list); i++)
		printf("corrupt %s\n",
		       json_object_to_json_string_ext(
			       json_object_array_get_idx(list, i),
			       JSON_C_TO_STRING_PLAIN |
				       JSON_C_TO_STRING_NOSLASHESCAPE));
}

/* The array member name of root if it has more than one element. */
static struct json_object *several(struct json_object *root, const char *name)
{
	struct json_object *list;

	if (!json_object_object_get_ex(root, name, &list) ||
	    !json_object_is_type(list, json_type_array) ||
	    json_object_array_length(list) < 2)
		return NULL;
	return list;
}

static void print_cluster(struct json_object *root)
{
	static const struct table_column columns[] = {
		{ "PARTITION", NULL, "id" },  { "ROLE", NULL, "role" },
		{ "LEADER", NULL, "leader" }, { "TERM", NULL, "term" },
		{ "COMMIT", NULL, "commit" }, { "APPLIED", NULL, "applied" },
		{ "KEYS", NULL, "keys" },
	};
	struct json_object *members = several(root, "members");
	struct json_object *partitions = several(root, "partitions");

	if (members) {
		putchar('\n');
		members_print(members);
	}
	if (partitions) {
		putchar('\n');
		table_print(columns,
			    (int)(sizeof(columns) / sizeof(columns[0])),
			    partitions);
	}
}

static void print_status(struct json_object *root)
{
	static const char *const top[] = { "node",     "cluster", "version",
					   "uptime_s", "role",	  "term",
					   "leader",   "commit",  "applied" };
	static const char *const storage[] = { "keys", "live_bytes",
					       "dead_bytes", "files", "merge" };

	for (size_t i = 0; i < sizeof(top) / sizeof(top[0]); i++)
		print_member(root, NULL, top[i]);
	for (size_t i = 0; i < sizeof(storage) / sizeof(storage[0]); i++)
		print_member(root, "storage", storage[i]);
	print_damage(root);
	print_cluster(root);
}

enum ctl_exit verb_status(struct ctl *c, int argc, char **argv)
{
	const struct args_option none[] = { { .name = NULL } };
	const struct http_request r = { .method = "GET", .path = "/_/status" };
	struct json_tokener *tokener;
	struct json_object *root = NULL;
	struct http_answer a;
	enum ctl_exit result;

	if (!args_take(&argc, argv, none, true) || argc)
		return ctl_usage(c);
	result = http_call(c, &r, &a);
	if (result)
		return result;
	tokener = json_tokener_new();
	result = http_judge(&a);
	if (!result && tokener)
		root = json_tokener_parse_ex(tokener, (char *)a.body.p,
					     (int)a.body.n);
	if (!result && !json_object_is_type(root, json_type_object)) {
		ctl_say("the answer is not a status");
		result = CTL_RUNTIME;
	}
	if (!result && c->json)
		printf("%.*s\n", (int)a.body.n, (char *)a.body.p);
	else if (!result)
		print_status(root);
	json_object_put(root);
	if (tokener)
		json_tokener_free(tokener);
	http_answer_done(&a);
	return result ? result : ctl_flush();
}

enum ctl_exit verb_merge(struct ctl *c, int argc, char **argv)
{
	bool wait = false;
	const struct args_option options[] = {
		{ .name = "--wait", .set = &wait },
		{ .name = NULL },
	};
	const struct http_request r = { .method = "POST",
					.path = "/_/merge",
					.may_repeat = true };
	struct http_answer a;
	struct ctl one = *c;
	enum ctl_exit result = CTL_OK;
	uint64_t merges = 0;

	if (!args_take(&argc, argv, options, true) || argc)
		return ctl_usage(c);
	if (wait)
		result = wait_choose_node(c, &one);
	if (wait && !result)
		merges = wait_merges(&one);
	if (!result)
		result = http_call(&one, &r, &a);
	if (result)
		return result;
	result = http_judge(&a);
	if (!result && c->json)
		printf("%.*s\n", (int)a.body.n, (char *)a.body.p);
	http_answer_done(&a);
	if (wait && !result)
		result = wait_merge(&one, merges);
	return result ? result : ctl_flush();
}
