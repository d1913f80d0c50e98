/*
 * store/keyrules.c - which byte strings can be keys.
 *
 * A key must be a possible file path, so that the mount can show every key:
 * components of 1 to 255 bytes between single slashes, none of them "." or
 * "..", no NUL. A slash at the end makes it an explicit directory. What is not
 * refused here is taken as it is: newlines, '%', bytes that are not UTF-8.
 */
#include "store/file.h"
#include "store/keyrules.h"

static bool component_ok(const uint8_t *p, size_t n)
{
	if (n == 0 || n > STORE_COMPONENT_BYTES_MAX)
		return false;
	if (p[0] == '.' && (n == 1 || (n == 2 && p[1] == '.')))
		return false;
	return true;
}

bool key_is_dir(struct bytes key)
{
	return key.n > 0 && key.p[key.n - 1] == '/';
}

bool key_is_user(struct bytes key)
{
	return key.n > 0 && key.p[0] != 0;
}

struct bytes key_top(struct bytes key)
{
	const uint8_t *slash = key.n ? memchr(key.p, '/', key.n) : NULL;

	return slash ? bytes_of(key.p, (size_t)(slash - key.p)) : key;
}

static enum err check_within(struct bytes key, size_t bytes_max)
{
	const uint8_t *p = key.p, *end = key.p + key.n;

	if (key.n > bytes_max)
		return ERR_KEY_TOO_LONG;
	if (key.n == 0 || memchr(key.p, 0, key.n))
		return ERR_BAD_KEY;
	while (p < end) {
		const uint8_t *slash = memchr(p, '/', (size_t)(end - p));
		size_t n = (size_t)((slash ? slash : end) - p);

		if (!component_ok(p, n))
			return ERR_BAD_KEY;
		p += n + (slash != NULL);
	}
	return OK;
}

enum err store_key_check(struct bytes key)
{
	return check_within(key, STORE_KEY_BYTES_MAX);
}

enum err path_check(struct bytes path)
{
	enum err err = check_within(path, STORE_PATH_BYTES_MAX);

	return !err && key_is_dir(path) ? ERR_BAD_KEY : err;
}

enum err path_key_check(struct bytes key)
{
	return check_within(key, STORE_PATH_BYTES_MAX + 1);
}
