"""run.py - plant a bug, and see that the simulator finds it.

    python3 tests/mutants/run.py [-n SEEDS] [-s FIRST] [-j JOBS] [NAME ...]
    python3 tests/mutants/run.py --chaos [-n SEEDS] [-s FIRST] [NAME ...]
    python3 tests/mutants/run.py --check

Each file tests/mutants/*.mutants holds bugs that consensus and storage engines
are known to have had, as replacements in our own source:

    == acknowledge_before_sync
    What it breaks, in a sentence.
    file store/group.c
    may stall
    ---
    whole lines that stand exactly once in the file
    +++
    lines that take their place

A bug is compiled into one object, linked in front of the library into a
simulator of its own, and run seed after seed until one fails that passes
without the bug. That a cluster does not heal counts only for a bug that says
that it may stall one: it is what a run may meet anyway, once the bug has led it
elsewhere. Prints for each the seed that caught it and the steps that the
seed took; fails if any got away.

The text to replace must be there exactly once. --check looks at that alone, and
compiles nothing: a bug that can no longer be planted fails the tests, so the
list follows the code.

With --chaos the bugs of chaos.mutants, and those of the other lists that it
names behind "also", are linked into a daemon, one after the other, and real
clusters of it run under tests/chaos, CHAOS_S seconds each, until one is judged
to be wrong. Those that only chaos can see the simulator is spared.

COMPILE and LINK come from the Makefile (`make mutants`, `make chaos-mutants`).
"""
import argparse
import concurrent.futures
import functools
import glob
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("BUILD", "build")
CHAOS = os.path.join(HERE, "chaos.mutants")
CHAOS_S = os.environ.get("CHAOS_S", "60")
ALSO = set()  # names in other lists that are for chaos, too


class Mutant:
    def __init__(self, name, where):
        self.name, self.where = name, where
        self.why, self.file, self.old, self.new = "", None, "", ""
        self.may_stall = False


def parse(path):
    found, part = [], None
    for number, line in enumerate(open(path), 1):
        if line.startswith("== "):
            found.append(Mutant(line[3:].strip(), "%s:%d" % (path, number)))
            part = "why"
        elif not found:
            if line.startswith("also "):
                ALSO.add(line[5:].strip())
        elif line.startswith("file ") and part == "why":
            found[-1].file = line[5:].strip()
        elif line == "may stall\n" and part == "why":
            found[-1].may_stall = True
        elif line == "---\n" and part == "why":
            part = "old"
        elif line == "+++\n" and part == "old":
            part = "new"
        else:
            setattr(found[-1], part, getattr(found[-1], part) + line)
    for m in found:
        m.new = m.new.rstrip("\n") + "\n" if m.new.strip() else ""
    return found


def misplaced(m):
    """None, or why the bug cannot be planted."""
    with open(os.path.join(ROOT, m.file)) as f:
        times = f.read().count(m.old)
    if times != 1:
        return "%s: the text stands %d times in %s" % (m.where, times, m.file)
    return None


def build(m):
    """None, or why the bug could not be planted."""
    if misplaced(m):
        return misplaced(m)
    with open(os.path.join(ROOT, m.file)) as f:
        text = f.read()
    base = os.path.join(BUILD, "mutants", m.name)
    os.makedirs(os.path.dirname(base), exist_ok=True)
    line = text[:text.index(m.old)].count("\n") + 1
    with open(base + ".c", "w") as f:
        f.write('#line 1 "%s"\n' % m.file + text.replace(m.old, m.new))
    for command in (
            "%s -Wno-error -w -c -o %s.o %s.c" % (os.environ["COMPILE"], base, base),
            os.environ["LINK"].replace("@OUT@", base + ".out")
            .replace("@OBJECT@", base + ".o")):
        done = subprocess.run(command, shell=True, cwd=ROOT,
                              capture_output=True, text=True)
        if done.returncode:
            return "%s:%d: %s" % (m.file, line, done.stderr[-400:])
    return None


def simulate(program, seed):
    """None, or what stopped the seed."""
    try:
        done = subprocess.run([program, "-q", "-s", str(seed)], cwd=ROOT,
                              capture_output=True, text=True,
                              errors="replace", timeout=180)
    except subprocess.TimeoutExpired:
        return "never ends"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in
             (done.stdout + done.stderr).splitlines() if line.strip()]
    for line in lines:
        if line.startswith("SEED=%d FAILED " % seed):
            return line.split(" FAILED ", 1)[1]
    return lines[-1] if lines else "died of signal %d" % -done.returncode


def endanger(daemon, seed):
    """None, or what a chaos run of the daemon was judged to have done."""
    done = subprocess.run(
        [sys.executable, "-B", "tests/chaos/chaos.py", "--seed", str(seed),
         "--seconds", CHAOS_S, "--daemon", daemon, "--dir",
         daemon + ".run"], cwd=ROOT, capture_output=True, text=True,
        errors="replace")
    shutil.rmtree(os.path.join(ROOT, daemon + ".run"), ignore_errors=True)
    if done.returncode == 77:
        sys.exit(done.stdout)
    lines = [line.strip() for line in done.stdout.splitlines()
             if line.startswith("   ")]
    return lines[0][-150:] if done.returncode and lines else None


@functools.lru_cache(maxsize=None)
def is_sound(seed):
    """Does the seed pass without any bug planted?"""
    return not simulate(os.path.join(BUILD, "sim"), seed)


def hunt(m, first, seeds, chaos):
    """(seed, what stopped it), or None."""
    program = os.path.join(BUILD, "mutants", m.name) + ".out"
    for seed in range(first, first + seeds):
        if chaos:
            said = endanger(program, seed)
            if said:
                return seed, said
            continue
        said = simulate(program, seed)
        if said and "not healed" in said and not m.may_stall:
            continue
        if said and is_sound(seed):
            return seed, said
    return None


def try_one(m, args):
    started = time.monotonic()
    why = build(m)
    if why:
        return m, "cannot be planted: " + why, False
    got = hunt(m, args.start, args.seeds, args.chaos)
    for suffix in (".c", ".o", ".out"):
        os.unlink(os.path.join(BUILD, "mutants", m.name + suffix))
    took = time.monotonic() - started
    if not got:
        return m, "NOT CAUGHT in %d seeds (%.0f s)" % (args.seeds, took), False
    return m, "seed %d (%.0f s) %s" % (got[0], took, got[1]), True


def check(mutants):
    """Exit: can each still be planted?"""
    bad = [why for why in map(misplaced, mutants) if why]
    for why in bad:
        print(why)
    print("%d bugs, %d cannot be planted" % (len(mutants), len(bad)))
    sys.exit(1 if bad else 0)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-n", "--seeds", type=int, default=400)
    p.add_argument("-s", "--start", type=int, default=1)
    p.add_argument("-j", "--jobs", type=int, default=os.cpu_count())
    p.add_argument("--chaos", action="store_true")
    p.add_argument("--check", action="store_true")
    p.add_argument("names", nargs="*")
    args = p.parse_args()
    lists = {path: parse(path)
             for path in sorted(glob.glob(HERE + "/*.mutants"))}
    mutants = [m for found in lists.values() for m in found]
    names = [m.name for m in mutants]
    if len(set(names)) != len(names) or ALSO - set(names):
        sys.exit("a name comes twice, or is not there")
    if args.chaos:
        args.jobs = 1  # a cluster needs the whole machine
        mutants = lists[CHAOS] + [m for m in mutants if m.name in ALSO]
    elif not args.check:
        mutants = [m for m in mutants if m not in lists[CHAOS]]
    if args.names:
        mutants = [m for m in mutants
                   if any(n in m.name for n in args.names)]
    if args.check:
        check(mutants)
    caught = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for m, said, ok in pool.map(lambda m: try_one(m, args), mutants):
            print("%s %-36s %s" % ("ok" if ok else "not ok", m.name, said),
                  flush=True)
            caught += ok
    print("%d bugs planted, %d caught" % (len(mutants), caught))
    sys.exit(0 if caught == len(mutants) else 1)


main()
