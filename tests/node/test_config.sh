#!/bin/bash
# tests/node/test_config.sh - the daemon's command line: flags, exit codes,
# and what it says about a configuration it cannot run.

. tests/node/daemon.sh

# Run the daemon with $@; sets status, out (stdout) and err (stderr). Nothing
# here may start a node that stays: a limit ends it.
run() {
	out=$(timeout 20 "$daemon" "$@" 2>"$dir/err")
	status=$?
	err=$(cat "$dir/err")
}

# $1: name, $2: exit code, $3: text that stderr must hold; then the flags.
refuses() {
	local name=$1 code=$2 text=$3
	shift 3
	run "$@"
	case $status:$err in
	$code:*"$text"*) echo "ok $name" ;;
	*)
		printf 'not ok %s: exit %s\n' "$name" "$status"
		printf '%s\n' "$err" | sed 's/^/  /'
		failures=$((failures + 1))
		;;
	esac
}

conf() {
	cat >"$dir/conf"
}

conf </dev/null
run --version
same "version: exit 0" 0 "$status"
same "version is the tree's" "raftcaskd $(cat VERSION)" "$out"
run --help
same "help: exit 0" 0 "$status"
for flag in config check-config print-config data-dir http mount name \
	log-level version help; do
	check "help names --$flag" grep -q -e "--$flag" <<<"$out"
done
refuses "an unknown flag is usage" 2 "--nonsense" --nonsense
refuses "an argument is usage" 2 "unexpected argument: x" x
refuses "a flag without its value is usage" 2 "requires an argument" --http

run --config "$dir/conf" --check-config
same "an empty file is a configuration" 0 "$status"
run --config "$dir/conf" --print-config --name x9 --http '[::1]:81'
same "print-config: exit 0" 0 "$status"
check "print-config names the flag" \
	grep -qx $'\tname = "x9";  # flag --name' <<<"$out"
check "print-config names the default" \
	grep -qx $'\tdata_dir = "/var/lib/raftcask";  # default' <<<"$out"
printf '%s\n' "$out" >"$dir/printed"
run --config "$dir/printed" --print-config
printf '%s\n' "$out" >"$dir/again"
same "what is printed reads back" "$(sed 's/ *#.*//' "$dir/printed")" \
	"$(sed 's/ *#.*//' "$dir/again")"
check "print-config names the line" \
	grep -qx $'\tname = "x9";  # '"$dir/printed:2" "$dir/again"

conf <<'E'
storage: {
	max_filesize = "64M";
};
E
refuses "an unknown key: file, line, nearest name" 78 \
	"$dir/conf:2: unknown key storage.max_filesize; the nearest known name is storage.max_file_size" \
	--config "$dir/conf"
refuses "check-config: the same" 78 "$dir/conf:2:" \
	--config "$dir/conf" --check-config
conf <<'E'
http: { max_value_size = 64; };
E
refuses "a bare integer is no size" 78 "$dir/conf:1: http.max_value_size: a size is a string" \
	--config "$dir/conf"
conf <<'E'
http: { listen = [ "0.0.0.0:0" ]; };
E
refuses "beyond loopback only with insecure" 78 \
	"$dir/conf:1: http.listen: 0.0.0.0 is not a loopback address" \
	--config "$dir/conf" --data-dir "$dir/data"
conf </dev/null
refuses "the same by flag" 78 \
	"flag --http: http.listen: 192.0.2.1 is not a loopback address" \
	--config "$dir/conf" --http 192.0.2.1:80
refuses "a mount over what is no directory" 78 \
	"flag --mount: mount.path: $dir/conf is not a directory" \
	--config "$dir/conf" --data-dir "$dir/data" --mount "$dir/conf"
refuses "a bad level" 78 'flag --log-level: log.level: "loud"' \
	--config "$dir/conf" --log-level loud
refuses "a file that is not there" 78 "$dir/none: cannot be read: not found" \
	--config "$dir/none"
conf <<'E'
cluster: { members = ( { name = "n1"; peer = "a:1"; http = "a:2"; },
                       { name = "n2"; peer = "b:1"; http = "b:2"; } ); };
E
refuses "members beyond loopback need a secret" 78 "is not a loopback address" \
	--config "$dir/conf"
mkdir "$dir/conf.d"
conf </dev/null
echo 'node: { name = "first"; };' >"$dir/conf.d/1.conf"
echo 'node: { name = "second"; };' >"$dir/conf.d/2.conf"
run --config "$dir/conf" --print-config
check "conf.d in name order" \
	grep -qx $'\tname = "second";  # '"$dir/conf.d/2.conf:1" <<<"$out"
echo 'nodes: { };' >"$dir/conf.d/3.conf"
refuses "a fault in conf.d" 78 "$dir/conf.d/3.conf:1: unknown key nodes" \
	--config "$dir/conf"
rm "$dir/conf.d/3.conf"

refuses "a data directory that cannot be made" 1 "$dir/no/such" \
	--config "$dir/conf" --data-dir "$dir/no/such" --http 127.0.0.1:0
: >"$dir/file"
refuses "a data directory that is a file" 1 "$dir/file" \
	--config "$dir/conf" --data-dir "$dir/file" --http 127.0.0.1:0
[ -e "$dir/data" ]
same "nothing was made on the way" 1 $?

echo 'cluster: { partitions = 2; };' >"$dir/conf"
rm -rf "$dir/conf.d"
start_daemon --config "$dir/conf"
stop_daemon TERM
echo 'cluster: { partitions = 3; };' >"$dir/conf"
refuses "another number of partitions names its line" 78 \
	"$dir/conf:1: cluster.partitions: " \
	--config "$dir/conf" --data-dir "$dir/data" --http 127.0.0.1:0
finish
