"""chaos.py - real clusters under every fault that can be had, for a given time.

    python3 chaos.py [--seconds N] [--seed N] [--nodes 3|5] [--faults a,b]
                     [--daemon FILE] [--dir DIR] [--plan]

Clients over HTTP and through the mounts of all nodes work on the same keys
while the plan of the seed (faults.py) is carried out; streams of changes run
beside them. Then all faults are off, and it is judged: every history is
linearizable, every stream complete; the nodes heal in time and hold the same;
nothing is left behind on disks, in memory, in descriptors; no log speaks of a
crash. On a violation everything is kept.
"""
import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "blackbox"))

parser = argparse.ArgumentParser()
parser.add_argument("--seconds", type=float, default=600)
parser.add_argument("--seed", type=int)
parser.add_argument("--nodes", type=int)
parser.add_argument("--faults", help="only these, by name")
parser.add_argument("--daemon", help="another build of raftcaskd")
parser.add_argument("--dir", help="where it works; default below build/")
parser.add_argument("--plan", action="store_true", help="print it, no more")
parser.add_argument("--patience", type=float, default=1,
                    help="how much longer everything may take")
args = parser.parse_args()
if args.daemon:
    os.environ["CHAOS_DAEMON"] = os.path.abspath(args.daemon)

from harness import BUILD, Failure, JSON_TYPE, Skip, quote  # noqa: E402
from cluster_kit import TORN, dump  # noqa: E402
import after  # noqa: E402
import judge  # noqa: E402
from faults import make_plan  # noqa: E402
from history import DIRECTORIES, History, keys_of  # noqa: E402
from rig import Chaos, run, unmount  # noqa: E402

GENERATION_S = 12


class Run:
    def __init__(self, seed):
        self.seed = seed
        self.rng = random.Random("run %d" % seed)
        self.count = args.nodes or self.rng.choice((3, 3, 5))
        self.partitions = self.rng.choice((1, 1, 1, 4))
        self.tls = self.rng.random() < 0.4 and bool(shutil.which("openssl"))
        self.plan = make_plan(seed, self.count, args.seconds,
                              args.faults and args.faults.split(","))
        self.wrong, self.open, self.generation = [], [], 0
        self.root = os.path.abspath(args.dir or os.path.join(
            BUILD, "chaos-%d" % seed))
        self.started = time.monotonic()
        self.cluster, self.children = None, []
        self.samples = after.Samples(self.root)

    def say(self, text):
        line = "%7.2f %s" % (time.monotonic() - self.started, text)
        with open(os.path.join(self.root, "events"), "a") as f:
            f.write(line + "\n")

    # --- beginning --------------------------------------------------------

    def set_up(self):
        with open("/proc/self/mounts") as f:  # of a run that was killed
            for path in [line.split()[1] for line in f]:
                if path.startswith(self.root + "/"):
                    unmount(path)
        shutil.rmtree(self.root, ignore_errors=True)
        os.makedirs(self.root)
        shim = os.path.join(self.root, "shim.so")
        run(os.environ.get("CC", "gcc").split()[-1], "-O2", "-D_GNU_SOURCE",
            "-shared", "-fPIC", "-o", shim, os.path.join(HERE, "shim.c"),
            "-ldl")
        self.cluster = c = Chaos(self.root, self.count, self.partitions,
                                 self.tls, shim)
        c.patience = args.patience
        c.witness = c.members[-1]
        self.history = History(os.path.join(self.root, "history.rig"))
        for m in c.members:
            m.spawn()
        c.wait_ready(30 * args.patience)
        for m in c.members:
            after.until(m.is_mounted, 30 * args.patience,
                        "%s has its mount" % m.name)
        boot_jumps = any(type(e).__name__ == "Suspend" for *_, e in self.plan)
        c.tell(go=False, generation=0, boot_jumps=boot_jumps)
        self.start_clients()
        self.next_generation()
        c.tell(go=True)

    def start_clients(self):
        def child(*words):
            self.children.append(subprocess.Popen(
                [sys.executable, "-B", os.path.join(HERE, words[0]),
                 *map(str, words[1:])]))
        for i in range(2):
            child("clients.py", self.cluster.control,
                  os.path.join(self.root, "history.%d" % i), self.seed, i + 1,
                  4, 3)
        child("watch.py", self.cluster.control,
              os.path.join(self.root, "watched"), "g", 3)

    def ask(self, method, path, body=None, due=(200, 201, 204), seconds=60):
        """Of whoever answers, until it is done."""
        end = time.monotonic() + seconds * args.patience
        while time.monotonic() < end:
            for m in self.rng.sample(self.cluster.alive(),
                                     len(self.cluster.alive())):
                try:
                    with m.conn(4) as c:
                        r = c.call(method, path, body, ())
                    if r.status in due:
                        return r
                except (Failure, *TORN):
                    pass
            time.sleep(0.05)
        raise Failure("%s %s is not done in %d s" % (method, path, seconds))

    def record(self, op, keys, ok, started, **more):
        for key in keys:
            self.history.add(op=op, ok=ok, key=key, client=0,
                             start_ns=started, end_ns=time.monotonic_ns(),
                             **more)

    def next_generation(self):
        """Keys grow old: clients go on to new ones, old ones are deleted."""
        n = self.generation + 1
        for path in ("g%d/" % n,) + tuple(
                "g%d/%s/" % (n, d) for d in DIRECTORIES):
            started = time.monotonic_ns()
            self.ask("PUT", quote(path), b"")
            self.record("put", [path], True, started, value="")
        self.generation = n
        self.cluster.tell(generation=n)
        if n > 2:
            self.delete_generation(n - 2)

    def delete_generation(self, n):
        started = time.monotonic_ns()
        self.ask("DELETE", "/_/kv?prefix=g%d/" % n)
        self.record("delete", keys_of(n), True, started)

    # --- the time of faults -----------------------------------------------

    def carry_out(self):
        """The plan, in one thread: a daemon's life is tied to the thread
        that starts it."""
        begin, late = time.monotonic(), 0.0
        generation_at = begin + GENERATION_S
        pending = list(self.plan)
        while pending or self.open:
            now = time.monotonic() - begin
            self.open.sort(key=lambda o: o[0])
            if self.open and self.open[0][0] <= now:
                self.end_episode(self.open.pop(0)[1])
            elif pending and pending[0][0] + late <= now and not (
                    pending[0][2].alone and self.open):
                at, end, e = pending.pop(0)
                late = max(late, now - at)
                self.begin_episode(e)
                if e.alone:
                    late = max(late, time.monotonic() - begin - end)
                else:
                    self.open.append((now + end - at, e))
                if now > args.seconds * 1.2:
                    pending = []  # waiting took too long; enough was done
            else:
                time.sleep(0.02)
            self.samples.take(self.cluster)
            self.look_after()
            if time.monotonic() > generation_at and not self.open:
                self.next_generation()
                generation_at = time.monotonic() + GENERATION_S
        self.say("the plan is over")

    def begin_episode(self, e):
        self.say("begin " + str(e))
        if e.alone:
            self.recover()
        try:
            e.do(self.cluster)
        except Failure as failure:
            self.fault(str(failure))

    def end_episode(self, e):
        self.say("end " + type(e).__name__.lower())
        try:
            e.undo(self.cluster)
        except Failure as failure:
            self.fault(str(failure))

    def recover(self):
        """Everything is on again, so that an operator can do something."""
        c = self.cluster
        for m in c.members:
            if not m.is_alive():
                m.spawn()
        end = time.monotonic() + 60 * args.patience
        while time.monotonic() < end:
            if all(m.is_alive() and m.is_ready() for m in c.members):
                return
            self.look_after()
            time.sleep(0.1)
        self.fault("not ready in time between faults")

    def look_after(self):
        """Who ended by itself had reason to, or it is a violation."""
        for m in self.cluster.members:
            if not m.crashed():
                continue
            status = m.process.returncode
            self.say("%s ended with %s" % (m.name, status))
            if not m.may_fail or status != 1:
                self.fault("%s ended by itself with %s: %s" % (
                    m.name, status, m.log_text()[-600:]))
                m.spawn()
            else:
                m.ended = True  # until its episode ends

    def fault(self, text):
        self.say("WRONG: " + text)
        self.wrong.append(text)
        if len(self.wrong) > 5:
            raise Failure("too much is wrong")

    # --- afterwards -------------------------------------------------------

    def counts(self):
        return after.counts(self.root)

    def heal(self):
        c = self.cluster
        c.heal()
        for m in c.members:
            if not m.is_alive():
                m.spawn()
        started = time.monotonic()
        after.until(lambda: all(m.is_ready() for m in c.members),
                    60 * args.patience, "all nodes are ready")
        for m in c.members:
            after.until(m.is_mounted, 30, "%s has its mount" % m.name)
        before = self.counts()
        after.until(lambda: after.has_grown(before, self.counts()),
                    60 * args.patience, "every kind of change is made again")
        self.say("healed in %.1f s" % (time.monotonic() - started))
        # Memory is looked at when everybody has worked in peace for a while.
        calm = time.monotonic() + min(10, args.seconds / 10)
        while time.monotonic() < calm:
            self.samples.take(c)
            time.sleep(0.2)

    def finish(self):
        c = self.cluster
        self.heal()
        c.tell(stop=True)
        for child in self.children[:-1]:
            child.wait(90 * args.patience)
        state = after.all_equal(c, args.patience)
        self.say("all nodes hold the same %d keys" % len(state))
        after.fading_gone(self)
        self.final_reads()
        after.mounts_agree(c, self)
        self.end_watches()
        if not args.daemon:  # sanitizers keep what was freed
            self.wrong += self.samples.judge(args.seconds)
        after.no_leaks(c, self)
        self.judge()

    def final_reads(self):
        """The end of every history: what is there now. Keys that were to go
        by themselves have gone."""
        started = time.monotonic_ns()
        there, page = {}, {"next": ""}
        while page["next"] is not None:
            r = self.ask("GET", "/_/kv?limit=500&values=1&prefix=g" + (
                "&after=" + page["next"] if page["next"] else ""))
            page = r.json()
            there.update({k["key"]: k for k in page["keys"]})
        for n in range(1, self.generation + 1):
            for key in keys_of(n):
                got = there.get(key)
                if re.search(r"/[ab]\d$", key):
                    if got is None:
                        self.record("get", [key], True, started, value=None)
                elif got is None or got["value"] is not None:
                    self.record("get", [key], True, started,
                                value=got and got["value"])
        self.final = {k: v["rev"] for k, v in there.items()}

    def end_watches(self):
        self.ask("PUT", "/g-end", b"")
        path = os.path.join(self.root, "watched")

        def seen():
            return len({e["s"] for e in judge.lines_of(path)
                        if e.get("key") == "g-end"}) == 3
        after.until(seen, 60 * args.patience, "all streams have come to the end")
        self.cluster.tell(stop_watching=True)
        self.children[-1].wait(60)

    def judge(self):
        wrong, told = judge.judge_watches(
            os.path.join(self.root, "watched"), self.partitions == 1,
            {k: v[0] for (k, _), v in self.last_state.items()})
        self.wrong += wrong
        self.told_of_watches = told
        self.history.close()
        wrong, self.judged = judge.judge_histories(self.root)
        self.wrong += wrong

    def clean_up(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
        if self.wrong and self.cluster:
            # Who works in the mount of a node that was killed and did not
            # start again hangs in the kernel until it is taken away.
            for m in self.cluster.members:
                if not m.is_alive():
                    unmount(m.mnt)
        for child in self.children:
            child.wait()
        if self.cluster:
            if self.wrong:
                after.keep(self.cluster)
            self.cluster.keep_root = bool(self.wrong)
            self.cluster.remove()
        if not self.wrong and not args.dir:
            shutil.rmtree(self.root, ignore_errors=True)


def main():
    seed = args.seed if args.seed is not None else \
        random.SystemRandom().randrange(1 << 31)
    r = Run(seed)
    if args.plan:
        for at, end, e in r.plan:
            print("%7.1f %7.1f %s" % (at, end, e))
        return 0
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        print("ok chaos # SKIP it takes root and /dev/fuse")
        return 77
    print("seed %d: %d nodes, %d partitions%s, %d s" % (
        seed, r.count, r.partitions, ", TLS" if r.tls else "", args.seconds),
        flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        r.set_up()
        r.carry_out()
        r.finish()
    except Skip as why:
        print("ok chaos # SKIP %s" % why)
        r.clean_up()
        return 77
    except BaseException as error:
        r.wrong.append("%s: %s" % (type(error).__name__, error))
        if not isinstance(error, Failure):
            import traceback
            r.wrong.append(traceback.format_exc())
    counts = r.counts() if r.cluster else {}
    r.clean_up()
    if not r.wrong:
        print("ok chaos, seed %d: %d operations in %d s judged, %s; %s" % (
            seed, r.judged, time.monotonic() - r.started, r.told_of_watches,
            after.told(counts)))
        return 0
    print("not ok chaos, seed %d, after %d s" % (
        seed, time.monotonic() - r.started))
    for text in r.wrong[:12]:
        print("   " + text.replace("\n", "\n   "))
    print("""   kept in %s: events (what happened when), log of each node,
   history.* (judge again: python3 tests/chaos/judge.py DIR), watched,
   data of each node (build/raftcask dump --data-dir DIR/nN/kept)
   again: make chaos CHAOS_S=%d SEED=%d""" % (r.root, args.seconds, seed))
    return 1


if __name__ == "__main__":
    sys.exit(main())
