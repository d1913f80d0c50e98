"""mount.py - what the mount of a node alone promises, seen by programs."""
import errno
import os
import signal
import stat
import subprocess
import threading
import time

from mount_kit import (Failure, Mounted, detach, equal, expect, fails, libc,
                       read, run, wait_for, write)
from harness import DAEMON, case, main

node = None


def shared():
    """One node for the cases that leave nothing behind."""
    global node
    if node is None or not node.is_alive():
        node = Mounted()
    return node


def fresh_dir(n, name):
    path = n.at(name)
    os.mkdir(path)
    return path


# --- keys are files ---------------------------------------------------------

@case("keys written over HTTP are files with their bytes, size and modes")
def keys_are_files():
    n = shared()
    n.put("h/a/b", b"value")
    equal(read(n.at("h/a/b")), b"value", "bytes")
    st = os.stat(n.at("h/a/b"))
    equal((st.st_size, stat.S_IMODE(st.st_mode), st.st_uid, st.st_nlink),
          (5, 0o644, 0, 1), "file")
    st = os.stat(n.at("h/a"))
    expect(stat.S_ISDIR(st.st_mode), "h/a is a directory")
    equal((stat.S_IMODE(st.st_mode), st.st_nlink), (0o755, 1), "implicit")
    equal(sorted(os.listdir(n.at("h"))), ["a"], "listing")
    n.delete("h/a/b")
    expect(not os.path.exists(n.at("h/a/b")), "the file is gone")
    expect(not os.path.exists(n.at("h")), "its directories are gone")


@case("a large value and one of odd size read the same in any pieces")
def large_values():
    n = shared()
    value = os.urandom(3 * 1024 * 1024 + 17)
    n.put("big", value)
    equal(read(n.at("big")) == value, True, "whole")
    with open(n.at("big"), "rb") as f:
        for off in (0, 1, 65535, 65536, 1 << 20, len(value) - 1, len(value)):
            f.seek(off)
            equal(f.read(100000) == value[off:off + 100000], True, "at", off)
    n.delete("big")


@case("any change over HTTP is seen at once, cached or not")
def http_changes_show():
    n = shared()
    for i in range(300):
        value = b"v%d" % i
        expect(not os.path.exists(n.at("seen")), "absent, round", i)
        n.put("seen", value)
        equal(read(n.at("seen")), value, "created, round", i)
        n.put("seen", value * 3)
        equal(os.stat(n.at("seen")).st_size, len(value) * 3, "size", i)
        equal(read(n.at("seen")), value * 3, "changed, round", i)
        n.put("dir%d/x/y" % i, b"1")
        expect(os.path.isdir(n.at("dir%d/x" % i)), "directory, round", i)
        equal(os.listdir(n.at("dir%d" % i)), ["x"], "listed, round", i)
        n.delete("dir%d/x/y" % i)
        expect(not os.path.exists(n.at("dir%d" % i)), "gone, round", i)
        n.delete("seen")


@case("all of what a change over HTTP changes is seen at once, cached or not")
def http_changes_show_whole():
    n = shared()
    d = fresh_dir(n, "whole")
    write(d + "/base", b"x")
    fd = os.open(d + "/base", os.O_RDONLY)
    for i in range(500):
        # The name that goes, its directory, and the file by its other name.
        os.link(d + "/base", d + "/l")
        equal(os.fstat(fd).st_nlink, 2, "both names, round", i)
        n.delete("whole/l")
        equal(os.fstat(fd).st_nlink, 1, "one name, round", i)
    os.close(fd)
    run("rm", "-rf", d)


@case("an append and a rename over HTTP are seen at once, cached or not")
def http_appends_and_renames_show():
    n = shared()

    def rename(old, new):
        body = b'{"from":"%s","to":"%s"}' % (old, new)
        equal(n.http("POST", "_/rename", body).status, 200, "rename", old)

    for i in range(200):
        n.put("from/k", b"v%d" % i)
        equal(read(n.at("from/k")), b"v%d" % i, "value, round", i)
        r = n.http("POST", "from/k", b"tail", "?append")
        equal(r.status, 200, "append, round", i)
        equal(read(n.at("from/k")), b"v%dtail" % i, "appended, round", i)
        rename(b"from/k", b"from/l")
        expect(not os.path.exists(n.at("from/k")), "old name, round", i)
        equal(read(n.at("from/l")), b"v%dtail" % i, "new name, round", i)
        rename(b"from", b"to")
        expect(not os.path.exists(n.at("from")), "old directory, round", i)
        equal(os.listdir(n.at("to")), ["l"], "new directory, round", i)
        n.delete("to/l")
        expect(not os.path.exists(n.at("to")), "both gone, round", i)


@case("a name that cannot be a key is refused as a file name")
def impossible_names():
    n = shared()
    fails(errno.ENAMETOOLONG, os.mkdir, n.at("n" * 256))
    fails(errno.ENAMETOOLONG, os.stat, n.at("n" * 256))
    os.mkdir(n.at("n" * 255))
    os.rmdir(n.at("n" * 255))
    d = fresh_dir(n, "deep")
    at = os.getcwd()
    try:
        os.chdir(d)
        for _ in range(16):  # 4 + 16 * 256 + 1 + 239 = 4340
            os.mkdir("c" * 255)
            os.chdir("c" * 255)
        os.mkdir("l" * 239)
        os.rmdir("l" * 239)
        fails(errno.ENAMETOOLONG, os.mkdir, "l" * 240)
    finally:
        os.chdir(at)
    run("rm", "-rf", d)
    for name in ("new\nline", "per%cent", "\udcff\udcfe", "bl ank", "\\"):
        os.mkdir(n.at(name))
        expect(name in os.listdir(n.mnt), "listed", repr(name))
        os.rmdir(n.at(name))


# --- directories and names --------------------------------------------------

@case("directories count their subdirectories, and go only when empty")
def directories():
    n = shared()
    d = fresh_dir(n, "dirs")
    equal(os.stat(d).st_nlink, 2, "empty")
    os.mkdir(d + "/a")
    os.mkdir(d + "/b")
    equal(os.stat(d).st_nlink, 4, "two")
    fails(errno.EEXIST, os.mkdir, d + "/a")
    fails(errno.ENOTEMPTY, os.rmdir, d)
    os.rmdir(d + "/a")
    equal(os.stat(d).st_nlink, 3, "one")
    before = os.stat(d).st_mtime_ns
    os.rmdir(d + "/b")
    expect(os.stat(d).st_mtime_ns > before, "mtime follows")
    os.rmdir(d)
    fails(errno.ENOENT, os.stat, d)
    fails(errno.ENOENT, os.mkdir, d + "/a")


@case("modes, owners and times are kept to the nanosecond")
def attributes():
    n = shared()
    n.put("at", b"x")
    path = n.at("at")
    os.chmod(path, 0o4751)
    os.utime(path, ns=(1234567890123456789, 4294967296000000001))
    st = os.stat(path)
    equal((stat.S_IMODE(st.st_mode), st.st_atime_ns, st.st_mtime_ns),
          (0o4751, 1234567890123456789, 4294967296000000001), "attributes")
    os.chown(path, 1000, 1001)
    st = os.stat(path)
    equal((st.st_uid, st.st_gid), (1000, 1001), "owner")
    equal(stat.S_IMODE(st.st_mode), 0o751, "the set-id bit went")
    n.put("at", b"other")  # as `>` does
    st = os.stat(path)
    equal((st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)),
          (1000, 1001, 0o751), "after a PUT")
    n.delete("at")


@case("what is made in a directory with the set-group-id bit gets its group")
def set_group_id():
    n = shared()
    d = fresh_dir(n, "sgid")
    os.chown(d, 0, 1234)
    os.chmod(d, 0o2775)
    os.mkdir(d + "/sub")
    st = os.stat(d + "/sub")
    equal((st.st_gid, st.st_mode & 0o2000), (1234, 0o2000), "directory")
    os.mkfifo(d + "/p")
    equal(os.stat(d + "/p").st_gid, 1234, "fifo")
    run("rm", "-rf", d)


@case("names of one file share everything, and count")
def hard_links():
    n = shared()
    d = fresh_dir(n, "links")
    n.put("links/a", b"one")
    os.link(d + "/a", d + "/b")
    a, b = os.stat(d + "/a"), os.stat(d + "/b")
    equal((a.st_ino, a.st_nlink), (b.st_ino, 2), "two names")
    os.chmod(d + "/b", 0o600)
    equal(os.stat(d + "/a").st_mode & 0o777, 0o600, "mode")
    n.put("links/b", b"two")
    equal(read(d + "/a"), b"two", "content")
    fails(errno.EEXIST, os.link, d + "/a", d + "/b")
    os.unlink(d + "/a")
    st = os.stat(d + "/b")
    equal((st.st_nlink, st.st_ino), (1, b.st_ino), "one name")
    equal(read(d + "/b"), b"two", "content by the other name")
    run("rm", "-rf", d)


@case("links, fifos, sockets and devices are what they are")
def special_files():
    n = shared()
    d = fresh_dir(n, "special")
    os.symlink("some/where", d + "/l")
    equal(os.readlink(d + "/l"), "some/where", "link")
    os.mkfifo(d + "/p", 0o640)
    os.mknod(d + "/s", 0o600 | stat.S_IFSOCK)
    os.mknod(d + "/c", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    kinds = {e.name: stat.S_IFMT(e.stat(follow_symlinks=False).st_mode)
             for e in os.scandir(d)}
    equal(kinds, {"l": stat.S_IFLNK, "p": stat.S_IFIFO, "s": stat.S_IFSOCK,
                  "c": stat.S_IFCHR}, "kinds")
    equal(os.stat(d + "/c").st_rdev, os.makedev(1, 3), "device")
    fails(errno.EACCES, open, d + "/c")  # nodev
    run("rm", "-rf", d)


@case("extended attributes: user, trusted, their errors; no access lists")
def extended_attributes():
    n = shared()
    n.put("x", b"x")
    path = n.at("x")
    os.setxattr(path, "user.a", b"1")
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, "trusted.t", b"\0\xff")
    equal(sorted(os.listxattr(path)), ["trusted.t", "user.a", "user.empty"],
          "names")
    equal((os.getxattr(path, "user.a"), os.getxattr(path, "user.empty"),
           os.getxattr(path, "trusted.t")), (b"1", b"", b"\0\xff"), "values")
    fails(errno.EEXIST, os.setxattr, path, "user.a", b"2", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, path, "user.b", b"2", os.XATTR_REPLACE)
    fails(errno.ENODATA, os.getxattr, path, "user.b")
    os.setxattr(path, "user.a", b"2", os.XATTR_REPLACE)
    equal(os.getxattr(path, "user.a"), b"2", "replaced")
    fails(errno.EOPNOTSUPP, os.setxattr, path, "system.posix_acl_access",
          b"\2\0\0\0")
    fails(errno.ENOSPC, os.setxattr, path, "user.big", b"b" * 40000)
    n.put("x", b"y")
    equal(os.getxattr(path, "user.a"), b"2", "after a PUT")
    os.removexattr(path, "user.a")
    fails(errno.ENODATA, os.removexattr, path, "user.a")
    n.delete("x")


@case("a listing keeps its entries while others come and go")
def listing_is_stable():
    n = shared()
    d = fresh_dir(n, "many")
    names = ["f%04d" % i for i in range(3000)]
    for name in names:
        n.put("many/" + name, b"")
    equal(sorted(os.listdir(d)), names, "all")
    seen, other = [], 0
    with os.scandir(d) as entries:
        for e in entries:
            seen.append(e.name)
            if len(seen) % 10 == 0:
                n.put("many/new%d" % other, b"")
                n.delete("many/" + names[other])
                other += 1
    gone = set(names[:other])
    missing = set(names) - gone - set(seen)
    equal((missing, len(seen)), (set(), len(set(seen))), "missing; twice")
    equal(n.http("DELETE", "_/kv", None, "?prefix=many/f").status, 200,
          "delete by prefix")
    equal([x for x in os.listdir(d) if x[0] == "f"], [], "after it")
    run("rm", "-rf", d)


@case("a listing that the kernel keeps shows every change, whoever made it")
def kept_listings():
    n = shared()
    d = fresh_dir(n, "kept")
    here = set()

    def look(*what):
        equal(set(os.listdir(d)), here, *what)
        for e in os.scandir(d):
            equal(e.inode(), os.stat(e.path).st_ino, "number of", e.name)
    for i in range(20):
        look("before", i)
        look("again", i)
        name = "f%d" % i
        if i % 2:
            n.put("kept/" + name, b"over HTTP")
        else:
            write(d + "/" + name, b"here")
        here.add(name)
        look("after", i)
        if i % 5 == 0:
            n.put("kept/%d/sub/x" % i, b"with directories")
            here.add(str(i))
            look("a directory", i)
            look("again", i)
            write(d + "/%d/made" % i, b"which is somebody's now")
            look("explicit", i)
        if i % 5 == 1:
            n.delete("kept/" + name)
            here.discard(name)
        if i % 5 == 2:
            body = '{"from":"kept/%s","to":"kept/r%s"}' % (name, name)
            equal(n.http("POST", "_/rename", body.encode()).status, 200,
                  "rename")
            here.discard(name)
            here.add("r" + name)
        if i % 5 == 3:
            os.unlink(d + "/" + name)
            here.discard(name)
        look("and then", i)
    run("rm", "-rf", d)


@case("a directory is not empty to `test -s`, whoever made it, also when it "
      "is gone")
def directory_size():
    n = shared()
    d = fresh_dir(n, "sized")
    n.put("sized/implicit/key", b"x")
    for path in (n.mnt, d, d + "/implicit"):
        equal(os.stat(path).st_size, 4096, path)
        run("test", "-s", path)
    fd = os.open(d, os.O_RDONLY)
    run("rm", "-rf", d)
    equal((os.fstat(fd).st_size, os.fstat(fd).st_nlink), (4096, 0), "gone")
    os.close(fd)


@case("tail -f sees what comes over HTTP, and who has a file open what a PUT "
      "makes of it")
def tail_over_http():
    n = shared()
    n.put("tailed", b"first\n")
    out = os.path.join(n.root, "seen")
    with open(out, "wb") as f:
        tail = subprocess.Popen(["tail", "-s", "0.05", "-n", "+1", "-f",
                                 n.at("tailed")], stdout=f,
                                stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: read(out) == b"first\n", "what was there")
        n.http("POST", "tailed", b"appended\n", "?append")
        wait_for(lambda: read(out).endswith(b"appended\n"), "the append")
        with open(n.at("tailed"), "r+b", buffering=0) as f:
            equal(f.read(5), b"first", "before")
            n.put("tailed", b"anew\n")
            equal((os.fstat(f.fileno()).st_size, os.pread(f.fileno(), 9, 0)),
                  (5, b"anew\n"), "after the PUT")
            f.seek(0, os.SEEK_END)
            f.write(b"more\n")
        equal(n.get("tailed"), b"anew\nmore\n", "written after it")
        wait_for(lambda: read(out).endswith(b"more\n"), "tail goes on")
    finally:
        tail.kill()
        tail.wait()
    n.delete("tailed")


@case("the file system says how large it is")
def file_system_size():
    n = shared()
    st = os.statvfs(n.mnt)
    equal((st.f_bsize, st.f_namemax), (4096, 255), "statvfs")
    expect(0 < st.f_bavail <= st.f_blocks, "blocks", st.f_bavail, st.f_blocks)


# --- creating and cutting wait for the first write --------------------------

def revision(n, key):
    """That of a change made now."""
    n.put(key, b"")
    return n.http("HEAD", key).rev


def echo(path, value):
    """As a shell: it closes a duplicate before it writes. When it began and
    ended; what waits for the first write waits 100 ms."""
    began = time.monotonic()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    out = os.dup(fd)
    os.close(fd)
    os.write(out, value)
    ended = time.monotonic()
    os.close(out)
    return began, ended


@case("echo is one change, and HTTP never sees the file empty")
def one_change():
    n = shared()
    d = fresh_dir(n, "one")
    write(d + "/warm", b"inode numbers are in stock now")
    run("sh", "-c", "echo value > %s/new" % d)
    equal(n.get("one/new"), b"value\n", "written")

    def once(i):
        if not i:
            os.unlink(d + "/new")
        before = revision(n, "one/before%d" % i)
        began, ended = echo(d + "/new", b"value\n")
        equal(n.get("one/new"), b"value\n", "written")
        if ended - began < 0.09:
            equal(revision(n, "one/after%d" % i), before + 2, "one change")
        return ended - began < 0.09

    for i in range(2):  # a new file, and one that is there
        wait_for(lambda: once(i), "it is written in time", 60)
    stop, seen, late = threading.Event(), [], []

    def look():
        while not stop.is_set():
            began = time.monotonic()
            value = n.get("one/new")
            if value not in (b"value\n", b"other\n"):
                seen.append((began, time.monotonic(), value))
    t = threading.Thread(target=look)
    t.start()
    for i in range(300):
        began, ended = echo(d + "/new", (b"value\n", b"other\n")[i % 2])
        if ended - began >= 0.09:
            late.append((began, ended))
        if i - len(late) >= 100:
            break
    stop.set()
    t.join()
    expect(len(late) <= i, "one was in time")
    equal([s for s in seen if not any(b < s[1] and s[0] < e
                                      for b, e in late)], [], "what HTTP saw")
    run("rm", "-rf", d)


@case("who closes a file commits nothing that another open has deferred")
def deferred_by_others():
    n = shared()
    d = fresh_dir(n, "others")
    write(d + "/warm", b"inode numbers are in stock now")
    write(d + "/old", b"value")
    timely = 0
    for i in range(400):
        for name, was in (("old", b"value"), ("new%d" % i, None)):
            began = time.monotonic()
            fd = os.open(d + "/" + name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            for _ in range(3):
                equal(read(d + "/" + name), b"", "seen here")
                os.close(os.open(d + "/" + name, os.O_RDWR))
            got = n.get("others/" + name)
            if time.monotonic() - began < 0.09:  # else its time has come
                equal(got, was, name, "over HTTP, round", i)
                timely += 1
            os.write(fd, b"value")
            os.close(fd)
            equal(n.get("others/" + name), b"value", name, "written")
        if timely >= 40:
            break
    expect(timely, "looked at in time")
    fd = os.open(d + "/old", os.O_TRUNC | os.O_WRONLY)
    os.close(os.open(d + "/old", os.O_TRUNC | os.O_WRONLY))
    wait_for(lambda: n.get("others/old") == b"", "who cuts it too does", 2)
    os.close(fd)
    run("rm", "-rf", d)


@case("what is deferred is committed by fsync, close and time")
def deferred():
    n = shared()
    d = fresh_dir(n, "defer")
    for i in range(2):
        fd = os.open(d + "/a%d" % i, os.O_CREAT | os.O_WRONLY, 0o640)
        equal(os.stat(d + "/a%d" % i).st_size, 0, "seen here")
        expect("a%d" % i in os.listdir(d), "listed here")
        if i == 0:
            os.fsync(fd)
        else:
            wait_for(lambda: n.get("defer/a%d" % i) is not None, "time", 2)
        equal(n.get("defer/a%d" % i), b"", "seen over HTTP", i)
        os.close(fd)
    open(d + "/b", "w").close()
    wait_for(lambda: n.get("defer/b") == b"", "after close", 2)
    st = os.stat(d + "/a0")
    equal(stat.S_IMODE(st.st_mode), 0o640, "mode")
    write(d + "/b", b"full")
    fd = os.open(d + "/b", os.O_WRONLY | os.O_TRUNC)
    equal(os.fstat(fd).st_size, 0, "cut here")
    os.fsync(fd)
    equal(n.get("defer/b"), b"", "cut over HTTP")
    os.close(fd)
    run("rm", "-rf", d)


@case("sixteen writers at once make files in one directory")
def many_writers():
    n = shared()
    d = fresh_dir(n, "many")
    wrong = []

    def make(writer):
        try:
            for i in range(40):
                path = "%s/%d-%d" % (d, writer, i)
                write(path, path.encode())
                os.stat(d)  # waits for what others have deferred in it
        except OSError as e:
            wrong.append(e)
    writers = [threading.Thread(target=make, args=(i,)) for i in range(16)]
    for t in writers:
        t.start()
    for t in writers:
        t.join()
    equal(wrong, [], "errors")
    names = os.listdir(d)
    equal(len(names), 16 * 40, "files")
    for name in names:
        path = d + "/" + name
        equal(read(path), path.encode(), "content")
    expect(n.is_alive(), "the daemon lives")
    run("rm", "-rf", d)


@case("a file that is cut has the time of that at once, and keeps it")
def times_of_cut_files():
    n = shared()
    d = fresh_dir(n, "cut")
    for i, content in enumerate((b"x", b"", b"x" * 5000)):
        f = d + "/f%d" % i
        write(f, content)
        os.utime(f, (1, 1))
        rev = n.http("HEAD", "cut/f%d" % i).rev
        before = time.time_ns()
        os.close(os.open(f, os.O_WRONLY | os.O_TRUNC))
        st = os.stat(f)
        expect(before <= st.st_mtime_ns <= time.time_ns(), "at once", i, st)
        equal(st.st_mtime_ns, st.st_ctime_ns, "both times", i)
        wait_for(lambda: n.http("HEAD", "cut/f%d" % i).rev > rev, "commit", 2)
        now = os.stat(f)
        equal((now.st_mtime_ns, now.st_ctime_ns, now.st_size),
              (st.st_mtime_ns, st.st_ctime_ns, 0), "after the commit", i)
    run("rm", "-rf", d)


@case("a directory has the time of a new file at once, and keeps it")
def times_of_directories():
    n = shared()
    d = fresh_dir(n, "dated")
    for i in range(3):
        was = os.stat(d)
        before = time.time_ns()
        fd = os.open(d + "/f%d" % i, os.O_CREAT | os.O_WRONLY, 0o640)
        now, f = os.stat(d), os.stat(d + "/f%d" % i)
        expect(was.st_mtime_ns < before <= now.st_mtime_ns <= time.time_ns(),
               "it is the time of the creation", was, before, now)
        equal((now.st_mtime_ns, now.st_ctime_ns),
              (f.st_mtime_ns, f.st_mtime_ns), "of the file")
        if i == 0:
            os.write(fd, b"joined")
        elif i == 1:
            os.fsync(fd)
        os.close(fd)
        wait_for(lambda: n.get("dated/f%d" % i) is not None, "commit", 2)
        n.put("dated/other", b"for the kernel to ask again")
        after = os.stat(d)
        equal((after.st_mtime_ns, after.st_ctime_ns),
              (now.st_mtime_ns, now.st_ctime_ns), "after the commit")
        if i > 0:
            equal(os.stat(d + "/f%d" % i).st_mtime_ns, f.st_mtime_ns, "file")
    ahead = time.time_ns() + 10**12
    os.utime(d, ns=(ahead, ahead))
    write(d + "/late", b"")
    expect(os.stat(d).st_mtime_ns < ahead, "a time in the future goes")
    fd = os.open(d + "/set", os.O_CREAT | os.O_WRONLY, 0o640)
    os.utime(d, ns=(1, 2))
    os.close(fd)
    wait_for(lambda: n.get("dated/set") is not None, "commit", 2)
    n.put("dated/other", b"for the kernel to ask again")
    equal(os.stat(d).st_mtime_ns, 2, "a time that was set later stays")
    run("rm", "-rf", d)


@case("a name that came to be meanwhile is written to if the caller may")
def name_came_meanwhile():
    n = shared()
    d = fresh_dir(n, "race")
    fd = os.open(d + "/f", os.O_CREAT | os.O_WRONLY, 0o644)
    n.put("race/f", b"over HTTP")
    os.write(fd, b"mine")
    os.close(fd)
    equal(n.get("race/f"), b"mine HTTP", "bytes")
    fd = os.open(d + "/g", os.O_CREAT | os.O_WRONLY, 0o644)
    run("rm", "-rf", d)  # waits for what is deferred in it
    expect(not os.path.exists(d), "removed")
    os.close(fd)


@case("a file removed over HTTP stays for who has it open")
def removed_over_http():
    n = shared()
    value = os.urandom(300000)
    n.put("orphan", value)
    with open(n.at("orphan"), "r+b", buffering=0) as f:
        n.delete("orphan")
        expect(not os.path.exists(n.at("orphan")), "gone")
        equal(os.fstat(f.fileno()).st_nlink, 0, "links")
        equal(f.read(1 << 20) == value, True, "bytes")
        n.put("orphan", b"another")
        os.pwrite(f.fileno(), b"patch", 100000)
        os.ftruncate(f.fileno(), 200000)
        equal(os.pread(f.fileno(), 1 << 20, 0) ==
              (value[:100000] + b"patch" + value[100005:200000]), True,
              "patched")
        equal(read(n.at("orphan")), b"another", "the new file")
    n.delete("orphan")


# --- its life ---------------------------------------------------------------

@case("SIGTERM unmounts, also while files are open")
def sigterm_unmounts():
    n = Mounted()
    n.put("a", b"x")
    f = os.open(n.at("a"), os.O_RDONLY)
    equal(os.read(f, 1), b"x", "the open file")
    equal(n.stop(), 0, "exit status")
    expect(not n.is_mounted(), "it is unmounted")
    fails(errno.ENOTCONN, os.fstat, f)
    fails(errno.ENOTCONN, os.close, f)
    equal(os.listdir(n.mnt), [], "the directory below")
    n.start("--mount", n.mnt)
    equal(read(n.at("a")), b"x", "after a restart")
    n.remove()


class Busy(threading.Thread):
    """Makes and removes files in the root of a mount, entered anew when its
    daemon has gone, so that nothing is made in the directory below."""

    def __init__(self, mnt, name, stop):
        super().__init__(daemon=True)
        self.mnt, self.file, self.stop = mnt, name, stop

    def work(self, root):
        while not self.stop.is_set():
            os.close(os.open(self.file, os.O_CREAT | os.O_WRONLY | os.O_EXCL,
                             dir_fd=root))
            os.unlink(self.file, dir_fd=root)

    def run(self):
        while not self.stop.is_set():
            root = None
            try:
                root = os.open(self.mnt, os.O_PATH | os.O_DIRECTORY)
                if os.path.ismount("/proc/self/fd/%d/." % root):
                    try:
                        os.unlink(self.file, dir_fd=root)
                    except FileNotFoundError:
                        pass
                    self.work(root)
            except OSError:
                pass
            if root is not None:
                os.close(root)
            self.stop.wait(0.005)


@case("a daemon that is killed while its mount is busy starts again")
def kill9_busy():
    # Telling the kernel to forget a name waits for who holds the directory,
    # who waits for the daemon: the killed process hangs until the next start
    # ends its mount. About every third time here.
    n, stop, old = Mounted(), threading.Event(), []

    def http():
        while not stop.is_set():
            try:
                with n.conn(2) as c:
                    while not stop.is_set():
                        c.call("PUT", "/h", b"v")
                        c.call("DELETE", "/h")
            except (OSError, Failure):
                stop.wait(0.02)
    threads = [Busy(n.mnt, "f%d" % i, stop) for i in range(3)] + [
        threading.Thread(target=http, daemon=True) for _ in range(3)]
    for t in threads:
        t.start()
    for _ in range(3):
        stop.wait(0.3)
        n.ended = True
        n.process.kill()
        old.append(n.process)
        n.spawn("--mount", n.mnt)
        wait_for(n.is_ready, "it is ready")
        wait_for(n.is_mounted, "it is mounted")
    stop.set()
    for t in threads:
        t.join()
    for p in old:
        p.wait(20)
    n.remove()


@case("a mount whose daemon was killed is replaced at the next start")
def kill9_leaves_no_mount():
    n = Mounted()
    n.put("a", b"x")
    os.stat(n.mnt)  # the kernel remembers it beyond the daemon's death
    n.kill9()
    fails(errno.ENOTCONN, os.listdir, n.mnt)
    n.start("--mount", n.mnt)
    equal(read(n.at("a")), b"x", "after kill -9")
    equal(n.stop(), 0, "exit status")
    expect(not n.is_mounted(), "nothing is left mounted")
    n.remove()


@case("umount always works, and the node goes on")
def umount_always_works():
    n = Mounted()
    n.put("a", b"x")
    run("umount", n.mnt)
    equal(n.get("a"), b"x", "over HTTP")
    equal(n.stop(), 0, "exit status")
    n.remove()


def refused(n, text, *arguments):
    got = subprocess.run([DAEMON, "--config", n.config, *arguments],
                         capture_output=True, text=True, timeout=20)
    equal(got.returncode, 78, "exit status", got.stderr)
    expect(text in got.stderr, text, "in", got.stderr)


@case("what would hide something is refused")
def bad_places_are_refused():
    n = Mounted(start=False)
    os.makedirs(n.mnt)
    write(n.at("precious"), b"x")
    refused(n, "is not empty", "--mount", n.mnt)
    refused(n, "is not a directory", "--mount", n.at("precious"))
    os.unlink(n.at("precious"))
    os.makedirs(n.data)
    refused(n, "lie in each other", "--mount", n.data)
    refused(n, "lie in each other", "--mount", n.data + "/below")
    os.rmdir(n.data + "/below")
    refused(n, "lie in each other", "--mount", n.root)
    run("mount", "-t", "tmpfs", "none", n.mnt)
    refused(n, "is mounted at", "--mount", n.mnt)
    run("umount", n.mnt)
    n.configure({"mount.path": '"%s"' % n.mnt, "mount.uid": '"nobody-here"'})
    refused(n, "mount.uid: no such user")
    n.remove()


@case("owner and modes of what nobody gave any are as configured")
def configured_defaults():
    n = Mounted({"mount.uid": '"1005"', "mount.gid": '"games"',
                 "mount.file_mode": '"0640"', "mount.dir_mode": '"0750"'})
    n.put("d/f", b"x")
    st = os.stat(n.at("d/f"))
    equal((st.st_uid, st.st_mode & 0o7777), (1005, 0o640), "file")
    expect(st.st_gid > 0, "group")
    equal(os.stat(n.at("d")).st_mode & 0o7777, 0o750, "directory")
    n.remove()


if __name__ == "__main__":
    main()
