#!/bin/sh
# The mount beside the machine's own file system.
if [ "$(id -u)" != 0 ] || ! [ -c /dev/fuse ]; then
	echo "ok the mount # SKIP it takes root and /dev/fuse"
	exit 77
fi
exec python3 -B "$(dirname "$0")/same.py"
