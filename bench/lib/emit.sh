# bench/lib/emit.sh - figures on their way into the report, from the shell.
#
# Sourced. Lines of the form that bench/results.py describes go to $BENCH_OUT,
# or to the standard output. The words are those of bench/lib/emit.h.

emit_line() { # field...
	local IFS=$'\t'
	printf '%s\n' "$*" >>"${BENCH_OUT:-/dev/stdout}"
}
emit_table() { # name title x line|bar|none
	emit_line table "$1" "$2" "$3" "$4"
}
emit() { # table x who metric unit round value
	emit_line fig "$1" "$2" "$3" "$4" "$5" "$6" "$7"
}
emit_missing() { # table who why
	emit_line missing "$1" "$2" "$3"
}
emit_note() { # table text
	emit_line note "$1" "$2"
}
