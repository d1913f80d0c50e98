#!/bin/bash
# tests/ctl/test_verbs.sh - every verb of the client against a real daemon.

. tests/node/daemon.sh

start_daemon
export RAFTCASK_URL=$url
r() {
	"$raftcask" "$@"
}
# Run the client with $@; sets status and out; $dir/err has its stderr.
run() {
	out=$("$raftcask" "$@" 2>"$dir/err")
	status=$?
}

run --version
same "version" "raftcask $(cat VERSION)" "$out"
run --help
same "help: exit 0" 0 "$status"
for verb in get put del ls stat cas watch txn status members transfer token merge bench check dump \
	rebuild-hints repair; do
	check "help names $verb" grep -q "^  $verb " <<<"$out"
done
same "help: every line is on the screen whole" "" "$({
	r --help
	r --help | sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p' |
		while read -r verb; do r "$verb" --help; done
} | grep -E '.{81}')"
same "help whatever the environment says" "usage: raftcask get KEY" \
	"$(RAFTCASK_TOKEN=@/none r get --help | head -1)"
same "and the version" "raftcask $(cat VERSION)" \
	"$(RAFTCASK_CERT=/none r --version)"
run help append
same "help of a verb, asked for in words" "$(r append --help)" "$out"
run
same "no verb is usage" 2 "$status"
run fetch
same "an unknown verb is usage" 2 "$status"
run get
same "a missing argument is usage" 2 "$status"
run ls --nonsense
same "an unknown option is usage" 2 "$status"
run -o xml get a
same "an unknown form is usage" 2 "$status"

run put a "hello world"
same "put" "0:" "$status:$out"
run get a
same "get" "0:hello world" "$status:$out"
run get missing
same "a missing key is exit 4" 4 "$status"
check "and said" grep -q 'key not found' "$dir/err"
run put empty ""
run get empty
same "an empty value" "0:" "$status:$out"
run put neg -5
run get neg
same "a value that looks like an option" "0:-5" "$status:$out"
run put -- --odd --odder
run get -- --odd
same "after -- everything is an argument" "0:--odder" "$status:$out"
head -c 3000000 /dev/urandom >"$dir/big"
run put big "@$dir/big"
same "put of a file" 0 "$status"
r get big >"$dir/big.back"
check "get is byte for byte" cmp "$dir/big" "$dir/big.back"
run put piped - <"$dir/big"
same "put of standard input" 0 "$status"
r get piped >"$dir/big.back"
check "and back" cmp "$dir/big" "$dir/big.back"
printf 'x\n' | r put line -
same "a newline is the value's own" "x|0a" \
	"$(r get line | tr '\n' '|')$(r get line | tail -c 1 | od -An -tx1 | tr -d ' ')"
run put nofile "@$dir"
same "a directory is no value: exit 1" 1 "$status"
same "and that is said, before a node is asked" \
	"raftcask: $dir cannot be read" "$(cat "$dir/err")"
run put nofile "@$dir/none"
same "a file that is not there: exit 1" 1 "$status"
"$raftcask" put closed - <&- 2>"$dir/err"
same "a closed standard input: exit 1" 1 $?
same "and that is said" "raftcask: standard input cannot be read" \
	"$(cat "$dir/err")"
r get closed >/dev/null 2>&1
same "nothing was stored" 4 $?
"$raftcask" get a >&- 2>"$dir/err"
same "a closed standard output: exit 1" 1 $?
check "and that is said" grep -q 'output cannot be written' "$dir/err"
same "a closed standard error is no harm" "hello world" \
	"$("$raftcask" get a 2>&-)"
odd=$'d/sp ace%+?&#"\\\xc3\xa9\xff\x01'
run put "$odd" odd
run get "$odd"
same "a key of any bytes" "0:odd" "$status:$out"
run put /bad//key x
same "a bad key: exit 1" 1 "$status"
check "with the server's code and request id" \
	grep -q 'bad_key, request ..*)' "$dir/err"

run stat a
rev=$(sed -n 's/^rev //p' <<<"$out")
check "stat has a revision" test "$rev" -gt 0
check "stat has the size" grep -qx 'size 11' <<<"$out"
run -o json stat a
check "stat as JSON" grep -q "\"rev\":$rev,\"size\":11" <<<"$out"
run stat missing
same "stat of a missing key is exit 4" 4 "$status"
run cas a "$rev" second
same "cas with the right revision" 0 "$status"
run cas a "$rev" third
same "cas with an old revision: exit 1" 1 "$status"
check "and the revision it has" grep -q 'revision is [0-9]' "$dir/err"
run get a
same "the refused value was not stored" second "$out"
run cas fresh 0 first
same "cas 0 creates" 0 "$status"
run cas fresh 0 again
same "cas 0 of a key that exists: exit 1" 1 "$status"
run cas a x y
same "a revision that is none is usage" 2 "$status"
run put --if-absent fresh x
same "put --if-absent" 1 "$status"
run -o json put j v
check "put as JSON" grep -q '^{"success":true,"rev":[1-9]' <<<"$out"
run -o json get j
same "get as JSON" '{"value":"v"}' "$out"
run put t v --ttl 60s
run stat t
check "a TTL is shown" grep -q '^ttl 5[0-9]' <<<"$out"
run put t v --ttl soon
same "a TTL that is none is usage" 2 "$status"

run del a
same "del" 0 "$status"
run get a
same "is gone" 4 "$status"
run del a
same "del of a missing key is no error" 0 "$status"

for i in $(seq -w 1 30); do
	r put "list/$i" "$i"
done
r put list/sub/x 1
run ls list/
same "ls" 31 "$(wc -l <<<"$out")"
same "ls is in order" "list/01 list/30 list/sub/x" \
	"$(sed -n '1p;30p;31p' <<<"$out" | xargs)"
run ls list/ --limit 7
same "ls --limit" 7 "$(wc -l <<<"$out")"
run ls list/ --reverse --limit 1
same "ls --reverse" list/sub/x "$out"
run ls list/ --delimiter /
check "ls --delimiter folds" grep -qx 'list/sub/' <<<"$out"
run ls list/ --start list/10 --end list/12
same "ls --start --end" "list/10 list/11" "$(xargs <<<"$out")"
run ls -l list/01
check "ls --long" grep -qE '^ +[0-9]+ +2 list/01$' <<<"$out"
run -o json ls list/01
check "ls as JSON lines" grep -q '^{"key":"list/01","rev":[0-9]*,"size":2}$' <<<"$out"
run ls nothing/
same "an empty listing is no error" "0:" "$status:$out"
# More keys than one page holds, made by a few requests.
for i in $(seq 21); do
	seq -f '%.0f' $((i * 100)) $((i * 100 + 99)) |
		sed 's/.*/{"put":"page\/&","value":""}/' | paste -sd, |
		sed 's/.*/{"then":[&]}/' | r txn >/dev/null || break
done
run ls page/
same "ls goes through all pages" 2100 "$(wc -l <<<"$out")"
same "and no key twice" 2100 "$(sort -u <<<"$out" | wc -l)"

run txn <<<'{"if":[{"key":"j","exists":true}],"then":[{"put":"j","value":"w"}]}'
check "txn" grep -q '"succeeded":true' <<<"$out"
echo '{"if":[{"key":"j","exists":false}],"then":[],"else":[{"get":"j"}]}' \
	>"$dir/txn"
run txn "$dir/txn"
check "txn from a file, its else" grep -q '"succeeded":false' <<<"$out"
check "and what it read" grep -q '"value":"w"' <<<"$out"
run txn <<<'{"then":['
same "a broken txn: exit 1" 1 "$status"

r put w/k before
r watch w/k --count 2 >"$dir/watch" &
one=$!
r -o json watch --prefix w/ --count 3 >"$dir/watches" &
many=$!
sleep 0.5
r put w/other 1
r put w/k after
r del w/k
wait $one $many
check "watch of a key: its put" grep -qE '^put [0-9]+ w/k after$' "$dir/watch"
check "watch of a key: its delete" grep -qE '^delete [0-9]+ w/k' "$dir/watch"
same "and nothing of others" 2 "$(wc -l <"$dir/watch")"
same "watch of a prefix" 3 "$(wc -l <"$dir/watches")"
check "as JSON lines" grep -q '"key":"w/other".*"event":"put"' "$dir/watches"

run del --prefix list/
same "del --prefix" 0 "$status"
run ls list/
same "all are gone" "" "$out"

run status
check "status" grep -qx 'role leader' <<<"$out"
run -o json status
check "status as JSON" grep -q '"partitions":\[' <<<"$out"
run members
same "members as a table" "NAME n1:0" "$(awk '{ print $1 }' <<<"$out" | xargs):$status"
run members list
check "with role and state" grep -qE '^n1 +1 +voter +up ' <<<"$out"
run -o json members list
check "members as JSON" \
	grep -q '^{"members":\[{"name":"n1","id":1,.*"role":"voter","up":true' <<<"$out"
run members add n2 10.0.0.2:7080 10.0.0.2:8080
same "a node that listens to no peers gets none" 1 "$status"
check "and says why" grep -q 'not_clustered' "$dir/err"
run members add n2
same "members add without an address is usage" 2 "$status"
run members remove n1
same "the last voter stays" 1 "$status"
check "and says so" grep -q 'last_voter' "$dir/err"
run members remove nobody
same "who is no member is exit 4" 4 "$status"
run members remove a/b
same "what cannot be a name is usage" 2 "$status"
run members promote n1
same "promoting a voter changes nothing" 0 "$status"
run members dance n1
same "an unknown action is usage" 2 "$status"
run members list extra
same "list takes nothing" 2 "$status"
run transfer n1
same "transfer" "0:leader is n1, id 1" "$status:$out"
run -o json transfer n1
same "transfer as JSON" '0:{"success":true,"id":1}' "$status:$out"
run transfer nobody
same "transfer to nobody is exit 4" 4 "$status"
run transfer
same "transfer without a name is usage" 2 "$status"
run merge
same "merge" 0 "$status"

run bench -sz=2K -n=400 -t=W -conns=4 -keys=100
same "bench writes" 0 "$status"
check "and counts" grep -qx 'requests 400' <<<"$out"
check "and tells the rate and latencies" \
	test 4 = "$(grep -cE '^(rate [0-9.]+/s|p(50|99|999) [0-9.]+ ms)$' <<<"$out")"
same "what it wrote is there" 2048 "$(r get bench/99 | wc -c)"
run bench -n=200 -t=R -keys=100 -dist=uniform -addr="$url" --json
check "bench reads, as JSON" \
	grep -q '"type":"R","requests":200,.*"failed":0,"missing":0,' <<<"$out"
run bench -n=100 -t=D -keys=100
run ls bench/
same "bench deletes" "" "$out"
run bench -t=X
same "a load that is none is usage" 2 "$status"
run -e http://127.0.0.1:1 bench -n=3
same "a load that fails: exit 1" 1 "$status"

run -e http://127.0.0.1:1 get j
same "no node there: exit 1" 1 "$status"
run -e http://127.0.0.1:1 -e "$url" get j
same "the next endpoint is tried" "0:w" "$status:$out"
env -u RAFTCASK_URL "$raftcask" -e "${url#http://}/" get j >"$dir/out"
same "an endpoint without a scheme" w "$(cat "$dir/out")"

run check --data-dir "$dir/data"
same "offline verbs leave a running daemon alone: exit 75" 75 "$status"
stop_daemon TERM
same "clean stop" 0 "$status"
run check --data-dir "$dir/data"
same "check of a sound directory" 0 "$status"
check "and what it looked at" grep -qx 'damaged 0' <<<"$out"
run check
same "check without a directory is usage" 2 "$status"
run dump --data-dir "$dir/data"
check "dump names keys" grep -q ' put .* fresh$' <<<"$out"
run -o json dump --data-dir "$dir/data"
check "dump as JSON lines" grep -q '"type":"put".*"key":"fresh".*"value":"first"' <<<"$out"
run rebuild-hints --data-dir "$dir/data"
same "rebuild-hints" 0 "$status"
run repair --data-dir "$dir/data"
same "repair has nothing to do" 0 "$status"
mkdir "$dir/nothing"
for verb in check dump rebuild-hints repair "repair --accept-loss"; do
	# shellcheck disable=SC2086
	run $verb --data-dir "$dir/nothing"
	same "$verb of a directory that is no node's" 1 "$status"
done
same "leaves nothing there" "" "$(ls -A "$dir/nothing")"
# What root makes there the daemon, another user, has to read.
if [ "$(id -u)" = 0 ] && chmod 711 "$dir" && chown -R nobody "$dir/data" &&
	setpriv --reuid=nobody --clear-groups test -x "$dir/data"; then
	rm -f "$dir/data/LOCK"
	run check --data-dir "$dir/data"
	same "check for another user's daemon" 0 "$status"
	run rebuild-hints --data-dir "$dir/data"
	same "rebuild-hints likewise" 0 "$status"
	same "its files are that user's" "" \
		"$(find "$dir/data" ! -user nobody)"
	chown -R 0 "$dir/data"
else
	echo "SKIPPED: not root, or nobody has no way there"
fi
start_daemon
run -e "$url" get fresh
same "and the daemon opens it again" "0:first" "$status:$out"
stop_daemon TERM
run get j
same "a daemon that is gone: exit 1" 1 "$status"
finish
