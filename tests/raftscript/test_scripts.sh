#!/bin/bash
# tests/raftscript/test_scripts.sh - every scenario here is as it says.

cd "$(dirname "$0")/../.." || exit 1
for file in tests/raftscript/*.txt; do
	name=$(basename "$file" .txt)
	if "${BUILD:-build}/raftscript" --check "$file"; then
		echo "ok $name"
	else
		echo "not ok $name"
	fi
done

# A subtest that has no end, and one that ends where none began.
dir=$(mktemp -d) || exit 1
printf 'subtest a\nraft-state\n----\nok\n' >"$dir/open.txt"
printf 'subtest a\nsubtest end b\n' >"$dir/other.txt"
cp "$dir/open.txt" "$dir/before"
bad=0
for file in "$dir/open.txt" "$dir/other.txt"; do
	for mode in --check --rewrite; do
		"${BUILD:-build}/raftscript" $mode "$file" >"$dir/said" && bad=1
		grep -q subtest "$dir/said" || bad=1
	done
done
cmp -s "$dir/open.txt" "$dir/before" || bad=1
rm -r "$dir"
[ $bad = 0 ] && echo "ok subtests_begin_and_end" ||
	echo "not ok subtests_begin_and_end"
