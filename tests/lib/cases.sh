#!/bin/bash
# tests/lib/cases.sh - sourced by shell tests: cases, reported as `ok NAME` and
# `not ok NAME`. Needs a private directory $dir; $failures counts.

failures=0

# $1: name of the case; the rest: a command that must succeed.
check() {
	local name=$1
	shift
	if "$@" >"$dir/check.out" 2>&1; then
		echo "ok $name"
	else
		echo "not ok $name"
		sed 's/^/  /' "$dir/check.out"
		failures=$((failures + 1))
	fi
}

# $1: name of the case, $2: what it must be, $3: what it is.
same() {
	if [ "$2" = "$3" ]; then
		echo "ok $1"
	else
		printf 'not ok %s\n  want: %s\n  got:  %s\n' "$1" "$2" "$3"
		failures=$((failures + 1))
	fi
}
