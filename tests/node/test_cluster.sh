#!/bin/bash
# tests/node/test_cluster.sh - real daemons: they form a cluster, survive the
# loss of one, hand over, take a wiped one and a new one back, and refuse lists
# that do not agree.

. tests/node/daemon.sh

declare -A pids
http=() peer=()

# $1 free ports that were free a moment ago.
free_ports() {
	python3 - "$1" <<-'E'
		import socket, sys
		s = [socket.socket() for _ in range(int(sys.argv[1]))]
		for x in s: x.bind(("127.0.0.1", 0))
		print(*[x.getsockname()[1] for x in s])
	E
}

kill_all() {
	local i
	for i in "${!pids[@]}"; do
		kill -9 "${pids[$i]}" 2>/dev/null
		wait "${pids[$i]}" 2>/dev/null
	done
	pids=()
}
trap 'kill_all; cleanup' EXIT

# "{ name.. }, ..." of the nodes given.
list() {
	local i text=
	for i; do
		text="$text { name = \"n$i\"; peer = \"127.0.0.1:${peer[$i]}\";
			http = \"127.0.0.1:${http[$i]}\"; },"
	done
	echo "${text%,}"
}

# Node $1 with the list of the nodes that follow.
configure() {
	local i=$1
	shift
	cat >"$dir/n$i.conf" <<-E
		node: { name = "n$i"; data_dir = "$dir/n$i"; };
		http: { listen = [ "127.0.0.1:${http[$i]}" ]; };
		storage: { max_file_size = "4M"; min_free_disk = "0"; };
		cluster: { listen = "127.0.0.1:${peer[$i]}";
			members = ( $(list "$@") ); $extra };
		security: { cluster_secret_file = "$secret"; };
	E
}

up() {
	local i
	for i; do
		"$daemon" --config "$dir/n$i.conf" 2>>"$dir/n$i.log" &
		pids[$i]=$!
	done
}

# Node $1 gets signal $2; status is its exit status.
down() {
	kill "-$2" "${pids[$1]}"
	wait "${pids[$1]}"
	status=$?
	unset "pids[$1]"
}

# Repeat a command until it succeeds, for $1 tenths of a second.
within() {
	local tries=$1
	shift
	while ! "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.1
	done
}

url() {
	echo "http://127.0.0.1:${http[$1]}"
}

ready() {
	curl -sf -m 5 "$(url "$1")/_/ready"
}

put() {
	curl -sf -m 8 -X PUT -d "$3" "$(url "$1")/$2" >/dev/null
}

get() {
	curl -sf -m 8 "$(url "$1")/$2?raw"
}

# What node $1 reads at key $2 is $3.
reads() {
	[ "$(get "$1" "$2")" = "$3" ]
}

# As node $1 has it, though nobody leads.
reads_stale() {
	[ "$(curl -sf -m 5 "$(url "$1")/$2?raw&consistency=stale")" = "$3" ]
}

status_of() {
	curl -s -m 5 "$(url "$1")/_/status"
}

leader() {
	local name
	name=$(status_of "$1" | jq -r .leader)
	[ "$name" != null ] && [ -n "$name" ] && echo "${name#n}"
}

# The leader that node $1 names is another than $2.
other_leader() {
	local now
	now=$(leader "$1") && [ "$now" != "$2" ]
}

waits_for() {
	curl -s -m 5 "$(url "$1")/_/ready" | grep -q "$2"
}

# How many sockets process $1 listens on.
listening() {
	local fd inode
	for fd in /proc/"$1"/fd/*; do
		inode=$(readlink "$fd")
		inode=${inode#socket:[} inode=${inode%]}
		awk -v i="$inode" '$4 == "0A" && $10 == i' /proc/net/tcp
	done | wc -l
}

says() {
	grep -q "$2" "$dir/n$1.log"
}

read -r -a http <<<"x $(free_ports 4)"
read -r -a peer <<<"x $(free_ports 4)"
extra=
secret=$dir/secret
echo "this is known to all" >"$secret"
echo "and this to nobody else" >"$dir/another"

# ------------------------------------------------------------------ forming --

configure 1 1 2 3
configure 2 1 2 3
configure 3 1 2 3
up 1 2
check "a waiting node says for what" within 100 waits_for 1 "waits for n3"
same "it is alive" 200 \
	"$(curl -s -o /dev/null -w '%{http_code}' "$(url 1)/_/health")"
same "it serves nothing" 503 \
	"$(curl -s -o /dev/null -w '%{http_code}' "$(url 1)/a")"
check "and says when to come again" \
	grep -qi '^retry-after' <(curl -s -D - -o /dev/null "$(url 1)/a")
down 2 9
up 3
check "it waits for all" within 100 waits_for 1 "waits for n2"
"$daemon" --config "$dir/n1.conf" 2>"$dir/refused"
same "a second daemon while the first waits: exit 75" 75 $?
up 2
for i in 1 2 3; do
	check "n$i is ready" within 150 ready $i
done
"$daemon" --config "$dir/n1.conf" 2>"$dir/refused"
same "a second daemon on the directory: exit 75" 75 $?
same "one cluster id" 1 "$(for i in 1 2 3; do
	status_of $i | jq -r .cluster
done | sort -u | wc -l)"
same "ids are places in the list" "1 2 3" \
	"$(echo "$(for i in 1 2 3; do status_of $i | jq -r .id; done)" | xargs)"
for i in 1 2 3; do
	check "a write on n$i" within 50 put $i "key$i" "value$i"
done
for i in 1 2 3; do
	for k in 1 2 3; do
		check "n$i reads what n$k wrote" reads $i "key$k" "value$k"
	done
done

# ------------------------------------------------------- losing and finding --

first=$(leader 1)
other=$((first % 3 + 1))
third=$((other % 3 + 1))
down "$first" 9
check "after the loss of the leader a write is taken" \
	within 100 put "$other" lost "while away"
check "and read on the third" reads "$third" lost "while away"
up "$first"
check "the lost one comes back" within 150 ready "$first"
check "and catches up" within 50 reads "$first" lost "while away"

now=$(leader "$first")
before=$(date +%s%N)
down "$now" TERM
same "a stop is clean" 0 "$status"
check "the leader handed over" says "$now" "handed_over done=1"
rest=$((now % 3 + 1))
check "another leads at once" within 20 other_leader "$rest" "$now"
check "in less than 5 s, the stop included" \
	test $(($(date +%s%N) - before)) -lt 5000000000
check "and takes writes" within 30 put "$rest" handed over
up "$now"
check "who was stopped is back" within 150 reads "$now" handed over

for i in 1 2 3; do down $i TERM; done
up 1 2 3
check "after a stop of all a read sees the last write" \
	within 150 reads 2 handed over

# ------------------------------------------------------------ wiped and new --

# Every member's place in the log, asked of one that does not lead.
all_in_step() {
	"$raftcask" -e "$(url "$1")" -o json members list |
		jq -e '.members | length == 3 and all(.match > 0 and .lag == 0)'
}
follower=$(($(leader 1) % 3 + 1))
check "one that does not lead shows how far each member is" \
	within 100 all_in_step "$follower"
out=$("$raftcask" -e "$(url "$follower")" members replace n3 2>&1)
same "a member that is up is not replaced" 1 $?
same "and the operator is told so" 1 "$(grep -c 'is up\|leads' <<<"$out")"
check "it is what it was" within 50 all_in_step "$follower"

down 3 9
rm -rf "$dir/n3"
up 3
check "a wiped node waits for replace" \
	within 100 waits_for 3 "members replace n3"
check "meanwhile the others serve" within 50 put 1 alone two
follower=$(($(leader 1) % 2 + 1)) # of n1 and n2
check "the operator replaces it, by one that does not lead, and waits" \
	timeout 60 "$raftcask" -e "$(url "$follower")" \
	members replace n3 --wait
same "it votes then" voter "$(status_of "$follower" |
	jq -r '.members[] | select(.name == "n3") | .role')"
check "it comes back empty and catches up" within 300 reads 3 alone two
same "under a new id" true "$(status_of 3 | jq '.id > 3')"

secret=$dir/another
configure 4 1 4
up 4
check "with another secret nobody talks to it" \
	within 100 waits_for 4 "does not know the cluster secret"
down 4 9
secret=$dir/secret
configure 4 1 4
up 4
check "a newcomer waits for add" within 100 waits_for 4 "members add n4"
follower=$(($(leader 1) % 3 + 1))
check "the operator adds it, by one that does not lead, and waits" \
	timeout 60 "$raftcask" -e "$(url "$follower")" members add --wait \
	n4 "127.0.0.1:${peer[4]}" "127.0.0.1:${http[4]}"
id=$(sed -n 's/.* what=members method=POST .* request="\(.*\)"$/\1/p' \
	"$dir/n$follower.log" | tail -1)
check "the log of who decided it has the request, too" grep -q \
	"members_changed what=add name=n4 id=[0-9]* request=\"${id:-?}\"" \
	"$dir/n1.log" "$dir/n2.log" "$dir/n3.log"
same "it votes then" voter "$(status_of "$follower" |
	jq -r '.members[] | select(.name == "n4") | .role')"
check "it catches up" within 300 reads 4 key1 value1
check "it takes writes" within 50 put 4 four 4
check "which the others see" reads 1 four 4
check "it is removed, and that is waited for" \
	timeout 60 "$raftcask" -e "$(url 1)" members remove n4 --wait
same "it is no member" "" "$(status_of 1 |
	jq -r '.members[] | select(.name == "n4") | .role')"
check "it is told so and stops to serve" \
	within 150 waits_for 4 '"code":"removed"'
down 4 TERM
up 4
check "it does not come back with its old data" \
	within 100 waits_for 4 '"code":"removed"'
same "nor serves it" 503 \
	"$(curl -s -o /dev/null -w '%{http_code}' "$(url 4)/key1")"
kill_all

# ------------------------------------------------------------------ refusals --

rm -rf "$dir"/n?
configure 3 1 3 2
up 1 2 3
wait "${pids[3]}"
same "a list in another order is refused: exit 78" 78 $?
check "it names the line" says 3 "n3.conf:[0-9]*: cluster.members"
unset "pids[3]"
check "the others wait" within 80 waits_for 1 "waits for n3"
extra='partitions = 2;'
configure 3 1 2 3
up 3
wait "${pids[3]}"
same "another number of partitions is refused: exit 78" 78 $?
check "it names the line, too" says 3 "n3.conf:[0-9]*: cluster.partitions"
unset "pids[3]"
kill_all

rm -rf "$dir"/n?
extra=
echo >"$dir/conf"
"$daemon" --config "$dir/conf" --data-dir "$dir/n1" --name n1 \
	--http "127.0.0.1:${http[1]}" 2>>"$dir/n1.log" &
pids[1]=$!
check "a node alone" within 100 ready 1
same "has one port, that of HTTP" 1 "$(listening "${pids[1]}")"
down 1 TERM
configure 3 1 2 3
up 1 2 3
check "an empty directory of a node alone becomes a founder's" \
	within 150 ready 1
check "of a cluster of three" within 50 put 2 after all
kill_all
rm -rf "$dir"/n?
"$daemon" --config "$dir/conf" --data-dir "$dir/n1" --name n1 \
	--http "127.0.0.1:${http[1]}" 2>>"$dir/n1.log" &
pids[1]=$!
within 100 ready 1
put 1 data is
down 1 TERM
"$daemon" --config "$dir/n1.conf" 2>"$dir/refused"
same "one with data does not: exit 78" 78 $?
check "naming one way" grep -q "members add" "$dir/refused"
check "and the other" grep -q "restore" "$dir/refused"

# A node alone that has got company is a member from the first answer on that
# the other was given; killed then, it does not found a cluster of its own.
rm -rf "$dir"/n?
cat >"$dir/n1.conf" <<-E
	node: { name = "n1"; data_dir = "$dir/n1"; };
	http: { listen = [ "127.0.0.1:${http[1]}" ]; };
	cluster: { listen = "127.0.0.1:${peer[1]}"; };
	security: { cluster_secret_file = "$secret"; };
E
configure 2 1 2
: >"$dir/n2.log"
up 1 2
check "alone, to be joined" within 100 ready 1
check "one waits to join" within 100 waits_for 2 "members add n2"
cluster_id=$(status_of 1 | jq -r .cluster)
"$raftcask" -e "$(url 1)" members add n2 "127.0.0.1:${peer[2]}" \
	"127.0.0.1:${http[2]}" >/dev/null
for _ in $(seq 4000); do
	says 2 joining && break
	sleep 0.002
done
down 1 9
configure 1 1 2
up 1
check "killed as the other joins, it comes back as its peer" \
	within 150 ready 1
check "the other too" within 150 ready 2
for i in 1 2; do
	same "n$i is in the cluster that there was" "$cluster_id" \
		"$(status_of $i | jq -r .cluster)"
done
kill_all

[ "$failures" = 0 ] || tail -n 30 "$dir"/n?.log
finish
