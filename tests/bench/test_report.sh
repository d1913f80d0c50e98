#!/bin/sh
# tests/bench/test_report.sh - the benchmarks' driver and report; measures
# nothing.
exec python3 -B "$(dirname "$0")/report.py"
