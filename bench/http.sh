#!/bin/bash
# bench/http.sh - the HTTP front end beside its ceiling and a yardstick.
#
# wrk with 1 and 100 connections against raftcaskd (GET and synced PUT of
# 200-byte values), a bare libmicrohttpd that answers from memory, and redis
# with appendfsync always under redis-benchmark. All take turns, ROUNDS times,
# SECONDS_EACH long. Figures go where bench/lib/emit.sh puts them.
set -eu
cd "$(dirname "$0")/.."
. bench/lib/emit.sh
if [ -n "${BENCH_QUICK:-}" ] || [ "${1:-}" = --quick ]; then
	rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-2}
else
	rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-3}
fi
mkdir -p "${BENCH_DIR:-build/bench}"
dir=$(mktemp -d "${BENCH_DIR:-build/bench}/http-XXXXXX")
pids=()
cleanup() {
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT

free_port() {
	python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'
}
await() { # host:port
	for _ in $(seq 100); do
		if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
		sleep 0.1
	done
	echo "bench: nothing listens on port $1" >&2
	exit 1
}

emit_table get 'GET of 200-byte values over HTTP' connections bar
emit_table put 'PUT of 200-byte values over HTTP, synced' connections bar
hello=$(free_port) cask=$(free_port) redis=$(free_port)
build/bench/bench_hello "$hello" 1 & pids+=($!)
build/raftcaskd --data-dir "$dir/cask" --http "127.0.0.1:$cask" \
	>"$dir/cask.log" 2>&1 & pids+=($!)
if command -v redis-server >/dev/null; then
	mkdir "$dir/redis"
	redis-server --port "$redis" --dir "$dir/redis" --appendonly yes \
		--appendfsync always --save '' --bind 127.0.0.1 \
		>"$dir/redis.log" 2>&1 & pids+=($!)
	await "$redis"
else
	redis=
	emit_missing put redis 'redis-server is not installed'
fi
await "$hello"
await "$cask"

cat >"$dir/put.lua" <<'LUA'
local n = 0
local body = string.rep("v", 200)
local headers = { ["Content-Type"] = "application/octet-stream" }
math.randomseed(os.time())
request = function()
	return wrk.format("PUT", "/key-" .. math.random(1, 100000), headers, body)
end
LUA
cat >"$dir/get.lua" <<'LUA'
math.randomseed(os.time())
request = function()
	return wrk.format("GET", "/key-" .. math.random(1, 1000))
end
done = function(summary, latency, requests)
	if summary.errors.status > 0 then
		io.write("bench: error answers: " .. summary.errors.status .. "\n")
	end
end
LUA
for i in $(seq 1000); do
	printf 'url = "http://127.0.0.1:%s/key-%d"\nrequest = PUT\ndata = "%s"\nheader = "Content-Type: application/octet-stream"\n' \
		"$cask" "$i" "$(printf 'v%.0s' $(seq 200))"
	[ "$i" = 1000 ] || echo next
done >"$dir/fill.curl"
curl -sS -K "$dir/fill.curl"

errors=0
wrk_rate() { # table who round connections port script
	local out rate bad
	out=$(wrk -t1 -c"$4" -d"${seconds}s" -s "$dir/$6" "http://127.0.0.1:$5/")
	rate=$(awk '/Requests\/sec/ { print $2 }' <<<"$out")
	bad=$(grep 'Non-2xx\|error answers\|Socket errors' <<<"$out" || true)
	if [ -n "$bad" ]; then
		errors=$((errors + 1))
		emit_note "$1" "$2, $4 connections, round $3: ${bad//$'\n'/;}"
	fi
	emit "$1" "$4" "$2" rate requests/s "$3" "$rate"
}
redis_set() { # connections requests
	redis-benchmark -p "$redis" -c "$1" -n "$2" -d 200 -r 100000 -t set \
		--csv 2>/dev/null | awk -F'"' '/^"SET/ { printf "%.0f\n", $4 }'
}
redis_rate() { # round connections; it takes a number of requests, not a time
	local some
	some=$(redis_set "$2" $((300 + 50 * $2)))
	emit put "$2" 'redis SET' rate requests/s "$1" \
		"$(redis_set "$2" $((some * seconds + 1)))"
}

for c in 1 100; do
	for round in $(seq 0 $((rounds - 1))); do
		wrk_rate get 'bare libmicrohttpd' "$round" $c "$hello" get.lua
		wrk_rate get raftcask "$round" $c "$cask" get.lua
		wrk_rate put raftcask "$round" $c "$cask" put.lua
		[ -z "$redis" ] || redis_rate "$round" $c
	done
done
[ "$errors" = 0 ]
