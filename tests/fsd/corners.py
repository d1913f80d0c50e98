"""corners.py - the mount where two things meet: a file that is open and a name
that goes, what is deferred and who comes in between, rights and who lacks them.
"""
import errno
import os
import stat
import subprocess

from mount_kit import (Mounted, equal, expect, fails, read, run,  # noqa: F401
                       wait_for, write)
from harness import case, main

USER = 54321
node = None


def shared():
    """One node for the cases that leave nothing behind."""
    global node
    if node is None or not node.is_alive():
        node = Mounted()
        os.chmod(node.root, 0o755)
        os.chmod(node.mnt, 0o777)
    return node


def as_user(code, path):
    """Python that nobody of consequence runs; p is the path."""
    got = subprocess.run(
        ["setpriv", "--reuid=%d" % USER, "--regid=%d" % USER,
         "--clear-groups", "python3", "-c",
         "import os, sys; p = sys.argv[1]; " + code, path],
        capture_output=True, text=True, timeout=60)
    equal(got.returncode, 0, code, got.stderr[-300:])


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# --- rights -----------------------------------------------------------------

@case("set-id bits go when others than root change the data, however")
def setid():
    n = shared()
    p = n.at("setid")
    ways = ["os.close(os.open(p, os.O_WRONLY | os.O_TRUNC))",
            "os.truncate(p, 5)",
            "os.truncate(p, 0)",
            "open(p, 'r+b', buffering=0).write(b'y')",
            "open(p, 'wb', buffering=0).write(b'y')",
            "open(p, 'ab', buffering=0).write(b'y')",
            "os.posix_fallocate(os.open(p, os.O_RDWR), 0, 200)",
            "os.chown(p, %d, %d)" % (USER, USER)]
    for way in ways:
        write(p, b"x" * 100)
        os.chown(p, USER, USER)
        os.chmod(p, 0o6777)
        as_user(way, p)
        equal(oct(mode(p)), oct(0o777), "at once, after", way)
        fd = os.open(p, os.O_RDWR)
        os.fsync(fd)
        os.close(fd)
        equal(oct(mode(p)), oct(0o777), "committed, after", way)
    os.chmod(p, 0o6777)
    write(p, b"by root")
    equal(oct(mode(p)), oct(0o6777), "after root's write")
    os.chmod(p, 0o2767)  # without the group's x it is no set-id bit
    as_user("open(p, 'ab', buffering=0).write(b'y')", p)
    equal(oct(mode(p)), oct(0o2767), "set-gid without execution")
    os.unlink(p)


if __name__ == "__main__":
    main()
