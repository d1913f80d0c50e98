#!/bin/sh
# A short run of `make chaos`: all parts of it, few faults.
exec python3 -B "$(dirname "$0")/chaos.py" --seconds "${CHAOS_S:-10}" \
	--nodes 3 --patience 2 ${SEED:+--seed "$SEED"}
