#!/bin/sh
exec python3 -B "$(dirname "$0")/kill9.py"
