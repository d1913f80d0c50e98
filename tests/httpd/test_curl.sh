#!/bin/bash
# tests/httpd/test_curl.sh - what docs/http.md shows, with curl, against a real
# daemon, and what only the real store can answer.

. tests/node/daemon.sh

start_daemon
U=$url
code() { # status of a request
	curl -s -o "$dir/body" -w '%{http_code}' "$@"
}
header() { # header name, then the request
	local name=$1
	shift
	curl -s -o /dev/null -D - "$@" | tr -d '\r' |
		sed -n "s/^$name: //Ip"
}

# Reading and writing
same "POST" '{"success":true}' "$(curl -s -X POST $U/greeting \
	-H 'Content-Type: application/json' -d '{"value":"hello"}')"
same "GET" '{"value":"hello"}' "$(curl -s $U/greeting)"
same "DELETE" '{"success":true}' "$(curl -s -X DELETE $U/greeting)"
same "DELETE again" '{"success":true}' "$(curl -s -X DELETE $U/greeting)"
same "GET of nothing" 404 "$(code $U/greeting)"
same "a form is no JSON" 400 "$(code $U/greeting -d '{"value":"x"}')"

head -c 3000000 /dev/urandom >"$dir/photo"
same "PUT creates" 201 "$(code -T "$dir/photo" $U/photos/cat)"
same "PUT replaces" 204 "$(code -T "$dir/photo" $U/photos/cat)"
curl -s "$U/photos/cat?raw" >"$dir/cat"
check "the same bytes come back" cmp "$dir/photo" "$dir/cat"
curl -s -r 65530-65549 "$U/photos/cat?raw" >"$dir/part"
check "a range of them" cmp "$dir/part" \
	<(tail -c +65531 "$dir/photo" | head -c 20)
same "HEAD tells the size" 3000000 "$(header Content-Length -I "$U/photos/cat?raw")"
same "too large for JSON" 413 "$(code $U/photos/cat)"
same "chunked upload" 201 "$(code -T - $U/photos/dog <"$dir/photo")"

# The tree
same "below a key" 409 "$(code -X PUT -d x $U/photos/cat/x)"
same "a directory" 409 "$(code -X PUT -d x $U/photos)"
same "mkdir" 201 "$(code -X PUT $U/empty/)"
same "rmdir of what has entries" 409 "$(code -X DELETE $U/photos)"
same "a directory holds no value" 400 "$(code -X PUT -d x $U/empty/)"
same "bad key" 400 "$(code "$U/a//b")"

# Conditions
same "create only" 201 "$(code -X PUT $U/lock -H 'If-None-Match: *' -d mine)"
same "create twice" 412 "$(code -X PUT $U/lock -H 'If-None-Match: *' -d mine)"
tag=$(header ETag $U/lock)
same "not modified" 304 "$(code $U/lock -H "If-None-Match: $tag")"
same "replace" 204 "$(code -X PUT $U/lock -H "If-Match: $tag" -d mine)"
same "replace what moved on" 412 \
	"$(code -X PUT $U/lock -H "If-Match: $tag" -d mine)"
tag=$(header ETag $U/lock)
same "the 412 tells" "$tag" \
	"$(header ETag -X PUT $U/lock -H 'If-Match: "1"' -d x)"
same "delete under a condition" 200 \
	"$(code -X DELETE $U/lock -H "If-Match: $tag")"

# Expiry
same "ttl" 201 "$(code -X PUT "$U/brief?ttl=300ms" -d x)"
check "what is left is shown" grep -qE '^0\.[0-9]{3}$' \
	<<<"$(header X-Raftcask-TTL $U/brief)"
sleep 1
same "expired" 404 "$(code $U/brief)"

# Listing
curl -s -o /dev/null -X PUT $U/l/a -d 1
curl -s -o /dev/null -X PUT $U/l/b/c -d 22
same "listing" '[["l/a",1]] ["l/b/"] false' "$(curl -s \
	"$U/_/kv?prefix=l/&delimiter=/" | python3 -c '
import json, sys
p = json.load(sys.stdin)
print(json.dumps([[k["key"], k["size"]] for k in p["keys"]],
		 separators=(",", ":")),
      json.dumps(p["prefixes"]), str(p["more"]).lower())')"
next=$(curl -s "$U/?prefix=l/&limit=1" | sed 's/.*"next":"\([^"]*\)".*/\1/')
check "the next page" grep -q '"key":"l/b/c"' <<<"$(curl -s -G \
	--data-urlencode "after=$next" --data-urlencode prefix=l/ "$U/_/kv")"
same "delete a prefix" '{"deleted":2}' \
	"$(curl -s -X DELETE "$U/_/kv?prefix=l/")"
same "all needs to be said" 400 "$(code -X DELETE "$U/_/kv")"

# Batches
batch='{"if":[{"key":"t","exists":false}],
	"then":[{"put":"t","value":"1"},{"delete":"b"},{"get":"c"}],
	"else":[{"get":"t"}]}'
check "then" grep -q '^{"succeeded":true,.*"rev":.*{"deleted":false},null\]}$' \
	<<<"$(curl -s -X POST $U/_/txn -H 'Content-Type: application/json' \
	-d "$batch")"
check "else" grep -q '^{"succeeded":false,.*"value":"1"}\]}$' \
	<<<"$(curl -s -X POST $U/_/txn -H 'Content-Type: application/json' \
	-d "$batch")"

# Watches
rev=$(header X-Raftcask-Revision $U/t)
curl -s "$U/t?watch&after=$rev&wait=20s" >"$dir/poll" &
poll=$!
curl -sN --max-time 3 "$U/_/watch?prefix=t" >"$dir/events" &
events=$!
sleep 0.5
curl -s -o /dev/null -X PUT $U/t -d 2
wait $poll
same "long poll" '{"value":"2"}' "$(cat "$dir/poll")"
curl -s -o /dev/null -X DELETE $U/t
wait $events
check "put event" grep -q '^data: {"key":"t","rev":[0-9]*,"value":"2"}$' \
	"$dir/events"
check "delete event" grep -q '^event: delete$' "$dir/events"
id=$(sed -n 's/^id: //p' "$dir/events" | head -1)
curl -sN --max-time 1 "$U/_/watch?prefix=t" -H "Last-Event-ID: $id" \
	>"$dir/again"
same "resumed after the first" 1 "$(grep -c '^event:' "$dir/again")"
same "a wait ends" 204 "$(code "$U/t?watch&wait=200ms")"

# System
same "health" 200 "$(code $U/_/health)"
same "ready" 200 "$(code $U/_/ready)"
same "merge" '{"success":true}' "$(curl -s -X POST $U/_/merge)"
check "status is JSON" python3 -m json.tool \
	<<<"$(curl -s $U/_/status)" >/dev/null
check "metrics" grep -q '^raftcask_log_syncs_total ' \
	<<<"$(curl -s $U/_/metrics)"
if command -v promtool >/dev/null; then
	check "metrics by Prometheus' own rules" promtool check metrics \
		<<<"$(curl -s $U/_/metrics)"
fi
check "a backup" test "$(curl -s $U/_/snapshot | wc -c)" -gt 3000000
same "unknown page" 404 "$(code $U/_/nonsense)"
stop_daemon
same "a clean stop" 0 "$status"
finish
