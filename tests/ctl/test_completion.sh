#!/bin/bash
# tests/ctl/test_completion.sh - what bash offers behind a line, with the words
# of the program as it is and the keys and members of a node.

. tests/node/daemon.sh
unset RAFTCASK_URL RAFTCASK_TOKEN RAFTCASK_CACERT RAFTCASK_CERT RAFTCASK_KEY
start_daemon
bin=$(dirname "$raftcask")
"$raftcask" -e "$url" put app/one 1
"$raftcask" -e "$url" put app/two 2
"$raftcask" -e "$url" put a:b:c 3

# $1: the line up to the cursor. Prints what is offered, in one line.
offers() {
	PATH=$bin:$PATH bash -c '
		. packaging/raftcask.bash
		compopt() { :; }
		COMP_LINE=$1 COMP_POINT=${#1}
		_raftcask
		printf "%s\n" "${COMPREPLY[@]}" | sort | xargs' - "$1"
}
same "verbs" "members merge" "$(offers "raftcask me")"
same "verbs behind an address with colons" "members merge" \
	"$(offers "raftcask -e http://127.0.0.1:1 -e [::1]:2 me")"
same "behind options with values" "stat status" \
	"$(offers "raftcask --cacert /ca.pem --cert c --key k --token t -o json st")"
same "options of a verb" "--force" \
	"$(offers "raftcask members replace n1 --fo")"
same "actions" "remove replace" "$(offers "raftcask members re")"
same "actions of token" "add init list remove" "$(offers "raftcask token ")"
same "rights" "admin r rw" \
	"$(offers "raftcask token add app --prefix app/ --rights ")"
same "forms of output" json "$(offers "raftcask -o j")"
same "keys of the node that is named" "app/one app/two" \
	"$(offers "raftcask -e $url get app/")"
same "what follows the last colon" "b:c" "$(offers "raftcask -e $url get a:")"
same "members" n1 "$(offers "raftcask -e $url transfer ")"
same "members behind an action" n1 "$(offers "raftcask -e $url members replace ")"
same "an option that stands in the usage alone" --data-dir \
	"$(offers "raftcask check --d")"
same "of a part of it" "--prefix" "$(offers "raftcask token add app --p")"
same "options before a verb" "--timeout --token" "$(offers "raftcask --t")"
same "verbs behind help" "members merge" "$(offers "raftcask help me")"
same "keys to be renamed" "app/one app/two" \
	"$(offers "raftcask -e $url rename app/")"
"$raftcask" -e "$url" token add reader --prefix app/ --rights r >/dev/null
same "tokens to be removed" reader "$(offers "raftcask -e $url token remove ")"
same "no option twice" "" "$("$raftcask" --help |
	sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p' | while read -r verb; do
	offers "raftcask $verb -" | xargs -n 1 | sort | uniq -d
done)"
same "nothing without a node" "" "$(offers "raftcask -e http://127.0.0.1:1 get x")"
same "words alone will do" "stat status" "$(PATH=$bin:$PATH bash -c '
	. packaging/raftcask.bash
	COMP_WORDS=(raftcask -o json st) COMP_CWORD=3
	_raftcask
	echo "${COMPREPLY[@]}"')"
stop_daemon
finish
