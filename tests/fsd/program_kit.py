"""program_kit.py - a script does in the mount what it does on a disk.

Each case is a script that runs twice, in a directory of the mount and in one of
the machine's file system; what it prints and what it leaves behind must be the
same. A case whose program the machine does not have is skipped and names it.
"""
import hashlib
import os
import shutil
import stat
import subprocess
import sys

from mount_kit import Failure, Mounted, equal
from harness import Skip, case, make_directory

node = None
PYTHON = sys.executable + " - <<'!'\n"


def program(name, script, needs=""):
    """A case; the script is sh, stopped by the first failure."""
    missing = [p for p in needs.split() if not shutil.which(p)]
    if missing:
        @case(name)
        def leave_out():
            raise Skip("not on this machine: %s (make deps DEPS=ci)" %
                       " ".join(missing))
        return
    @case(name)
    def run_both():
        compare(name, script)


def tree(root):
    """{path: what it is} of all below root."""
    found, links = {}, {}
    for top, dirs, files in os.walk(os.fsencode(root)):
        for name in dirs + files:
            path = os.path.join(top, name)
            st = os.lstat(path)
            what = [oct(st.st_mode), st.st_uid, st.st_gid]
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    what.append(hashlib.sha256(f.read()).hexdigest()[:16])
                what.append(st.st_size)
            if stat.S_ISLNK(st.st_mode):
                what.append(os.readlink(path))
            if not stat.S_ISDIR(st.st_mode):
                what.append(st.st_nlink)
                names = links.setdefault(st.st_ino, [])
                names.append(os.path.relpath(path, os.fsencode(root)))
                what.append(names)
            if not stat.S_ISLNK(st.st_mode):
                what.append(sorted(os.listxattr(path)))
            found[os.path.relpath(path, os.fsencode(root))] = what
    for names in links.values():
        names.sort()
    return found


def run_script(script, where):
    os.mkdir(where)
    env = dict(os.environ, LC_ALL="C.UTF-8", TZ="UTC", HOME=where,
               TERM="dumb", GIT_CONFIG_NOSYSTEM="1", TMPDIR=where)
    got = subprocess.run(["sh", "-eu", "-c", script], cwd=where, env=env,
                         stdin=subprocess.DEVNULL, capture_output=True,
                         timeout=100)
    if got.returncode:
        raise Failure("%s: exit %d: %s" % (
            where, got.returncode, (got.stdout + got.stderr)[-400:]))
    return got.stdout.replace(os.fsencode(where), b"HERE")


def compare(name, script):
    global node
    if node is None or not node.is_alive():
        node = Mounted()
    disk = os.path.join(make_directory(), "d")
    here = node.at("d")
    try:
        want = run_script(script, disk)
        got = run_script(script, here)
        equal(got, want, "output")
        ours, theirs = tree(here), tree(disk)
        equal(sorted(ours), sorted(theirs), "names")
        for path, what in theirs.items():
            equal(ours[path], what, path)
    finally:
        subprocess.run(["rm", "-rf", here, os.path.dirname(disk)])
    equal(os.path.exists(here), False, "rm -rf of it all")


# A few files of each kind to work on.
TREE = r"""
mkdir -p t/sub/deep "t/a b"
i=0; while [ $i -lt 12 ]; do
	seq $((i * 300)) > t/sub/f$i; i=$((i + 1)); done
echo '#!/bin/sh
echo hello from "$0"' > t/run; chmod 755 t/run
printf 'one\ntwo\nthree\n' > 't/a b/text'
head -c 300000 /dev/zero | tr '\0' 'x' > t/big
ln t/big t/sub/deep/hard; ln -s ../run t/sub/soft; mkfifo t/fifo
chmod 600 t/sub/f3; chmod 2750 t/sub/deep; touch -d 2001-02-03 t/sub/f4
"""
