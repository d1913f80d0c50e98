#!/bin/bash
# Every input that fuzzing kept, those that broke something once among them,
# goes through its decoder again, without a fuzzer.

cd "$(dirname "$0")" || exit 1
build=$(cd ../.. && realpath "${BUILD:-build}")
bad=0
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT

for target in fuzz_*.c; do
	name=${target#fuzz_}
	name=${name%.c}
	if [ ! -d "corpus/$name" ]; then
		echo "not ok corpus of $name: there is none"
		bad=1
	elif "$build/replay/fuzz_$name" "corpus/$name" >"$out" 2>&1; then
		echo "ok corpus of $name: $(tail -n 1 "$out")"
	else
		echo "not ok corpus of $name"
		tail -n 30 "$out"
		bad=1
	fi
done
exit $bad
