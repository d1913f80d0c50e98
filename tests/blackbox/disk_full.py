"""disk_full.py - a small file system is filled to the brim: writes are 507,
reads and deletes go on, a kill -9 at full loses nothing, and when space comes
back the daemon serves again by itself. Needs root, to mount a tmpfs or a loop
device."""
import json
import os
import random
import shutil
import subprocess
import sys
import time

from harness import (Failure, Node, SEED, Skip, case, equal, expect, libc,
                     main, make_directory, skip, wait_for)

# Three segments of 1 MiB, a reserve, and room for some tens of values.
SIZE_MB = 24
CONFIG = {"storage.max_file_size": '"1M"', "storage.merge.rate": '"0"',
          "storage.merge.dead_ratio": "0.2",
          "storage.merge.dead_bytes": '"256K"',
          "storage.min_free_disk": '"2M"'}
MERGE_S = 60  # to merge all that was deleted, on a busy machine
CLONE_NEWNS = 0x20000
MNT_DETACH = 2


class Small:
    """A node on a file system of its own."""

    def __init__(self, kind, config=None):
        self.root = make_directory()
        self.mount = os.path.join(self.root, "fs")
        os.mkdir(self.mount)
        if kind == "tmpfs":
            command = ["mount", "-t", "tmpfs", "-o", "size=%dm" % SIZE_MB,
                       "none", self.mount]
        else:
            image = os.path.join(self.root, "image")
            with open(image, "wb") as f:
                f.truncate(SIZE_MB << 20)
            # Users have no sbin in their PATH, a bare system no e2fsprogs.
            mkfs = shutil.which("mkfs.ext4", path="/sbin:/usr/sbin")
            if not mkfs or subprocess.run([mkfs, "-q", "-m", "0", image],
                                          capture_output=True).returncode:
                self.forget()
                raise Skip("no mkfs.ext4")
            command = ["mount", "-o", "loop", image, self.mount]
        r = subprocess.run(command, capture_output=True)
        if r.returncode:
            self.forget()
            raise Skip("cannot mount a %s here (not root?)" % kind)
        self.node = Node(config or CONFIG, self.root,
                         os.path.join(self.mount, "data"))
        self.rng = random.Random(SEED)
        self.values = {}

    def forget(self):
        subprocess.run(["rm", "-rf", "--one-file-system", self.root])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.node.remove()
        libc.umount2(self.mount.encode(), MNT_DETACH)
        self.forget()

    def put(self, key, size):
        """The status of a PUT; what is acknowledged is remembered."""
        value = self.rng.randbytes(size)
        r = self.node.call("PUT", "/" + key, value)
        if r.status in (201, 204):
            self.values[key] = value
        else:
            equal((r.status, r.code), (507, "out_of_space"), "PUT")
        return r.status

    def fill(self, sizes=(1000, 50000, 200000, 900000)):
        """Until nothing fits any more, the small values last."""
        i = len(self.values)
        for size in sorted(sizes, reverse=True):
            refused = 0
            while refused < 3:
                i += 1
                expect(i < 3000, "a small disk takes for ever")
                refused += self.put("fill/%04d" % i, size) == 507

    def refused(self, keys, *request):
        """The request gets a 507. A merge may make room at any moment: what
        fitted into it is deleted again, and the room filled."""
        for _ in range(20):
            r = self.node.call(*request)
            if r.status not in (200, 201, 204):
                equal((r.status, r.code), (507, "out_of_space"), request[1])
                return
            for key in keys:
                equal(self.node.call("DELETE", "/" + key).status, 200, key)
            self.fill()
        raise Failure("the disk does not stay full")

    def check(self):
        with self.node.conn() as c:
            for key, value in self.values.items():
                r = c.call("GET", "/" + key + "?raw")
                equal(r.status, 200, "GET of", key)
                expect(r.body == value, key, "has its bytes")
        names = {k["key"] for k in self.node.list_all()[0]}
        equal(names, set(self.values), "keys")
        equal(self.node.status()["storage"]["corrupt"], [], "corrupt")

    def delete(self, key):
        r = self.node.call("DELETE", "/" + key)
        equal(r.status, 200, "DELETE at a full disk of", key)
        del self.values[key]


def full_disk(kind):
    with Small(kind) as s:
        n = s.node
        n.start()
        s.fill()
        expect(len(s.values) > 10, "something fitted:", len(s.values))
        # All ways to write say it, and leave no half behind.
        keys = ["txn/%d" % k for k in range(8)]
        for i in range(5):
            s.refused(["json"], "POST", "/json",
                      '{"value":"%s"}' % ("j" * 100000))
            s.refused(keys, "POST", "/_/txn", json.dumps({"then": [
                {"put": key, "value": "t" * 100000} for key in keys]}))
            s.refused(["large"], "PUT", "/large", b"l" * 4000000)
        s.check()
        for key in list(s.values)[:3]:
            s.delete(key)
        s.check()
        n.kill9()
        n.start()
        s.check()
        for key in list(s.values)[:3]:
            s.delete(key)
        equal(n.stop(), 0, "SIGTERM at a full disk")
        n.start()
        s.check()
        # Space comes back by deleting; nobody restarts anything.
        for key in list(s.values)[::2]:
            s.delete(key)
        wait_for(lambda: s.put("again/a", 100000) != 507,
                 "service returns after deletes", MERGE_S)
        wait_for(lambda: s.put("again/b", 900000) != 507,
                 "large values fit again", MERGE_S)
        s.check()
        # Full again, and deleted to the last key, three times.
        for _ in range(2):
            s.fill((50000, 900000))
            n.kill9()
            n.start()
            s.check()
            equal(n.call("DELETE", "/_/kv?all=1").status, 200, "delete all")
            s.values.clear()
            wait_for(lambda: s.put("again/c", 2000000) != 507,
                     "service returns after deleting all")
        s.check()


@case("a full tmpfs: 507, reads and deletes go on, nothing lost, all returns")
def _():
    full_disk("tmpfs")


@case("a full ext4 of its own: the same")
def _():
    full_disk("ext4")


@case("space taken and freed by another: refused meanwhile, then served")
def _():
    with Small("tmpfs") as s:
        n = s.node
        n.start()
        s.put("a", 1000)
        hog = os.path.join(s.mount, "hog")
        with open(hog, "wb") as f:
            try:
                while True:
                    f.write(b"h" * 65536)
                    f.flush()
            except OSError:
                pass
        refused = 0
        for i in range(100):
            refused += s.put("b/%d" % i, 100000) == 507
        expect(refused > 50, "writes are refused:", refused)
        for i in range(200):
            s.put("c/%d" % i, 10)
        s.check()
        n.kill9()
        n.start()
        s.check()
        s.delete("a")
        os.unlink(hog)
        wait_for(lambda: s.put("d", 500000) != 507, "service returns")
        s.check()


@case("min_free_disk is kept free: PUTs stop above it, deletes do not")
def _():
    config = dict(CONFIG)
    config["storage.min_free_disk"] = '"10M"'
    with Small("tmpfs", config) as s:
        n = s.node
        n.start()
        s.fill()
        v = os.statvfs(s.mount)
        free = v.f_bavail * v.f_frsize
        expect(free > 8 << 20, "free bytes left:", free)
        for key in list(s.values):
            s.delete(key)
        wait_for(lambda: s.put("again", 500000) != 507, "service returns")


@case("overwriting at a full disk loses neither the old nor the new value")
def _():
    with Small("tmpfs") as s:
        n = s.node
        n.start()
        s.fill((200000,))
        keys = list(s.values)
        begun = time.monotonic()
        done = 0
        while time.monotonic() - begun < 1.5:
            done += s.put(s.rng.choice(keys), s.rng.randrange(200000)) != 507
        s.check()
        n.kill9()
        n.start()
        s.check()
        print("# %d overwrites fitted" % done)


if __name__ == "__main__":
    # Mounts of its own, which end with it, whatever ends it. In a chroot / is
    # no mount point: then they cannot be kept from the host, and none is made.
    if libc.unshare(CLONE_NEWNS) == 0 and subprocess.run(
            ["mount", "--make-rprivate", "/"],
            stderr=subprocess.DEVNULL).returncode != 0:
        skip("a small file system of its own", "no private mounts here")
        sys.exit(77)
    main()
