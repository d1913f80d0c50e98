#!/bin/sh
exec python3 -B "$(dirname "$0")/http_files.py"
