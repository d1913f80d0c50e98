#!/bin/bash
# tests/packaging/test_install.sh - what `make install` lays down is what the
# packages take, and what can be proved of the packages without building them.

cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d "${TMPDIR:-/tmp}/raftcask-test-XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
. tests/lib/cases.sh

install_to() {
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL \
		make --no-print-directory -s "$@"
}

packaged="prefix=/usr sysconfdir=/etc unitdir=/lib/systemd/system"
# shellcheck disable=SC2086 # a list of settings
check "make install" install_to install DESTDIR="$dir/tree" $packaged
tree=$dir/tree

# Every path of the *.install files matches, and nothing is left over.
lists=$(cat packaging/debian/*.install)
unclaimed=$(cd "$tree" && find . -type f | sed 's|^\./||' |
	while read -r file; do
		for pattern in $lists; do
			case $file in
			$pattern | $pattern/*) continue 2 ;;
			esac
		done
		echo "$file"
	done)
same "every file belongs to a package" "" "$unclaimed"
for pattern in $lists; do
	check "a package finds $pattern" test -e "$tree/$pattern"
done

unit=$tree/lib/systemd/system/raftcask.service
same "the unit has no place left to fill in" "" "$(grep '@[A-Z]' "$unit")"
for program in $(sed -n 's/^Exec[A-Za-z]*=+*\(\/[^ ]*\).*/\1/p' "$unit"); do
	case $program in
	/usr/*) check "the unit's $program is installed" \
		test -x "$tree$program" ;;
	esac
done
if command -v systemd-analyze >/dev/null; then
	score=$(systemd-analyze security --no-pager --offline=true "$unit" |
		sed -n 's/.*exposure level.*: \([0-9.]*\) .*/\1/p')
	check "systemd-analyze security gives $score, at most 1.5" \
		awk "BEGIN { exit !(\"$score\" != \"\" && $score <= 1.5) }"
fi
check "the shipped configuration is taken" "${BUILD:-build}/raftcaskd" \
	--config "$tree/etc/raftcask/raftcask.conf" --check-config
check "bash takes the completion" \
	bash -n "$tree/usr/share/bash-completion/completions/raftcask"

# A second installation keeps the configuration; uninstall keeps it too.
echo '# mine' >>"$tree/etc/raftcask/raftcask.conf"
# shellcheck disable=SC2086
check "make install again" install_to install DESTDIR="$dir/tree" $packaged
check "keeps a configuration that is there" \
	grep -q '^# mine' "$tree/etc/raftcask/raftcask.conf"
# shellcheck disable=SC2086
check "make uninstall" install_to uninstall DESTDIR="$dir/tree" $packaged
same "takes away all else" etc/raftcask/raftcask.conf \
	"$(cd "$tree" && find . -type f | sed 's|^\./||')"

same "the changelog speaks of VERSION" "$(cat VERSION)" \
	"$(sed -n '1s/.*(\(.*\)).*/\1/p' packaging/debian/changelog)"

# ------------------------------------------------------------------ purge ---
# The real script on a directory of ours instead of /var/lib/raftcask.
purge() {
	sed "s|^data=.*|data=$1|; s|/etc/raftcask|$dir/etc|g" \
		packaging/debian/raftcask-server.postrm >"$dir/postrm"
	sh "$dir/postrm" purge
}
data=$dir/lib/raftcask
mkdir -p "$data/sub" "$dir/kept"
touch "$data/MANIFEST" "$data/sub/file" "$dir/kept/file"
check "purge" purge "$data"
check "removes the data" test ! -e "$data"
check "purge of what is not there" purge "$data"
ln -s "$dir/kept" "$data"
check "purge of a symbolic link" purge "$data"
check "removes the link only" test -e "$dir/kept/file" -a ! -L "$data"
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
	mkdir -p "$data/mnt"
	touch "$data/MANIFEST"
	purge /nonexistent # writes the script anew
	sed -i "s|^data=.*|data=$data|" "$dir/postrm"
	check "purge with a mount in the data" unshare -m sh -c "
		mount --make-rprivate / &&
		mount --bind '$dir/kept' '$data/mnt' &&
		sh '$dir/postrm' purge"
	check "leaves it, and the data" \
		test -e "$dir/kept/file" -a -e "$data/MANIFEST"
fi
[ "$failures" = 0 ]
