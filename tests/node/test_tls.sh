#!/bin/bash
# tests/node/test_tls.sh - HTTPS of a real daemon: what is refused at the start,
# what a client sees, and certificates renewed while connections stay.

. tests/node/daemon.sh
. tests/lib/certs.sh
export TMPDIR=${TMPDIR:-/tmp}
unset RAFTCASK_TOKEN RAFTCASK_CACERT RAFTCASK_CERT RAFTCASK_KEY

check "an authority" make_ca "$dir" a
check "a certificate" make_cert "$dir" a n1
make_cert "$dir" a n2
make_ca "$dir" b
make_cert "$dir" b other
make_cert "$dir" a old $'activation_date = "2020-01-01 00:00:00"\nexpiration_date = "2020-02-01 00:00:00"'
make_cert "$dir" a early $'activation_date = "2199-01-01 00:00:00"\nexpiration_date = "2199-02-01 00:00:00"'

# $1: name, $2: exit code, $3: text on stderr; standard input: the security
# group. Both as a start and as a check.
refuses() {
	local security mode
	security=$(cat)
	printf 'security: { %s };\n' "$security" >"$dir/conf"
	for mode in --check-config --name=n1; do
		timeout 20 "$daemon" --config "$dir/conf" --data-dir "$dir/no" \
			--http 127.0.0.1:0 $mode 2>"$dir/err" >/dev/null
		status=$?
		case $status:$(cat "$dir/err") in
		$2:*"$3"*) echo "ok $1 ($mode)" ;;
		*)
			echo "not ok $1 ($mode): exit $status"
			sed 's/^/  /' "$dir/err"
			failures=$((failures + 1))
			;;
		esac
	done
}

pair() { # certificate, key
	echo "tls_cert = \"$dir/$1-cert.pem\"; tls_key = \"$dir/$2-key.pem\";"
}
refuses "a certificate that is not there" 78 \
	"$dir/conf:1: security.tls_cert: $dir/none-cert.pem: not found" \
	<<<"$(pair none n1)"
refuses "a key that is not there" 78 "$dir/none-key.pem: not found" \
	<<<"$(pair n1 none)"
refuses "a key of another" 78 \
	"$dir/n2-key.pem is not the key of the certificate $dir/n1-cert.pem" \
	<<<"$(pair n1 n2)"
refuses "an expired certificate" 78 \
	"$dir/old-cert.pem: the certificate has expired" <<<"$(pair old old)"
refuses "one of the future" 78 \
	"$dir/early-cert.pem: the certificate is not valid yet" \
	<<<"$(pair early early)"
refuses "a certificate without its key" 78 \
	"$dir/conf:1: security.tls_cert: tls_key is missing" \
	<<<"tls_cert = \"$dir/n1-cert.pem\";"
refuses "an authority alone" 78 "security.tls_ca: has no effect" \
	<<<"tls_ca = \"$dir/a-ca.pem\";"
echo hello >"$dir/text"
refuses "an authority that is none" 78 "$dir/text: " \
	<<<"$(pair n1 n1) tls_ca = \"$dir/text\";"
refuses "an expired certificate for the links" 78 \
	"security.peer_cert: $dir/old-cert.pem: the certificate has expired" \
	<<<"peer_cert = \"$dir/old-cert.pem\"; peer_key = \"$dir/old-key.pem\";
	peer_ca = \"$dir/a-ca.pem\";"

# Served; cert.pem and key.pem are what is renewed.
cp "$dir/n1-cert.pem" "$dir/cert.pem"
cp "$dir/n1-key.pem" "$dir/key.pem"
cat >"$dir/conf" <<E
security: { tls_cert = "$dir/cert.pem"; tls_key = "$dir/key.pem"; };
E
start_daemon
check "the address says https" grep -q '^https://127.0.0.1:' <<<"$url"
port=${url##*:}
c() {
	curl -s --cacert "$dir/a-ca.pem" "$@"
}
same "a write" 201 "$(c -o /dev/null -w '%{http_code}' -X PUT -d v "$url/k")"
same "a read" v "$(c "$url/k?raw")"
check "who trusts nobody gets nothing" \
	bash -c "! curl -s '$url/k'"
check "plain HTTP gets nothing" bash -c "! curl -s 'http://127.0.0.1:$port/k'"
check "TLS 1.1 gets nothing" \
	bash -c "! curl -s --cacert '$dir/a-ca.pem' --tls-max 1.1 '$url/k'"
check "TLS 1.2 does" \
	curl -s --cacert "$dir/a-ca.pem" --tls-max 1.2 "$url/k"

# The client of this tree
r() {
	"$raftcask" -e "$url" "$@"
}
same "the client with an authority" v "$(r --cacert "$dir/a-ca.pem" get k)"
same "by the environment" v "$(RAFTCASK_CACERT=$dir/a-ca.pem r get k)"
same "bench over https" "failed 0 wrong 0" "$(r --cacert "$dir/a-ca.pem" bench \
	-n=50 -conns=3 -t=RW --verify | grep -E '^(failed|wrong)' | tr '\n' ' ' |
	sed 's/ $//')"
r get k 2>"$dir/err"
same "without: exit 1" 1 $?
check "and what to do" grep -q -e '--cacert FILE' "$dir/err"
r --cacert "$dir/text" get k 2>"$dir/err"
same "a file that is none: exit 1" 1 $?
r --cert "$dir/n1-cert.pem" get k 2>"$dir/err"
same "half a pair is usage" 2 $?

# Who is on the way can write pages for http://, not for https://.
origin() {
	c -o /dev/null -w '%{http_code}' -H "Origin: $1" "$url/k"
}
same "this node's own page" 200 "$(origin "$url")"
same "one of the same name without TLS" 403 "$(origin "http://127.0.0.1:$port")"

# Renewal: a stream that is open stays, the next connection sees the new one.
c -N "$url/_/watch" >"$dir/events" &
stream=$!
for _ in $(seq 100); do
	[ -s "$dir/events" ] && break
	sleep 0.1
done
shown() {
	gnutls-cli --x509cafile "$dir/a-ca.pem" -p "$port" 127.0.0.1 \
		--save-cert="$dir/shown" </dev/null >/dev/null 2>&1
	certtool -i --infile "$dir/shown" 2>/dev/null |
		sed -n 's/.*Subject: CN=//p' | head -n 1
}
log_has() { # waits
	for _ in $(seq 100); do
		grep -q "$1" "$dir/log" && return
		sleep 0.1
	done
	cat "$dir/log"
	return 1
}
same "the first certificate" n1 "$(shown)"
cp "$dir/old-cert.pem" "$dir/cert.pem"
cp "$dir/old-key.pem" "$dir/key.pem"
kill -HUP "$pid"
check "an expired one is refused on reload" log_has 'reload_refused'
check "and named" grep -q "fault .*$dir/cert.pem: the certificate has expired" \
	"$dir/log"
same "nothing changed" n1 "$(shown)"
cp "$dir/n2-cert.pem" "$dir/cert.pem"
cp "$dir/n2-key.pem" "$dir/key.pem"
kill -HUP "$pid"
check "a good one is taken" log_has ' reloaded'
same "and shown" n2 "$(shown)"
c -X PUT -d w "$url/k"
for _ in $(seq 100); do
	grep -q '"value":"w"' "$dir/events" && break
	sleep 0.1
done
check "the open stream goes on" grep -q '"value":"w"' "$dir/events"
sed -i 's/tls_cert.*;/insecure = false;/' "$dir/conf"
echo 'security: { insecure = false; };' >"$dir/conf"
: >"$dir/log"
kill -HUP "$pid"
check "HTTPS does not end on reload" log_has 'only at a start'
same "still served" w "$(c "$url/k?raw")"
kill "$stream"
stop_daemon
same "it stops cleanly" 0 "$status"

# Clients with certificates; that is enough beyond loopback.
cat >"$dir/conf" <<E
security: { tls_cert = "$dir/n1-cert.pem"; tls_key = "$dir/n1-key.pem";
            tls_ca = "$dir/a-ca.pem"; };
E
start_daemon --http 0.0.0.0:0
url=https://127.0.0.1:${url##*:}
show() {
	c --cert "$dir/$1-cert.pem" --key "$dir/$1-key.pem" "${@:2}"
}
same "a client of the authority" w "$(show n2 "$url/k?raw")"
check "none: nothing" bash -c "! curl -s --cacert '$dir/a-ca.pem' '$url/k'"
same "of another authority: nothing" "" "$(show other "$url/k?raw")"
same "expired: nothing" "" "$(show old "$url/k?raw")"
same "health, too" "" "$(c "$url/_/health")"
same "raftcask with a certificate" w "$(r --cacert "$dir/a-ca.pem" \
	--cert "$dir/n2-cert.pem" --key "$dir/n2-key.pem" get k)"
r --cacert "$dir/a-ca.pem" get k 2>"$dir/err"
check "raftcask without one is told what it may be" \
	grep -q 'may ask for a certificate: --cert, --key' "$dir/err"
r --cacert "$dir/a-ca.pem" --cert "$dir/other-cert.pem" \
	--key "$dir/other-key.pem" get k 2>"$dir/err"
check "with another authority's, too" \
	grep -q 'may refuse the certificate' "$dir/err"
"$raftcask" -e "http://${url#https://}" get k 2>"$dir/err"
check "and with the wrong scheme" grep -q 'call it https://' "$dir/err"
stop_daemon

# An authority that is named is the only one.
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
	rm -rf "$dir/data"
	mkdir "$dir/system"
	cp "$dir/b-ca.pem" "$dir/system/ca.pem"
	cp "$dir/b-ca.pem" "$dir/system/ca-certificates.crt"
	echo "security: { $(pair other other) };" >"$dir/conf"
	start_daemon
	with_system() {
		unshare -m sh -c 'mount --bind "$0" /etc/ssl/certs && exec "$@"' \
			"$dir/system" "$raftcask" -e "$url" "$@" 2>/dev/null
	}
	same "the system's authorities count" 0 \
		"$(with_system put k v >/dev/null; echo $?)"
	same "not beside the one that is named" 1 \
		"$(with_system --cacert "$dir/a-ca.pem" get k >/dev/null; echo $?)"
	same "which does" v "$(with_system --cacert "$dir/b-ca.pem" get k)"
	stop_daemon
fi

# What a name stands for only shows when it is bound.
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
	: >"$dir/conf"
	echo "0.0.0.0 localhost" >"$dir/hosts"
	out=$(timeout 20 unshare -m sh -c '
		mount --bind "$1/hosts" /etc/hosts || exit 9
		exec "$2" --config "$1/conf" --data-dir "$1/no2" \
			--http localhost:0' - "$dir" "$daemon" 2>&1)
	same "a localhost that is none: exit 78" 78 $?
	check "and why" grep -q 'is not a loopback address' <<<"$out"
else
	echo "SKIPPED: no mount namespace: what localhost stands for is unproved"
fi

# Certificates that were taken back: a list beside the authority.
rm -rf "$dir/data"
cp "$dir/a-ca.pem" "$dir/ca.pem"
peer_port=$(python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
cat >"$dir/conf" <<E
cluster: { listen = "127.0.0.1:$peer_port"; };
security: { $(pair n1 n1) tls_ca = "$dir/ca.pem";
	peer_cert = "$dir/n1-cert.pem"; peer_key = "$dir/n1-key.pem";
	peer_ca = "$dir/ca.pem"; };
E
start_daemon
as() { # by whom, what
	c --cert "$dir/$1-cert.pem" --key "$dir/$1-key.pem" -o /dev/null \
		-w '%{http_code}' "$url$2"
}
link_as() {
	timeout 5 gnutls-cli --x509cafile "$dir/a-ca.pem" -p "$peer_port" \
		--x509certfile "$dir/$1-cert.pem" \
		--x509keyfile "$dir/$1-key.pem" 127.0.0.1 \
		</dev/null >/dev/null 2>&1
}
same "a client with a certificate" 200 "$(as n2 /_/health)"
link_as n2
check "a link, too" bash -c "! grep 'refused.*certificate' '$dir/log'"
make_crl "$dir" a n2 >>"$dir/ca.pem"
check "there is a list" grep -q 'BEGIN X509 CRL' "$dir/ca.pem"
kill -HUP "$pid"
check "it is taken over" log_has ' reloaded'
same "who was taken back is refused" 000 "$(as n2 /_/health)"
same "another is not" 200 "$(as n1 /_/health)"
for _ in $(seq 50); do # the links take it over a moment later
	link_as n2
	grep -q 'link refused.*TLS' "$dir/log" && break
done
check "nor has he a link" log_has 'link refused.*TLS'
cp "$dir/a-ca.pem" "$dir/ca.pem"
make_crl "$dir" a n2 $'crl_this_update_date = "2020-01-01 00:00:00"\ncrl_next_update_date = "2020-02-01 00:00:00"' >>"$dir/ca.pem"
: >"$dir/log"
kill -HUP "$pid"
check "a list that is out of date is refused" \
	log_has "$dir/ca.pem: the revocation list in it is out of date"
same "the one before stays in force" 000 "$(as n2 /_/health)"
same "and lets others in" 200 "$(as n1 /_/health)"
stop_daemon
finish
