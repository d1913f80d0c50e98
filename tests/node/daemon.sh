#!/bin/bash
# tests/node/daemon.sh - sourced by shell tests that run real daemons.
#
# $dir is private and goes at the end with every daemon that was started.
# Cases are those of tests/lib/cases.sh; finish ends the test.

# shellcheck disable=SC2034 # raftcask, status: for those that source this
BUILD=${BUILD:-build}
daemon=$PWD/$BUILD/raftcaskd
raftcask=$PWD/$BUILD/raftcask
[ -x "$daemon" ] && [ -x "$raftcask" ] || {
	echo "not ok the programs are in $BUILD"
	exit 1
}
dir=$(mktemp -d "${TMPDIR:-/tmp}/raftcask-test-XXXXXX") || exit 1
. tests/lib/cases.sh
pid=

cleanup() {
	if [ -n "$pid" ]; then
		kill -9 "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	fi
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Start a daemon on any free port with the flags given; sets pid and url. The
# system's own configuration file must not meddle: --config names an empty one.
start_daemon() {
	launch_daemon --http 127.0.0.1:0 "$@"
}

# The same, on the addresses that the file says.
launch_daemon() {
	local tries=0
	: >"$dir/log"
	[ -e "$dir/conf" ] || : >"$dir/conf"
	"$daemon" --config "$dir/conf" --data-dir "$dir/data" "$@" \
		2>"$dir/log" &
	pid=$!
	url=
	while [ -z "$url" ] && [ $tries -lt 1200 ]; do
		kill -0 "$pid" 2>/dev/null || break
		url=$(sed -n 's/.* ready .*http="\([^" ]*\).*/\1/p' "$dir/log")
		[ -n "$url" ] || sleep 0.05
		tries=$((tries + 1))
	done
	[ -n "$url" ] && return
	echo "not ok the daemon starts"
	sed 's/^/  /' "$dir/log"
	exit 1
}

# Send signal $1 (default TERM) and wait; sets status.
stop_daemon() {
	kill "-${1:-TERM}" "$pid"
	wait "$pid"
	status=$?
	pid=
}

finish() {
	[ "$failures" = 0 ]
	exit
}
