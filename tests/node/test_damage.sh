#!/bin/bash
# tests/node/test_damage.sh - bytes that decay under a stopped daemon: what can
# be served is, the damaged key says so, and where it cannot be known which
# keys are hit the daemon refuses to start and says what to do.

. tests/node/daemon.sh

code() {
	curl -s -m 20 -o /dev/null -w '%{http_code}' "$@"
}

start_daemon
for i in $(seq 9); do
	curl -s -m 20 -X PUT -H 'Content-Type: text/plain' \
		-d "value-$i-marker" "$url/k$i"
done
stop_daemon TERM
cp -r "$dir/data" "$dir/sound"
file=$(grep -l value-5-marker "$dir"/data/*.log)
off=$(grep -abo value-5-marker "$file" | cut -d: -f1)

# Write $1 over the file at offset $2 of a fresh copy of the directory.
decay() {
	rm -rf "$dir/data"
	cp -r "$dir/sound" "$dir/data"
	printf '%s' "$1" | dd of="$file" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

decay X "$off"
start_daemon
same "a damaged value is 500" 500 "$(code "$url/k5")"
check "and called corrupt" \
	grep -q '"code":"corrupt"' <(curl -s -m 20 "$url/k5")
for i in 1 2 3 4 6 7 8 9; do
	same "k$i is served beside it" "value-$i-marker" \
		"$(curl -s -m 20 "$url/k$i?raw")"
done
check "the status names the file" \
	grep -q "\"corrupt\":\[{\"file\":\"${file##*/}\"" \
	<(curl -s -m 20 "$url/_/status")
check "the log names it" grep -q "error engine damage file=${file##*/}" \
	"$dir/log"
same "a new value heals the key" 204 \
	"$(code -X PUT -H 'Content-Type: text/plain' -d new "$url/k5")"
same "and is served" new "$(curl -s -m 20 "$url/k5?raw")"
stop_daemon TERM
same "with damage known, a clean stop" 0 "$status"
start_daemon
same "the new value is there after a restart" new \
	"$(curl -s -m 20 "$url/k5?raw")"
stop_daemon TERM

# The key's name itself: nobody can know which key it was.
decay XXXX $((off - 4))
timeout 20 "$daemon" --config "$dir/conf" --data-dir "$dir/data" \
	--http 127.0.0.1:0 2>"$dir/err"
same "damage that hides its keys: exit 1" 1 $?
check "it names the file" grep -qF "$file" "$dir/err"
check "and the offset" grep -qE 'offset [0-9]+' "$dir/err"
check "and the repair call" \
	grep -qF "raftcask repair --data-dir $dir/data" "$dir/err"
decay XXXX $((off - 4))
find "$dir/data" -type f ! -name LOCK -exec sha256sum {} + | sort >"$dir/sums"
timeout 20 "$daemon" --config "$dir/conf" --data-dir "$dir/data" \
	--http 127.0.0.1:0 2>"$dir/err"
check "and changes nothing" diff "$dir/sums" \
	<(find "$dir/data" -type f ! -name LOCK -exec sha256sum {} + | sort)

# What the operator is told to do: look, then give up what is lost.
"$raftcask" check --data-dir "$dir/data" >"$dir/out" 2>&1
same "check of damage: exit 1" 1 $?
check "and counts it" grep -qx 'damaged 1' "$dir/out"
"$raftcask" repair --data-dir "$dir/data" >"$dir/out" 2>&1
same "repair without consent: exit 1" 1 $?
check "and names the file" grep -q "${file##*/}" "$dir/out"
check "and changes nothing either" diff "$dir/sums" \
	<(find "$dir/data" -type f ! -name LOCK -exec sha256sum {} + | sort)
"$raftcask" repair --data-dir "$dir/data" --accept-loss >"$dir/out" 2>&1
same "repair --accept-loss" 0 $?
start_daemon
same "the lost key is absent, not old" 404 "$(code "$url/k5")"
same "the others are served" "value-6-marker" "$(curl -s -m 20 "$url/k6?raw")"
same "and writes go on" 201 \
	"$(code -X PUT -H 'Content-Type: text/plain' -d again "$url/k5")"
stop_daemon TERM
start_daemon
same "after a restart too" again "$(curl -s -m 20 "$url/k5?raw")"
stop_daemon TERM

# Files without the one that says which of them count are not a new start.
rm -rf "$dir/data"
cp -r "$dir/sound" "$dir/data"
rm -f "$dir/data/MANIFEST"
timeout 20 "$daemon" --config "$dir/conf" --data-dir "$dir/data" \
	--http 127.0.0.1:0 2>"$dir/err"
same "a manifest that is gone is no empty directory: exit 1" 1 $?
finish
