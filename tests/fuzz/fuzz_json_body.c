/*
 * Any body: parsed or refused; what the fast path takes the strict parser
 * takes too, with the same value; a parsed string that is written again reads
 * back the same; base64 that decodes encodes to what it was.
 *
 * Decodes: httpd/json.c
 */
#include <json-c/json.h>
#include <stdint.h>

#include "base/check.h"
#include "httpd/json.h"

static struct bytes string_of(struct json_object *o)
{
	return bytes_of(json_object_get_string(o),
			(size_t)json_object_get_string_len(o));
}

static void write_and_read(struct bytes text)
{
	struct buf b = BUF_INIT;
	struct json_object *o;

	CHECK(json_is_utf8(text));
	CHECK(json_add_string(&b, text) == OK);
	CHECK(json_parse(buf_bytes(&b), &o) == OK);
	CHECK(bytes_equal(string_of(o), text));
	json_object_put(o);
	buf_done(&b);
}

static void try_base64(struct bytes text)
{
	struct buf plain = BUF_INIT, again = BUF_INIT;

	if (json_decode_base64(text, &plain) == OK) {
		CHECK(json_add_base64(&again, buf_bytes(&plain)) == OK);
		CHECK(bytes_equal(bytes_of(again.p + 1, again.n - 2), text));
	}
	buf_done(&plain);
	buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct bytes text = bytes_of(data, n), value;
	struct json_object *o = NULL, *member;
	enum err err = json_parse(text, &o);

	if (json_plain_value(text, &value)) {
		CHECK(err == OK);
		CHECK(json_object_object_get_ex(o, "value", &member));
		CHECK(bytes_equal(string_of(member), value));
	}
	if (!err && json_object_is_type(o, json_type_string))
		write_and_read(string_of(o));
	if (!err)
		json_object_put(o);
	try_base64(text);
	return 0;
}
