"""nodes.py - three nodes with a mount each: what one does, the others see."""
import concurrent.futures
import errno
import json
import os
import random
import subprocess
import sys
import threading
import time

from mount_kit import (Failure, detach, equal, expect, fails, read, run,
                       wait_for, write)
from harness import JSON_TYPE, SEED, case, main
from cluster_kit import Cluster


class Mounts(Cluster):
    """Three nodes; mnt is the list of their mounts."""

    def __init__(self, **kw):
        super().__init__(start=False, **kw)
        self.mnt = [os.path.join(self.root, "mnt%d" % m.number)
                    for m in self.members]
        for m in self.members:
            self.spawn(m)
        self.wait_ready()
        self.wait_mounted()

    def spawn(self, m):
        m.spawn("--mount", self.mnt[m.number - 1])

    def wait_mounted(self):
        for m in self.alive():
            wait_for(lambda: os.path.ismount(self.mnt[m.number - 1]),
                     "%s is mounted" % m.name)

    def remove(self):
        for m in self.members:
            if m.is_alive() and not m.paused:
                m.stop()
        for path in self.mnt:
            detach(path)
        super().remove()


@case("what one node writes, any other sees when the call has returned")
def seen_everywhere():
    with Mounts() as c:
        dice = random.Random(SEED)
        for i in range(300):
            a, b = dice.sample(c.mnt, 2)
            name, value = "f%d" % (i % 7), b"%d" % i
            expect(os.path.exists(b + "/" + name) == (i >= 7), "before", i)
            write(a + "/" + name, value)
            equal(read(b + "/" + name), value, "bytes, round", i)
            equal(os.stat(b + "/" + name).st_size, len(value), "size", i)
            os.mkdir(a + "/d%d" % i)
            expect("d%d" % i in os.listdir(b), "listed", i)
            os.rename(b + "/d%d" % i, b + "/e%d" % i)
            fails(errno.ENOENT, os.stat, a + "/d%d" % i)
            os.rmdir(a + "/e%d" % i)
            fails(errno.ENOENT, os.rmdir, b + "/e%d" % i)
        for a in c.mnt:
            equal(sorted(os.listdir(a)), ["f%d" % i for i in range(7)], a)
        write(c.mnt[0] + "/stamp", b"")
        os.utime(c.mnt[0] + "/stamp", (1, 1))
        os.close(os.open(c.mnt[1] + "/stamp", os.O_WRONLY | os.O_TRUNC))
        wait_for(lambda: os.stat(c.mnt[2] + "/stamp").st_mtime > 1,
                 "the time of an empty file that was cut")


def chained_first(mnt, dice):
    """A system call that ends at d or d/f; a descriptor of d, one of d/f."""
    d = os.open(mnt + "/d", os.O_PATH | os.O_DIRECTORY)
    f = os.open(mnt + "/d/f", dice.choice((os.O_PATH, os.O_RDONLY)))
    last = dice.choice(("path d", "path f", "stat", "none", "mkdir", "access",
                        "fstat", "list", "missing"))
    if last == "path d":
        os.close(os.open(mnt + "/d", os.O_PATH))
    elif last == "path f":
        os.close(os.open(mnt + "/d/f", os.O_PATH))
    elif last == "stat":
        os.stat(mnt + dice.choice(("/d", "/d/f")))
    elif last == "mkdir":
        fails(errno.EEXIST, os.mkdir, mnt + dice.choice(("/d", "/d/f")))
    elif last == "access":
        os.access(mnt + dice.choice(("/d", "/d/f")), os.R_OK)
    elif last == "fstat":
        os.fstat(dice.choice((d, f)))
    elif last == "list":
        os.listdir(mnt + "/d")
    elif last == "missing":
        fails(errno.ENOENT, os.stat, mnt + "/d/gone")
    return d, f, last


def chained_second(mnt, d, f, then):
    """What that thread's next system call says of the size of d/f."""
    if then == "fstat":
        return os.fstat(f).st_size
    if then == "at":
        return os.stat("f", dir_fd=d).st_size
    if then == "below":
        fd = os.open("f", os.O_RDONLY, dir_fd=d)
        size = len(os.read(fd, 9999))
        os.close(fd)
        return size
    if then == "proc":
        fd = os.open("/proc/self/fd/%d" % f, os.O_RDONLY)
        size = len(os.read(fd, 9999))
        os.close(fd)
        return size
    if then == "mode":
        return os.fstat(d).st_mode & 0o777
    return os.stat(mnt + "/d/f").st_size


@case("no call of a thread rests on what an earlier one has proved")
def chained():
    with Mounts() as c:
        leader = c.leader().number - 1
        dice = random.Random(SEED)
        os.mkdir(c.mnt[0] + "/d")
        write(c.mnt[0] + "/d/f", b"")
        for i in range(800):
            a, b = dice.sample(c.mnt, 2)
            if dice.random() < 0.7: # who leads has not told its followers
                a = c.mnt[leader]
            if a == b:
                continue
            then = dice.choice(("fstat", "at", "below", "proc", "mode", "path"))
            d, f, last = chained_first(b, dice)
            if then == "mode":
                os.chmod(a + "/d", 0o700 + i % 64)
                wanted = 0o700 + i % 64
            else:
                write(a + "/d/f", b"x" * (i + 1))
                wanted = i + 1
            equal(chained_second(b, d, f, then), wanted, "round", i, last, then)
            os.close(d)
            os.close(f)


@case("appends from three nodes never overwrite each other")
def appends():
    with Mounts() as c:
        count = 100

        def add(number):
            fd = os.open(c.mnt[number] + "/log",
                         os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            for i in range(count):
                os.write(fd, b"%d %d\n" % (number, i))
            os.close(fd)

        threads = [threading.Thread(target=add, args=(n,)) for n in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for mnt in c.mnt:
            lines = read(mnt + "/log").split(b"\n")[:-1]
            equal(sorted(lines), sorted(b"%d %d" % (n, i) for n in range(3)
                                        for i in range(count)), "lines")


@case("exclusive creations and mkdir are won by one of three nodes")
def exclusive():
    with Mounts() as c:
        for i in range(40):
            won, gate = [], threading.Barrier(3)

            def race(mnt):
                gate.wait()
                try:
                    os.mkdir(mnt + "/d%d" % i)
                    won.append(("d", mnt))
                except FileExistsError:
                    pass
                try:
                    os.close(os.open(mnt + "/f%d" % i, os.O_CREAT | os.O_EXCL |
                                     os.O_WRONLY))
                    won.append(("f", mnt))
                except FileExistsError:
                    pass
            threads = [threading.Thread(target=race, args=(m,))
                       for m in c.mnt]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            equal(sorted(w[0] for w in won), ["d", "f"], "round", i)


@case("a file removed or replaced elsewhere stays for who has it open")
def removed_elsewhere():
    with Mounts() as c:
        a, b = c.mnt[:2]
        write(a + "/f", b"old" * 50000)
        with open(b + "/f", "r+b", buffering=0) as f:
            equal(f.read(3), b"old", "first bytes")
            os.unlink(a + "/f")
            wait_for(lambda: os.fstat(f.fileno()).st_nlink == 0,
                     "the link count is 0")
            equal(f.read(), (b"old" * 50000)[3:], "the rest")
            f.seek(0)
            f.write(b"NEW")
            f.seek(0)
            equal(f.read(6), b"NEWold", "after a write")
            expect(not os.path.exists(a + "/f"), "it is gone for all")
        write(a + "/g", b"1")
        with open(b + "/g", "rb", buffering=0) as f:
            write(a + "/h", b"2")
            os.rename(a + "/h", a + "/g")
            equal(f.read(), b"1", "the replaced file")
            equal(read(b + "/g"), b"2", "the new one")


@case("a file that is replaced and removed again and again is whole for who has "
      "just opened it")
def replaced_again_and_again():
    with Mounts() as c:
        leader = c.leader()
        stop, wrong, reads = threading.Event(), [], []

        def change():
            i = 0
            while not stop.is_set():
                i += 1
                leader.call("PUT", "/new", b"%d" % i * 30)
                leader.call("POST", "/_/rename",
                            b'{"from": "new", "to": "f"}', JSON_TYPE)
                if i % 3 == 0:
                    leader.call("DELETE", "/f")

        def look(mnt):
            while not stop.is_set():
                try:
                    fd = os.open(mnt + "/f", os.O_RDONLY)
                except OSError as e:
                    if e.errno not in (errno.ENOENT, errno.ESTALE):
                        wrong.append(("open", str(e)))
                    continue
                try:
                    size, data = os.fstat(fd).st_size, os.read(fd, 1000)
                    if len(data) != size or data != data[:size // 30] * 30:
                        wrong.append((size, data))
                    reads.append(mnt)
                except OSError as e:
                    wrong.append(("read", str(e)))
                os.close(fd)

        threads = [threading.Thread(target=change)] + [
            threading.Thread(target=look, args=(m,)) for m in c.mnt * 2]
        for t in threads:
            t.start()
        try:
            wait_for(lambda: wrong or (len(reads) > 3000 and
                                       len(set(reads)) == 3), "reads", 60)
        finally:
            stop.set()
            for t in threads:
                t.join()
        equal(wrong, [], "after", len(reads), "reads")


@case("who has a file open while its node misses much keeps what was removed, "
      "writes nothing where it may be lost, and goes on with what is left")
def opened_before_a_state():
    with Mounts() as c:
        away, at = c.followers()[0], c.leader()
        mnt = c.mnt[away.number - 1]
        names = ("removed", "replaced", "renamed", "left", "linked")
        value = {name: name.encode() * 30000 for name in names}
        for name in names:
            at.put("d/" + name, value[name])
        os.link(mnt + "/d/linked", mnt + "/d/other")
        fds = {n: os.open(mnt + "/d/" + n, os.O_RDWR) for n in names}
        away.pause()
        blob = os.urandom(60000)
        for i in range(300):  # more than is on its way to it when it goes on
            at.put("many/%d" % (i % 40), blob)
        at.delete("d/removed")
        at.put("d/new", b"new")
        ask(at, "POST", "/_/rename", {"from": "d/new", "to": "d/replaced"})
        ask(at, "POST", "/_/rename", {"from": "d/renamed", "to": "d/r"})
        at.delete("d/linked")
        for _ in range(2):  # 18 MB over and over: merges drop the log
            for i in range(300):
                at.put("many/%d" % (i % 40), blob)
            ask(at, "POST", "/_/merge")
            wait_for(lambda: at.status()["storage"]["merge"] == "idle",
                     "merge", 30)
        at.put("last", b"last")
        away.resume()
        c.wait_equal(60)
        expect("snapshot_taken" in away.log_text(), "it got a state")
        for name in names:
            equal(os.pread(fds[name], 1 << 20, 0) == value[name], True, name)
        for name in ("removed", "replaced", "renamed"):
            equal(os.fstat(fds[name]).st_nlink, 0, name)
            fails(errno.ESTALE, os.pwrite, fds[name], b"lost?", 0)
        for name in ("left", "linked"):
            equal(os.fstat(fds[name]).st_nlink, 1, name)
            os.pwrite(fds[name], b"changed", 0)
        equal(at.get("d/left").body[:7], b"changed", "what is left")
        equal(at.get("d/other").body[:7], b"changed", "by its other name")
        equal(read(mnt + "/d/replaced"), b"new", "the new one")
        equal(read(mnt + "/d/r"), value["renamed"], "by its new name")
        for fd in fds.values():
            os.close(fd)


def timed(fn, *args):
    started = time.monotonic()
    try:
        result = fn(*args)
    except OSError as e:
        result = e.errno
    return result, time.monotonic() - started


def shell(command):
    if subprocess.run(["sh", "-c", command], capture_output=True).returncode:
        return "failed"


@case("without a majority changes fail in time, reads go on, nothing hangs")
def no_quorum():
    with Mounts() as c:
        leader = c.leader()
        lost = [m for m in c.members if m is not leader]
        mnt = c.mnt[leader.number - 1]
        write(mnt + "/f", b"before")
        write(mnt + "/g", b"before")
        write(mnt + "/held", b"before")
        os.mkdir(mnt + "/d")
        os.mkdir(mnt + "/d2")
        for m in lost:
            m.kill9()
        held = os.open(mnt + "/held", os.O_WRONLY | os.O_TRUNC)
        tries = {"write": (write, mnt + "/f", b"after"),
                 "echo": (shell, "echo v > %s/g" % mnt),
                 "echo new": (shell, "echo v > %s/d/new" % mnt),
                 "held": (os.write, held, b"now"),
                 "mkdir": (os.mkdir, mnt + "/d2/e")}
        with concurrent.futures.ThreadPoolExecutor(len(tries)) as pool:
            for what, end in [(w, pool.submit(timed, *t))
                              for w, t in tries.items()]:
                got, took = end.result()
                expect(got in (errno.EIO, errno.ETIMEDOUT, "failed"), what, got)
                expect(5 < took < 20, what, "took", took)
        # Nothing has happened, so nothing is empty, now or later.
        wait_for(lambda: read(mnt + "/f") in (b"before", b"after"),
                 "f is as it was", 5)
        wait_for(lambda: read(mnt + "/g") in (b"before", b"v\n"),
                 "g is as it was", 5)
        wait_for(lambda: timed(read, mnt + "/d/new")[0] in
                 (errno.ENOENT, b"v\n"), "what was new is not there", 5)
        # It is no pause any more: a hundred changes do not wait in turns.
        started = time.monotonic()
        for i in range(100):
            equal(timed(os.mkdir, mnt + "/d/x%d" % i)[0], errno.EIO, "mkdir", i)
            equal(shell("echo v > %s/d/y%d" % (mnt, i)), "failed", "echo", i)
        expect(time.monotonic() - started < 20, "they waited")
        started = time.monotonic()
        equal(sorted(os.listdir(mnt)), ["d", "d2", "f", "g", "held"],
              "listing")
        equal(read(mnt + "/f") in (b"before", b"after"), True, "read")
        equal(os.stat(mnt + "/f").st_size > 0, True, "stat")
        expect(time.monotonic() - started < 10, "reading took long")
        for m in lost:
            detach(c.mnt[m.number - 1])
            c.spawn(m)
        c.wait_ready()
        other = c.mnt[lost[0].number - 1]
        expect(read(other + "/held") in (b"before", b"now"), "held")
        wait_for(lambda: timed(os.write, held, b"late")[0] == 4,
                 "its holder goes on")
        equal(read(other + "/held"), b"late", "cut and written")
        os.close(held)
        expect(read(other + "/f") in (b"before", b"after"), "f later")
        expect(read(other + "/g") in (b"before", b"v\n"), "g later")
        expect(timed(read, other + "/d/new")[0] in (errno.ENOENT, b"v\n"),
               "new later")
        wait_for(lambda: timed(write, mnt + "/f", b"again")[0] is None,
                 "writing goes on")
        equal(read(c.mnt[lost[0].number - 1] + "/f"), b"again", "elsewhere")


@case("a leader that goes is a pause for programs, no error")
def leader_change():
    with Mounts() as c:
        leader = c.leader()
        mnt = c.mnt[c.followers()[0].number - 1]
        done, errors = [], []
        stop = threading.Event()

        def work():
            i = 0
            while not stop.is_set():
                try:
                    write(mnt + "/n%d" % (i % 5), b"%d" % i)
                    os.rename(mnt + "/n%d" % (i % 5), mnt + "/m%d" % (i % 5))
                    equal(read(mnt + "/m%d" % (i % 5)), b"%d" % i, "read")
                    done.append(i)
                except Exception as e:
                    errors.append(repr(e))
                i += 1
        t = threading.Thread(target=work)
        t.start()
        wait_for(lambda: len(done) > 30, "work is done")
        leader.kill9()
        before = len(done)
        wait_for(lambda: len(done) > before + 60, "work goes on")
        stop.set()
        t.join()
        # What was on its way when the leader died may have an unknown end.
        unknown = [e for e in errors if "Errno 110" in e]
        equal(len(errors) - len(unknown), 0, "errors", errors)
        expect(len(unknown) <= 1, "unknown outcomes", errors)


def ask(member, method, path, body=None):
    with member.conn() as h:
        r = h.call(method, path, json.dumps(body).encode() if body else None,
                   JSON_TYPE if body else ())
    expect(200 <= r.status < 300, method, path, r)


@case("a node alone gains members while it is mounted: its caches know; a "
      "learner's mount is read-only until it votes")
def from_alone():
    with Mounts(count=1) as c:
        first, a = c.members[0], c.mnt[0]
        os.mkdir(a + "/d")
        for i in range(20):
            write(a + "/d/f%d" % i, b"old")
            fails(errno.ENOENT, os.stat, a + "/d/new%d" % i)
        second = c.add()
        c.mnt.append(os.path.join(c.root, "mnt2"))
        c.spawn(second)
        ask(first, "POST", "/_/members", {
            "name": second.name, "peer": second.address(second.peer_port),
            "http": second.address(second.port), "learner": True})
        c.wait_ready()
        c.wait_mounted()
        b = c.mnt[1]
        wait_for(lambda: timed(write, b + "/d/no", b"x")[0] == errno.EROFS,
                 "a learner's mount is read-only")
        fails(errno.EROFS, os.mkdir, b + "/d/e")
        fails(errno.EROFS, os.chmod, b + "/d/f1", 0o600)
        fails(errno.EROFS, os.unlink, b + "/d/f1")
        equal(read(b + "/d/f1"), b"old", "what it reads")
        ask(second, "PUT", "/d/f1", {"value": "over HTTP"})
        equal(read(a + "/d/f1"), b"over HTTP", "seen by the first")
        ask(first, "POST", "/_/members/%s/promote" % second.name)
        wait_for(lambda: timed(write, b + "/d/f0", b"new 0")[0] is None,
                 "it votes, and may write", 30)
        for i in range(20):
            write(b + "/d/f%d" % i, b"new %d" % i)
            equal(read(a + "/d/f%d" % i), b"new %d" % i, "round", i)
            write(b + "/d/new%d" % i, b"x")
            equal(os.stat(a + "/d/new%d" % i).st_size, 1, "new, round", i)
            os.unlink(b + "/d/f%d" % i)
            fails(errno.ENOENT, os.stat, a + "/d/f%d" % i)


if __name__ == "__main__":
    main()
