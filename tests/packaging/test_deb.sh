#!/bin/bash
# tests/packaging/test_deb.sh - the Debian packages, built, judged, and lived
# with: for `make deb-test`, not for `make test`, as it takes minutes.
#
# Builds them twice and compares the bytes; asks lintian; then boots a Debian
# tree of debootstrap in a container of systemd-nspawn, where
# tests/packaging/in_container.sh installs, uses, upgrades, removes and purges.
# Needs root. The tree is kept in $BUILD/debtest for the next time.

cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
deb=$BUILD/deb work=$BUILD/debtest
mirror=${MIRROR:-http://deb.debian.org/debian}
failures=0

result() {
	if [ "$2" = 0 ]; then
		echo "ok $1"
	else
		echo "not ok $1"
		failures=$((failures + 1))
	fi
}

[ "$(id -u)" = 0 ] || {
	echo "skipped: needs root"
	exit 77
}
for tool in dpkg-buildpackage lintian debootstrap systemd-nspawn; do
	command -v $tool >/dev/null || {
		echo "skipped: $tool is not installed"
		exit 77
	}
done
mkdir -p "$work"

# ------------------------------------------------------------------ build ---
packaging/build-deb "$deb" >"$work/build.log" 2>&1
result "the packages are built" $?
(
	umask 002
	LC_ALL=C.UTF-8 TZ=Asia/Tokyo packaging/build-deb "$work/again" \
		>"$work/again.log" 2>&1
)
same=0
for file in "$deb"/*.deb "$deb"/*.dsc "$deb"/*.tar.xz; do
	cmp "$file" "$work/again/${file##*/}" || same=1
done
result "two builds in different places have the same bytes" $same
lintian -i -I --allow-root --fail-on error,warning,info "$deb"/*.changes
result "lintian has nothing to say, not even as information" $?

# -------------------------------------------------------------- hardening ---
hardened=0
mkdir -p "$work/x"
for package in server client; do
	rm -rf "${work:?}/x/$package"
	dpkg -x "$deb/raftcask-${package}_"*.deb "$work/x/$package" || hardened=1
done
for program in "$work"/x/*/usr/bin/* "$work"/x/*/usr/libexec/*; do
	readelf -h -d -l "$program" >"$work/elf"
	for want in 'DYN (Position' 'FLAGS.*BIND_NOW\|BIND_NOW' GNU_RELRO; do
		grep -q "$want" "$work/elf" ||
			{ echo "$program: no $want"; hardened=1; }
	done
	readelf -W --dyn-syms "$program" | grep -q __stack_chk_fail ||
		{ echo "$program: no stack protector"; hardened=1; }
	readelf -W --dyn-syms "$program" | grep -q '_chk@' ||
		{ echo "$program: not fortified"; hardened=1; }
done
grep -q -- '-D_FORTIFY_SOURCE=2' "$work/build.log" || hardened=1
result "programs are hardened" $hardened

# -------------------------------------------------------------- container ---
# Libraries that the packages depend on are there beforehand: the container
# has no network.
depends=$(for file in "$deb"/raftcask-{server,client}_*.deb; do
	dpkg-deb -f "$file" Depends | tr ',' '\n'
done | sed 's/|.*//; s/(.*//; s/ //g' | sort -u | grep -v '^systemd$')
include="systemd,systemd-sysv,dbus,curl,procps,jq,gawk,bash-completion"
include="$include,autopkgtest,apt-utils,dpkg-dev"
include="$include,$(tr '\n' ',' <<<"$depends")"
include=${include%,}
base=$work/base-$(md5sum <<<"$include" | cut -c 1-8)
if [ ! -e "$base/.complete" ]; then
	rm -rf "$work"/base-*
	debootstrap --variant=minbase --include="$include" bookworm "$base" \
		"$mirror" >"$work/debootstrap.log" 2>&1 &&
		touch "$base/.complete"
	result "debootstrap makes a tree" $?
fi
[ -e "$base/.complete" ] || exit 1

top=$work/top
cleanup() {
	umount -l "$top/root" 2>/dev/null
	rm -rf "$top"
}
trap cleanup EXIT
cleanup
mkdir -p "$top/up" "$top/work" "$top/root"
mount -t overlay overlay -o \
	"lowerdir=$PWD/$base,upperdir=$PWD/$top/up,workdir=$PWD/$top/work" \
	"$top/root" || exit 1
here=$top/root/opt/test
mkdir -p "$here"
cp "$deb"/raftcask-{server,client}_*.deb "$here"
mkdir -p "$here/source/debian"
cp -r packaging/debian/{tests,control,changelog,copyright} "$here/source/debian"
cp tests/packaging/in_container.sh "$here"
# The next release: the same files under a higher version.
for package in server client; do
	rm -rf "$work/next"
	dpkg-deb -R "$deb/raftcask-${package}_"*.deb "$work/next"
	sed -i 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
	if [ $package = server ]; then
		echo '# a comment of the next release' \
			>>"$work/next/etc/raftcask/raftcask.conf"
	fi
	dpkg-deb --root-owner-group -b "$work/next" \
		"$here/next-$package.deb" >/dev/null
done
cat >"$top/root/etc/systemd/system/raftcask-test.service" <<'UNIT'
[Unit]
Description=what this container is for
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /opt/test/in_container.sh
ExecStopPost=/bin/systemctl poweroff --no-block
StandardOutput=file:/opt/test/out
StandardError=inherit
TimeoutStartSec=10min
UNIT
mkdir -p "$top/root/etc/systemd/system/default.target.wants"
ln -s ../raftcask-test.service \
	"$top/root/etc/systemd/system/default.target.wants/"
timeout 900 systemd-nspawn -q -D "$top/root" --register=no --keep-unit \
	--private-network --bind=/dev/fuse --boot </dev/null \
	>"$work/nspawn.log" 2>&1
cat "$here/out" 2>/dev/null
grep -q '^end of the container' "$here/out" 2>/dev/null
result "the container came to its end" $?
failures=$((failures + $(grep -c '^not ok ' "$here/out")))
[ "$failures" = 0 ]
