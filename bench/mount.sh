#!/bin/bash
# bench/mount.sh - the mount beside libfuse's pass-through, and beside HTTP.
#
# One node on a real disk and bench/bench_passthrough over tmpfs (or another
# program of that kind: PASSTHROUGH="program" is called with source and mount
# point) take turns, ROUNDS times; bench/bench_mount does and checks the work.
# "first" is what the kernel has not seen yet, made behind the mount, "again"
# what it may have cached. Then, on three nodes, what a read index costs. At last
# files are made by sixteen writers, the daemon is killed at once, and all must
# be there. Takes root and /dev/fuse.
set -eu
cd "$(dirname "$0")/.."
. bench/lib/emit.sh
if [ "$(id -u)" != 0 ] || ! [ -c /dev/fuse ]; then
	emit_missing ops - 'it takes root and /dev/fuse'
	exit 77
fi
if [ -n "${BENCH_QUICK:-}" ] || [ "${1:-}" = --quick ]; then
	rounds=${ROUNDS:-2} n=1000 many=2000 small=300 stats=20000
else
	rounds=${ROUNDS:-5} n=2000 many=10000 small=1000 stats=50000
fi
mkdir -p "${BENCH_DIR:-build/bench}"
dir=$(mktemp -d "$(realpath "${BENCH_DIR:-build/bench}")/mount-XXXXXX")
ours=$dir/ours theirs=$dir/theirs source=$dir/tmpfs
m=$PWD/build/bench/bench_mount
declare -A pid
cleanup() {
	for p in "${pid[@]}"; do kill "$p" 2>/dev/null || true; done
	wait 2>/dev/null || true
	for p in "$theirs" "$ours" "$dir"/n?/mnt; do
		if mountpoint -q "$p"; then umount -l "$p" || true; fi
	done
	umount -l "$source" 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT

read -r http h1 h2 h3 p1 p2 p3 < <(python3 - <<'PY'
import socket
socks = [socket.socket() for _ in range(7)]
for s in socks:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in socks])
PY
)
await_mount() { # directory
	for _ in $(seq 200); do
		if mountpoint -q "$1"; then return; fi
		sleep 0.05
	done
	echo "bench: nothing is mounted at $1" >&2
	exit 1
}
await_ready() { # port
	for _ in $(seq 200); do
		if [ "$(curl -s -o /dev/null -w '%{http_code}' \
			"http://127.0.0.1:$1/_/ready")" = 200 ]; then return; fi
		sleep 0.05
	done
	echo "bench: the node at port $1 is not ready" >&2
	exit 1
}
start_node() {
	build/raftcaskd --data-dir "$dir/data" --http "127.0.0.1:$http" \
		--mount "$ours" >>"$dir/ours.log" 2>&1 &
	pid[ours]=$!
	await_mount "$ours"
	await_ready "$http"
}
syncs() {
	curl -s "http://127.0.0.1:$http/_/metrics" |
		awk '/^raftcask_log_syncs_total / { print $2 }'
}

mkdir "$theirs" "$source" "$ours"
mount -t tmpfs bench "$source"
${PASSTHROUGH:-build/bench/bench_passthrough} "$source" "$theirs" \
	>"$dir/theirs.log" 2>&1 & pid[theirs]=$!
await_mount "$theirs"
start_node

emit_table ops 'Operations of files, 1 KiB each' operation bar
emit_table list "Listing $many entries, with lstat of each" listing bar
emit_table small 'Small writes, committed and synced' write bar
emit_table large '64 MiB in one file, by 1 MiB' transfer bar
peer=passthrough
rate() { # round operation who bench_mount's arguments
	emit ops "$2" "$3" rate ops/s "$1" "$("$m" "${@:4}")"
}
one_round() { # round
	local r=$1 who at
	mkdir "$source/c$r" "$source/o$r" "$source/s$r" "$source/l$r"
	"$m" fill-files "$source/o$r" "$n" >/dev/null
	"$m" fill-files "$source/s$r" "$n" >/dev/null
	"$m" fill-files "$source/l$r" "$many" >/dev/null
	mkdir "$ours/c$r"
	"$m" fill "$http" "o$r" "$n" >/dev/null
	"$m" fill "$http" "s$r" "$n" >/dev/null
	"$m" fill "$http" "l$r" "$many" >/dev/null
	for who in raftcask $peer; do
		at=$ours
		[ $who = raftcask ] || at=$theirs
		rate "$r" '16 create+write+close' $who create "$at/c$r" "$n" 16
	done
	for what in 'open+read' stat; do
		local file=o again=$((n * 2)) verb=open
		[ $what = open+read ] || file=s again=$stats verb=stat
		rate "$r" "$what, first" raftcask $verb "$ours/$file$r" "$n" "$n"
		rate "$r" "$what, first" $peer $verb "$theirs/$file$r" "$n" "$n"
		rate "$r" "$what" raftcask $verb "$ours/$file$r" "$n" $again
		rate "$r" "$what" $peer $verb "$theirs/$file$r" "$n" $again
	done
	rate "$r" rename raftcask rename "$ours/c$r" $((n / 4))
	rate "$r" rename $peer rename "$theirs/c$r" $((n / 4))
	for what in first again; do
		emit list $what raftcask time ms "$r" "$("$m" list "$ours/l$r" "$many")"
		emit list $what $peer time ms "$r" "$("$m" list "$theirs/l$r" "$many")"
	done
	emit small 'append 64 B' raftcask time us "$r" \
		"$("$m" append "$ours/a$r" "$small" 64)"
	emit small 'append 64 B' PUT time us "$r" \
		"$("$m" put "$http" "p$r" "$small" 64)"
	emit small 'echo v > key' raftcask time us "$r" \
		"$("$m" echo "$ours/s$r" 10 "$small")"
	emit small 'echo v > key' PUT time us "$r" \
		"$("$m" put "$http" "p$r" "$small" 2)"
	large_round "$r"
	rm -rf "$theirs"/?"$r" "$ours"/?"$r"
}
large_round() { # round
	local r=$1 who at got
	emit large write raftcask rate MB/s "$r" "$("$m" write "$ours/w$r" 64 1048576)"
	emit large write 'append + fdatasync' rate MB/s "$r" \
		"$("$m" log "$dir/bare" 64 1048576)"
	emit large write $peer rate MB/s "$r" "$("$m" write "$theirs/w$r" 64 1048576)"
	rm "$dir/bare"
	for who in raftcask $peer; do
		at=$ours
		[ $who = raftcask ] || at=$theirs
		got=$("$m" read "$at/w$r" 64)
		emit large read $who rate MB/s "$r" "${got% *}"
		emit large reread $who rate MB/s "$r" "${got#* }"
	done
}
for round in $(seq 0 $((rounds - 1))); do one_round "$round"; done

# Nothing that a program was told of is lost with the process.
mkdir "$ours/killed"
before=$(syncs)
"$m" create "$ours/killed" "$n" 16 >/dev/null
after=$(syncs)
kill -9 "${pid[ours]}"
wait "${pid[ours]}" 2>/dev/null || true
start_node
"$m" check "$ours/killed" "$n" >/dev/null
emit_note ops "after kill -9 all $n files of 16 writers were there; making them took $((${after%.*} - ${before%.*})) syncs of the log"
kill "${pid[ours]}" "${pid[theirs]}"
wait "${pid[ours]}" 2>/dev/null || true
unset 'pid[ours]' 'pid[theirs]'

# Three nodes, each with its mount: reads ask a quorum, writes wait for one.
for i in 1 2 3; do
	h=h$i p=p$i
	mkdir -p "$dir/n$i/mnt"
	cat >"$dir/n$i.conf" <<CONF
node: { name = "n$i"; data_dir = "$dir/n$i/data"; };
http: { listen = [ "127.0.0.1:${!h}" ]; };
mount: { path = "$dir/n$i/mnt"; };
cluster: { listen = "127.0.0.1:${!p}";
  members = ( { name = "n1"; peer = "127.0.0.1:$p1"; http = "127.0.0.1:$h1"; },
              { name = "n2"; peer = "127.0.0.1:$p2"; http = "127.0.0.1:$h2"; },
              { name = "n3"; peer = "127.0.0.1:$p3"; http = "127.0.0.1:$h3"; } ); };
log: { level = "warn"; };
CONF
	build/raftcaskd --config "$dir/n$i.conf" >>"$dir/n$i.log" 2>&1 &
	pid[n$i]=$!
done
for i in 1 2 3; do
	h=h$i
	await_ready "${!h}"
	await_mount "$dir/n$i/mnt"
done
lead=$(curl -s "http://127.0.0.1:$h1/_/status" | jq -r .leader)
lead=${lead#n}
other=$((lead % 3 + 1))
emit_table three 'Three nodes, one program' operation bar
mkdir "$dir/n$lead/mnt/e"
"$m" fill "$h1" t "$n" >/dev/null
three() { # round operation who bench_mount's arguments: us each
	emit three "$2" "$3" time us "$1" \
		"$("$m" "${@:4}" | awk '{ printf "%.1f", 1e6 / $1 }')"
}
for r in $(seq 0 $((rounds - 1))); do
	for i in $lead $other; do
		who=raftcask h=h$i at=$dir/n$i/mnt
		[ "$i" = "$lead" ] || who='raftcask follower'
		three "$r" open+read "$who" open "$at/t" "$n" $((small / 2))
		three "$r" stat "$who" stat "$at/t" "$n" $((small / 2))
		emit three "list $n + lstat, each" "$who" time us "$r" \
			"$("$m" list "$at/t" "$n" | awk -v n="$n" '{ printf "%.2f", $1 * 1e3 / n }')"
		emit three 'echo v > key' "$who" time us "$r" \
			"$("$m" echo "$at/e" 10 $((small / 3)))"
		emit three 'echo v > key' "PUT${who#raftcask}" time us "$r" \
			"$("$m" put "${!h}" p $((small / 3)) 2)"
	done
done
