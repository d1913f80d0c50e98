#!/bin/bash
# tests/packaging/test_manuals.sh - the manuals say what the programs say.
exec python3 -B "$(dirname "$0")/manuals.py"
