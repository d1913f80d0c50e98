"""faults.py - what goes wrong, when, and for how long: the plan of a seed.

A plan is made before anything starts, from the seed alone: a list of episodes,
each a fault with its parameters, a beginning and an end. Members are meant by
number; "leader" and "follower" are looked up when the time has come. What
depends on the clusters state at that moment may so differ between two runs of
one seed; the plan does not.
"""
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import time

from harness import Failure, JSON_TYPE
from cluster_kit import TORN

WHO = ("leader", "follower", "any")


class Episode:
    """do() begins it, undo() ends it; both return at once, or take what an
    operator's command takes. alone: no other one beside it."""
    alone = False
    weight = 1

    def __init__(self, rng, count):
        self.length = rng.choice((0.1, 0.4, 1, 2, 4))
        self.who = rng.choice(WHO)
        self.number = rng.randrange(1, count + 1)
        self.draw(rng, count)

    def draw(self, rng, count):
        pass

    def __str__(self):
        return " ".join([type(self).__name__.lower()] + [
            "%s=%s" % i for i in sorted(vars(self).items())
            if i[0] not in ("member", "left")])

    def pick(self, c, spare_witness=False):
        """The member it happens to; None: nobody fits now."""
        m = c.by_role(self.who) if self.who != "any" else None
        if m is None:
            m = c.members[self.number % len(c.members)]
        if spare_witness and m is c.witness:
            m = next((x for x in c.members if x is not c.witness), None)
        self.member = m
        return m

    def undo(self, c):
        pass


class Kill(Episode):
    weight = 3

    def draw(self, rng, count):
        self.together = rng.choice((1, 1, 1, 2, count))
        self.order = rng.random()

    def do(self, c):
        first = self.pick(c, spare_witness=True)
        others = [m for m in c.members if m is not first and
                  m is not c.witness]
        random.Random(self.order).shuffle(others)
        self.left = [m for m in [first] + others[:self.together - 1]
                     if m and m.is_alive()]
        for m in self.left:
            m.kill9()

    def undo(self, c):
        for m in self.left:
            if m in c.members and not m.is_alive():
                self.again(m)

    def again(self, m):
        m.spawn()


class Reboot(Kill):
    """The machine starts anew: its monotonic clocks begin elsewhere."""
    weight = 2

    def draw(self, rng, count):
        super().draw(rng, count)
        self.clock_s = rng.choice((-1, 1)) * rng.randrange(100000)

    def again(self, m):
        with open("/proc/uptime") as f:
            least = 5 - int(float(f.read().split()[0]))
        m.clock_s = max(self.clock_s, least)
        m.spawn()


class Stop(Kill):
    """SIGTERM, as at an upgrade."""

    def do(self, c):
        m = self.pick(c, spare_witness=True)
        self.left = [m] if m.is_alive() else []
        for m in self.left:
            status = m.stop()
            if status:
                raise Failure("%s ended with %s on SIGTERM" % (
                    m.name, status))


class Pause(Episode):
    weight = 2

    def do(self, c):
        if self.pick(c).is_alive():
            self.member.pause()

    def undo(self, c):
        if self.member.paused and self.member.is_alive():
            self.member.resume()


class Suspend(Pause):
    """Paused, and the boot clock went on meanwhile."""

    def draw(self, rng, count):
        self.ahead_s = rng.choice((0.5, 5, 600))

    def undo(self, c):
        m = self.member
        m.spoil(boot_ns=m.values["boot_ns"] + int(self.ahead_s * 1e9))
        super().undo(c)


class WallClock(Episode):
    def draw(self, rng, count):
        self.to_s = rng.choice((-1, 1)) * rng.choice((1, 60, 86400, 10 ** 8))

    def do(self, c):
        # Certificates are valid from the start of the run for some days.
        to_s = min(abs(self.to_s), 86400) if c.tls else self.to_s
        self.pick(c).spoil(wall_ns=to_s * 10 ** 9)


class Cut(Episode):
    weight = 4

    def draw(self, rng, count):
        self.shape = rng.choice(("off", "link", "deaf", "mute", "split"))
        self.order = rng.random()

    def do(self, c):
        m = self.pick(c)
        others = [x for x in c.members if x is not m]
        random.Random(self.order).shuffle(others)
        self.left = []

        def cut(a, b):
            c.network.cut(a.number, b.number)
            self.left.append((a.number, b.number))
        if self.shape == "split":
            here = [m] + others[:(len(c.members) - 1) // 2]
            there = [x for x in c.members if x not in here]
        else:
            here = [m]
            there = others[:1] if self.shape == "link" else others
        for a in here:
            for b in there:
                if self.shape != "deaf":
                    cut(a, b)
                if self.shape != "mute":
                    cut(b, a)

    def undo(self, c):
        for a, b in self.left:
            c.network.mend(a, b)


class SlowNet(Episode):
    def draw(self, rng, count):
        self.kbit = rng.choice((300, 1000, 4000))

    def do(self, c):
        c.shape(self.pick(c), self.kbit)

    def undo(self, c):
        c.shape(self.member, None)


class Loss(Episode):
    def draw(self, rng, count):
        self.share = rng.choice((0.02, 0.1, 0.3))

    def do(self, c):
        self.pick(c)
        if shutil.which("iptables"):
            c.lose(self.member, self.share)

    def undo(self, c):
        if shutil.which("iptables"):
            c.lose(self.member, 0)


class DiskFull(Episode):
    weight = 2

    def draw(self, rng, count):
        self.leave = rng.choice((0, 4096, 300000, 2 << 20))

    def do(self, c):
        self.pick(c).fill(self.leave)

    def undo(self, c):
        self.member.make_room()


class SlowDisk(Episode):
    def draw(self, rng, count):
        self.sync_ms = rng.choice((5, 50, 400, 1500))
        self.write_ms = rng.choice((0, 0, 50))

    def do(self, c):
        self.pick(c).spoil(sync_delay_ms=self.sync_ms,
                           write_delay_ms=self.write_ms)

    def undo(self, c):
        self.member.spoil(sync_delay_ms=0, write_delay_ms=0)


class BadDisk(Episode):
    """A sync or a write fails: the daemon ends, and is started again."""

    def draw(self, rng, count):
        self.call = rng.choice(("sync_errno", "write_errno"))

    def do(self, c):
        m = self.pick(c, spare_witness=True)
        m.may_fail = True
        m.spoil(**{self.call: errno.EIO})

    def undo(self, c):
        m = self.member
        m.spoil(sync_errno=0, write_errno=0)
        if not m.is_alive():
            m.spawn()


class BadReads(Episode):
    """Some reads of files fail for a while: scans and merges. Who is just
    starting cannot, and is started again."""

    def do(self, c):
        m = self.pick(c)
        m.may_fail = not m.is_ready()
        m.spoil(read_errno=errno.EIO)

    def undo(self, c):
        m = self.member
        m.spoil(read_errno=0)
        m.may_fail = False
        if m.ended and not m.is_alive():
            m.spawn()


class Transfer(Episode):
    weight = 2

    def do(self, c):
        c.admin("POST", "/_/transfer", {"to": self.pick(c).name}, 1,
                (200, 409, 503, 504))


class Merge(Episode):
    weight = 3

    def do(self, c):
        for m in c.alive():
            m.request("POST", "/_/merge")


class Backup(Episode):
    """A backup is begun, and read to its end or not."""

    def draw(self, rng, count):
        self.bytes = rng.choice((1, 100000, 1 << 30))

    def do(self, c):
        m = self.pick(c)
        try:
            with m.conn(3) as conn:
                conn.start("GET", "/_/snapshot")
                got = 0
                while got < self.bytes and conn.read():
                    got, conn.got = got + len(conn.got), b""
        except (Failure, *TORN):
            pass


class Reload(Episode):
    """SIGHUP with other settings, and with a file that is refused."""

    def draw(self, rng, count):
        self.ratio = rng.choice((0.2, 0.5, 0.9))
        self.broken = rng.random() < 0.3

    def do(self, c):
        m = self.pick(c)
        if not m.is_alive():
            return
        if self.broken:
            with open(m.config, "a") as f:
                f.write("no such: { };\n")
        else:
            m.settings_now["storage.merge.dead_ratio"] = str(self.ratio)
            m.settings_now["log.level"] = '"debug"' \
                if self.ratio == 0.9 else '"info"'
            m.write_config(c.members)
        m.process.send_signal(signal.SIGHUP)

    def undo(self, c):
        if self.broken:
            self.member.write_config(c.members)
            if self.member.is_alive():
                self.member.process.send_signal(signal.SIGHUP)


class Renew(Episode):
    """New certificates everywhere (nothing without TLS)."""

    def do(self, c):
        if c.tls:
            c.make_certificates()
            for m in c.alive():
                m.process.send_signal(signal.SIGHUP)


class Replace(Episode):
    """A disk is lost; the name gets a new one."""
    alone = True

    def do(self, c):
        m = self.pick(c, spare_witness=True)
        if m.is_alive():
            m.kill9()
        m.wipe()
        m.spawn()
        path = "/_/members/%s/replace" % m.name
        if not c.admin("POST", path):
            raise Failure("%s is not replaced in 30 s" % m.name)
        c.until_voter(m.name)


class Exchange(Episode):
    """One member leaves, another one comes: as a learner that stays one, then
    promoted, or at once. In a cluster of three the new one comes first."""
    alone = True

    def draw(self, rng, count):
        self.learner = rng.random() < 0.5

    def do(self, c):
        gone = self.pick(c, spare_witness=True)
        guest = c.add()
        guest.spawn()
        body = {"name": guest.name, "peer": guest.address(guest.peer_port),
                "http": guest.address(guest.port)}
        if self.learner:
            body["learner"] = True
        if not c.admin("POST", "/_/members", body, done=(200, 409)):
            raise Failure("%s is not added in 30 s" % guest.name)
        if self.learner:
            c.until_role(guest.name, "learner")
            c.admin("POST", "/_/members/%s/promote" % guest.name)
        c.until_voter(guest.name)
        if not c.admin("DELETE", "/_/members/" + gone.name, done=(200, 404)):
            raise Failure("%s is not removed in 30 s" % gone.name)
        c.until_role(gone.name, None)
        c.members.remove(gone)
        c.tell()
        if gone.is_alive():
            gone.kill9()
        gone.remove()


KINDS = (Kill, Reboot, Stop, Pause, Suspend, WallClock, Cut, SlowNet, Loss,
         DiskFull, SlowDisk, BadDisk, BadReads, Transfer, Merge, Backup,
         Reload, Renew, Replace, Exchange)


def make_plan(seed, count, seconds, only=None):
    """[(begin, end, episode)], by begin. Every kind has its chance in each
    run of some minutes, some more than others, by the seed."""
    rng = random.Random("plan %d" % seed)
    kinds = [k for k in KINDS if not only or k.__name__.lower() in only]
    weights = {k: k.weight * rng.choice((0.4, 1, 2)) for k in kinds}
    plan, at = [], 1.0
    unseen = list(kinds)
    rng.shuffle(unseen)
    while at < seconds:
        if unseen and rng.random() < 0.6:
            kind = unseen.pop()
        else:
            kind = rng.choices(kinds, [weights[k] for k in kinds])[0]
        e = kind(rng, count)
        plan.append((at, min(at + e.length, seconds), e))
        if e.alone:
            at += e.length + 6
        else:  # the next one may begin before this one ends
            at += rng.choice((0.1, 0.5, 1, 2)) + rng.choice((0, e.length))
    return plan
