#!/bin/bash
# tests/httpd/test_metrics.sh - /_/metrics is what Prometheus takes, and every
# figure that alerts and the board look at is there.

. tests/node/daemon.sh
. tests/lib/certs.sh
unset RAFTCASK_TOKEN RAFTCASK_CACERT RAFTCASK_CERT RAFTCASK_KEY
alerts=packaging/prometheus/raftcask.rules.yml
board=packaging/grafana/raftcask.json

make_ca "$dir" a
make_cert "$dir" a n1
cat >"$dir/conf" <<E
cluster: { listen = "127.0.0.1:0"; };
security: { tls_cert = "$dir/n1-cert.pem"; tls_key = "$dir/n1-key.pem"; };
E
mount=
if [ "$(id -u)" = 0 ] && [ -c /dev/fuse ]; then
	mount=$dir/keys
	mkdir "$mount"
	trap 'umount -l "$mount" 2>/dev/null; cleanup' EXIT
else
	echo "SKIPPED: the figures of a mount take root and /dev/fuse"
fi
start_daemon ${mount:+--mount "$mount"}
c() {
	curl -s --cacert "$dir/a-ca.pem" "$@"
}
for i in 1 2 3; do
	c -o /dev/null -X PUT -d v "$url/k$i"
	c -o /dev/null "$url/k$i" -H 'Origin: https://evil.example'
	c -o /dev/null "$url/missing"
done
if [ -n "$mount" ]; then
	echo value >"$mount/file"
	cat "$mount/file" "$mount/k1" >/dev/null
	ls "$mount" >/dev/null
	mv "$mount/file" "$mount/file2"
	rm "$mount/file2"
fi
same "type" "text/plain; version=0.0.4; charset=utf-8" "$(c -o "$dir/metrics" \
	-w '%{content_type}' "$url/_/metrics")"

if command -v promtool >/dev/null; then
	promtool check metrics <"$dir/metrics" >"$dir/said" 2>&1
	same "promtool: exit 0" 0 $?
	same "promtool has nothing to say" "" "$(cat "$dir/said")"
	check "promtool takes the alerts" promtool check rules "$alerts"
	check "each speaks when it must, and only then" \
		promtool test rules tests/httpd/alerts.yml
else
	echo "SKIPPED: promtool (package prometheus) is not installed;" \
		"the form of figures and alerts is only half proved"
fi

same "each alert is tested" "$(sed -n 's/.*- alert: //p' "$alerts" | sort)" \
	"$(sed -n 's/.*- alertname: //p' tests/httpd/alerts.yml | sort -u)"

# Without promtool, and beyond what it looks at.
families=$(sed -n 's/^# TYPE \([^ ]*\) .*/\1/p' "$dir/metrics")
same "no family comes twice" "" "$(sort <<<"$families" | uniq -d)"
same "each has HELP" "$(sort <<<"$families")" \
	"$(sed -n 's/^# HELP \([^ ]*\) .*/\1/p' "$dir/metrics" | sort)"
same "no sample comes twice" "" \
	"$(grep -v '^#' "$dir/metrics" | sed 's/ [^ ]*$//' | sort | uniq -d)"
same "each sample is a number" "" \
	"$(grep -v '^#' "$dir/metrics" | grep -vE ' [0-9.e+-]+$')"
while read -r family type; do
	case $type:$family in
	counter:*_total | histogram:*_seconds) ;;
	counter:* | histogram:*) echo "not ok $type $family is named so" ;;
	gauge:*_total | gauge:*_count) echo "not ok gauge $family is named so" ;;
	esac
	samples=$(grep -v '^#' "$dir/metrics" |
		grep -cE "^$family(_bucket|_sum|_count)?[{ ]")
	[ "$samples" -gt 0 ] || echo "not ok $family has no sample"
done < <(sed -n 's/^# TYPE //p' "$dir/metrics") >"$dir/names"
same "names and types by the conventions" "" "$(cat "$dir/names")"

# A histogram's buckets rise and end with all, with any other labels.
histogram() {
	local counts
	counts=$(sed -n "s/^$1_bucket{$2le=.*} //p" "$dir/metrics")
	same "$1 $2 rises" "$(sort -n <<<"$counts")" "$counts"
	same "$1 $2 ends with its count" "$(sed -n \
		"s/^$1_count${2:+{${2%,}\}} //p" "$dir/metrics")" \
		"$(tail -n 1 <<<"$counts")"
}
for family in $(sed -n 's/^# TYPE \(.*\) histogram/\1/p' "$dir/metrics"); do
	for labels in $(sed -n "s/^${family}_bucket{\(.*\)le=\"+Inf.*/,\1/p" \
		"$dir/metrics"); do
		histogram "$family" "${labels#,}"
	done
done
value() {
	sed -n "s/^$1 //p" "$dir/metrics"
}
count=raftcask_fuse_request_duration_seconds_count
for operation in ${mount:+lookup open read write readdir change}; do
	check "the mount's $operation" \
		test "$(value "$count{operation=\"$operation\"}")" -gt 0
done
check "writes are counted" test "$(value raftcask_writes_total)" -ge 3
check "in the histogram of commits" \
	test "$(value raftcask_commit_duration_seconds_count)" -ge 3
check "and of syncs" test "$(value raftcask_sync_duration_seconds_count)" -ge 1
same "refusals by reason" 3 \
	"$(value 'raftcask_http_refused_total{reason="origin"}')"
same "ready" 1 "$(value raftcask_ready)"
check "the certificate's end" test \
	"$(value 'raftcask_certificate_expiry_timestamp_seconds{use="http"}')" \
	-gt "$(date +%s)"
check "a start in the past" test \
	"$(value process_start_time_seconds | sed 's/\..*//')" -le "$(date +%s)"
check "resident memory" test "$(value process_resident_memory_bytes)" -gt 1000000
check "descriptors" test "$(value process_open_fds)" -gt 5
check "a free disk" test "$(value raftcask_disk_free_bytes)" -gt 0

# Every figure that alerts and the board name exists.
for file in "$alerts" "$board"; do
	used=$(grep -oE '(raftcask|process)_[a-z_]+' "$file" | sort -u)
	check "$file looks at figures" test "$(wc -l <<<"$used")" -gt 15
	missing=
	for name in $used; do
		[ -n "$mount$(grep -v fuse <<<"$name")" ] || continue
		family=$(sed -E 's/_(bucket|sum|count)$//' <<<"$name")
		grep -qxE "$name|$family" <<<"$families" ||
			missing="$missing $name"
	done
	same "$file: all of them exist" "" "$missing"
done
check "the board is JSON" jq -e '.panels | length > 10' "$board"
same "its panels have each an id" "" "$(jq '.panels[].id' "$board" | sort | uniq -d)"
stop_daemon
finish
