"""mount_kit.py - a daemon with a mount, for the tests of tests/fsd."""
import ctypes
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "blackbox"))
from harness import (Failure, Node, equal, expect, quote,  # noqa: E402,F401
                     wait_for)

libc = ctypes.CDLL(None, use_errno=True)
MNT_FORCE, MNT_DETACH = 1, 2


def detach(path):
    """Take away whatever is mounted there, nothing if nothing is."""
    while libc.umount2(path.encode(), MNT_FORCE | MNT_DETACH) == 0:
        pass


def fails(error, fn, *args, **kw):
    """fn fails with that errno."""
    try:
        fn(*args, **kw)
    except OSError as got:
        equal(got.errno, error, fn.__name__, args)
        return
    raise Failure("%s %r did not fail" % (fn.__name__, args))


def run(*words, **kw):
    """Run a program to its end; its output."""
    kw.setdefault("timeout", 60)
    got = subprocess.run(words, capture_output=True, text=True, **kw)
    if got.returncode:
        raise Failure("%r: exit %d: %s" % (words, got.returncode,
                                          (got.stdout + got.stderr)[-500:]))
    return got.stdout


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


class Mounted(Node):
    """A node alone with a mount."""

    def __init__(self, config=None, start=True):
        super().__init__(config)
        self.mnt = os.path.join(self.root, "mnt")
        if start:
            self.start("--mount", self.mnt)

    def at(self, *names):
        return os.path.join(self.mnt, *names)

    def is_mounted(self):
        with open("/proc/self/mounts") as f:
            return any(line.split()[1] == self.mnt for line in f)

    def http(self, method, key, body=None, what=""):
        with self.conn() as c:
            return c.call(method, quote(key) + what, body)

    def get(self, key):
        """The key's bytes over HTTP; None if there is no such key."""
        r = self.http("GET", key, None, "?raw")
        return r.body if r.status == 200 else None

    def put(self, key, value):
        r = self.http("PUT", key, value)
        expect(200 <= r.status < 300, "PUT", key, r)

    def delete(self, key):
        r = self.http("DELETE", key)
        expect(200 <= r.status < 300, "DELETE", key, r)

    def remove(self):
        if self.is_alive():
            self.stop()
        if getattr(self, "mnt", None):
            detach(self.mnt)
        super().remove()
