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
