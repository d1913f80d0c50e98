# Completion of raftcask for bash. Verbs and options are taken from the
# program's own --help, so they are always those of the program; keys are asked
# of the node, for a second at most.

_raftcask_words() {
	# Verbs without an argument, the options of the verb with one.
	if [ $# = 0 ]; then
		raftcask --help 2>/dev/null |
			sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p'
	else
		raftcask "$1" --help 2>/dev/null |
			grep -oE '(^ +|, |; )-[-a-z]+=?' | grep -oE -- '-[-a-z]+=?'
		echo '-e -o --timeout --help'
	fi
}

_raftcask_keys() {
	raftcask "${endpoints[@]}" --timeout 1s -o plain ls "$1" \
		--delimiter / --limit 200 2>/dev/null
}

_raftcask() {
	local cur=${COMP_WORDS[COMP_CWORD]} verb='' i word
	local -a endpoints=()

	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		-e | --endpoint)
			endpoints+=(-e "${COMP_WORDS[++i]}")
			;;
		-o | --output | --timeout) i=$((i + 1)) ;;
		-*) ;;
		*) verb=${verb:-$word} ;;
		esac
	done
	COMPREPLY=()
	case ${COMP_WORDS[COMP_CWORD - 1]} in
	-o | --output)
		mapfile -t COMPREPLY < <(compgen -W 'json plain' -- "$cur")
		return
		;;
	--data-dir)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return
		;;
	-e | --endpoint | --timeout) return ;;
	esac
	if [ -z "$verb" ]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_raftcask_words)" -- "$cur")
		return
	fi
	case $cur in
	-*)
		mapfile -t COMPREPLY < <(
			compgen -W "$(_raftcask_words "$verb")" -- "$cur")
		return
		;;
	@*)
		mapfile -t COMPREPLY < <(compgen -P @ -f -- "${cur#@}")
		return
		;;
	esac
	case $verb in
	get | put | del | ls | stat | cas | append | watch)
		# One key a line: names may have blanks in them.
		mapfile -t COMPREPLY < <(_raftcask_keys "$cur" |
			grep -F -- "$cur")
		[[ ${COMPREPLY[0]} == */ ]] && compopt -o nospace
		;;
	members)
		mapfile -t COMPREPLY < <(compgen -W \
			'list add remove promote replace' -- "$cur")
		;;
	export | import | backup | restore | txn)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	esac
}
complete -F _raftcask raftcask
