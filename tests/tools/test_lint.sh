#!/bin/bash
# tests/tools/test_lint.sh - each rule of tests/lint is broken once, in a small
# tree of its own, and the complaint names file and line.

root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failures=0
mkdir "$dir/tests" "$dir/base" "$dir/store"
cp "$root/tests/lint" "$dir/tests/"
cp "$root/.clang-format" "$dir/"

lint() {
	(cd "$dir" && BUILD=build tests/lint) | grep -v '^SKIPPED'
}

# $1: name of the case, $2: what lint is to say, alone.
expect() {
	local said
	said=$(lint)
	if [ "$said" = "$2" ]; then
		echo "ok $1"
	else
		printf 'not ok %s\nexpected: %s\nsaid: %s\n' "$1" "$2" "$said"
		failures=1
	fi
}

# $1: name of the case, $2: a file, $3: what lint is to say of it, alone. What
# the file holds is standard input; it is taken back afterwards.
broken() {
	cat >"$dir/$2"
	expect "$1" "$3"
	rm "$dir/$2"
}

clean="lint: nothing to complain about"
cat >"$dir/base/good.h" <<'E2'
/* base/good.h - says what it does. */

/* One and the other. */
int good_one(int a);
int good_two(int b);
E2
cat >"$dir/base/good_os.c" <<'E2'
#include "base/good.h"

#include <errno.h>
#include <fcntl.h>

int good_one(int a)
{
	return open("a", a) < 0 ? errno : 0;
}
E2
expect "a tree in order" "$clean"

broken "an include of what lies above" base/a.c \
	"base/a.c:2: base/ may not include store/store.h" <<'E2'

#include "store/store.h"
E2
broken "a system call outside its file" store/a.c \
	"store/a.c:3: system call outside base/*_os.c: if (open(path, 0) < 0)
store/a.c:4: errno outside base/*_os.c" <<'E2'
int f(const char *path)
{
	if (open(path, 0) < 0)
		return errno;
	return 0;
}
E2
broken "unbounded text behind a string and a comment" store/a.c \
	'store/a.c:4: unbounded text: g("", '"''"', sprintf(b, ""));' <<'E2'
/* strcpy(a, b) is not called */
void f(char *b)
{
	g("\"//", '"', sprintf(b, "strcpy(a, b)"));
	/*
	 * strcpy(a, b)
	 */
	g("time(0)"); // time(0)
	s->open(b);
	reopen(b);
}
E2
note="/* TO""DO: all */"
broken "a note of something to be done" store/a.c "store/a.c:1:$note" <<<"$note"
{
	printf 'void f(void)\n{\n'
	for i in $(seq 71); do printf '\tg(%d);\n' "$i"; done
	printf '}\n'
} | broken "a function of 71 lines" store/a.c \
	"store/a.c:2: function of 71 lines"
for i in $(seq 801); do echo "int a$i;"; done |
	broken "a file of 801 lines" store/a.c \
		"store/a.c:801: more than 800 lines"
broken "a prototype without a contract" store/a.h \
	"store/a.h:6: prototype without a comment above it" <<'E2'
/* store/a.h - has one with, one without. */
#define A 1
/* Does. */
int a_does(void);

int a_undoes(const char *one_text, const char *another_text, const char *third,
	     int b);
E2
printf 'int a; \n' | broken "a blank at the end" store/a.c \
	"$(printf 'store/a.c:1: blank at the end%s' \
		"$(command -v clang-format >/dev/null &&
			printf '\nstore/a.c:1: clang-format would change it')")"

mkdir -p "$dir/build/o/base"
for name in one two; do
	echo 'int doubled(void) { return 0; }' |
		${CC:-cc} -x c -c -o "$dir/build/o/base/$name.o" -
	echo >"$dir/base/$name.c"
done
expect "a name that two objects export" \
	"build/o/base/two.o: exports doubled, as build/o/base/one.o does"
rm -r "$dir/build/o" "$dir/base/one.c" "$dir/base/two.c"

if command -v clang-format >/dev/null; then
	wrong="store/a.c:1: clang-format would change it"
	printf 'int  a;\n' >"$dir/store/a.c"
	expect "a format that is not the tree's" "$wrong"
	expect "the same, looked at again" "$wrong"
	printf 'int a;\n' >"$dir/store/a.c"
	expect "the same, put right" "$clean"
	printf 'int  a;\n' >"$dir/store/a.c"
	expect "the same, broken again" "$wrong"
	printf 'int a;\n' >"$dir/store/a.c"
	sed -i 's/^UseTab:.*/UseTab: Never/' "$dir/.clang-format"
	expect "what was in order, by other rules" \
		"base/good_os.c:1: clang-format would change it"
else
	echo "ok the format # SKIP clang-format is not installed"
fi
exit $failures
