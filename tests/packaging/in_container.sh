#!/bin/bash
# tests/packaging/in_container.sh - what a machine goes through with the
# packages; run by test_deb.sh as root in a booted container of its own.

cd /opt/test || exit 1
export DEBIAN_FRONTEND=noninteractive
U=http://127.0.0.1:8080

# $1: name of the case; the rest: a command that must succeed.
check() {
	local name=$1
	shift
	if "$@" >check.out 2>&1; then
		echo "ok $name"
	else
		echo "not ok $name"
		sed 's/^/  /' check.out
		systemctl --no-pager -l status raftcask 2>&1 | sed 's/^/  | /'
	fi
}

# $1: name of the case, $2: what it must be, $3: what it is.
same() {
	if [ "$2" = "$3" ]; then
		echo "ok $1"
	else
		printf 'not ok %s\n  want: %s\n  got:  %s\n' "$1" "$2" "$3"
		systemctl --no-pager -l status raftcask 2>&1 | sed 's/^/  | /'
	fi
}

property() {
	systemctl show -P "$1" raftcask
}

# The command succeeds within 20 s.
soon() {
	local tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || return 1
		sleep 0.2
	done
}

answers() {
	curl -sf -o /dev/null -m 5 $U/_/ready
}

is_gone() {
	[ ! -e "$1" ]
}

# $1: the process that was; another one has taken its place.
runs_anew() {
	local now
	now=$(property MainPID) # first: it is 0 between the two
	[ "$now" != 0 ] && [ "$now" != "$1" ] &&
		[ "$(property ActiveState)" = active ]
}

# $1: name; lines of [Service] that hold until no_drop_in.
drop_in() {
	mkdir -p /run/systemd/system/raftcask.service.d
	{ echo '[Service]'; printf '%s\n' "${@:2}"; } \
		>"/run/systemd/system/raftcask.service.d/$1.conf"
	systemctl daemon-reload
}

no_drop_in() {
	rm -r /run/systemd/system/raftcask.service.d
	systemctl daemon-reload
}

# What is mounted at /srv/keys, in the host's table.
mounted() {
	awk '$5 == "/srv/keys" {
		for (i = 7; $i != "-"; i++);
		print $(i + 1)
	}' /proc/1/mountinfo
}

exposure() {
	systemd-analyze security --no-pager raftcask.service |
		sed -n 's/.*exposure level.*: \([0-9.]*\) .*/\1/p'
}

# ---------------------------------------------------------------- install ---
check "apt installs both packages" \
	apt-get install -y ./raftcask-server_*.deb ./raftcask-client_*.deb
same "the node runs at once" active "$(property ActiveState)"
check "and answers on loopback" answers
same "it is enabled" enabled "$(systemctl is-enabled raftcask)"
same "under its other name too" active "$(systemctl is-active raftcaskd)"
same "as a user of its own" raftcask \
	"$(ps -o user= -p "$(property MainPID)")"
same "its data is its own" "raftcask:raftcask 750" \
	"$(stat -c '%U:%G %a' /var/lib/raftcask)"
# As the kernel writes 127.0.0.1:8080.
same "it listens on loopback only" 0100007F:1F90 \
	"$(awk '$4 == "0A" { print $2 }' /proc/net/tcp /proc/net/tcp6)"
check "a key by curl" curl -sf -X PUT -d world $U/hello
same "and by the client" world "$(raftcask get hello)"
same "the configuration is root's" "root:root 644" \
	"$(stat -c '%U:%G %a' /etc/raftcask/raftcask.conf)"
same "the watchdog is set" 1min "$(property WatchdogUSec)"
same "no capability" 0000000000000000 \
	"$(sed -n 's/^CapEff:\t//p' "/proc/$(property MainPID)/status")"
score=$(exposure)
check "systemd-analyze security gives $score, at most 1.5" \
	awk "BEGIN { exit !(\"$score\" != \"\" && $score + 0 <= 1.5) }"
check "no warning in the journal" sh -c \
	'! journalctl -u raftcask -o cat -p warning | grep .'
for page in 1:raftcask 5:raftcask.conf 7:raftcask-fuse 7:raftcask-http \
	8:raftcaskd 8:raftcask-mount-helper; do
	check "manual ${page#*:}(${page%%:*})" \
		test -e "/usr/share/man/man${page%%:*}/${page#*:}.${page%%:*}.gz"
done
check "bash completes verbs and keys" bash -c '
	. /usr/share/bash-completion/completions/raftcask
	COMP_WORDS=(raftcask re) COMP_CWORD=1; _raftcask
	[[ " ${COMPREPLY[*]} " == *" repair "* ]] || exit 1
	COMP_WORDS=(raftcask get hel) COMP_CWORD=2; _raftcask
	[ "${COMPREPLY[*]}" = hello ] || exit 1
	COMP_WORDS=(raftcask put --if-a) COMP_CWORD=2; _raftcask
	[ "${COMPREPLY[*]}" = --if-absent ]'

# ------------------------------------------------------------- everyday -----
cat >/etc/raftcask/conf.d/own.conf <<'E2'
log: { level = "debug"; };
E2
check "reload" systemctl reload raftcask
check "takes over what can change" \
	sh -c 'journalctl -u raftcask -o cat | grep -q "changed key=log.level"'
old=$(property MainPID)
kill -9 "$old"
check "a killed node is started again" soon answers
check "by systemd" test "$(property MainPID)" != "$old"
same "with its data" world "$(raftcask get hello)"
drop_in watchdog 'WatchdogSec=2s'
systemctl restart raftcask
old=$(property MainPID)
sleep 5
same "the watchdog is content with a node that lives" "$old" \
	"$(property MainPID)"
kill -STOP "$old"
check "and ends one that hangs" soon runs_anew "$old"
check "which serves again" soon answers
no_drop_in

echo 'node: { nane = "x"; };' >/etc/raftcask/conf.d/own.conf
check "a reload with a fault changes nothing" sh -c \
	'systemctl reload raftcask; curl -sf http://127.0.0.1:8080/_/health'
systemctl restart raftcask 2>/dev/null
same "a start with a fault says so" "failed 78" \
	"$(property ActiveState) $(property ExecMainStatus)"
sleep 5
same "and is not tried again" "failed 0" \
	"$(property ActiveState) $(property NRestarts)"
rm /etc/raftcask/conf.d/own.conf
check "mended, it starts" systemctl restart raftcask
check "and serves" answers

# ------------------------------------------------------------- the mount ----
systemctl reset-failed raftcask
echo 'mount: { path = "/srv/keys"; };' >/etc/raftcask/conf.d/mount.conf
check "a unit with a mount starts" systemctl restart raftcask
same "the mount is on the host" fuse.raftcask "$(mounted)"
check "a file is written" sh -c 'echo from-file >/srv/keys/file'
same "and read over HTTP" from-file "$(curl -sf "$U/file?raw")"
check "a key is written" curl -sf -X PUT -d from-http $U/dir/key
same "and read as a file" from-http "$(cat /srv/keys/dir/key)"
same "other users may enter" from-http "$(setpriv --reuid=65534 \
	--clear-groups cat /srv/keys/dir/key)"
same "still without a capability" 0000000000000000 \
	"$(sed -n 's/^CapEff:\t//p' "/proc/$(property MainPID)/status")"
score=$(exposure)
check "with the sandbox at $score" \
	awk "BEGIN { exit !(\"$score\" != \"\" && $score + 0 <= 1.5) }"
systemctl stop raftcask
same "a stop unmounts" "" "$(mounted)"
check "it starts again" systemctl start raftcask
old=$(property MainPID)
kill -9 "$old"
check "after a crash it is started again" soon runs_anew "$old"
same "and mounted, once" fuse.raftcask "$(mounted)"
same "and serves the mount" from-file "$(timeout 5 cat /srv/keys/file)"
touch_file() {
	systemctl reset-failed raftcask # it has been started often
	systemctl stop raftcask
	touch /srv/keys/file
	systemctl start raftcask
}
check "over a directory with files it is not mounted" sh -c \
	"! ($(declare -f touch_file); touch_file)"
check "and says so" sh -c \
	'journalctl -u raftcask -o cat | grep -q "/srv/keys: is not empty"'
rm /srv/keys/file
rm /etc/raftcask/conf.d/mount.conf
systemctl reset-failed raftcask
check "without it all is as before" systemctl restart raftcask
check "keys too" sh -c "curl -sf -X DELETE $U/file &&
	curl -sf -X DELETE $U/dir/key"

# ---------------------------------------------------------------- upgrade ---
for i in $(seq 100); do
	curl -sf -X PUT -d "$i" "$U/many/$i" >/dev/null
done
sed -i 's/^#\tname = "n1";/\tname = "mine";/' /etc/raftcask/raftcask.conf
old=$(property MainPID)
check "apt upgrades" apt-get install -y -o Dpkg::Options::=--force-confold \
	./next-server.deb ./next-client.deb
check "the node is a new one" test "$(property MainPID)" != "$old"
check "that serves" soon answers
same "all keys are there" 101 "$(raftcask ls | wc -l)"
check "the old one stopped cleanly" sh -c \
	'journalctl -u raftcask -o cat | tail -n 20 | grep -q "node stopped"'
check "what was changed in the configuration stays" \
	grep -q 'name = "mine"' /etc/raftcask/raftcask.conf
check "beside the new file" \
	test -e /etc/raftcask/raftcask.conf.dpkg-dist
same "its name is in force" mine "$(curl -sf $U/_/status | jq -r .node)"

# ------------------------------------------------------------ autopkgtest ---
# The packages' own tests by Debian's tool. It cannot know that this is a
# container, and need not look for a network that is not there.
: >/etc/apt/sources.list
autopkgtest --ignore-restrictions=isolation-container -q -o autopkgtest \
	./next-server.deb ./next-client.deb ./source/ -- null >autopkgtest.log 2>&1
same "autopkgtest: exit 0" 0 $?
for test in $(sed -n 's/^Tests: //p' source/debian/tests/control | tr ',' ' ')
do
	check "autopkgtest $test" grep -E "^$test +PASS" autopkgtest/summary
done
tail -n 40 autopkgtest.log | sed 's/^/  : /'

# ------------------------------------------------------- remove and purge ---
check "remove" apt-get remove -y raftcask-server
same "nothing runs" "" "$(pgrep -x raftcaskd)"
check "the data is kept" test -d /var/lib/raftcask
check "and the configuration" test -e /etc/raftcask/raftcask.conf
check "installed again" apt-get install -y ./next-server.deb
check "it serves" soon answers
same "what it had" 101 "$(raftcask ls | wc -l)"
mkdir -p /tmp/kept /var/lib/raftcask/mnt
touch /tmp/kept/file
mount --bind /tmp/kept /var/lib/raftcask/mnt
check "purge with something mounted in the data" \
	apt-get purge -y raftcask-server
check "does not go into it" test -e /tmp/kept/file
check "and leaves all" test -e /var/lib/raftcask/MANIFEST
umount /var/lib/raftcask/mnt
check "installed once more" apt-get install -y ./next-server.deb
check "with its data" soon raftcask get many/7
check "purge" apt-get purge -y raftcask-server raftcask-client
check "takes the data" is_gone /var/lib/raftcask
check "and the configuration" is_gone /etc/raftcask
check "no unit is left" sh -c '! systemctl cat raftcask'
check "no link of it" sh -c \
	'! find /etc/systemd /lib/systemd -name "raftcask*" ! -name "*-test.*" | grep .'
# ----------------------------------------------- upgrade within a cluster ---
check "installed anew" apt-get install -y ./raftcask-server_*.deb \
	./raftcask-client_*.deb
members=
for i in 1 2 3; do
	members="$members { name = \"n$i\"; peer = \"127.0.0.1:708$i\";
		http = \"127.0.0.1:$((8079 + i))\"; },"
done
# $1: a node; the package's service is n1, the others run beside it.
settings() {
	echo "node: { name = \"n$1\"; $2 };
	http: { listen = [ \"127.0.0.1:$((8079 + $1))\" ]; };
	cluster: { members = ( ${members%,} ); };"
}
settings 1 >/etc/raftcask/conf.d/cluster.conf
for i in 2 3; do
	settings $i "data_dir = \"/var/tmp/n$i\";" >n$i.conf
	systemd-run -q --unit=beside$i raftcaskd --config /opt/test/n$i.conf
done
check "the service becomes one of three" systemctl restart raftcask
check "which serve" soon answers
leader() {
	curl -sf -m 5 http://127.0.0.1:8081/_/status | jq -r .leader
}
leads() {
	[ "$(leader)" = n1 ] || {
		raftcask -e http://127.0.0.1:8081 transfer n1
		false
	}
}
check "the service leads" soon leads
# Keys through n2 until the file stop is there; what was answered, and when.
writer() {
	local i=0
	while [ ! -e stop ]; do
		i=$((i + 1))
		if curl -sf -m 30 -X PUT -d "$i" "http://127.0.0.1:8081/w/$i"
		then
			echo "$i $(date +%s%3N)" >>acked
		else
			echo "$i" >>failed
		fi
	done
}
writer &
check "writes go on" soon test -s acked
old=$(property MainPID)
check "apt upgrades the leader" apt-get install -y ./next-server.deb
check "it is a new one" test "$(property MainPID)" != "$old"
check "which serves" soon answers
check "the old one had handed over" sh -c \
	'journalctl -u raftcask -o cat | grep -q "handed_over done=1"'
sleep 1
touch stop
wait
same "no write failed" "" "$(cat failed 2>/dev/null)"
pause=$(awk 'NR > 1 && $2 - last > max { max = $2 - last } { last = $2 }
	END { print max + 0 }' acked)
check "$(wc -l <acked) writes, the longest pause $pause ms, at most 3000" \
	test "$pause" -le 3000
same "the upgraded node has each of them" "$(wc -l <acked)" \
	"$(raftcask ls w/ | wc -l)"
systemctl stop beside2 beside3
check "purged" apt-get purge -y raftcask-server raftcask-client
echo "end of the container"
