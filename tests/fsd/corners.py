"""corners.py - the mount where two things meet: a file that is open and a name
that goes, what is deferred and who comes in between, rights and who lacks them.
"""
import errno
import json
import mmap
import os
import random
import stat
import struct
import subprocess
import threading

from mount_kit import (MNT_DETACH, Failure, Mounted, detach, equal, expect,
                       fails, libc, read, run, wait_for, write)
from harness import JSON_TYPE, SEED, case, main

USER = 54321
SHIM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "chaos",
                    "shim.c")
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
    return got.stdout


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


ADOPT = """
import json, time, urllib.request
rename = urllib.request.Request(
    "http://127.0.0.1:%d/_/rename", method="POST",
    data=json.dumps({"from": "aside", "to": "adopted"}).encode(),
    headers={"Content-Type": "application/json"})
began, got = time.monotonic(), None
fd = os.open(p, os.O_CREAT | %s, 0o600)
urllib.request.urlopen(rename).read()
in_time = time.monotonic() - began < 0.09
try:
    if %r:
        os.write(fd, b"mine")
    os.fsync(fd)
except OSError as e:
    got = e
print(type(got).__name__ if in_time else "late")
"""


@case("a file that came to be meanwhile is taken as one would have opened it")
def adopted_rights():
    n = shared()
    ways = [("os.O_RDWR", 0o622, "PermissionError"),
            ("os.O_RDWR", 0o666, "NoneType"),
            ("os.O_WRONLY", 0o622, "NoneType"),
            ("os.O_WRONLY", 0o644, "PermissionError"),
            ("os.O_RDONLY", 0o644, "NoneType"),
            ("os.O_RDONLY", 0o622, "PermissionError"),
            ("os.O_RDONLY | os.O_TRUNC", 0o644, "PermissionError")]
    for how, bits, end in ways:
        code = ADOPT % (n.port, how, "RDONLY" not in how)

        def once():
            # Put in the place of one that waits, if that still does.
            write(n.at("aside"), b"theirs")
            os.chmod(n.at("aside"), bits)
            got = as_user(code, n.at("adopted"))
            value = read(n.at("adopted"))
            os.unlink(n.at("adopted"))
            if got != "late\n":
                equal(got, end + "\n", how, oct(bits))
                equal(value, b"miners" if end == "NoneType" and
                      "RDONLY" not in how else b"theirs", how, oct(bits))
            return got != "late\n"
        wait_for(once, "it is done in time", 60)


# --- directories ------------------------------------------------------------

def fresh_tree(n, name, count):
    """name/a with count small files, a big one, and one in a subdirectory."""
    os.makedirs(n.at(name, "a", "sub"))
    for i in range(0, count, 100):
        with n.conn() as c:
            r = c.call("POST", "/_/txn", json.dumps({"then": [
                {"put": "%s/a/f%d" % (name, k), "value": "x"}
                for k in range(i, i + 100)]}).encode(), JSON_TYPE)
            equal(r.status, 200, "the files", r)
    write(n.at(name, "a", "big"), os.urandom(300000))
    write(n.at(name, "a", "sub", "z"), b"z")
    return n.at(name)


@case("the links of directories are exact whoever makes and removes them")
def directory_links():
    n = shared()
    dice = random.Random(SEED)
    top = n.at("links")
    names = ["a", "b", "c"]

    def path():
        return "/".join(["links"] + [dice.choice(names) for _ in
                                     range(dice.randrange(1, 4))])

    def renames(what, **how):
        body = dict({"from": path(), "to": path()}, **how)
        with n.conn() as c:
            c.call("POST", "/_/rename", json.dumps(body).encode(), JSON_TYPE)

    def tries(fn, *args):
        try:
            fn(*args)
        except OSError:
            pass

    def check(step):
        for root, dirs, _ in os.walk(top):
            st = os.stat(root)
            key = os.path.relpath(root, n.mnt)
            explicit = n.http("HEAD", key + "/").status == 200
            equal(st.st_nlink, 2 + len(dirs) if explicit else 1,
                  "links of", key, "step", step, "seed", SEED)

    os.mkdir(top)
    for step in range(150):
        what = dice.randrange(7)
        if what == 0:
            n.http("PUT", path() + dice.choice(["/f", "/"]), b"")
        elif what == 1:
            n.http("DELETE", path() + dice.choice(["/f", "/"]))
        elif what == 2:
            tries(os.mkdir, n.at(path()))
        elif what == 3:
            tries(os.rmdir, n.at(path()))
        elif what == 4:
            tries(os.rename, n.at(path()), n.at(path()))
        elif what == 5:
            renames("HTTP")
        else:
            tries(write, n.at(path() + "/f"), b"x")
        if step % 3 == 0:
            check(step)
    run("rm", "-rf", top)


@case("a directory keeps the time it is given behind files made before")
def time_after_creation():
    n = shared()
    d = n.at("times")
    os.mkdir(d)
    for i in range(20):
        fd = os.open(d + "/f%d" % i, os.O_CREAT | os.O_WRONLY)
        if i % 2:
            os.close(fd)
        os.utime(d, ns=(10**18, 10**18 + i))
        equal(os.stat(d).st_mtime_ns, 10**18 + i, "at once, round", i)
        if not i % 2:
            os.close(fd)
        wait_for(lambda: n.get("times/f%d" % i) == b"", "it is made")
        equal(os.stat(d).st_mtime_ns, 10**18 + i, "later, round", i)
    run("rm", "-rf", d)


@case("what lies in a directory that is renamed is never missed meanwhile")
def read_while_renamed():
    n = shared()
    top = fresh_tree(n, "moving", 300)
    a, b = top + "/a", top + "/b"
    sub = os.open(a + "/sub", os.O_RDONLY)
    here = os.open(a, os.O_RDONLY)
    fd = os.open(a + "/big", os.O_RDWR | os.O_DIRECT)
    page = mmap.mmap(-1, 4096)
    want = sorted(os.listdir(here))
    calls = {
        "pread": lambda: os.preadv(fd, [page], 4096 * 7),
        "pwrite": lambda: os.pwritev(fd, [page], 4096 * 9),
        "fstat": lambda: os.fstat(fd),
        "open": lambda: os.close(os.open("f17", os.O_RDONLY, dir_fd=here)),
        "stat": lambda: os.stat("sub/z", dir_fd=here),
        "list": lambda: equal(sorted(os.listdir(here)), want, "the listing"),
        "create": lambda: os.close(os.open(
            "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=sub)) or
        os.unlink("new", dir_fd=sub)}
    stop, errors, done = threading.Event(), [], []

    def again(name, fn):
        while not stop.is_set():
            try:
                fn()
                done.append(name)
            except (OSError, Failure) as e:
                errors.append((name, str(e)))
                return

    threads = [threading.Thread(target=again, args=c) for c in calls.items()]
    for t in threads:
        t.start()
    for i in range(150):
        os.rename(a, b)
        os.rename(b, a)
    wait_for(lambda: errors or set(done) == set(calls), "each was done")
    stop.set()
    for t in threads:
        t.join()
    equal(errors, [], "what went wrong while it was renamed")
    for name in want:
        os.stat(a + "/" + name)
    for x in (fd, here, sub):
        os.close(x)
    run("rm", "-rf", top)


# --- open files whose names go ----------------------------------------------

CONTENT = b"content" * 10000


def stays(fd, content, what):
    """fd has content, no name, and takes changes."""
    equal(os.fstat(fd).st_nlink, 0, "links,", what)
    equal(os.pread(fd, len(content) + 1, 0) == content, True, "bytes,", what)
    os.pwrite(fd, b"more", len(content))
    equal(os.pread(fd, 10, len(content)), b"more", "written,", what)
    os.close(fd)


@case("a file with two names stays for who has it open, whichever way they go")
def linked_and_open():
    n = shared()

    def begin():
        os.mkdir(n.at("l"))
        write(n.at("l/x"), CONTENT)
        os.link(n.at("l/x"), n.at("l/y"))

    def drop_all(prefix):
        with n.conn() as c:
            r = c.call("DELETE", "/_/kv?prefix=" + prefix)
            equal(r.status, 200, "delete by prefix", r)

    begin()
    fd = os.open(n.at("l/x"), os.O_RDWR)
    n.delete("l/x")
    equal(os.fstat(fd).st_nlink, 1, "one left")
    equal(os.pread(fd, 7, 7), b"content", "by the other name")
    os.pwrite(fd, b"CONTENT", 0)
    equal(n.get("l/y")[:14], b"CONTENTcontent", "written by the other name")
    n.delete("l/y")
    stays(fd, b"CONTENT" + CONTENT[7:], "one after the other")
    os.rmdir(n.at("l"))
    begin()
    fd = os.open(n.at("l/x"), os.O_RDWR)
    drop_all("l/")
    stays(fd, CONTENT, "both in one entry")
    expect(not os.path.exists(n.at("l")), "all is gone")
    begin()
    os.link(n.at("l/x"), n.at("kept"))
    fd = os.open(n.at("l/x"), os.O_RDWR)
    drop_all("l/")
    equal(os.fstat(fd).st_nlink, 1, "the name elsewhere")
    os.pwrite(fd, b"CONTENT", 0)
    equal(n.get("kept"), b"CONTENT" + CONTENT[7:], "is written to")
    os.close(fd)
    os.unlink(n.at("kept"))


@case("names that a restarted mount has not seen count too")
def linked_unseen():
    n = Mounted()
    write(n.at("x"), CONTENT)
    os.link(n.at("x"), n.at("y"))
    n.stop()
    n.start("--mount", n.mnt)
    fd = os.open(n.at("x"), os.O_RDWR)
    equal(os.pread(fd, 7, 7), b"content", "cached")
    n.delete("x")
    equal(os.fstat(fd).st_nlink, 1, "one left")
    n.put("y", b"another")
    equal(os.pread(fd, 9, 0), b"another", "what its other name was given")
    equal(os.fstat(fd).st_size, 7, "size")
    n.delete("y")
    stays(fd, b"another", "the last was never looked up")
    n.remove()


@case("a delete by prefix takes a file whose names nobody here knows")
def linked_unknown():
    n = Mounted()
    write(n.at("x"), CONTENT)
    os.mkdir(n.at("d"))
    for name in ("y", "z"):
        os.link(n.at("x"), n.at("d", name))
    n.stop()
    n.start("--mount", n.mnt)
    fd = os.open(n.at("x"), os.O_RDWR)
    n.delete("x")
    equal(os.fstat(fd).st_nlink, 2, "those that were never looked up")
    with n.conn() as c:
        r = c.call("DELETE", "/_/kv?prefix=d/")
        equal(r.status, 200, "delete by prefix", r)
    stays(fd, CONTENT, "both in one entry")
    n.remove()


@case("who has a file open follows it wherever it is renamed")
def renamed_and_open():
    n = shared()

    def rename(old, new):
        body = json.dumps({"from": old, "to": new}).encode()
        with n.conn() as c:
            r = c.call("POST", "/_/rename", body, JSON_TYPE)
            equal(r.status, 200, old, "to", new, r)

    for what in ("file", "directory"):
        n.put("m/d/f", CONTENT)
        fd = os.open(n.at("m/d/f"), os.O_RDWR)
        here = os.open(n.at("m/d"), os.O_RDONLY)
        if what == "file":
            rename("m/d/f", "made/by/it/g")
        else:
            rename("m/d", "made/by/it")
            rename("made/by/it/f", "made/by/it/g")
        equal(os.fstat(fd).st_nlink, 1, "in new directories,", what)
        os.pwrite(fd, b"CONTENT", 0)
        rename("made", "made.anew")
        equal(os.pread(fd, 14, 0), b"CONTENTcontent", "and these,", what)
        rename("made.anew/by/it/g", "m/g")
        os.pwrite(fd, b"again", 0)
        equal(n.get("m/g"), b"againNTcontent" + CONTENT[14:], what)
        n.delete("m/g")
        stays(fd, b"againNTcontent" + CONTENT[14:], what)
        if what == "directory":
            equal(os.listdir(here), [], "the directory is empty")
        os.close(here)
        fails(errno.ENOENT, os.stat, n.at("m"))


@case("a file that is removed while it is written stays for who writes it")
def removed_while_written():
    n = shared()
    stop, gone = threading.Event(), []

    def remove():
        with n.conn() as c:
            while not stop.is_set():
                if c.call("DELETE", "/w").status == 200:
                    gone.append(1)
    t = threading.Thread(target=remove)
    t.start()
    try:
        for i in range(1500):
            value = b"%d" % i
            fd = os.open(n.at("w"), os.O_CREAT | os.O_TRUNC | os.O_RDWR)
            try:
                os.write(fd, value)
                st = os.fstat(fd)
                equal(st.st_size, len(value), "size, round", i, st)
                equal(os.pread(fd, 20, 0), value, "bytes, round", i, st)
            finally:
                os.close(fd)
            if i >= 300 and len(gone) > 100:
                break
    finally:
        stop.set()
        t.join()
    expect(len(gone) > 20, "removed while written", len(gone))
    if os.path.exists(n.at("w")):
        os.unlink(n.at("w"))


@case("what is cut while it is open, and removed, is an empty file without name")
def cut_and_removed():
    n = shared()
    write(n.at("x"), CONTENT)
    fd = os.open(n.at("x"), os.O_RDWR | os.O_TRUNC)
    n.delete("x")
    equal(n.get("x"), None, "over HTTP")
    equal(os.write(fd, b"abc"), 3, "write")
    equal((os.pread(fd, 10, 0), os.fstat(fd).st_size), (b"abc", 3), "bytes")
    os.fsync(fd)
    expect(not os.path.exists(n.at("x")), "it comes back")
    other = os.open("/proc/self/fd/%d" % fd, os.O_RDWR | os.O_TRUNC)
    equal((os.fstat(fd).st_size, os.pread(fd, 10, 0)), (0, b""), "cut again")
    os.close(other)
    os.close(fd)
    equal(n.get("x"), None, "over HTTP, after close")


# --- disks that are full, and that fail --------------------------------------

def tries(path, value):
    """The error of writing path, 0 if there was none."""
    try:
        write(path, value)
    except OSError as e:
        return e.errno
    return 0


def all_there(n, values):
    for name, value in values.items():
        equal(read(n.at(name)) == value, True, name)


@case("a full disk is ENOSPC, loses nothing, and is forgotten with space")
def full_disk():
    n = Mounted({"storage.max_file_size": '"1M"', "storage.merge.rate": '"0"',
                 "storage.merge.dead_ratio": "0.2",
                 "storage.merge.dead_bytes": '"256K"',
                 "storage.min_free_disk": '"2M"'}, start=False)
    os.makedirs(n.data)
    run("mount", "-t", "tmpfs", "-o", "size=24m", "none", n.data)
    values, error = {}, 0
    try:
        n.start("--mount", n.mnt)
        while not error and len(values) < 200:
            name, value = "f%d" % len(values), os.urandom(200000)
            error = tries(n.at(name), value)
            if not error:
                values[name] = value
        equal(error, errno.ENOSPC, "after", len(values), "files")
        all_there(n, values)
        for name in sorted(values)[:len(values) // 2]:
            os.unlink(n.at(name))
            del values[name]
        value = os.urandom(200000)
        wait_for(lambda: tries(n.at("again"), value) == 0, "space is back")
        values["again"] = value
        all_there(n, values)
        equal(n.stop(), 0, "exit status")
        n.start("--mount", n.mnt)
        all_there(n, values)
    finally:
        n.kill9()
        detach(n.mnt)
        libc.umount2(n.data.encode(), MNT_DETACH)
    n.remove()


@case("a sync that fails ends the node: EIO, and all that was written is there")
def failing_sync():
    n = Mounted(start=False)
    shim, faults = os.path.join(n.root, "shim.so"), os.path.join(n.root, "fault")
    run(os.environ.get("CC", "gcc").split()[-1], "-O2", "-D_GNU_SOURCE",
        "-shared", "-fPIC", "-o", shim, SHIM, "-ldl")
    write(faults, bytes(40))
    os.environ.update(LD_PRELOAD=shim, CHAOS_FAULTS=faults)
    try:
        n.start("--mount", n.mnt)
    finally:
        del os.environ["LD_PRELOAD"], os.environ["CHAOS_FAULTS"]
    values = {"f%d" % i: os.urandom(1000 * i) for i in range(20)}
    for name, value in values.items():
        write(n.at(name), value)
    held = os.open(n.at("f7"), os.O_RDWR)
    with open(faults, "r+b", buffering=0) as f:
        f.seek(4)
        f.write(struct.pack("<I", errno.EIO))
    gone = (errno.EIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNABORTED)
    expect(tries(n.at("f3"), b"not acknowledged") in gone, "the write")
    wait_for(lambda: not n.is_alive(), "the node has ended")
    expect(n.process.returncode != 0, "with an error")
    fails(errno.ENOTCONN, os.fsync, held)
    n.start("--mount", n.mnt)
    new = read(n.at("f3"))
    expect(new in (values.pop("f3"), b"not acknowledged"), "f3 is", len(new))
    all_there(n, values)
    n.remove()



@case("a directory has a link for each directory in it, whatever makes and "
      "removes them, and however")
def links_of_directories():
    n = shared()
    top, dice, stop = n.at("links"), random.Random(SEED), threading.Event()
    done = []
    os.mkdir(top)
    places = ["links"] + ["links/p%d" % i for i in range(3)]

    def txn(changes):
        body = json.dumps({"then": changes}).encode()
        done.append(n.http("POST", "_/txn", body).status)

    def step(path, other):
        at = n.at(path)
        what = dice.randrange(12)
        if what < 3:
            os.mkdir(at)
        elif what < 5:
            os.rmdir(at)
        elif what == 5:
            n.http("PUT", path + "/key", b"x")  # there because of a key
        elif what == 6:
            n.http("DELETE", path + "/key")
        elif what == 7:
            os.rename(at, n.at(other))
        elif what == 8:
            n.http("DELETE", path + "/")  # what mkdir has made
        elif what == 9:
            txn([{"put": path + "/key", "value": "v"}, {"delete": other}])
        elif what == 10:
            txn([{"delete": path + "/key"},
                 {"put": other + "/key", "value": "v"}])
        else:
            n.http("PUT", path + "/", b"")

    def look():  # counts while things are applied
        while not stop.is_set():
            for place in places:
                try:
                    os.stat(n.at(place))
                except OSError:
                    pass

    def count(place):  # by HTTP, so that the mount learns no names
        r = n.http("GET", "_/kv", None,
                   "?prefix=%s/&delimiter=/&limit=20" % place)
        return len(json.loads(r.body)["prefixes"])

    for i in range(0, 6000, 100):  # to be counted among takes its time
        txn([{"put": "links/z%d" % (i + j), "value": ""} for j in range(100)])
    looker = threading.Thread(target=look)
    looker.start()
    try:
        for i in range(1000):
            path, other = (dice.choice(places) + "/" + dice.choice(
                ("a", "b", "c", "p0", "p1", "p2")) for _ in range(2))
            try:
                step(path, other)
                done.append("fine")
            except OSError:
                pass
            for place in places:
                if not os.path.isdir(n.at(place)):
                    continue
                st = os.stat(n.at(place))
                # Without times nobody made it: one, whatever is in it.
                equal(st.st_nlink, 2 + count(place) if st.st_mtime_ns else 1,
                      "round", i, place)
    finally:
        stop.set()
        looker.join()
    expect(done.count("fine") > 200 and done.count(200) > 50, "it changed")
    run("rm", "-rf", top)


if __name__ == "__main__":
    main()
