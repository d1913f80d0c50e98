#!/bin/bash
# tests/node/test_mount_service.sh - a daemon without rights serves the mount
# that the helper brings, as under systemd but without it: the daemon is nobody,
# the helper root, both in a mount table of this test's own.

if [ "$(id -u)" != 0 ] || ! [ -c /dev/fuse ]; then
	echo "ok a mount that is passed # SKIP it takes root and /dev/fuse"
	exit 77
fi
[ -n "$OWN_MOUNTS" ] ||
	OWN_MOUNTS=1 exec unshare -m --propagation private "$0" "$@"

. tests/node/daemon.sh

helper=$PWD/$BUILD/raftcask-mount-helper
chmod 755 "$dir"
mkdir "$dir/run" "$dir/keys"
for i in 1 2; do
	mkdir "$dir/n$i"
done
chown 65534 "$dir/run" "$dir/n1" "$dir/n2"
export RUNTIME_DIRECTORY=$dir/run
declare -A pids
trap 'kill -9 "${pids[@]}" 2>/dev/null; umount -l "$dir/keys" 2>/dev/null
	cleanup' EXIT

# $1: node; with the helper's part of the unit's environment.
up() {
	: >"$dir/n$1.log"
	RAFTCASK_MOUNT_HELPER=1 setpriv --reuid=65534 --clear-groups \
		--bounding-set=-all --no-new-privs \
		"$daemon" --config "$dir/n$1.conf" 2>>"$dir/n$1.log" &
	pids[$1]=$!
	local tries=0
	until grep -q -E 'node (ready|waiting)' "$dir/n$1.log"; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] && kill -0 "${pids[$1]}" || return 1
		sleep 0.05
	done
	url=$(sed -n 's/.*http="\([^"]*\)".*/\1/p' "$dir/n$1.log" | tail -n 1)
}

# $1: verb. For node 1.
help_it() {
	MAINPID=${pids[1]} timeout 60 "$helper" --config "$dir/n1.conf" "$1"
}

# $1: signal; sets status.
down() {
	kill "-$1" "${pids[1]}"
	wait "${pids[1]}"
	status=$?
	unset 'pids[1]'
}

is_mounted() {
	awk -v at="$dir/keys" '$5 == at { found = 1 } END { exit !found }' \
		/proc/self/mountinfo
}

soon() {
	local tries=0
	until "$@" 2>/dev/null; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || return 1
		sleep 0.05
	done
}

cat >"$dir/n1.conf" <<E2
node: { data_dir = "$dir/n1/data"; };
http: { listen = [ "127.0.0.1:0" ]; };
storage: { max_file_size = "4M"; min_free_disk = "0"; };
mount: { path = "$dir/keys"; };
E2
check "a daemon without rights starts" up 1
check "without a mount so far" eval '! is_mounted'
check "the helper mounts and ends" help_it mount
check "it is mounted" is_mounted
check "a file is written" sh -c "echo from-file >'$dir/keys/a'"
same "and read over HTTP" from-file "$(curl -sf "$url/a?raw")"
check "a key is written over HTTP" curl -sf -X PUT -d from-http "$url/d/b"
same "and read as a file" from-http "$(cat "$dir/keys/d/b")"
same "by others too" from-http "$(setpriv --reuid=4711 --clear-groups \
	cat "$dir/keys/d/b")"
check "nobody else brings a second one" eval '! help_it mount'
check "the first one stays" test -e "$dir/keys/a"
down TERM
same "a stop is clean" 0 "$status"
check "nothing of it hangs" sh -c "! timeout 5 ls '$dir/keys'"
check "the helper takes it away" help_it unmount
check "and nothing is left" eval '! is_mounted'
same "the directory is empty" "" "$(ls -A "$dir/keys")"

check "it starts again" up 1
check "and is mounted" help_it mount
down KILL
check "after a crash it starts" up 1
check "and is mounted anew" help_it mount
same "with everything" from-file "$(cat "$dir/keys/a")"
down TERM
help_it unmount

touch "$dir/keys/mine"
check "over files" up 1
check "it is not mounted" eval '! help_it mount'
down TERM
same "a daemon whose helper never came stops" 0 "$status"
rm "$dir/keys/mine"

# A node that waits for its cluster gets its mount early, and serves it late.
read -r p1 p2 h1 h2 < <(python3 - <<-'E2'
	import socket
	s = [socket.socket() for _ in range(4)]
	for x in s: x.bind(("127.0.0.1", 0))
	print(*[x.getsockname()[1] for x in s])
E2
)
rm -rf "$dir/n1/data"
for i in 1 2; do
	http=h$i
	cat >"$dir/n$i.conf" <<-E2
		node: { name = "n$i"; data_dir = "$dir/n$i/data"; };
		http: { listen = [ "127.0.0.1:${!http}" ]; };
		storage: { max_file_size = "4M"; min_free_disk = "0"; };
		cluster: { members = (
		  { name = "n1"; peer = "127.0.0.1:$p1"; http = "127.0.0.1:$h1"; },
		  { name = "n2"; peer = "127.0.0.1:$p2"; http = "127.0.0.1:$h2"; } ); };
	E2
done
echo "mount: { path = \"$dir/keys\"; };" >>"$dir/n1.conf"
check "a node that waits" up 1
check "gets its mount all the same" help_it mount
check "holds it" grep -q 'mount held' "$dir/n1.log"
check "and serves nothing in it" sh -c "! timeout 1 ls '$dir/keys'"
check "until the other one comes" up 2
check "then it serves" soon sh -c \
	"timeout 5 mkdir '$dir/keys/dir' || test -d '$dir/keys/dir'"
down TERM
same "and stops" 0 "$status"
help_it unmount

finish
