"""kill9.py - kill -9 under load, over and over: what was acknowledged is there,
what was deleted stays away, what was unknown is one of the two.

Each writer owns a directory and is the only one to change it, so that it knows
every key's possible states: one after an answer, two after none. Segments are
small and merges are asked for, so that the blow falls into rotation, merge and
the manifest's switch as well. CYCLES=500 makes a night of it."""
import hashlib
import json
import os
import random
import socket
import statistics
import threading
import time

from harness import (Conn, Failure, Node, SEED, case, equal, expect,
                     in_threads, main, quote, wait_for)

CYCLES = int(os.environ.get("CYCLES", "14"))
WRITERS = int(os.environ.get("WRITERS", "4"))
RESTART_S = float(os.environ.get("RESTART_S", "2"))
TORN = (ConnectionError, socket.timeout, OSError)
CONFIG = {"storage.max_file_size": '"1M"', "storage.merge.dead_ratio": "0.3",
          "storage.merge.dead_bytes": '"512K"',
          "storage.merge.small_file": '"256K"', "storage.merge.rate": '"0"'}


class Value:
    """Bytes that can be made again from what is remembered of them."""

    def __init__(self, rng, size):
        self.seed, self.size = rng.getrandbits(63), size

    def bytes(self):
        return random.Random(self.seed).randbytes(self.size)


class Writer:
    def __init__(self, node, number, rng):
        self.node, self.rng = node, rng
        self.dir = "w%d" % number
        self.states = {}   # key -> list of possible: None or Value
        self.ends = {}     # key -> (earliest end, None or time by which gone)
        self.groups = []   # [(keys, old states, new states)] with one outcome
        self.acknowledged = 0
        self.conn = None
        self.history = {}  # sha of every value a key ever had -> when

    def key(self):
        return "%s/%d/%d" % (self.dir, self.rng.randrange(3),
                             self.rng.randrange(40))

    def size(self):
        return self.rng.choice((0, 1, 100, 100, 1000, 1000, 5000, 65536,
                                70000, self.rng.randrange(300000)))

    def now(self, key):
        """The one state of key, settled by a read if there are two."""
        states = self.states.get(key, [None])
        if len(states) == 1 and key not in self.ends:
            return states[0]
        r = self.conn.call("GET", quote(key) + "?raw")
        self.settle(key, r)
        return self.states.get(key, [None])[0]

    def settle(self, key, r):
        """The answer r to a GET must be one of the states; only it stays."""
        states = self.states.get(key, [None])
        expect(r.status in (200, 404), "GET of", key, "answered", r)
        may_expire = key in self.ends
        if r.status == 404:
            early = key in self.ends and \
                time.monotonic() < self.ends[key][0]
            if None not in states:
                expect(key in self.ends and not early, key,
                       "was acknowledged and is missing")
            self.states.pop(key, None)
            self.ends.pop(key, None)
            found = None
        else:
            fits = [s for s in states if s is not None and
                    s.size == len(r.body) and s.bytes() == r.body]
            expect(fits, key, "has", len(r.body), "bytes", r.body[:20],
                   "that it must not have; possible sizes",
                   [s and s.size for s in states], "it had them",
                   self.history.get(hashlib.sha1(r.body).digest(), "never"))
            found = fits[0]
            if key in self.ends and self.ends[key][1] is not None:
                expect(time.monotonic() < self.ends[key][1], key,
                       "should have expired")
            self.states[key] = [found]
        # A key that is gone because its time was up tells of no batch.
        if found is not None or not may_expire:
            self.check_groups(key, found)

    def check_groups(self, key, found):
        for group in self.groups:
            keys, old, new, outcome = group
            if key not in keys:
                continue
            at = keys.index(key)
            if (old[at] is None) == (new[at] is None) and old[at] is new[at]:
                continue
            happened = found is new[at]
            if outcome is None:
                group[3] = happened
            else:
                expect(outcome == happened, "a batch took effect in part:",
                       keys)

    def attempt(self, changes, send, ttl_s=None):
        """send() makes changes {key: new state}; note how it came out."""
        keys = list(changes)
        old = [self.now(k) for k in keys]
        begun = time.monotonic()
        for k in keys:
            if changes[k] is not None:
                self.history[hashlib.sha1(changes[k].bytes()).digest()] = \
                    begun
        known = False
        try:
            r = send()
            if r.status in (503, 507, 409):
                return r
            expect(r.status in (200, 201, 204), "a write answered", r)
            known = True
            return r
        except TORN:
            for k, o in zip(keys, old):
                self.states[k] = [o, changes[k]]
                if ttl_s is not None or k in self.ends:
                    self.ends[k] = (0, None)  # either may expire
            if len(keys) > 1:
                self.groups.append([keys, old, [changes[k] for k in keys],
                                    None])
            raise
        finally:
            if known:
                self.acknowledged += 1
                for k in keys:
                    self.groups = [g for g in self.groups if k not in g[0]]
                    self.ends.pop(k, None)
                    if changes[k] is None:
                        self.states.pop(k, None)
                    else:
                        self.states[k] = [changes[k]]
                    if ttl_s is not None:
                        # Time may stand still for it while the node is down.
                        self.ends[k] = (begun + ttl_s, None)

    def step(self):
        rng, conn, key = self.rng, self.conn, self.key()
        what = rng.randrange(100)
        if what < 45:
            v = Value(rng, self.size())
            self.attempt({key: v}, lambda: conn.call("PUT", quote(key),
                                                     v.bytes()))
        elif what < 50:
            v = Value(rng, rng.randrange(300000, 3000000))
            self.attempt({key: v}, lambda: conn.call("PUT", quote(key),
                                                     v.bytes()))
        elif what < 70:
            self.attempt({key: None}, lambda: conn.call("DELETE",
                                                        quote(key)))
        elif what < 80:
            ttl_ms = rng.choice((200, 500, 1500, 100000))
            v = Value(rng, 50)
            self.attempt({key: v}, lambda: conn.call(
                "PUT", quote(key) + "?ttl=%dms" % ttl_ms, v.bytes()),
                ttl_ms / 1000)
        elif what < 90:
            self.batch()
        elif what < 92:
            self.delete_directory()
        else:
            self.now(key)
            self.settle(key, conn.call("GET", quote(key) + "?raw"))

    def batch(self):
        rng = self.rng
        changes, then = {}, []
        for key in {self.key() for _ in range(rng.randrange(2, 9))}:
            if rng.random() < 0.3:
                changes[key] = None
                then.append({"delete": key})
            else:
                v = Value(rng, 40)
                v.bytes = lambda v=v: b"%040d" % (v.seed % 10**30)
                changes[key] = v
                then.append({"put": key, "value": v.bytes().decode()})
        body = json.dumps({"then": then}).encode()
        self.attempt(changes, lambda: self.conn.call("POST", "/_/txn", body))

    def delete_directory(self):
        below = "%s/%d/" % (self.dir, self.rng.randrange(3))
        keys = [k for k in self.states if k.startswith(below)]
        if keys:
            self.attempt({k: None for k in keys}, lambda: self.conn.call(
                "DELETE", "/_/kv?prefix=" + below))

    def run(self, dead):
        """Write until the daemon is gone."""
        try:
            self.conn = Conn(self.node.port)
            while not dead.is_set():
                self.step()
        except TORN:
            expect(dead.wait(5), "the connection broke before the blow")
        finally:
            if self.conn:
                self.conn.close()

    def check(self):
        """Every key, and nothing else, is as it must be."""
        self.conn = Conn(self.node.port)
        listed = {k["key"] for k in self.node.list_all(
            prefix=self.dir + "/")[0]}
        possible = set(self.states)
        expect(listed <= possible, "back from the dead:",
               sorted(listed - possible)[:5])
        for key in sorted(possible):
            self.settle(key, self.conn.call("GET", quote(key) + "?raw"))
        self.groups = []
        self.conn.close()


def cycle(node, writers, rng, blow, seconds):
    dead = threading.Event()

    def strike():
        time.sleep(seconds)
        if rng.random() < 0.5:
            try:
                node.call("POST", "/_/merge", b"")
            except TORN:
                pass
            time.sleep(rng.random() * 0.1)
        dead.set()
        blow()

    in_threads(strike, *[lambda w=w: w.run(dead) for w in writers])
    took = node.start()
    for w in writers:
        w.check()
    s = node.status()
    equal(s["storage"]["corrupt"], [], "corrupt after a restart")
    return took


def cycles(count, blow_name, partitions=1):
    rng = random.Random("%d %s" % (SEED, blow_name))
    config = dict(CONFIG)
    config["cluster.partitions"] = str(partitions)
    node = Node(config)
    node.start()
    blow = {"kill9": node.kill9, "stop": lambda: equal(
        node.stop(), 0, "exit status")}[blow_name]
    writers = [Writer(node, i, random.Random(rng.getrandbits(64)))
               for i in range(WRITERS)]
    took = [cycle(node, writers, rng, blow, rng.uniform(0.05, 0.6))
            for _ in range(count)]
    total = sum(w.acknowledged for w in writers)
    expect(total > 10 * count, "few writes were acknowledged:", total)
    expect(statistics.median(took) < RESTART_S, "restarts took", took)
    expect(node.status()["storage"]["files"] < 200, "files are merged away:",
           node.status()["storage"])
    # Deletes stay deleted when all is merged, and after one more restart.
    node.call("POST", "/_/merge", b"")
    wait_for(lambda: node.status()["storage"]["merge"] == "idle",
             "the merge ends")
    for w in writers:
        w.check()
    node.kill9()
    node.start()
    for w in writers:
        w.check()
    node.remove()
    print("# %d cycles, %d writes acknowledged, restart %.2f s at most" % (
        count, total, max(took)))


@case("kill -9 under load loses no acknowledged write and brings nothing back")
def _():
    cycles(CYCLES, "kill9")


@case("SIGTERM under load: exit 0, nothing lost, every answer true")
def _():
    cycles(max(3, CYCLES // 4), "stop")


@case("kill -9 with four partitions")
def _():
    cycles(max(3, CYCLES // 4), "kill9", 4)


@case("kill -9 during the restart itself, again and again")
def _():
    rng = random.Random(SEED)
    node = Node(CONFIG)
    node.start()
    values = {}
    for i in range(150):
        values["k%d" % (i % 60)] = rng.randbytes(rng.randrange(60000))
        node.put("k%d" % (i % 60), values["k%d" % (i % 60)])
    for _ in range(max(8, CYCLES)):
        node.kill9()
        node.spawn()
        time.sleep(rng.random() * 0.15)
    node.kill9()
    node.start()
    for key, value in values.items():
        expect(node.get(key).body == value, key)
    equal(len(node.list_all()[0]), len(values), "keys")
    node.remove()


if __name__ == "__main__":
    main()
