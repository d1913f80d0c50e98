#!/bin/bash
# tests/tools/test_promises.sh - the tests that docs/testing.md names for its
# promises are there.

cd "$(dirname "$0")/../.." || exit 1
promises=$(sed -n '/^## What must not go wrong/,/^## Suites of/p' docs/testing.md |
	grep '^| [A-Z1]')
missing=

for name in $(grep -oE '`[a-z0-9_/]+(\.[a-z]+)?`' <<<"$promises" |
	tr -d '`' | sort -u); do
	case $name in
	*/*) [ -e "$name" ] ;;
	test_* | *.txt) [ -n "$(find tests -name "$name*")" ] ;;
	_*) true ;;
	*) grep -rqwE --include='*.[ch]' --include='*.py' "$name" tests ;;
	esac || missing="$missing $name"
done
while read -r case; do
	grep -rqF --include='*.py' "@case(\"$case" tests/blackbox tests/fsd ||
		missing="$missing \"$case\""
done < <(grep -oE '"[^"]+"' <<<"$promises" | tr -d '"' | sort -u |
	grep -v '^unknown$')

if [ -z "$missing" ]; then
	echo "ok every promise names tests that exist"
else
	echo "not ok missing:$missing"
fi
