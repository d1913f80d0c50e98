/*
 * fsd/subdirs.c - how many directories a directory has: its links.
 *
 * To count them takes a look at every name below it, so each node remembers its
 * own, and follows what is applied: an entry that makes a directory, or removes
 * one, is found out before it is applied, while the store still says what was
 * there. Of renames and removed prefixes it is not, nor of directories that are
 * there because of a key only; then the node is counted anew when it is asked
 * for.
 *
 * Who counts while an entry is applied may have seen it, or not: what he found
 * is not remembered.
 *
 *	before: dirs_change ---- applied ---- after: +1, -1; subdirs_changes
 *	   |<------------- not remembered ------------->|
 */
#include "fsd/internal.h"

enum { SEEN_MAX = 64 }; /* changes of an entry that have a bit            */

uint64_t subdirs_of(struct fsd *f, struct node *node, struct bytes path)
{
	uint32_t changes, moves = moves_begin(f);
	uint64_t count = 0;
	bool known;

	table_lock(&f->table);
	known = node->subdirs_known;
	count = node->subdirs;
	changes = node->subdirs_changes;
	table_unlock(&f->table);
	if (known)
		return count;
	if (store_subdirs(f->store, path, &count))
		count = 0;
	table_lock(&f->table);
	node->subdirs = count;
	node->subdirs_known = changes == node->subdirs_changes &&
			      !f->dirs_change && !moves_passed(f, moves);
	table_unlock(&f->table);
	return count;
}

/* Is path called something in the table? */
static bool is_known(struct fsd *f, struct bytes path)
{
	struct bytes rest;

	table_lock(&f->table);
	(void)table_walk(&f->table, path, &rest);
	table_unlock(&f->table);
	return !rest.n;
}

/* Will seen make a directory where nothing is, or remove one that is there? */
static bool changes_dirs(struct fsd *f, const struct store_seen *seen)
{
	struct bytes path = path_of(seen->key);
	bool puts = seen->kind == STORE_SEEN_PUT;
	struct store_file file;
	enum err err;

	if (!path.n || path.n == seen->key.n || (puts && is_known(f, path)))
		return false;
	err = store_file_stat(f->store, path, &file);
	return puts ? err == ERR_NOT_FOUND : !err && S_ISDIR(file.mode);
}

void subdirs_before(struct fsd *f, const struct store_seen *seen,
		    uint32_t count)
{
	f->dirs = 0;
	for (uint32_t i = 0; i < count && i < SEEN_MAX; i++) {
		if (seen[i].kind != STORE_SEEN_PUT &&
		    seen[i].kind != STORE_SEEN_DELETE) {
			f->dirs = 0;
			break;
		}
		if (changes_dirs(f, &seen[i]))
			f->dirs |= 1ull << i;
	}
	if (!f->dirs)
		return;
	table_lock(&f->table);
	f->dirs_change = true;
	table_unlock(&f->table);
}

bool subdirs_changed(const struct fsd *f, uint32_t i)
{
	return i < SEEN_MAX && f->dirs >> i & 1;
}

void subdirs_count(struct node *dir, bool comes)
{
	if (!comes && !dir->subdirs)
		dir->subdirs_known = false;
	dir->subdirs += comes ? 1u : UINT64_MAX;
	dir->subdirs_changes++;
}

void subdirs_forget(struct node *dir)
{
	dir->subdirs_known = false;
	dir->subdirs_changes++;
}

void subdirs_after(struct fsd *f)
{
	if (!f->dirs)
		return;
	f->dirs = 0;
	table_lock(&f->table);
	f->dirs_change = false;
	table_unlock(&f->table);
}
