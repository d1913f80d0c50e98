#!/bin/bash
# tests/tools/test_install_deps.sh - what is missing is installed, once, from
# the control file's list; what is there costs nothing.
#
# dpkg-query, apt-get, id and sudo are stand-ins that write down their calls.

dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/tree/packaging/debian" "$dir/bin"
cp packaging/install-deps "$dir/tree/packaging/"
cat >"$dir/tree/packaging/debian/control" <<'E2'
Source: x
Build-Depends: debhelper-compat (= 13),
 liba-dev (>= 1.2) [linux-any] | libother-dev, libb-dev,
# a comment
 libtest <!nocheck>,
 peer-dev <pkg.raftcask.bench>,
Standards-Version: 4.6.2
Depends: not-this
E2
stand_in() {
	{ echo '#!/bin/sh'; cat; } >"$dir/bin/$1"
	chmod +x "$dir/bin/$1"
}
stand_in dpkg-query <<'E2'
for package; do :; done
grep -q -x "$package" "$HERE/installed" && echo installed
E2
stand_in apt-get <<'E2'
echo "apt-get $*" >>"$HERE/calls"
E2
stand_in sudo <<'E2'
echo sudo >>"$HERE/calls"
exec "$@"
E2
stand_in id <<'E2'
cat "$HERE/uid"
E2
export HERE=$dir
failures=0

# $1: case, $2: packages installed, $3: expected calls, then the arguments.
expect() {
	local name=$1 installed=$2 calls=$3 got
	shift 3
	tr ' ' '\n' <<<"$installed" >"$dir/installed"
	: >"$dir/calls"
	PATH=$dir/bin:$PATH "$dir/tree/packaging/install-deps" "$@" \
		>"$dir/out" 2>&1
	got=$(cat "$dir/calls")
	if [ "$got" = "$calls" ]; then
		echo "ok $name"
	else
		echo "not ok $name: $got"
		cat "$dir/out"
		failures=1
	fi
}

install="apt-get install -y --no-install-recommends"
echo 0 >"$dir/uid"
expect nothing_missing_calls_nothing \
	"build-essential liba-dev libb-dev libtest" ""
expect only_what_is_missing_is_installed "build-essential libb-dev" \
	"apt-get update
$install liba-dev libtest"
expect a_profile_adds_its_packages "build-essential liba-dev libb-dev libtest" \
	"apt-get update
$install debhelper peer-dev" bench deb
echo 1000 >"$dir/uid"
expect without_root_sudo_is_used "liba-dev libb-dev libtest" \
	"sudo
apt-get update
sudo
$install build-essential"
exit $failures
