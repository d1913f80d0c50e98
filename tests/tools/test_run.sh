#!/bin/bash
# tests/tools/test_run.sh - the runner counts what its programs say and never
# calls a failure a success.

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failures=0

# Make program $1 of the shell text on standard input.
program() {
	{ echo '#!/bin/sh'; cat; } >"$dir/$1"
	chmod +x "$dir/$1"
}

# $1: name of the case, $2: expected last line, $3: expected exit status,
# then the programs to run.
expect() {
	local name=$1 line=$2 status=$3 out rc
	shift 3
	out=$(cd "$dir" && CI=$ci "$OLDPWD/tests/run" -t 1 "$@" 2>&1)
	rc=$?
	if [ "$(tail -n 1 <<<"$out")" = "$line" ] && [ $rc = "$status" ]; then
		echo "ok $name"
	else
		echo "not ok $name: exit status $rc"
		echo "$out"
		failures=1
	fi
}

program passes <<<'exit 0'
program fails <<<'echo "why it failed"; exit 3'
program skips <<<'echo "skipped: no network"; exit 77'
program counts <<'E2'
echo 'ok one'
echo 'ok two'
echo 'ok three # SKIP no network'
echo 'not ok four'
exit 1
E2
program hangs <<<'sleep 60'
program dies <<<'kill -SEGV $$'
program lies <<'E2'
echo 'ok one'
exit 1
E2
program groups <<'E2'
for n in 1 2; do
	echo '[==========] Running 2 test(s).'
	echo '[       OK ] a'
	echo '[       OK ] b'
	echo '[==========] 2 test(s) run.'
	echo '[  PASSED  ] 2 test(s).'
done
E2
program aborts <<'E2'
echo '[==========] Running 2 test(s).'
echo '[       OK ] a'
kill -ABRT $$
E2

ci=
expect nothing_run_is_a_failure "0 passed, 0 failed" 1
expect one_program_is_one_pass "1 passed, 0 failed" 0 ./passes
expect an_exit_status_is_a_failure "1 passed, 1 failed" 1 ./passes ./fails
expect a_skip_is_told "1 passed, 0 failed, 1 skipped" 0 ./skips ./passes
expect only_skips_is_a_failure "0 passed, 0 failed, 1 skipped" 1 ./skips
expect lines_are_counted "2 passed, 1 failed, 1 skipped" 1 ./counts
expect a_hang_is_a_failure "0 passed, 1 failed" 1 ./hangs
expect a_death_is_a_failure "0 passed, 1 failed" 1 ./dies
expect a_bad_exit_after_ok_is_a_failure "1 passed, 1 failed" 1 ./lies
expect several_groups_add_up "4 passed, 0 failed" 0 ./groups
expect an_abort_keeps_the_cases_before_it "1 passed, 1 failed" 1 ./aborts
expect a_missing_program_is_a_failure "0 passed, 1 failed" 1 ./missing
ci=true
expect with_ci_a_skip_is_a_failure "1 passed, 1 failed" 1 ./skips ./passes
exit $failures
