"""same.py - random calls on the mount and on a directory of the machine's own
file system must have the same outcome: error or result, attributes, bytes.

SEED= repeats a run, STEPS= makes it longer."""
import ctypes
import errno
import os
import random
import shutil
import stat
import tempfile

from mount_kit import Mounted, equal, expect, libc
from harness import SEED, case, main

STEPS = int(os.environ.get("STEPS", "6000"))
NAMES = ["a", "b", "c"]
AT_FDCWD = -100
PUNCH, KEEP, ZERO = 2, 1, 16


def renameat2(a, b, flags):
    if libc.renameat2(AT_FDCWD, a.encode(), AT_FDCWD, b.encode(), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


def fallocate(fd, mode, off, n):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(n)):
        raise OSError(ctypes.get_errno(), "fallocate")


class Side:
    """One of the two directories, with what is open in it."""

    def __init__(self, root):
        self.root, self.open = root, {}

    def at(self, path):
        return os.path.join(self.root, path)

    def call(self, fn, *args):
        try:
            return ("ok", fn(self, *args))
        except OSError as e:
            return ("error", errno.errorcode.get(e.errno, e.errno))


# Each takes a side and its arguments; what it returns is compared.

def mkdir(s, p, mode):
    os.mkdir(s.at(p), mode)


def rmdir(s, p):
    os.rmdir(s.at(p))


def unlink(s, p):
    os.unlink(s.at(p))


def rename(s, p, q, flags):
    renameat2(s.at(p), s.at(q), flags)


def link(s, p, q):
    os.link(s.at(p), s.at(q), follow_symlinks=False)


def symlink(s, target, p):
    os.symlink(target, s.at(p))


def readlink(s, p):
    return os.readlink(s.at(p))


def mkfifo(s, p):
    os.mkfifo(s.at(p))


def look(s, p):
    st = os.lstat(s.at(p))
    return attributes(st)


def attributes(st):
    size = 0 if stat.S_ISDIR(st.st_mode) else st.st_size
    return (oct(st.st_mode), st.st_nlink, st.st_uid, st.st_gid, size)


def listing(s, p):
    return sorted((e.name, stat.S_IFMT(e.stat(follow_symlinks=False).st_mode))
                  for e in os.scandir(s.at(p)))


def whole(s, p):
    fd = os.open(s.at(p), os.O_RDONLY | os.O_NONBLOCK)
    with open(fd, "rb") as f:
        return f.read()


def put(s, p, data):
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
    fd = os.open(s.at(p), flags, 0o644)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


def append(s, p, data):
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
    fd = os.open(s.at(p), flags, 0o644)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


def truncate(s, p, n):
    os.truncate(s.at(p), n)


def chmod(s, p, mode):
    os.chmod(s.at(p), mode)


def chown(s, p, uid, gid):
    os.chown(s.at(p), uid, gid, follow_symlinks=False)


def utime(s, p, a, m):
    os.utime(s.at(p), ns=(a, m), follow_symlinks=False)
    st = os.lstat(s.at(p))
    return (st.st_atime_ns, st.st_mtime_ns)


def open_file(s, number, p, flags):
    close_file(s, number)
    s.open[number] = os.open(s.at(p), flags, 0o640)


def close_file(s, number):
    fd = s.open.pop(number, None)
    if fd is not None:
        os.close(fd)


def fd_of(s, number):
    if number not in s.open:
        raise OSError(errno.EBADF, "not open")
    return s.open[number]


def pwrite(s, number, data, off):
    return os.pwrite(fd_of(s, number), data, off)


def pread(s, number, n, off):
    return os.pread(fd_of(s, number), n, off)


def ftruncate(s, number, n):
    os.ftruncate(fd_of(s, number), n)


def fstat(s, number):
    return attributes(os.fstat(fd_of(s, number)))


def fsync(s, number):
    os.fsync(fd_of(s, number))


def fchmod(s, number, mode):
    os.fchmod(fd_of(s, number), mode)


def shape(s, number, mode, off, n):
    fallocate(fd_of(s, number), mode, off, n)


def setxattr(s, p, name, value, flags):
    os.setxattr(s.at(p), name, value, flags)


def getxattr(s, p, name):
    return os.getxattr(s.at(p), name)


def removexattr(s, p, name):
    os.removexattr(s.at(p), name)


def listxattr(s, p):
    return sorted(os.listxattr(s.at(p)))


class Dice:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def path(self):
        depth = self.r.choice((1, 1, 2, 2, 3))
        return "/".join(self.r.choice(NAMES) for _ in range(depth))

    def data(self):
        n = self.r.choice((0, 1, 7, 100, 4095, 4096, 4097, 20000, 70000,
                           140000))
        return bytes([self.r.randrange(1, 256)]) * n

    def off(self):
        return self.r.choice((0, 0, 1, 100, 4096, 5000, 65535, 65536, 100000,
                              200000))

    def call(self):
        r, number = self.r, self.r.randrange(3)
        p, q = self.path(), self.path()
        flags = r.choice((os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT,
                          os.O_RDWR | os.O_CREAT | os.O_TRUNC,
                          os.O_RDWR | os.O_CREAT | os.O_EXCL,
                          os.O_RDWR | os.O_APPEND | os.O_CREAT,
                          os.O_RDWR | os.O_TRUNC))
        flags |= os.O_NONBLOCK  # a fifo must not wait
        return r.choice((
            (mkdir, p, 0o755), (mkdir, p, 0o700), (rmdir, p), (rmdir, p),
            (unlink, p), (unlink, p), (rename, p, q, 0), (rename, p, q, 0),
            (rename, p, q, 1), (rename, p, q, 2), (link, p, q),
            (symlink, r.choice(NAMES), p), (readlink, p), (mkfifo, p),
            (look, p), (look, p), (listing, p), (listing, "."), (whole, p),
            (put, p, self.data()), (put, p, self.data()),
            (append, p, self.data()), (truncate, p, self.off()),
            (chmod, p, r.choice((0o644, 0o600, 0o2755, 0o1777))),
            (chown, p, r.choice((0, 1000)), r.choice((0, 1000))),
            (utime, p, r.randrange(1 << 60), r.randrange(1 << 60)),
            (open_file, number, p, flags), (open_file, number, p, flags),
            (close_file, number), (pwrite, number, self.data(), self.off()),
            (pwrite, number, self.data(), self.off()),
            (pread, number, 100000, self.off()), (ftruncate, number,
                                                  self.off()),
            (fstat, number), (fstat, number), (fsync, number),
            (fchmod, number, r.choice((0o640, 0o604))),
            (shape, number, r.choice((0, KEEP, PUNCH | KEEP, ZERO,
                                      ZERO | KEEP)), self.off(),
             r.choice((1, 4096, 70000))),
            (setxattr, p, "user." + r.choice(NAMES), self.data()[:200],
             r.choice((0, 0, 1, 2))), (getxattr, p, "user.a"),
            (removexattr, p, "user.a"), (listxattr, p)))


# No difference that matters: a fifo that nobody reads, a loop of links.
def show(call):
    return "%s%r" % (call[0].__name__, tuple(
        a if not isinstance(a, bytes) else "%d*%r" % (len(a), a[:1])
        for a in call[1:]))


def walk(side):
    tree = {}
    for top, dirs, files in os.walk(side.root):
        for name in dirs + files:
            path = os.path.join(top, name)
            st = os.lstat(path)
            value = whole(side, path) if stat.S_ISREG(st.st_mode) else None
            tree[os.path.relpath(path, side.root)] = (attributes(st), value)
    return tree


def history(node, seed, steps):
    name = "same%d" % seed
    os.mkdir(node.at(name))
    own = tempfile.mkdtemp(dir=node.root)
    os.chmod(own, 0o755)
    sides = [Side(node.at(name)), Side(own)]
    dice, done = Dice(seed), []
    os.umask(0o022)
    for _ in range(steps):
        call = dice.call()
        done.append(show(call))
        got = [s.call(*call) for s in sides]
        equal(got[0], got[1], "seed %d:" % seed, "; ".join(done[-12:]))
    for s in sides:
        for number in list(s.open):
            close_file(s, number)
    trees = [walk(s) for s in sides]
    equal(trees[0] == trees[1], True, "the trees of seed", seed)
    for path in (node.at(name), own):
        shutil.rmtree(path)


@case("random calls have the outcome that the machine's file system gives")
def same_as_the_machines():
    node = Mounted()
    count = 12
    for i in range(count):
        history(node, SEED % 1000000 + i, STEPS // count)
    node.remove()


if __name__ == "__main__":
    main()
