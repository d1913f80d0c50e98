/*
 * store/tree.c - the rules that make keys one tree (docs/architecture.md).
 *
 * Where `a` is a file nothing lies below it; where something lies below `a/`,
 * or `a/` itself exists, `a` is no file. The rules hold for every key that is
 * present, so a key that is already present needs no second look when it is
 * put again.
 */
#include "store/keyrules.h"
#include "store/view.h"

enum { KEY_ROOM = RECORD_KEY_BYTES_MAX };

/* Is any key present that begins with prefix, itself aside if so asked? */
static bool exists_under(const struct view *v, struct bytes prefix, bool itself)
{
	struct view_iter it;
	struct key_state state;
	struct bytes key;
	bool found;

	view_begin(v, prefix, &it);
	found = view_next(&it, &key, &state);
	if (found && !itself && key.n == prefix.n)
		found = view_next(&it, &key, &state);
	view_end(&it);
	return found;
}

bool tree_exists_under(const struct view *v, struct bytes prefix)
{
	return exists_under(v, prefix, true);
}

/* Does anything make the file name key a directory? */
static bool is_directory(const struct view *v, struct bytes key)
{
	uint8_t room[KEY_ROOM];

	memcpy(room, key.p, key.n);
	room[key.n] = '/';
	return exists_under(v, bytes_of(room, key.n + 1), true);
}

bool tree_below_file(const struct view *v, struct bytes key)
{
	for (size_t i = 0; i < key.n; i++) {
		struct key_state state;

		if (key.p[i] != '/')
			continue;
		view_get(v, bytes_of(key.p, i), &state);
		if (state.present)
			return true;
	}
	return false;
}

enum err tree_check_put(const struct view *v, struct bytes key,
			const struct key_state *state)
{
	if (state->present)
		return OK;
	if (tree_below_file(v, key))
		return ERR_NOT_DIR;
	if (!key_is_dir(key) && is_directory(v, key))
		return ERR_IS_DIR;
	return OK;
}

enum err tree_check_delete(const struct view *v, struct bytes key,
			   const struct key_state *state)
{
	if (key_is_dir(key))
		return exists_under(v, key, false) ? ERR_NOT_EMPTY : OK;
	if (!state->present && is_directory(v, key))
		return ERR_IS_DIR;
	return OK;
}
