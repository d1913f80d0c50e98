"""after.py - what is looked at when the faults are over."""
import glob
import json
import os
import re
import shutil
import statistics
import subprocess
import time

from harness import BUILD, Failure, quote
from cluster_kit import TORN, dump
from history import FADING
from rig import unmount

# Of a data directory, and nothing else may be in it.
NAMES = re.compile(r"([0-9a-f]{8}\.(log|dat)(\.hint)?|LOCK|MANIFEST|state|"
                   r"cluster|damaged-\d+)$")
CRASHES = re.compile(r"Sanitizer|runtime error|CHECK|Assertion|SIGSEGV|"
                     r"stack smashing|double free|corrupted ")
# What must be left of the store's own records when no key is there: hidden.h.
OWN = ("\\x00g", "\\x00m", "\\x00n", "\\x00r", "\\x00f", "\\x00o", "\\x00v",
       "\\x00d", "\\x00t")


def until(fn, seconds, what):
    end = time.monotonic() + seconds
    while True:
        try:
            if fn():
                return
        except (*TORN, KeyError, ValueError):
            pass
        if time.monotonic() > end:
            raise Failure("in %d s it does not come to be that %s" % (
                seconds, what))
        time.sleep(0.1)


# --- clients go on ---------------------------------------------------------

def counts(root):
    """{"put True": n}: what all clients together wrote down so far."""
    got = {}
    for path in glob.glob(os.path.join(root, "history.*.counts")):
        with open(path) as f:
            for word, n in json.load(f).items():
                got[word] = got.get(word, 0) + n
    return got


def has_grown(before, now):
    return all(now.get(op + " True", 0) > before.get(op + " True", 0) + 5
               for op in ("put", "get", "append", "rename", "cas", "txn"))


def told(got):
    ops = {}
    for word, n in got.items():
        op, ok = word.split(" ", 1)
        ops.setdefault(op, [0, 0])[ok == "unknown"] += n
    return ", ".join("%s %d+%d" % (op, a, b)
                     for op, (a, b) in sorted(ops.items()))


# --- memory and descriptors ------------------------------------------------

LONG_S = 240
RING_KIB = 32 << 10  # entries kept for sending: CACHE_BYTES, group_log.c


def ring_kib(pid):
    """What is resident of that ring, which a leader fills once and keeps:
    the only piece of memory as large as that."""
    size, resident = 0, 0
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            if line.startswith("Size:"):
                size = int(line.split()[1])
            elif line.startswith("Anonymous:") and \
                    RING_KIB <= size < 2 * RING_KIB:
                resident = max(resident, int(line.split()[1]))
    return min(resident, RING_KIB)


class Samples:
    """Memory and descriptors of each daemon, every half second; they also go
    to the file `samples`: seconds, node, start, KiB, descriptors."""

    def __init__(self, root):
        self.at, self.taken, self.begun = 0, {}, time.monotonic()
        self.path = os.path.join(root, "samples")

    def take(self, cluster):
        if time.monotonic() < self.at:
            return
        self.at = time.monotonic() + 0.5
        for m in cluster.members:
            try:
                taken = (time.monotonic(), (m.memory_bytes() >> 10) -
                         ring_kib(m.process.pid), m.descriptors())
            except (OSError, TypeError, AttributeError):
                continue
            self.taken.setdefault((m.name, m.generation), []).append(taken)
            with open(self.path, "a") as f:
                f.write("%.1f %s %d %d %d\n" % (
                    taken[0] - self.begun, m.name, m.generation, *taken[1:]))

    def judge(self, seconds):
        """Of who lived long: the middle of its last third is not much above
        that of its second. Medians, so that no single burst counts. Only a
        long life says it: tables, histories and the arenas of threads fill in
        the first minutes."""
        wrong = []
        for (name, generation), taken in self.taken.items():
            lived = taken[-1][0] - taken[0][0]
            if lived < LONG_S or lived < seconds / 3:
                continue
            third = len(taken) // 3
            for what, column, slack in (("KiB of memory", 1, 6144),
                                        ("descriptors", 2, 20)):
                a, b = (statistics.median(t[column] for t in part)
                        for part in (taken[third:2 * third],
                                     taken[2 * third:]))
                if b > a * 1.15 + slack:
                    wrong.append("%s (start %d) grows: %d %s, then %d: %r" % (
                        name, generation, a, what, b,
                        [t[column] for t in taken[::len(taken) // 20]]))
        return wrong


# --- the same everywhere ---------------------------------------------------

def all_equal(cluster, patience):
    """Each node's own state, asked without the others; returns it."""
    found = []

    def same():
        found[:] = [dump(m) for m in cluster.members]
        return None not in found and all(f == found[0] for f in found)
    try:
        until(same, 60 * patience, "all nodes hold the same")
    except Failure:
        if None in found:
            raise
        for m, f in zip(cluster.members[1:], found[1:]):
            differ = {k: (found[0].get(k), f.get(k))
                      for k in set(found[0]) | set(f)
                      if found[0].get(k) != f.get(k)}
            if differ:
                raise Failure("%s and %s differ: %r" % (
                    cluster.members[0].name, m.name,
                    sorted(differ.items())[:5]))
    return found[0]


def tree(root):
    """{path: bytes} of all files below root."""
    got = {}
    for at, _, files in os.walk(root, onerror=fail):
        for name in files:
            path = os.path.join(at, name)
            with open(path, "rb") as f:
                got[os.path.relpath(path, root)] = f.read()
    return got


def fail(error):
    raise error


def mounts_agree(cluster, run):
    """Every mount shows the same files with the same bytes, and so does
    HTTP."""
    first = tree(cluster.members[0].mnt)
    for m in cluster.members[1:]:
        other = tree(m.mnt)
        for path in sorted(set(first) | set(other)):
            if first.get(path) != other.get(path):
                run.fault("mounts of %s and %s differ at %s: %r, %r" % (
                    cluster.members[0].name, m.name, path,
                    (first.get(path) or b"-")[:80],
                    (other.get(path) or b"-")[:80]))
                return
    for path in sorted(first):
        r = run.ask("GET", quote(path) + "?raw", None, (200, 404))
        if r.status != 200 or r.body != first[path]:
            run.fault("%s is %d bytes in the mounts, over HTTP %r" % (
                path, len(first[path]), r))
            return
    run.say("mounts and HTTP agree on %d files" % len(first))


def fading_gone(run):
    """Nothing with a time to live has outlived it."""
    def gone():
        page = run.ask("GET", "/_/kv?limit=10000&values=1&prefix=g").json()
        return not any("/x" in k["key"] for k in page["keys"])
    until(gone, 20, "all that had a time to live is gone")


# --- nothing is left behind ------------------------------------------------

def live_records(data):
    """{key: kind} of the last record of each key, of `raftcask dump`; what a
    prefix deletion hides is left out."""
    got = subprocess.run([os.path.join(BUILD, "raftcask"), "dump",
                          "--data-dir", data], capture_output=True,
                         text=True, errors="replace")
    if got.returncode:
        raise Failure("dump of %s: %s" % (data, got.stderr[-400:]))
    last, prefixes = {}, []
    for line in got.stdout.splitlines():
        words = line.split(" ", 6)
        if len(words) < 6 or words[1] != "ok":
            continue
        kind, (partition, version) = words[2], words[3].split("/")
        index, at = map(int, version.split("."))
        key = (partition, words[6] if len(words) > 6 else "")
        if kind == "delete-prefix":
            prefixes.append((key, (index, at)))
        elif kind in ("put", "delete"):
            if last.get(key, ((-1, 0),))[0] <= (index, at):
                last[key] = ((index, at), kind)
    return {k for k, (version, kind) in last.items() if kind == "put" and
            not any(k[0] == p[0] and k[1].startswith(p[1]) and version < v
                    for p, v in prefixes)}


def no_leaks(cluster, run):
    """All keys are deleted: then no bytes of values, no staged uploads, no
    inodes may be left; descriptors are those of a node at rest; data
    directories have only what belongs there, and every checksum is right."""
    run.last_state = all_equal(cluster, run.cluster.patience)
    run.ask("DELETE", "/_/kv?all=1")
    run.ask("POST", "/_/merge", None, (200, 202))
    last = all_equal(cluster, run.cluster.patience)
    if last:
        run.fault("keys after all were deleted: %r" % sorted(last)[:5])
    until(lambda: all((m.ask("/_/status") or {})["storage"]["merge"] == "idle"
                      for m in cluster.members), 60, "merges are over")
    for m in cluster.members:
        descriptors = m.descriptors()
        files = (m.ask("/_/status") or {})["storage"]["files"]
        if descriptors > 80 + 3 * files + 10 * len(cluster.members):
            run.fault("%s has %d descriptors, with %d files" % (
                m.name, descriptors, files))
    for m in cluster.members:
        status = m.stop()
        if status:
            run.fault("%s ended with %s on SIGTERM" % (m.name, status))
        if m.is_mounted():
            run.fault("%s leaves its mount behind" % m.name)
    for m in cluster.members:
        look_at_directory(m, run)
        look_at_log(m, run)


def look_at_directory(m, run):
    strange = [n for n in os.listdir(m.data) if not NAMES.match(n)]
    if strange:
        run.fault("%s has in its directory %r" % (m.name, strange[:9]))
    got = subprocess.run([os.path.join(BUILD, "raftcask"), "check",
                          "--data-dir", m.data], capture_output=True,
                         text=True)
    if got.returncode or "damaged 0" not in got.stdout:
        run.fault("check of %s: %s" % (m.name, got.stdout + got.stderr))
    left = [k for k in live_records(m.data) if not k[1].startswith(OWN)]
    if left:
        run.fault("%s has %d orphan records, as %r" % (
            m.name, len(left), sorted(left)[:4]))


def look_at_log(m, run):
    with open(m.log, errors="replace") as f:
        for line in f:
            if CRASHES.search(line):
                run.fault("the log of %s: %s" % (m.name, line[:300]))
                return


def keep(cluster):
    """The data lies in memory: copy it to where it stays."""
    for m in cluster.members:
        if m.is_alive() and not m.ended:
            if m.paused:
                m.resume()
            m.kill9()
        unmount(m.mnt)
        shutil.copytree(m.data, os.path.join(m.root, "kept"),
                        dirs_exist_ok=True, ignore_dangling_symlinks=True)
