"""clients.py - clients over HTTP and through mounts, on the same keys.

    python3 clients.py CONTROL HISTORY SEED NUMBER HTTP_THREADS MOUNT_THREADS

Each asks one thing after the other, of any node, and writes down what it asked
and was told, until the control file says stop. What must not happen with one
answer alone (bytes of two values in one, a status that is never due) goes to
the history as a line with "bad", which the judge reports.
"""
import ctypes
import errno
import json
import os
import random
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "blackbox"))
from harness import JSON_TYPE, CutShort, libc, quote  # noqa: E402
from cluster_kit import TORN  # noqa: E402
from history import (BIG, BLOCK, DIRECTORIES, FADING, INSIDE,  # noqa: E402
                     LISTS, MOVERS, REGISTERS, SWAPPED, TWINS, Control,
                     History, deflate, inflate)
from rig import dial  # noqa: E402

RENAME_NOREPLACE = 1
NOT_DONE = (429, 503, 507)
UNKNOWN, DONE, REFUSED, NOTHING = "unknown", True, "refused", False
OVER = "over"  # it has happened by now, or will not


class Client:
    """What both kinds have in common."""

    def __init__(self, control, history, seed, number):
        self.control, self.history, self.number = control, history, number
        self.rng = random.Random("%d/%d" % (seed, number))
        self.count, self.seen = 0, {}

    def value(self):
        """One that nobody else writes, of any small length."""
        self.count += 1
        return "c%d.%d%s" % (self.number, self.count,
                             "." * self.rng.randrange(60))

    def even_value(self):
        """One of always the same length: who reads a file while it is written
        in place may get the new bytes up to the old size, on any system."""
        self.count += 1
        return ("c%d.%d" % (self.number, self.count)).ljust(24, ".")

    def key(self, names):
        return "g%d/%s" % (self.generation, self.rng.choice(names))

    def add(self, op, ok, started, **more):
        """NOTHING: it surely did not happen; nothing to be judged."""
        if ok is NOTHING:
            return
        if ok is OVER:
            ok, more["late"] = UNKNOWN, False
        self.history.add(op=op, ok=ok, client=self.number, start_ns=started,
                         end_ns=time.monotonic_ns(), node=self.where(), **more)

    def bad(self, what, started):
        self.history.add(op="bad", ok="bad", what=what, client=self.number,
                         start_ns=started, end_ns=time.monotonic_ns(),
                         node=self.where())

    def look(self, key, value, started):
        self.seen[key] = value
        self.add("get", DONE, started, key=key, value=value)

    def is_there(self):
        return True

    def run(self):
        while True:
            now = self.control.look()
            if now.get("stop"):
                return
            if not now.get("go") or not now["nodes"]:
                time.sleep(0.05)
                continue
            self.generation = now["generation"]
            steps = self.steps
            if self.is_there():
                self.rng.choices([s[1] for s in steps],
                                 [s[0] for s in steps])[0](self)
            if now.get("rest_s"):
                time.sleep(now["rest_s"])


def moved(client, a, b, started, ok, more=()):
    """Directory a became b, which was empty or, as more says, not there."""
    empty = [{"key": "%s/%s" % (b, n), "exists": False} for n in INSIDE if n]
    if ok == "not empty":  # one of them is there, or both
        client.add("txn", REFUSED, started, **{"if": empty})
    elif ok is REFUSED:
        client.add("txn", DONE, started, gets=[
            {"key": "%s/%s" % (a, n), "exists": False} for n in INSIDE])
    else:
        client.add("txn", ok, started, puts=[
            {"key": "%s/%s" % (b, n), "from": "%s/%s" % (a, n)}
            for n in INSIDE] + [
            {"key": "%s/%s" % (a, n), "value": None} for n in INSIDE],
            **{"if": [{"key": a + "/", "exists": True}, *empty, *more]})


class Web(Client):
    timeout = 4

    def __init__(self, *a):
        super().__init__(*a)
        self.conn = self.node = None

    def where(self):
        return self.node["name"] if self.node else None

    def drop(self):
        if self.conn:
            self.conn.close()
        self.conn = None

    def ask(self, method, path, body=None, headers=()):
        """(reply or None, ok): ok as far as the answer's kind tells it."""
        if isinstance(body, str):
            body = body.encode()
        if self.conn is None:
            self.node = self.rng.choice(self.control.look()["nodes"])
            try:
                self.conn = dial(self.node, self.timeout)
            except TORN:
                time.sleep(0.03)
                return None, NOTHING
        try:
            r = self.conn.call(method, path, body, headers)
        except (CutShort, *TORN):
            self.drop()
            return None, UNKNOWN
        if r.status >= 500 or self.rng.random() < 0.01:
            self.drop()
        if r.status in NOT_DONE:
            time.sleep(0.01)
            return r, NOTHING
        if r.status >= 500:
            return r, UNKNOWN
        return r, DONE

    def change(self, op, method, path, body, due, headers=(), **more):
        """One that changes something; due: {status: outcome}."""
        started = time.monotonic_ns()
        r, ok = self.ask(method, path, body, headers)
        if ok is DONE:
            if r.status not in due:
                return self.bad("%s %s answered %r" % (method, path, r),
                                started)
            ok = due[r.status]
            if r.header("X-Raftcask-Revision") and ok is DONE:
                more["rev"] = r.rev
        self.add(op, ok, started, **more)
        return r if ok in (DONE, REFUSED) else None

    def get(self, names=REGISTERS + MOVERS + LISTS + TWINS + FADING + tuple(
            "%s/%s" % (d, n) for d in DIRECTORIES for n in INSIDE if n)):
        key = self.key(names)
        started = time.monotonic_ns()
        r, ok = self.ask("GET", quote(key) + "?raw")
        if ok is not DONE:
            return
        if r.status not in (200, 404):
            return self.bad("GET %s answered %r" % (key, r), started)
        value = r.body.decode("latin-1") if r.status == 200 else None
        self.seen[key] = value
        more = {"rev": r.rev} if r.status == 200 else {}
        self.add("get", DONE, started, key=key, value=value, **more)

    def get_big(self):
        key = self.key(BIG + SWAPPED)
        started = time.monotonic_ns()
        r, ok = self.ask("GET", quote(key) + "?raw")
        if ok is DONE and r.status == 200:
            value = deflate(r.body)
            if value.startswith("MIXED"):
                return self.bad("GET %s: %s" % (key, value), started)
            self.look(key, value, started)
        elif ok is DONE and r.status == 404:
            self.look(key, None, started)

    def put_aside(self):
        """Who has a file open through a mount goes along with its name and
        sees what is written into it there: a key that is renamed gets new
        values by names of their own alone."""
        key, value = self.key(MOVERS), self.value()
        self.count += 1
        aside = "%s.%d.%d" % (key, self.number, self.count)
        r, ok = self.ask("PUT", quote(aside), value)
        if ok is DONE:
            self.change("put", "POST", "/_/rename", json.dumps(
                {"from": aside, "to": key}), {200: DONE}, JSON_TYPE,
                key=key, value=value)

    def put(self):
        key, value = self.key(REGISTERS), self.even_value()
        if self.rng.random() < 0.2:
            self.change("cas", "PUT", quote(key), value,
                        {201: DONE, 412: REFUSED},
                        [("If-None-Match", "*")], key=key, value=value,
                        expect=None)
        else:
            self.change("put", "PUT", quote(key), value,
                        {201: DONE, 204: DONE}, key=key, value=value)

    def put_big(self):
        key, tag = self.key(BIG), self.value().rstrip(".")
        data = inflate(tag, self.rng.choice((70, 131, 200, 700)) * 1000)
        self.change("put", "PUT", quote(key), data, {201: DONE, 204: DONE},
                    key=key, value="%s*%d" % (tag, len(data)))

    def put_fading(self):
        key, value = self.key(FADING), self.even_value()
        ttl = self.rng.choice((0.3, 1, 2.5))
        started = time.monotonic_ns()
        self.change("put", "PUT", quote(key) + "?ttl=%gs" % ttl, value,
                    {201: DONE, 204: DONE}, key=key, value=value,
                    # It may go from then on, and not before.
                    **({} if self.control.now.get("boot_jumps") else
                       {"goes_ns": started + int(ttl * 9e8)}),
                    ttl_ns=int(ttl * 1e9))

    def delete(self):
        key = self.key(REGISTERS + MOVERS + LISTS)
        self.change("delete", "DELETE", quote(key), None, {200: DONE}, key=key)

    def cas(self):
        key, value = self.key(REGISTERS), self.even_value()
        was = self.seen.get(key)
        if was is None:
            condition = {"key": key, "exists": False}
        else:
            condition = {"key": key, "value": was}
        started = time.monotonic_ns()
        r, ok = self.ask("POST", "/_/txn", json.dumps({
            "if": [condition], "then": [{"put": key, "value": value}],
            "else": [{"get": key}]}), JSON_TYPE)
        if ok is DONE:
            if r.status != 200:
                return self.bad("txn answered %r" % r, started)
            ok = DONE if r.json()["succeeded"] else REFUSED
        self.add("cas", ok, started, key=key, value=value, expect=was)

    def twins(self):
        """Both or none; and both are seen at one moment."""
        names = ["g%d/%s" % (self.generation, t) for t in TWINS]
        value = self.even_value()
        writes = self.rng.random() < 0.6
        then = [{"put": n, "value": value} for n in names] if writes else \
            [{"get": n} for n in names]
        started = time.monotonic_ns()
        r, ok = self.ask("POST", "/_/txn", json.dumps({"then": then}),
                         JSON_TYPE)
        if ok is DONE and r.status != 200:
            return self.bad("txn answered %r" % r, started)
        if writes:
            self.add("txn", ok, started,
                     puts=[{"key": n, "value": value} for n in names])
        elif ok is DONE:
            self.add("txn", ok, started, gets=[
                {"key": n, "value": got and got["value"]}
                for n, got in zip(names, r.json()["results"])])

    def delete_twins(self):
        prefix = "g%d/t" % self.generation
        self.change("delete_prefix", "DELETE", "/_/kv?prefix=" + prefix, None,
                    {200: DONE}, key=prefix)

    def append(self):
        key, value = self.key(LISTS), self.value()
        started = time.monotonic_ns()
        r, ok = self.ask("POST", quote(key) + "?append", value)
        if ok is DONE and r.status != 200:
            return self.bad("append answered %r" % r, started)
        self.add("append", ok, started, key=key, value=value,
                 **({"size": r.json()["size"]} if ok is DONE else {}))

    def rename(self):
        a, b = self.rng.sample(["g%d/%s" % (self.generation, m)
                                for m in MOVERS], 2)
        self.change("rename", "POST", "/_/rename",
                    json.dumps({"from": a, "to": b}),
                    {200: DONE, 404: REFUSED}, JSON_TYPE, key=a, to=b)

    def move_directory(self):
        """A directory takes all along, onto nothing or an empty one."""
        a, b = self.rng.sample(["g%d/%s" % (self.generation, d)
                                for d in DIRECTORIES], 2)
        started = time.monotonic_ns()
        r, ok = self.ask("POST", "/_/rename",
                         json.dumps({"from": a, "to": b}), JSON_TYPE)
        if ok is DONE and r.status not in (200, 404, 409):
            return self.bad("rename answered %r" % r, started)
        if ok is DONE:
            ok = {200: DONE, 404: REFUSED, 409: "not empty"}[r.status]
        moved(self, a, b, started, ok)

    def put_inside(self):
        """Made only while its directory is there, so that none comes to be
        by itself."""
        d = self.key(DIRECTORIES)
        key, value = "%s/%s" % (d, self.rng.choice(INSIDE[1:])), self.value()
        started = time.monotonic_ns()
        r, ok = self.ask("POST", "/_/txn", json.dumps({
            "if": [{"key": d + "/", "exists": True},
                   {"key": key, "exists": False}],
            "then": [{"put": key, "value": value}]}), JSON_TYPE)
        if ok is DONE:
            ok = DONE if r.json()["succeeded"] else REFUSED
        self.add("txn", ok, started, puts=[{"key": key, "value": value}],
                 **{"if": [{"key": d + "/", "exists": True},
                           {"key": key, "exists": False}]})

    def list(self):
        """Names that one rename joins are seen at one moment."""
        part, names = self.rng.choice((("m", MOVERS), ("d/", tuple(
            "%s/%s" % (d, n) for d in DIRECTORIES for n in INSIDE))))
        prefix = "g%d/%s" % (self.generation, part)
        started = time.monotonic_ns()
        r, ok = self.ask("GET", "/_/kv?prefix=" + prefix)
        if ok is not DONE:
            return
        if r.status != 200:
            return self.bad("list answered %r" % r, started)
        there = {k["key"]: k["size"] for k in r.json()["keys"]}
        gets, known = [], {prefix}
        for n in names:
            key = "g%d/%s" % (self.generation, n)
            known.add(key)
            gets.append({"key": key, "exists": key in there})
            if key in there:
                gets.append({"key": key, "size": there[key]})
        if any("." not in k for k in set(there) - known):
            return self.bad("list has %r" % sorted(set(there) - known),
                            started)
        self.add("txn", DONE, started, gets=gets)

    def delete_inside(self):
        key = "%s/%s" % (self.key(DIRECTORIES), self.rng.choice(INSIDE[1:]))
        self.change("delete", "DELETE", quote(key), None, {200: DONE}, key=key)

    steps = ((22, get), (4, get_big), (10, put), (4, put_aside), (2, put_big), (5, put_fading),
             (5, delete), (10, cas), (6, twins), (1, delete_twins),
             (8, append), (7, rename), (4, move_directory),
             (5, put_inside), (3, delete_inside), (5, list))


class Files(Client):
    """Through the mounts. A mount is entered once and left when it fails, so
    that the directory below is never taken for it."""

    def __init__(self, *a):
        super().__init__(*a)
        self.root = self.node = self.ready = None

    doubtful = {}  # {node: when it was seen without a leader}, of all threads

    def where(self):
        return self.node["name"] + " mnt" if self.node else None

    def is_fresh(self, started):
        """Without a leader a mount goes on showing what its node knows, after
        2 s at first (docs/mount.md): no look is judged that may be of then."""
        name, now = self.node["name"], time.monotonic()
        if time.monotonic_ns() - started > 1e9:
            self.doubtful[name] = now
        try:
            if self.ready is None:
                self.ready = dial(self.node, 2)
            if self.ready.call("GET", "/_/ready").status != 200:
                self.doubtful[name] = now
        except (CutShort, *TORN):
            self.drop_ready()
            self.doubtful[name] = now
        return now > self.doubtful.get(name, 0) + 2

    def drop_ready(self):
        if self.ready:
            self.ready.close()
        self.ready = None

    def add(self, op, ok, started, **more):
        looks = op == "get" or ok is REFUSED or op == "txn" and \
            not more.get("puts")
        if ok is not NOTHING and (not looks or self.is_fresh(started)):
            super().add(op, ok, started, **more)

    def is_there(self):
        if self.root is not None and self.rng.random() < 0.01:
            self.leave()
        if self.root is None:
            self.drop_ready()
            self.node = self.rng.choice(self.control.look()["nodes"])
            try:
                fd = os.open(self.node["mnt"], os.O_PATH | os.O_DIRECTORY)
            except OSError:
                time.sleep(0.03)
                return False
            if not self.is_mount(fd):
                os.close(fd)
                time.sleep(0.03)
                return False
            self.root = fd
        return True

    @staticmethod
    def is_mount(fd):
        try:
            return os.path.ismount("/proc/self/fd/%d/." % fd) and \
                os.fstat(fd).st_ino == 1
        except OSError:
            return False

    def leave(self):
        if self.root is not None:
            os.close(self.root)
        self.root = None

    def outcome(self, error):
        """What an errno says of a change."""
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EROFS,
                           errno.ESTALE, errno.ENOENT):
            # A daemon that died fails what it left with EIO too.
            if error.errno == errno.EIO and self.is_gone():
                return UNKNOWN
            return NOTHING
        return UNKNOWN

    def is_gone(self):
        try:
            os.stat(".", dir_fd=self.root)
            return False
        except OSError as e:
            return e.errno not in (errno.EIO, errno.ETIMEDOUT)

    def guarded(self, fn, started):
        """fn's outcome; expected errors become one, others are bad."""
        try:
            return fn()
        except OSError as e:
            ok = self.outcome(e)
            if e.errno not in (errno.EIO, errno.ENOSPC, errno.EROFS,
                               errno.ESTALE, errno.ENOENT, errno.ENOTCONN,
                               errno.ETIMEDOUT, errno.ECONNABORTED):
                self.bad("%s gave %r" % (fn.__name__, e), started)
            if e.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO,
                           errno.EROFS):
                self.leave()
                time.sleep(0.02)
            return ok

    def open(self, key, flags):
        return os.open(key, flags | os.O_CLOEXEC, 0o644, dir_fd=self.root)

    def of_open(self, fn, *args):
        """Who has a file open keeps it, whatever happens to its names."""
        try:
            return fn(*args)
        except OSError as e:
            if e.errno == errno.ESTALE:
                self.bad("%s of an open file gave %r" % (fn.__name__, e),
                         time.monotonic_ns())
            raise

    def read_all(self, fd):
        parts = []
        while True:
            more = self.of_open(os.read, fd, 1 << 17)
            if not more:
                return b"".join(parts)
            parts.append(more)

    def read(self):
        # A size that the kernel believes in may be no more, or not yet, that of
        # the bytes: where sizes differ it is not asked (O_DIRECT).
        # Not below directories that are renamed: the kernel walks a path name
        # by name, and goes along with a directory that it has found.
        key = self.key(REGISTERS + MOVERS + LISTS + TWINS + FADING)
        started = time.monotonic_ns()

        def read():
            try:
                fd = self.open(key, os.O_RDONLY | (
                    os.O_DIRECT if "/l" in key else 0))
            except FileNotFoundError:
                return self.look(key, None, started)
            try:
                # one call, one moment
                data = self.of_open(os.read, fd, 1 << 17)
            finally:
                os.close(fd)
            self.look(key, data.decode("latin-1"), started)
        self.guarded(read, started)

    def read_swapped(self):
        """What is renamed into place is whole for who has it open."""
        key = self.key(SWAPPED)
        started = time.monotonic_ns()

        def read_swapped():
            try:
                fd = self.open(key, os.O_RDONLY)
            except FileNotFoundError:
                return self.look(key, None, started)
            try:
                value = deflate(self.read_all(fd))
            finally:
                os.close(fd)
            if value.startswith("MIXED"):
                return self.bad("read %s: %s" % (key, value), started)
            self.look(key, value, started)
        self.guarded(read_swapped, started)

    def swap(self):
        key, tag = self.key(SWAPPED), self.value().rstrip(".")
        data = inflate(tag, self.rng.choice((3, 70, 131, 400)) * 1000)
        self.save(key, data, "%s*%d" % (tag, len(data)))

    def save_small(self):
        """What is written through a descriptor follows a rename, so files
        that are renamed are not written in place."""
        value = self.value()
        self.save(self.key(MOVERS), value.encode(), value)

    def save(self, key, data, value):
        """A file made aside and renamed: the way editors and rsync do it."""
        self.count += 1
        aside = "%s.%d.%d" % (key, self.number, self.count)
        started = time.monotonic_ns()

        def save():
            fd = self.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                at = 0
                while at < len(data):
                    at += os.write(fd, data[at:at + self.rng.choice(
                        (4000, 65536, 1 << 17))])
                os.fsync(fd)
            finally:
                os.close(fd)
        if self.guarded(save, started) is not None:
            return

        def rename():
            os.rename(aside, key, src_dir_fd=self.root, dst_dir_fd=self.root)
            return DONE
        started = time.monotonic_ns()
        self.add("put", self.guarded(rename, started), started, key=key,
                 value=value)

    def removed(self, fd):
        """Who wrote into a file that has lost its name meanwhile does not
        know whether the name had the bytes."""
        try:
            return self.of_open(os.fstat, fd).st_nlink == 0
        except OSError as e:
            if e.errno not in (errno.ESTALE, errno.ENOTCONN, errno.EIO,
                               errno.ECONNABORTED, errno.ETIMEDOUT):
                self.bad("fstat of an open file gave %r" % e, 0)
            return True

    def empty_before(self, op, key, ok, started, **more):
        """Before the first write, or without one, the file may be seen empty:
        by then, or at any time when nobody knows how it ended."""
        if ok is not NOTHING:
            self.history.add(op=op, ok=UNKNOWN, key=key, value="",
                             client=self.number, start_ns=started,
                             end_ns=time.monotonic_ns(), node=self.where(),
                             **more, **({"late": False} if ok in (DONE, OVER)
                                         else {}))

    def write(self):
        """echo value > key"""
        key, value = self.key(REGISTERS), self.even_value()
        started = time.monotonic_ns()
        opened = [False]

        def write():
            fd = self.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            opened[0] = True
            try:
                os.write(fd, value.encode())
                if self.rng.random() < 0.3:
                    os.fsync(fd)
                return OVER if self.removed(fd) else DONE
            finally:
                os.close(fd)
        ok = self.guarded(write, started)
        self.empty_before("put", key, UNKNOWN if opened[0] and ok is NOTHING
                          else ok, started)
        self.add("put", ok, started, key=key, value=value)

    def create(self):
        key = self.key(REGISTERS)
        started = time.monotonic_ns()

        def create():
            try:
                os.close(self.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return REFUSED
            return DONE
        self.add("cas", self.guarded(create, started), started, key=key,
                 expect=None, value="")

    def unlink(self):
        key = self.key(REGISTERS + MOVERS + LISTS)
        started = time.monotonic_ns()

        def unlink():
            try:
                os.unlink(key, dir_fd=self.root)
            except FileNotFoundError:
                self.look(key, None, started)
                return NOTHING
            return DONE
        ok = self.guarded(unlink, started)
        self.add("delete", ok, started, key=key,
                 **({"existed": True} if ok is DONE else {}))

    def append(self):
        key, value = self.key(LISTS), self.value()
        made = self.rng.random() < 0.3
        opened = [False]
        started = time.monotonic_ns()

        def append():
            try:
                fd = self.open(key, os.O_WRONLY | os.O_APPEND |
                               (os.O_CREAT if made else 0))
            except FileNotFoundError:
                if not made:
                    self.look(key, None, started)
                return NOTHING
            opened[0] = True
            try:
                os.write(fd, value.encode())
                return OVER if self.removed(fd) else DONE
            finally:
                os.close(fd)
        ok = self.guarded(append, started)
        if made:
            self.empty_before("cas", key, UNKNOWN if opened[0] and
                              ok is NOTHING else ok, started, expect=None)
        self.add("append", ok, started, key=key, value=value)

    def rename_onto_nothing(self, a, b):
        """The kernel looks both names up, one after the other, and takes a
        rename for done when it finds one file there, which another node may
        have renamed in between: so the new name must not exist."""
        if libc.renameat2(self.root, a.encode(), self.root, b.encode(),
                          RENAME_NOREPLACE):
            raise OSError(ctypes.get_errno(), a)

    def rename(self):
        a, b = self.rng.sample(["g%d/%s" % (self.generation, m)
                                for m in MOVERS], 2)
        started = time.monotonic_ns()

        def rename():
            try:
                self.rename_onto_nothing(a, b)
            except FileNotFoundError:
                self.look(a, None, started)
                return NOTHING
            except FileExistsError:
                return self.look_exists(b, started)
            return DONE
        ok = self.guarded(rename, started)
        self.add("txn", ok or NOTHING, started, puts=[
            {"key": b, "from": a}, {"key": a, "value": None}], **{"if": [
                {"key": a, "exists": True}, {"key": b, "exists": False}]})

    def move_directory(self):
        a, b = self.rng.sample(["g%d/%s" % (self.generation, d)
                                for d in DIRECTORIES], 2)
        started = time.monotonic_ns()

        def move_directory():
            try:
                self.rename_onto_nothing(a, b)
            except FileNotFoundError:
                return REFUSED
            except FileExistsError:
                return self.look_exists(b + "/", started)
            return DONE
        ok = self.guarded(move_directory, started)
        if ok:
            moved(self, a, b, started, ok, [{"key": b + "/", "exists": False}])

    def look_exists(self, key, started):
        self.add("txn", DONE, started, gets=[{"key": key, "exists": True}])

    def stat(self):
        key = self.key(REGISTERS + MOVERS + LISTS)
        started = time.monotonic_ns()

        def stat():
            try:
                size = os.stat(key, dir_fd=self.root).st_size
            except FileNotFoundError:
                return self.look(key, None, started)
            self.add("txn", DONE, started, gets=[
                {"key": key, "exists": True}, {"key": key, "size": size}])
        self.guarded(stat, started)

    def list(self):
        """Each name is looked at by itself: a readdir is no moment."""
        started = time.monotonic_ns()
        generation = "g%d" % self.generation

        def list():
            fd = self.open(generation, os.O_RDONLY | os.O_DIRECTORY)
            try:
                names = os.listdir(fd)
            finally:
                os.close(fd)
            for n in REGISTERS + LISTS + TWINS + FADING:
                self.add("txn", DONE, started, gets=[
                    {"key": "%s/%s" % (generation, n), "exists": n in names}])
            if len(set(names)) != len(names):
                self.bad("twice in %r" % names, started)
        self.guarded(list, started)

    steps = ((22, read), (4, read_swapped), (2, swap), (4, save_small),
             (12, write), (6, create), (6, unlink),
             (10, append), (8, rename), (4, move_directory),
             (8, stat), (4, list))


def guard(client, history):
    try:
        client.run()
    except BaseException:
        history.add(op="bad", ok="bad", what="the client broke: " +
                    traceback.format_exc()[-1500:], client=client.number,
                    start_ns=time.monotonic_ns(), end_ns=time.monotonic_ns())


def main():
    control, path, seed, number, web, files = sys.argv[1:]
    control, history = Control(control), History(path)
    clients = [Web(control, history, int(seed), 100 * int(number) + i)
               for i in range(int(web))]
    clients += [Files(control, history, int(seed), 100 * int(number) + 50 + i)
                for i in range(int(files))]
    threads = [threading.Thread(target=guard, args=(c, history), daemon=True)
               for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    history.close()


if __name__ == "__main__":
    main()
