#!/bin/sh
# A short run of `make chaos`: all parts of it, few faults, always the same
# plan, so that a change is not refused for what it did not do.
exec python3 -B "$(dirname "$0")/chaos.py" --seconds "${CHAOS_S:-10}" \
	--nodes 3 --patience 2 --seed "${SEED:-103}"
