/*
 * ctl/pages.c - see pages.h.
 */
#include "ctl/pages.h"

#include <inttypes.h>

#include "ctl/http.h"
#include "ctl/text.h"

void pages_begin(struct pages *p)
{
	p->left = p->left ? p->left : UINT64_MAX;
	p->more = true;
}

void pages_done(struct pages *p)
{
	buf_done(&p->after);
}

static enum err add_parameter(struct buf *path, const char *name,
			      struct bytes value)
{
	enum err err;

	if (!value.n)
		return OK;
	err = buf_addf(path, "&%s=", name);
	return err ? err : text_add_escaped(path, value);
}

static struct bytes or_empty(const char *text)
{
	return bytes_str(text ? text : "");
}

static enum err make_path(const struct pages *p, struct buf *path)
{
	uint64_t limit = p->left < PAGE_KEYS_MAX ? p->left : PAGE_KEYS_MAX;
	enum err err = buf_addf(path, "/_/kv?limit=%" PRIu64 "%s%s", limit,
				p->reverse ? "&reverse=1" : "",
				p->values ? "&values=1" : "");

	if (!err)
		err = add_parameter(path, "prefix", or_empty(p->prefix));
	if (!err)
		err = add_parameter(path, "start", or_empty(p->start));
	if (!err)
		err = add_parameter(path, "end", or_empty(p->end));
	if (!err)
		err = add_parameter(path, "delimiter", or_empty(p->delimiter));
	if (!err)
		err = add_parameter(path, "after", buf_bytes(&p->after));
	return err ? err : buf_add(path, "", 1);
}

uint64_t pages_number(struct json_object *obj, const char *name)
{
	struct json_object *member;

	return json_object_object_get_ex(obj, name, &member)
		       ? json_object_get_uint64(member)
		       : 0;
}

struct json_object *pages_array(struct json_object *page, const char *name)
{
	struct json_object *list;

	if (!json_object_object_get_ex(page, name, &list) ||
	    !json_object_is_type(list, json_type_array))
		return NULL;
	return list;
}

/* Where the next page begins. False: it is none, or out of memory. */
static bool go_on(struct pages *p, struct json_object *page)
{
	struct json_object *keys = pages_array(page, "keys"), *next;
	struct json_object *prefixes = pages_array(page, "prefixes");
	size_t shown;

	if (!keys)
		return false;
	shown = json_object_array_length(keys) +
		(prefixes ? json_object_array_length(prefixes) : 0);
	p->left -= shown < p->left ? shown : p->left;
	p->more = p->left && json_object_object_get_ex(page, "more", &next) &&
		  json_object_get_boolean(next) &&
		  json_object_object_get_ex(page, "next", &next) && next;
	if (!p->more)
		return true;
	p->after.n = 0;
	return !buf_add(&p->after, json_object_get_string(next),
			(size_t)json_object_get_string_len(next));
}

static enum ctl_exit take_page(struct pages *p, const struct http_answer *a,
			       struct json_object **page)
{
	struct json_tokener *tokener = json_tokener_new();
	enum ctl_exit result = http_judge(a);

	if (!result && tokener)
		*page = json_tokener_parse_ex(tokener, (char *)a->body.p,
					      (int)a->body.n);
	if (tokener)
		json_tokener_free(tokener);
	if (!result && !go_on(p, *page)) {
		ctl_say("the answer is not a listing");
		json_object_put(*page);
		*page = NULL;
		result = CTL_RUNTIME;
	}
	return result;
}

enum ctl_exit pages_next(const struct ctl *c, struct pages *p,
			 struct json_object **page)
{
	struct http_request r = { .method = "GET" };
	struct buf path = BUF_INIT;
	struct http_answer a;
	enum ctl_exit result = CTL_RUNTIME;

	*page = NULL;
	if (make_path(p, &path)) {
		ctl_say("out of memory");
	} else {
		r.path = (char *)path.p;
		result = http_call(c, &r, &a);
	}
	buf_done(&path);
	if (result)
		return result;
	result = take_page(p, &a, page);
	http_answer_done(&a);
	return result;
}
