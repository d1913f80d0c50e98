# Completion of raftcask for bash. Verbs and options are taken from the
# program's own --help, so they are always those of the program; keys are asked
# of the node, for a second at most.

_raftcask_words() {
	# Verbs without an argument, the options of the verb with one.
	if [ $# = 0 ]; then
		raftcask --help 2>/dev/null |
			sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p'
	else
		# All of the usage; of the rest what begins a line or a part.
		{
			raftcask "$1" --help 2>/dev/null |
				grep -oE '^usage:.*|^ {7}raftcask .*|(^ +|, |; )-[-a-z]+=?' |
				grep -oE -- '(^|[ []|\|)-[-a-z]+=?' | tr -d ' [|'
			printf '%s\n' -e -o --timeout --cacert --cert --key \
				--token --help
		} | sort -u
	fi
}

_raftcask_keys() {
	raftcask "${common[@]}" --timeout 1s -o plain ls "$1" \
		--delimiter / --limit 200 2>/dev/null
}

_raftcask_members() {
	raftcask "${common[@]}" --timeout 1s -o plain members list 2>/dev/null |
		sed 1d | cut -d ' ' -f 1
}

_raftcask_tokens() {
	raftcask "${common[@]}" --timeout 1s -o plain token list 2>/dev/null |
		sed 1d | cut -d ' ' -f 1
}

# bash has cut the words at colons, too, and wants only what is behind the last.
_raftcask_colons() {
	local head=${cur%"${cur##*:}"} i

	[[ $cur == *:* && $COMP_WORDBREAKS == *:* ]] || return
	for i in "${!COMPREPLY[@]}"; do
		COMPREPLY[i]=${COMPREPLY[i]#"$head"}
	done
}

_raftcask() {
	local cur='' prev verb='' action='' i word line=${COMP_LINE:0:COMP_POINT}
	local -a words common=()

	if [ -z "$line" ]; then
		words=("${COMP_WORDS[@]:0:COMP_CWORD}")
		cur=${COMP_WORDS[COMP_CWORD]}
	else # not cut at colons, as these words are
		read -ra words <<<"$line"
		if [[ $line != *[[:space:]] ]]; then
			cur=${words[-1]}
			unset 'words[-1]'
		fi
	fi
	for ((i = 1; i < ${#words[@]}; i++)); do
		word=${words[i]}
		case $word in
		-e | --endpoint | --cacert | --cert | --key | --token)
			common+=("$word" "${words[i + 1]}")
			i=$((i + 1))
			;;
		-o | --output | --timeout) i=$((i + 1)) ;;
		-*) ;;
		*)
			if [ -z "$verb" ]; then
				verb=$word
			else
				action=${action:-$word}
			fi
			;;
		esac
	done
	COMPREPLY=()
	prev=${words[-1]}
	case $prev in
	-o | --output)
		mapfile -t COMPREPLY < <(compgen -W 'json plain' -- "$cur")
		return
		;;
	--cacert | --cert | --key)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--data-dir)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return
		;;
	--rights)
		mapfile -t COMPREPLY < <(compgen -W 'r rw admin' -- "$cur")
		return
		;;
	-e | --endpoint | --timeout | --token | --prefix) return ;;
	esac
	case $verb:$cur in
	:-*)
		mapfile -t COMPREPLY < <(
			compgen -W "$(_raftcask_words --version) --version" -- "$cur")
		return
		;;
	:* | help:*)
		mapfile -t COMPREPLY < <(compgen -W "$(_raftcask_words)" -- "$cur")
		return
		;;
	esac
	case $cur in
	-*)
		mapfile -t COMPREPLY < <(
			compgen -W "$(_raftcask_words "$verb")" -- "$cur")
		[[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
		return
		;;
	@*)
		mapfile -t COMPREPLY < <(compgen -P @ -f -- "${cur#@}")
		return
		;;
	esac
	case $verb in
	get | put | del | ls | stat | cas | append | rename | watch)
		# One key a line: names may have blanks in them.
		mapfile -t COMPREPLY < <(_raftcask_keys "$cur" |
			grep -F -- "$cur")
		[[ ${COMPREPLY[0]} == */ ]] && compopt -o nospace
		_raftcask_colons
		;;
	members)
		case $action in
		'')
			mapfile -t COMPREPLY < <(compgen -W \
				'list add remove promote replace' -- "$cur")
			;;
		remove | promote | replace)
			mapfile -t COMPREPLY < <(
				compgen -W "$(_raftcask_members)" -- "$cur")
			;;
		esac
		;;
	transfer)
		mapfile -t COMPREPLY < <(
			compgen -W "$(_raftcask_members)" -- "$cur")
		;;
	token)
		case $action in
		'')
			mapfile -t COMPREPLY < <(
				compgen -W 'list add remove init' -- "$cur")
			;;
		remove)
			mapfile -t COMPREPLY < <(
				compgen -W "$(_raftcask_tokens)" -- "$cur")
			;;
		esac
		;;
	export | import | backup | restore | txn)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	esac
}
complete -F _raftcask raftcask
