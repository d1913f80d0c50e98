#!/bin/bash
# bench/cluster.sh - three nodes on this machine beside etcd and a bare model.
#
# wrk drives raftcask, etcd (v2 keys over HTTP) and bench_bare (append and sync
# on three processes, nothing else) with 200-byte values, in turns, on one
# disk, ROUNDS times, SECONDS_EACH long. Then the time from the death of the
# leader to the next acknowledged write, and that of a planned transfer,
# FAILOVERS times. What is not installed is left out, and said so. Figures go
# where bench/lib/emit.sh puts them.
set -eu
cd "$(dirname "$0")/.."
. bench/lib/emit.sh
if [ -n "${BENCH_QUICK:-}" ] || [ "${1:-}" = --quick ]; then
	rounds=${ROUNDS:-2} seconds=${SECONDS_EACH:-2} failovers=${FAILOVERS:-2}
	idle_s=5
else
	rounds=${ROUNDS:-3} seconds=${SECONDS_EACH:-4} failovers=${FAILOVERS:-5}
	idle_s=10
fi
mkdir -p "${BENCH_DIR:-build/bench}"
dir=$(mktemp -d "${BENCH_DIR:-build/bench}/cluster-XXXXXX")
declare -A pid
cleanup() {
	for p in "${pid[@]}"; do kill "$p" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT

read -r h1 h2 h3 p1 p2 p3 e1 e2 e3 q1 q2 q3 bare < <(python3 - <<'PY'
import socket
socks = [socket.socket() for _ in range(13)]
for s in socks:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in socks])
PY
)
http=("$h1" "$h2" "$h3") peer=("$p1" "$p2" "$p3")
eclient=("$e1" "$e2" "$e3") epeer=("$q1" "$q2" "$q3")

start_node() { # 1..3
	local i=$1
	build/raftcaskd --config "$dir/n$i.conf" >>"$dir/n$i.log" 2>&1 &
	pid[n$i]=$!
}
for i in 1 2 3; do
	cat >"$dir/n$i.conf" <<CONF
node: { name = "n$i"; data_dir = "$dir/n$i"; };
http: { listen = [ "127.0.0.1:${http[i - 1]}" ]; };
cluster: { listen = "127.0.0.1:${peer[i - 1]}";
  members = ( { name = "n1"; peer = "127.0.0.1:$p1"; http = "127.0.0.1:$h1"; },
              { name = "n2"; peer = "127.0.0.1:$p2"; http = "127.0.0.1:$h2"; },
              { name = "n3"; peer = "127.0.0.1:$p3"; http = "127.0.0.1:$h3"; } ); };
log: { level = "warn"; };
CONF
	start_node $i
done
status() { curl -s -m 2 "http://127.0.0.1:$1/_/status" || true; }
leader() { # the number of the node that leads, as the nodes alive see it
	local name
	for _ in $(seq 200); do
		for i in 1 2 3; do
			name=$(status "${http[i - 1]}" | jq -r '.leader // empty' 2>/dev/null)
			if [ -n "$name" ] && kill -0 "${pid[$name]}" 2>/dev/null; then
				echo "${name#n}"
				return
			fi
		done
		sleep 0.05
	done
	echo "bench: no leader" >&2
	exit 1
}
lead=$(leader)
follow=$((lead % 3 + 1))
for i in 1 2 3; do
	for _ in $(seq 100); do
		[ "$(curl -s -o /dev/null -w '%{http_code}' \
			"http://127.0.0.1:${http[i - 1]}/_/ready")" != 200 ] || break
		sleep 0.1
	done
done

etcd_lead=
if command -v etcd >/dev/null; then
	for i in 1 2 3; do
		etcd --name "e$i" --data-dir "$dir/e$i" --enable-v2 \
			--listen-client-urls "http://127.0.0.1:${eclient[i - 1]}" \
			--advertise-client-urls "http://127.0.0.1:${eclient[i - 1]}" \
			--listen-peer-urls "http://127.0.0.1:${epeer[i - 1]}" \
			--initial-advertise-peer-urls "http://127.0.0.1:${epeer[i - 1]}" \
			--initial-cluster "e1=http://127.0.0.1:$q1,e2=http://127.0.0.1:$q2,e3=http://127.0.0.1:$q3" \
			>"$dir/e$i.log" 2>&1 &
		pid[e$i]=$!
	done
	for _ in $(seq 100); do
		for i in 1 2 3; do
			if curl -s -m 1 "http://127.0.0.1:${eclient[i - 1]}/v2/stats/self" |
				grep -q StateLeader; then etcd_lead=$i; fi
		done
		[ -z "$etcd_lead" ] || break
		sleep 0.2
	done
else
	emit_missing put etcd 'etcd is not installed'
fi
build/bench/bench_bare "$bare" "$dir" & pid[bare]=$!
for _ in $(seq 200); do
	if (exec 3<>"/dev/tcp/127.0.0.1/$bare") 2>/dev/null; then break; fi
	sleep 0.1
done

cat >"$dir/put.lua" <<'LUA'
local body, headers, path
local value = string.rep("v", 200)
math.randomseed(os.time())
init = function(args)
	path = args[1] or "/key-"
	if path:find("v2") then
		body = "value=" .. value
		headers = { ["Content-Type"] = "application/x-www-form-urlencoded" }
	else
		body = value
		headers = { ["Content-Type"] = "application/octet-stream" }
	end
end
request = function()
	return wrk.format("PUT", path .. math.random(1, 10000), headers, body)
end
LUA
cat >"$dir/get.lua" <<'LUA'
local path, query
math.randomseed(os.time())
init = function(args)
	path, query = args[1] or "/key-", args[2] or ""
end
request = function()
	return wrk.format("GET", path .. math.random(1, 1000) .. query)
end
LUA

# rate p99_ms errors
load() { # connections url script [args]
	local c=$1 url=$2 script=$3
	shift 3
	wrk -t1 -c"$c" -d"${seconds}s" --timeout 10s --latency -s "$dir/$script" \
		"$url" -- "$@" | awk '
		function ms(t) {
			if (t ~ /us$/) return t / 1000
			if (t ~ /ms$/) return t + 0
			return t * 1000
		}
		/ 99%/ { p = ms($2) }
		/Requests\/sec/ { r = $2 }
		/ requests in / { n = $1 }
		/Non-2xx/ { e += $NF }
		/Socket errors/ { gsub(/[^0-9 ]/, ""); for (i = 1; i <= NF; i++) e += $i }
		END { printf "%.0f %.2f %d %d\n", r, p, e, n }'
}
# Processor time of all threads of these processes, in ns.
spent() {
	awk '{ n += $1 } END { printf "%.0f\n", n }' \
		$(printf '/proc/%s/task/*/schedstat ' "$@") 2>/dev/null
}
processes() { # of who
	case $1 in
	raftcask) echo "${pid[n1]} ${pid[n2]} ${pid[n3]}" ;;
	etcd) echo "${pid[e1]} ${pid[e2]} ${pid[e3]}" ;;
	*) echo "${pid[bare]} $(cat "/proc/${pid[bare]}/task/${pid[bare]}/children")" ;;
	esac
}
url() { echo "http://127.0.0.1:$1/"; }
# every key that GETs ask for exists
fill() { # url-prefix
	for i in $(seq 1000); do
		printf 'url = "%s%d"\nrequest = PUT\ndata = "%s"\nheader = "Content-Type: %s"\noutput = /dev/null\n' \
			"$1" "$i" "$2" "$3"
		[ "$i" = 1000 ] || echo next
	done >"$dir/fill.curl"
	curl -sS -K "$dir/fill.curl" >/dev/null
}
v=$(printf 'v%.0s' $(seq 200))
fill "$(url "${http[lead - 1]}")key-" "$v" application/octet-stream
[ -z "$etcd_lead" ] || fill "$(url "${eclient[etcd_lead - 1]}")v2/keys/key-" \
	"value=$v" application/x-www-form-urlencoded

ours=$(url "${http[lead - 1]}") theirs=
behind=$(url "${http[follow - 1]}")
if [ -n "$etcd_lead" ]; then
	theirs=$(url "${eclient[etcd_lead - 1]}")
	etcd_behind=$(url "${eclient[etcd_lead % 3]}")
fi
emit_table put 'PUT on three nodes' connections line
emit_table hundred 'three nodes, 100 connections' request bar
# On a machine that others use too, the time of processors that a request
# takes on all nodes says more than the rate.
keep() { # table case who, then as load
	local table=$1 case=$2 who=$3 rate p99 errors count before
	shift 3
	before=$(spent $(processes "$who"))
	read -r rate p99 errors count < <(load "$@")
	emit "$table" "$case" "$who" rate requests/s "$round" "$rate"
	emit "$table" "$case" "$who" p99 ms "$round" "$p99"
	emit "$table" "$case" "$who" errors requests "$round" "$errors"
	emit "$table" "$case" "$who" cpu us/request "$round" "$(awk \
		-v a="$before" -v b="$(spent $(processes "$who"))" -v n="$count" \
		'BEGIN { printf "%.2f", (b - a) / 1000 / (n ? n : 1) }')"
}
for round in $(seq 0 $((rounds - 1))); do
	for c in 1 20 100 1000; do
		keep put $c raftcask $c "$ours" put.lua
		keep put $c 'bare model' $c "$(url "$bare")" put.lua
		[ -z "$theirs" ] || keep put $c etcd \
			$c "$theirs" put.lua /v2/keys/key-
	done
	keep hundred 'PUT at a follower' raftcask 100 "$behind" put.lua
	keep hundred GET raftcask 100 "$ours" get.lua
	keep hundred 'GET at a follower' raftcask 100 "$behind" get.lua
	keep hundred 'stale GET' raftcask \
		100 "$ours" get.lua /key- '?consistency=stale'
	keep hundred GET 'bare model' 100 "$(url "$bare")" get.lua /round
	keep hundred 'stale GET' 'bare model' \
		100 "$(url "$bare")" get.lua
	[ -n "$theirs" ] || continue
	keep hundred 'PUT at a follower' etcd \
		100 "$etcd_behind" put.lua /v2/keys/key-
	keep hundred GET etcd \
		100 "$theirs" get.lua /v2/keys/key- '?quorum=true'
	keep hundred 'GET at a follower' etcd \
		100 "$etcd_behind" get.lua /v2/keys/key- '?quorum=true'
	keep hundred 'stale GET' etcd \
		100 "$theirs" get.lua /v2/keys/key-
done

# Cost of rest: processor time of three nodes with nothing to do.
ticks() { awk '{ print $14 + $15 }' "/proc/${pid[n$1]}/stat"; }
emit_table rest 'three nodes with nothing to do, processor time' partitions bar
sleep 1
for i in 1 2 3; do before[i]=$(ticks $i); done
sleep $idle_s
for i in 1 2 3; do
	emit rest 1 raftcask 'a node' '% of a processor' $((i - 1)) "$(awk \
		-v a="${before[i]}" -v b="$(ticks $i)" -v s=$idle_s \
		-v hz="$(getconf CLK_TCK)" 'BEGIN { print (b - a) / hz / s * 100 }')"
done

now_ms() { date +%s%3N; }
await_write() { # port: milliseconds until a write is acknowledged there
	local from
	from=$(now_ms)
	until [ "$(curl -s -o /dev/null -m 3 -w '%{http_code}' -X PUT \
		-H 'Content-Type: application/octet-stream' -d v \
		"http://127.0.0.1:$1/failover")" = 204 ]; do
		sleep 0.01
	done
	echo $(($(now_ms) - from))
}
emit_table failover 'time to the next acknowledged write' event bar
await_write "${http[0]}" >/dev/null 2>&1 || true
for round in $(seq 0 $((failovers - 1))); do
	lead=$(leader)
	other=$((lead % 3 + 1))
	await_write "${http[other - 1]}" >/dev/null
	kill -9 "${pid[n$lead]}"
	emit failover 'leader killed' raftcask time ms "$round" \
		"$(await_write "${http[other - 1]}")"
	start_node "$lead"
	sleep 3
done
for round in $(seq 0 $((failovers - 1))); do
	lead=$(leader)
	other=$((lead % 3 + 1))
	await_write "${http[other - 1]}" >/dev/null
	from=$(now_ms)
	curl -s -o /dev/null -X POST -H 'Content-Type: application/json' \
		-d "{\"to\":\"n$other\"}" "http://127.0.0.1:${http[lead - 1]}/_/transfer"
	await_write "${http[other - 1]}" >/dev/null
	emit failover 'planned transfer' raftcask time ms "$round" \
		$(($(now_ms) - from))
	sleep 1
done
