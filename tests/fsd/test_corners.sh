#!/bin/sh
# Where two things meet in the mount; it takes root and /dev/fuse.
if [ "$(id -u)" != 0 ] || ! [ -c /dev/fuse ]; then
	echo "ok the mount's corners # SKIP it takes root and /dev/fuse"
	exit 77
fi
exec python3 -B "$(dirname "$0")/corners.py"
