/*
 * tests/store/test_rename_model.c - random changes of names, several of them
 * undecided at a time, against a list of keys in memory.
 *
 * The model is the rules of store/file.h in their plainest form: a set of keys,
 * each with a number of what it names. Its answers are compared with the
 * store's, and so are keys, values, numbers and counts of names, now and then
 * after a restart or a crash.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/seed.h"
#include "tests/lib/store_rig.h"

enum {
	KEYS_MAX = 4000,
	KEY_ROOM = 1000,
	BATCH_MAX = 6,
	ROUNDS = 700,
	LONG_BYTES = 5000, /* of a value that lies in chunks */
};

struct key {
	char name[KEY_ROOM]; /* of a directory with its slash */
	uint32_t file;	     /* 0: a directory */
};

/* The set, in no order. */
static struct {
	struct key key[KEYS_MAX];
	uint32_t count;
} model;

static uint64_t ino_of_file[1 << 16]; /* as the store said first */
static uint32_t files;
static struct store_rig rig;
static struct seed seed;

/* ---------------------------------------------------------------- model -- */

static struct key *find(const char *name)
{
	for (uint32_t i = 0; i < model.count; i++)
		if (strcmp(model.key[i].name, name) == 0)
			return &model.key[i];
	return NULL;
}

static void add(const char *name, uint32_t file)
{
	struct key *k = find(name);

	if (!k) {
		assert_true(model.count < KEYS_MAX);
		k = &model.key[model.count++];
		snprintf(k->name, sizeof(k->name), "%s", name);
	}
	k->file = file;
}

static void drop(const char *name)
{
	struct key *k = find(name);

	*k = model.key[--model.count];
}

static bool begins(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static const char *with_slash(const char *path)
{
	static char room[8][KEY_ROOM];
	static int next;
	char *p = room[next++ % 8];

	snprintf(p, KEY_ROOM, "%s/", path);
	return p;
}

static uint32_t count_below(const char *path)
{
	const char *prefix = with_slash(path);
	uint32_t n = 0;

	for (uint32_t i = 0; i < model.count; i++)
		n += begins(model.key[i].name, prefix);
	return n;
}

static bool is_file(const char *path)
{
	return find(path) != NULL;
}

static bool is_dir(const char *path)
{
	return path[0] == 0 || count_below(path) > 0;
}

static const char *parent(const char *path)
{
	static char room[8][KEY_ROOM];
	static int next;
	char *p = room[next++ % 8];

	snprintf(p, KEY_ROOM, "%s", path);
	*(strrchr(p, '/') ? strrchr(p, '/') : p) = 0;
	return p;
}

static bool below_file(const char *path)
{
	for (const char *p = parent(path); *p; p = parent(p))
		if (is_file(p))
			return true;
	return false;
}

/* What looking path up says. */
static enum err look_up(const char *path)
{
	if (is_file(path) || is_dir(path))
		return OK;
	return below_file(path) ? ERR_NOT_DIR : ERR_NOT_FOUND;
}

static enum err look_up_dir(const char *path)
{
	enum err err = look_up(path);

	return !err && is_file(path) ? ERR_NOT_DIR : err;
}

static void touch(const char *path)
{
	if (path[0])
		add(with_slash(path), 0);
}

static enum err model_make(const char *path, uint32_t file)
{
	enum err err = look_up(path);

	if (err != ERR_NOT_FOUND)
		return err ? err : ERR_EXISTS;
	err = look_up_dir(parent(path));
	if (err)
		return err;
	add(file ? path : with_slash(path), file);
	touch(parent(path));
	return OK;
}

static enum err model_remove(const char *path, bool directory)
{
	enum err err = look_up(path);

	if (err)
		return err;
	if (directory == is_file(path))
		return directory ? ERR_NOT_DIR : ERR_IS_DIR;
	if (directory && (count_below(path) > 1 || !find(with_slash(path))))
		return ERR_NOT_EMPTY;
	drop(directory ? with_slash(path) : path);
	touch(parent(path));
	return OK;
}

static enum err model_link(const char *path, const char *path2)
{
	enum err err = look_up(path);

	if (err)
		return err;
	if (is_dir(path))
		return ERR_IS_DIR;
	err = look_up(path2);
	if (err != ERR_NOT_FOUND)
		return err ? err : ERR_EXISTS;
	err = look_up_dir(parent(path2));
	if (err)
		return err;
	add(path2, find(path)->file);
	touch(parent(path2));
	return OK;
}

/* The file has another value, hence here another number. */
static void change_value(uint32_t from, uint32_t to)
{
	for (uint32_t i = 0; i < model.count; i++)
		if (model.key[i].file == from)
			model.key[i].file = to;
	ino_of_file[to] = ino_of_file[from];
}

/* An ordinary put over HTTP. */
static enum err model_put(const char *path, uint32_t file)
{
	if (is_file(path)) {
		change_value(find(path)->file, file);
		return OK;
	}
	if (below_file(path))
		return ERR_NOT_DIR;
	if (is_dir(path))
		return ERR_IS_DIR;
	add(path, file);
	return OK;
}

static enum err judge(const char *from, const char *to, uint32_t flags)
{
	if (flags & STORE_FILE_EXCHANGE)
		return look_up(to) ? ERR_NOT_FOUND : OK;
	if (look_up(to))
		return OK;
	if (flags & STORE_FILE_NOREPLACE)
		return ERR_EXISTS;
	if (strcmp(from, to) == 0)
		return OK;
	if (is_file(from) != is_file(to))
		return is_file(from) ? ERR_IS_DIR : ERR_NOT_DIR;
	if (is_dir(to) && (count_below(to) > 1 || !find(with_slash(to))))
		return ERR_NOT_EMPTY;
	return OK;
}

/* Everything called from becomes something below a name nobody else has. */
static void shift(const char *from, const char *to)
{
	const char *prefix = with_slash(from);
	uint32_t count = model.count;

	if (is_dir(from) && to[0] != '!')
		add(with_slash(to), 0);
	for (uint32_t i = 0; i < count; i++) {
		struct key *k = &model.key[i];
		char name[2 * KEY_ROOM];

		if (begins(k->name, prefix) || strcmp(k->name, from) == 0) {
			snprintf(name, sizeof(name), "%s%s", to,
				 k->name + strlen(from));
			snprintf(k->name, sizeof(k->name), "%.999s", name);
		}
	}
}

static void drop_twice(void)
{
	for (uint32_t i = 0; i < model.count; i++)
		for (uint32_t j = i + 1; j < model.count; j++)
			if (strcmp(model.key[i].name, model.key[j].name) == 0)
				model.key[j--] = model.key[--model.count];
}

static enum err model_rename(const char *from, const char *to, uint32_t flags)
{
	enum err err = look_up(from);
	bool exchange = flags & STORE_FILE_EXCHANGE;

	if (!err)
		err = look_up_dir(parent(to));
	if (!err && look_up(to) == ERR_NOT_DIR)
		err = ERR_NOT_DIR;
	if (!err)
		err = judge(from, to, flags);
	if (err || strcmp(from, to) == 0)
		return err;
	if (is_file(from) && is_file(to) && find(from)->file == find(to)->file)
		return OK;
	if (exchange) {
		bool dir = is_dir(to);

		shift(to, "!");
		shift(from, to);
		if (dir)
			add(with_slash(from), 0);
		shift("!", from);
	} else {
		if (is_file(to))
			drop(to);
		shift(from, to);
	}
	drop_twice();
	touch(parent(from));
	touch(parent(to));
	return OK;
}

static uint32_t names_of(uint32_t file)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < model.count; i++)
		n += model.key[i].file == file;
	return n;
}

/* ------------------------------------------------------------ operations -- */

enum what { MAKE, MKDIR, REMOVE, RMDIR, RENAME, LINK, PUT, WHAT_MAX };

/* One operation, in the store and what the model said of it. */
struct act {
	enum what what;
	char path[KEY_ROOM], path2[KEY_ROOM];
	uint32_t flags, file;
	char value[LONG_BYTES];
	enum err want;
	bool done;
	struct store_file_op op;
	struct store_op put;
	struct store_write write;
};

static struct act acts[BATCH_MAX];

/* What came about, so that the test does not pass by refusals only. */
static struct {
	uint32_t done[WHAT_MAX], dirs, exchanges, replaced, links_moved;
} seen;

/* Before the model follows: what kind of change is it to be? */
static void note(const struct act *a)
{
	if (a->what != RENAME || look_up(a->path))
		return;
	seen.dirs += is_dir(a->path) && count_below(a->path) > 1;
	seen.exchanges += a->flags == STORE_FILE_EXCHANGE &&
			  !look_up(a->path2) && is_dir(a->path2);
	seen.replaced += !a->flags && is_file(a->path) && is_file(a->path2);
	seen.links_moved +=
		is_file(a->path) && names_of(find(a->path)->file) > 1;
}

static size_t value_of_file(uint32_t file, char *dst)
{
	size_t n = file % 5 == 0 ? LONG_BYTES : file % 7;

	for (size_t i = 0; i < n; i++)
		dst[i] = (char)('a' + (file + i / 7) % 26);
	return n;
}

static void draw_path(char *dst)
{
	int depth = 1 + (int)seed_below(&seed, 3);

	dst[0] = 0;
	for (int i = 0; i < depth; i++)
		sprintf(dst + strlen(dst), "%s%c", i ? "/" : "",
			(char)('a' + seed_below(&seed, 3)));
}

static enum err ask_model(struct act *a)
{
	switch (a->what) {
	case MAKE:
		return model_make(a->path, a->file);
	case MKDIR:
		return model_make(a->path, 0);
	case REMOVE:
		return model_remove(a->path, false);
	case RMDIR:
		return model_remove(a->path, true);
	case LINK:
		return model_link(a->path, a->path2);
	case RENAME:
		return model_rename(a->path, a->path2, a->flags);
	case PUT:
	case WHAT_MAX:
		break;
	}
	return model_put(a->path, a->file);
}

static void file_done(struct store_file_op *op)
{
	struct act *a = op->user;

	a->done = true;
}

static void write_done(struct store_write *w)
{
	struct act *a = w->user;

	a->done = true;
}

static enum err submit_put(struct act *a, size_t n)
{
	a->put = (struct store_op){ .kind = STORE_PUT,
				    .key = bytes_str(a->path),
				    .value = bytes_of(a->value, n) };
	a->write = (struct store_write){ .then_ops = &a->put,
					 .then_count = 1,
					 .done = write_done,
					 .user = a };
	return store_write(rig.store, &a->write);
}

static enum err submit(struct act *a)
{
	static const enum store_file_kind kinds[] = {
		[MAKE] = STORE_FILE_CREATE,   [MKDIR] = STORE_FILE_CREATE,
		[REMOVE] = STORE_FILE_REMOVE, [RMDIR] = STORE_FILE_REMOVE,
		[RENAME] = STORE_FILE_RENAME, [LINK] = STORE_FILE_LINK,
	};
	bool two = a->what == RENAME || a->what == LINK;
	size_t n = a->file ? value_of_file(a->file, a->value) : 0;

	if (a->what == PUT)
		return submit_put(a, n);
	a->op = (struct store_file_op){
		.kind = kinds[a->what],
		.flags = a->flags | STORE_FILE_POSIX,
		.path = bytes_str(a->path),
		.path2 = bytes_str(two ? a->path2 : ""),
		.mode = a->what == MKDIR ? S_IFDIR | 0755 : S_IFREG | 0644,
		.data = bytes_of(a->value, a->what == MAKE ? n : 0),
		.done = file_done,
		.user = a,
	};
	return store_file_change(rig.store, &a->op);
}

static void draw(struct act *a)
{
	static const uint32_t renames[] = { 0, 0, STORE_FILE_NOREPLACE,
					    STORE_FILE_EXCHANGE };

	a->done = false;
	a->file = 0;
	a->flags = 0;
	a->what = (enum what)seed_below(&seed, WHAT_MAX + 4);
	if (a->what >= WHAT_MAX)
		a->what = a->what == WHAT_MAX ? LINK : RENAME;
	draw_path(a->path);
	draw_path(a->path2);
	if (a->what == MAKE || a->what == PUT)
		a->file = ++files;
	if (a->what == RENAME)
		a->flags = renames[seed_below(&seed, 4)];
	if (a->what == RMDIR)
		a->flags = STORE_FILE_DIRECTORY;
}

/* ------------------------------------------------------------ comparing --- */

static void compare_key(const struct key *k)
{
	char want[LONG_BYTES];
	size_t n = k->file ? value_of_file(k->file, want) : 0;
	struct bytes path = bytes_str(k->name);
	struct store_file file;
	struct buf b = BUF_INIT;
	enum err err = store_rig_read(&rig, path, &b);

	if (err || !bytes_equal(buf_bytes(&b), bytes_of(want, n)))
		fail_msg("%s: %s, %zu bytes, not %zu", k->name, err_text(err),
			 b.n, n);
	buf_done(&b);
	path.n -= k->file == 0;
	assert_int_equal(store_file_stat(rig.store, path, &file), OK);
	if (!k->file) {
		assert_true(S_ISDIR(file.mode) && !file.implicit);
		return;
	}
	assert_int_equal(file.bytes, n);
	if (file.nlink != names_of(k->file))
		fail_msg("%s: %u names, not %u", k->name, file.nlink,
			 names_of(k->file));
}

static void compare_all(void)
{
	struct store_list list = { .limit = 1000, .bytes_max = 1 << 20 };
	struct buf b = BUF_INIT;
	uint32_t count = 0;

	for (uint32_t i = 0; i < model.count; i++)
		compare_key(&model.key[i]);
	store_rig_list(&rig, &list, &b);
	for (size_t i = 0; i < b.n; i++)
		count += b.p[i] == ' ';
	if (count != model.count)
		fail_msg("%u keys, not %u: %.*s", count, model.count, (int)b.n,
			 (const char *)b.p);
	buf_done(&b);
}

/* A file made by a put or create keeps its number whatever it is called. */
static void compare_numbers(void)
{
	for (uint32_t i = 0; i < model.count; i++) {
		const struct key *k = &model.key[i];
		struct store_file file;

		if (!k->file)
			continue;
		assert_int_equal(
			store_file_stat(rig.store, bytes_str(k->name), &file),
			OK);
		if (ino_of_file[k->file] == 0)
			ino_of_file[k->file] = file.ino;
		if (ino_of_file[k->file] != file.ino)
			fail_msg("%s changed its number", k->name);
	}
}

static const char *text_of(const struct act *a)
{
	static const char *const words[] = { "make",  "mkdir",	"remove",
					     "rmdir", "rename", "link",
					     "put" };
	static char text[3 * KEY_ROOM];

	snprintf(text, sizeof(text), "%s %s %s flags=%x", words[a->what],
		 a->path, a->path2, a->flags);
	return text;
}

static enum err result_of(const struct act *a)
{
	return a->what == PUT ? a->write.err : a->op.err;
}

static void settle(uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		for (int j = 0; j < 1000 && !acts[i].done; j++)
			assert_int_equal(store_rig_step(&rig), OK);
		assert_true(acts[i].done);
		if (result_of(&acts[i]) != acts[i].want)
			fail_msg("%s: %s, not %s", text_of(&acts[i]),
				 err_text(result_of(&acts[i])),
				 err_text(acts[i].want));
	}
}

static void one_round(void)
{
	uint32_t count = 1 + (uint32_t)seed_below(&seed, BATCH_MAX), n = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct act *a = &acts[n];
		enum err err;

		draw(a);
		err = submit(a);
		if (err) { /* a directory into itself */
			assert_int_equal(err, ERR_INVALID);
			continue;
		}
		note(a);
		a->want = ask_model(a);
		seen.done[a->what] += !a->want;
		n++;
	}
	settle(n);
}

static void random_changes(uint64_t number)
{
	store_rig_init(&rig, number, 1);
	seed_init(&seed, number);
	memset(&model, 0, sizeof(model));
	memset(ino_of_file, 0, sizeof(ino_of_file));
	files = 0;
	for (int i = 0; i < ROUNDS; i++) {
		one_round();
		compare_all();
		compare_numbers();
		if (i % 97 == 96)
			store_rig_crash(&rig);
		if (i % 193 == 192) {
			store_rig_stop(&rig);
			store_rig_start(&rig);
		}
	}
	assert_true(files > ROUNDS / 2);
	store_rig_done(&rig);
}

static void names_follow_the_rules(void **state)
{
	for (uint64_t number = 1; number <= 4; number++)
		random_changes(number);
	for (int i = 0; i < WHAT_MAX; i++)
		assert_true(seen.done[i] > 10);
	assert_true(seen.dirs > 200 && seen.exchanges > 50);
	assert_true(seen.replaced > 20 && seen.links_moved > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_follow_the_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
