#!/bin/sh
# Three nodes, three mounts.
if [ "$(id -u)" != 0 ] || ! [ -c /dev/fuse ]; then
	echo "ok the mount # SKIP it takes root and /dev/fuse"
	exit 77
fi
exec python3 -B "$(dirname "$0")/nodes.py"
