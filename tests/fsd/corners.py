"""corners.py - the mount where two things meet: a file that is open and a name
that goes, what is deferred and who comes in between, rights and who lacks them.
"""
import errno
import json
import os
import random
import stat
import subprocess

from mount_kit import (Mounted, equal, expect, fails, read, run,  # noqa: F401
                       wait_for, write)
from harness import JSON_TYPE, SEED, case, main

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


# --- directories ------------------------------------------------------------

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


if __name__ == "__main__":
    main()
