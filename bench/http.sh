#!/bin/bash
# bench/http.sh - the HTTP front end beside its ceiling and a yardstick.
#
# wrk with 1 and 100 connections against raftcaskd (GET and synced PUT of
# 200-byte values), a bare libmicrohttpd that answers from memory, and redis
# with appendfsync always under redis-benchmark. All take turns; the table
# shows medians of ROUNDS rounds and ratios of medians.
set -eu
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-3}
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
	echo "bench: redis-server is not installed: its rows are missing" >&2
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

wrk_rate() { # connections port [script]
	wrk -t1 -c"$1" -d"${seconds}s" ${3:+-s "$3"} "http://127.0.0.1:$2/" |
		tee -a "$dir/wrk.log" | awk '/Requests\/sec/ { print $2 }'
}
redis_rate() { # connections
	redis-benchmark -p "$redis" -c "$1" -n $((seconds * 15000)) -d 200 \
		-r 100000 -t set --csv 2>/dev/null |
		awk -F'"' '/^"SET/ { print $4 }'
}

for c in 1 100; do
	for _ in $(seq "$rounds"); do
		wrk_rate $c "$hello" "$dir/get.lua" >>"$dir/hello.$c"
		wrk_rate $c "$cask" "$dir/get.lua" >>"$dir/get.$c"
		wrk_rate $c "$cask" "$dir/put.lua" >>"$dir/put.$c"
		[ -z "$redis" ] || redis_rate $c >>"$dir/redis.$c"
	done
done
if grep -q 'Non-2xx\|error answers\|Socket errors' "$dir/wrk.log"; then
	grep 'Non-2xx\|error answers\|Socket errors' "$dir/wrk.log" >&2
fi

median() { sort -g "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
echo
echo "HTTP on one node, 200-byte values, requests/s (medians of $rounds)"
printf '%12s %14s %14s %8s %14s %14s %8s\n' connections 'bare hello' GET ratio \
	'redis SET' PUT ratio
for c in 1 100; do
	h=$(median "$dir/hello.$c") g=$(median "$dir/get.$c") p=$(median "$dir/put.$c")
	r=-
	[ -z "$redis" ] || r=$(median "$dir/redis.$c")
	printf '%12s %14s %14s %8s %14s %14s %8s\n' $c "$h" "$g" \
		"$(awk "BEGIN { printf \"%.2f\", $g / $h }")" "$r" "$p" \
		"$([ "$r" = - ] && echo - || awk "BEGIN { printf \"%.2f\", $p / $r }")"
done
