#!/bin/bash
# tests/node/test_reload.sh - what SIGHUP takes over, what it refuses, and what
# the log says of requests.

. tests/node/daemon.sh
. tests/lib/certs.sh
unset RAFTCASK_TOKEN RAFTCASK_CACERT RAFTCASK_CERT RAFTCASK_KEY

code() {
	curl -s -o "$dir/body" -w '%{http_code}' "$@"
}
log_has() { # waits
	for _ in $(seq 100); do
		grep -q -e "$1" "${2:-$dir/log}" && return
		sleep 0.1
	done
	cat "${2:-$dir/log}"
	return 1
}
# Standard input becomes the configuration, and is taken over.
reload() {
	cat >"$dir/conf"
	: >"$dir/log"
	kill -HUP "$pid"
	log_has "${1:-conf reloaded}"
}

conf() {
	cat >"$dir/conf"
}
conf <<'E'
http: { max_value_size = "1K"; };
E
start_daemon
head -c 2000 /dev/zero >"$dir/2k"
same "over the limit" 413 "$(code -T "$dir/2k" "$url/big")"
check "a higher limit is taken over" reload <<'E'
http: { max_value_size = "1M"; max_connections = 5000; };
E
check "and named" grep -q 'changed key=http.max_value_size$' "$dir/log"
for _ in $(seq 50); do # the store hears of it a moment later
	[ "$(code -T "$dir/2k" "$url/big")" = 413 ] || break
	sleep 0.1
done
same "it counts" 204 "$(code -T "$dir/2k" "$url/big")"
check "a lower limit of connections" reload <<'E'
http: { max_connections = 1; };
E
exec 7<>"/dev/tcp/127.0.0.1/${url##*:}"
sleep 0.2
same "one more is told so" 503 "$(code "$url/_/health")"
exec 7>&-
sleep 0.3
same "and is let in when there is room" 200 "$(code "$url/_/health")"
check "space that the disk does not have" reload <<'E'
storage: { min_free_disk = "1000000G"; };
E
for _ in $(seq 100); do
	[ "$(code -T "$dir/2k" "$url/big")" = 507 ] && break
	sleep 0.1
done
same "writes are refused" 507 "$(code -T "$dir/2k" "$url/big")"
check "and space that it has" reload <<'E'
E
for _ in $(seq 100); do
	[ "$(code -T "$dir/2k" "$url/big")" = 204 ] && break
	sleep 0.1
done
same "writes go on" 204 "$(code -T "$dir/2k" "$url/big")"
check "a key that goes back to what it was is named" \
	grep -q 'changed key=storage.min_free_disk$' "$dir/log"
check "nothing that changes" reload <<'E'
E
same "no key is named twice" "" "$(grep 'changed key=' "$dir/log")"
check "a pages' origin" reload <<'E'
security: { allow_origin = "https://a.example"; };
E
same "it may call" 200 "$(code "$url/_/health" -H 'Origin: https://a.example')"
same "others may not" 403 "$(code "$url/_/health" -H 'Origin: https://b.example')"
check "what cannot change is said" reload <<'E'
node: { name = "another"; };
E
check "until when" grep -q 'key=node.name takes_effect="at the next start"' \
	"$dir/log"

# A bad file changes nothing, not even what is good in it.
check "a bad file is refused" reload 'conf reload_refused' <<'E'
log: { level = "debug"; };
security: { tokens = true; };
http: { max_value_size = 17; };
E
check "with its line" grep -q "conf fault $dir/conf:3: http.max_value_size" \
	"$dir/log"
same "no token is asked for" 200 "$(code "$url/big")"
check "no debug line came" bash -c "! grep -q ' debug ' '$dir/log'"

# What would be enough for the addresses of the next start is not for these.
stop_daemon
check "an authority" make_ca "$dir" a
check "a certificate" make_cert "$dir" a n1
tls="tls_cert = \"$dir/n1-cert.pem\"; tls_key = \"$dir/n1-key.pem\";"
conf <<E
http: { listen = [ "0.0.0.0:0" ]; };
security: { $tls tokens = true; };
E
launch_daemon
url=https://127.0.0.1:${url##*:}
stranger() {
	code --cacert "$dir/a-ca.pem" "$url/private"
}
same "beyond loopback a stranger is refused" 401 "$(stranger)"
check "to let everybody in now is refused" reload 'conf reload_refused' <<E
http: { listen = [ "127.0.0.1:0" ]; };
security: { $tls };
E
check "with the reason" grep -q \
	'fault .*http.listen: until the next start this node serves beyond' \
	"$dir/log"
same "nothing changed" 401 "$(stranger)"
check "unless it is said to be meant" reload <<E
http: { listen = [ "127.0.0.1:0" ]; };
security: { $tls insecure = true; };
E
same "then it is open" 404 "$(stranger)"
stop_daemon
conf <<E
E
start_daemon

# Lines of requests
check "debug lines" reload <<'E'
log: { level = "debug"; };
E
code -X PUT -d secret "$url/private" -H 'X-Request-Id: my"id 7' >"$dir/code"
check "each request has one, with its id" \
	log_has 'debug http request what=key method=PUT status=20[14] us=[0-9]* peer=127.0.0.1 token=- request="my?id?7"'
check "neither key nor value" bash -c "! grep -q 'private\|secret' '$dir/log'"
check "tokens, and fewer lines" reload <<'E'
security: { tokens = true; };
log: { level = "info"; };
E
same "a stranger" 401 "$(code "$url/private" -H 'X-Request-Id: stranger-1')"
check "is in the log" \
	log_has 'info http refused status=401 code=unauthorized peer=127.0.0.1 token=- request="stranger-1" unsaid=0'
code "$url/private?x=[1-400]" >"$dir/code" # one process: many a second
sleep 1.1
code "$url/private" >"$dir/code"
check "but not for each of many" \
	bash -c "[ \$(grep -c 'http refused' '$dir/log') -lt 400 ]"
check "which are counted" log_has 'http refused .*unsaid=[1-9]'
check "no token" reload <<'E'
E
same "and all is open again" 200 "$(code "$url/private")"
"$raftcask" -e "$url" token add app --prefix app/ --rights r >"$dir/token"
check "what changes the cluster has a line" \
	log_has 'info http change what=tokens method=POST status=200'
check "the secret has none" bash -c "! grep -qF '$(cat "$dir/token")' '$dir/log'"
stop_daemon
same "it stops cleanly" 0 "$status"

# The journal gets a priority instead of a time.
: >"$dir/conf"
"$daemon" --config "$dir/conf" --check-config >"$dir/out" 2>&1
stat_of=$(stat -c '%d:%i' "$dir/log")
JOURNAL_STREAM=$stat_of timeout 3 "$daemon" --config "$dir/conf" \
	--data-dir "$dir/data" --http 127.0.0.1:0 2>>"$dir/log"
check "lines for the journal" grep -q '^<6>node ready ' "$dir/log"
JOURNAL_STREAM=$stat_of timeout 9 "$daemon" --config "$dir/conf" \
	--data-dir "$dir/none/data" 2>>"$dir/log"
check "why it did not start is an error there" \
	grep -q '^<3>raftcaskd: data directory .*/none/data: ' "$dir/log"
echo 'nodes: { };' >"$dir/conf"
JOURNAL_STREAM=$stat_of timeout 9 "$daemon" --config "$dir/conf" 2>>"$dir/log"
check "and so is a fault of the configuration" \
	grep -q '^<3>.*/conf:1: unknown key nodes' "$dir/log"
: >"$dir/conf"

# Two members, a new authority while they run: renewed links, none lost.
make_ca "$dir" a
make_ca "$dir" b
for n in 1 2; do
	make_cert "$dir" a "a$n"
	make_cert "$dir" b "b$n"
done
cat "$dir/a-ca.pem" "$dir/b-ca.pem" >"$dir/both-ca.pem"
http=$((23060 + RANDOM % 8 * 4))
node_conf() { # node, certificate, authority
	cat >"$dir/n$1.conf" <<E
node: { name = "n$1"; data_dir = "$dir/n$1"; };
http: { listen = [ "127.0.0.1:$((http + $1 - 1))" ]; };
cluster: { heartbeat = "50ms"; election_timeout = "400ms"; members = (
  { name = "n1"; peer = "127.0.0.1:$((http + 2))"; http = "127.0.0.1:$http"; },
  { name = "n2"; peer = "127.0.0.1:$((http + 3))";
    http = "127.0.0.1:$((http + 1))"; } ); };
storage: { min_free_disk = "1M"; };
security: { peer_cert = "$dir/$2-cert.pem"; peer_key = "$dir/$2-key.pem";
            peer_ca = "$dir/$3-ca.pem"; };
E
}
start_node() {
	"$daemon" --config "$dir/n$1.conf" 2>>"$dir/n$1.log" &
	pids[$1]=$!
}
ready() {
	for _ in $(seq 200); do
		[ "$(code "http://127.0.0.1:$((http + $1 - 1))/_/ready")" = 200 ] &&
			return
		sleep 0.1
	done
	tail -n 20 "$dir/n$1.log"
	return 1
}
declare -a pids
trap 'kill -9 "${pids[@]}" 2>/dev/null; cleanup' EXIT
for n in 1 2; do
	node_conf $n a$n both
	start_node $n
done
check "two members by certificates" ready 1
check "both" ready 2
code -X PUT -d x "http://127.0.0.1:$http/k" -H 'X-Request-Id: r1' >"$dir/code"
same "they serve" 201 "$(cat "$dir/code")"
# A change that one of them asks for is in the log of who leads, with its id.
for n in 1 2; do
	curl -s -o "$dir/body" "http://127.0.0.1:$((http + n - 1))/_/tokens" \
		-H "X-Request-Id: wish-$n" \
		-d "{\"name\":\"t$n\",\"prefix\":\"\",\"rights\":\"r\"}"
done
cat "$dir"/n[12].log >"$dir/both.log"
check "a wish of the one" log_has 'store token_made name=t1 request="wish-1"' \
	"$dir/both.log"
check "and of the other" log_has 'store token_made name=t2 request="wish-2"' \
	"$dir/both.log"
for n in 1 2; do
	node_conf $n b$n both
	kill -HUP "${pids[$n]}"
	check "n$n takes its new certificate" log_has 'conf reloaded' \
		"$dir/n$n.log"
done
same "still serving" 204 \
	"$(code -X PUT -d y "http://127.0.0.1:$http/k")"
# n2 trusts the new authority only: n1 must show its new certificate.
kill "${pids[2]}"
wait "${pids[2]}"
node_conf 2 b2 b
start_node 2
check "a link under the new authority" ready 2
same "and a write over it" 204 \
	"$(code -X PUT -d z "http://127.0.0.1:$((http + 1))/k")"
kill "${pids[@]}"
wait "${pids[@]}"
finish
