#!/bin/bash
# tests/node/test_daemon.sh - the life of a daemon: the seed's curl calls
# before and after kill -9, clean stops, a second instance, a taken port,
# reload, readiness.

. tests/node/daemon.sh

type='Content-Type: application/json'
ask() {
	curl -s -m 20 "$@"
}

start_daemon
same "put" '{"success":true}' \
	"$(ask -X POST "$url/outspace" -H "$type" -d '{"value":"outof file"}')"
same "get" '{"value":"outof file"}' "$(ask "$url/outspace")"
same "health" 200 "$(ask -o /dev/null -w '%{http_code}' "$url/_/health")"
same "ready" 200 "$(ask -o /dev/null -w '%{http_code}' "$url/_/ready")"
kill -9 "$pid"
wait "$pid" 2>/dev/null
pid=
start_daemon
same "get after kill -9" '{"value":"outof file"}' "$(ask "$url/outspace")"
same "delete" '{"success":true}' "$(ask -X DELETE "$url/outspace")"
same "delete of a missing key" '{"success":true}' \
	"$(ask -X DELETE "$url/outspace")"
kill -9 "$pid"
wait "$pid" 2>/dev/null
pid=
start_daemon
same "deleted stays deleted after kill -9" 404 \
	"$(ask -o /dev/null -w '%{http_code}' "$url/outspace")"

timeout 20 "$daemon" --config "$dir/conf" --data-dir "$dir/data" \
	--http 127.0.0.1:0 2>"$dir/err"
same "a second daemon on the directory exits 75" 75 $?
check "and says that it is in use" grep -q "$dir/data.*in use" "$dir/err"
timeout 20 "$daemon" --config "$dir/conf" --data-dir "$dir/other" \
	--http "${url#http://}" 2>"$dir/err"
same "a port in use is a runtime error" 1 $?
check "and the address is named" grep -q "${url#http://}" "$dir/err"
same "the first daemon lives on" 200 \
	"$(ask -o /dev/null -w '%{http_code}' "$url/_/ready")"

# Like a killed daemon whose memory the kernel is still taking back.
kill -9 "$pid"
wait "$pid" 2>/dev/null
pid=
mkfifo "$dir/held"
python3 -B - "$dir/data/LOCK" "$dir/held" <<'EOF' &
import fcntl, struct, sys, time
lock = open(sys.argv[1], "r+b")
whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
fcntl.fcntl(lock, 37, whole)  # F_OFD_SETLK
open(sys.argv[2], "w").close()
time.sleep(0.7)
EOF
read -r _ <"$dir/held"
start_daemon
same "a start waits for the lock of a killed daemon" 200 \
	"$(ask -o /dev/null -w '%{http_code}' "$url/_/ready")"

echo 'log: { level = "debug"; }; node: { name = "new"; };' >"$dir/conf"
kill -HUP "$pid"
for _ in $(seq 100); do
	grep -q 'reloaded' "$dir/log" && break
	sleep 0.05
done
check "a reload takes the log level over" \
	grep -q 'changed key=log.level' "$dir/log"
check "a reload says what needs a start" \
	grep -q 'changed key=node.name.*next start' "$dir/log"
echo 'log: { levels = "debug"; };' >"$dir/conf"
kill -HUP "$pid"
for _ in $(seq 100); do
	grep -q 'reload_refused' "$dir/log" && break
	sleep 0.05
done
check "a reload with a fault names its line" \
	grep -q "fault $dir/conf:1: unknown key" "$dir/log"
same "and changes nothing" '{"success":true}' \
	"$(ask -X POST "$url/k" -H "$type" -d '{"value":"kept"}')"
: >"$dir/conf"
stop_daemon TERM
same "SIGTERM: exit 0" 0 "$status"
check "and says so" grep -q 'node stopped' "$dir/log"

start_daemon
same "what was written before a clean stop is there" '{"value":"kept"}' \
	"$(ask "$url/k")"
ask -N "$url/_/watch" -H 'Accept: text/event-stream' >/dev/null &
watcher=$!
sleep 0.2
stop_daemon INT
same "SIGINT with a watch open: exit 0" 0 "$status"
wait "$watcher" 2>/dev/null

# Without descriptors of its own to log to it must not log into its files.
echo 'log: { level = "debug"; };' >"$dir/conf"
port=${url##*:}
for closed in '2>&-' '<&- >&- 2>&-'; do
	rm -rf "$dir/quiet"
	eval '"$daemon" --config "$dir/conf" --data-dir "$dir/quiet"' \
		'--http "127.0.0.1:$port"' "$closed" '&'
	pid=$!
	for _ in $(seq 400); do
		ask -f -o /dev/null "$url/_/ready" && break
		sleep 0.05
	done
	for i in 1 2 3; do
		ask -o /dev/null -X PUT -d "v$i" "$url/k$i"
	done
	same "started with $closed it has no file as standard error" \
		/dev/null "$(readlink "/proc/$pid/fd/2")"
	stop_daemon TERM
	same "and stops cleanly" 0 "$status"
	check "and its files are whole" \
		"$raftcask" check --data-dir "$dir/quiet"
	same "and its lock is empty" 0 "$(stat -c %s "$dir/quiet/LOCK")"
done
finish
