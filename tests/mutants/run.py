"""run.py - plant a bug, and see that the simulator finds it.

    python3 tests/mutants/run.py [-n SEEDS] [-s FIRST] [NAME ...]

Each file tests/mutants/*.mutants holds bugs that consensus and storage engines
are known to have had, as replacements in our own source:

    == acknowledge_before_sync
    What it breaks, in a sentence.
    file store/group.c
    ---
    whole lines that stand exactly once in the file
    +++
    lines that take their place

A bug is compiled into one object, linked in front of the library into a
simulator of its own, and run seed after seed until one fails. The text to
replace must be there exactly once: a bug that can no longer be planted fails
the run, so the list follows the code. Prints for each the seed that caught it
and the steps that the seed took; fails if any got away.

COMPILE and LINK come from the Makefile (`make mutants`).
"""
import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("BUILD", "build")


class Mutant:
    def __init__(self, name, where):
        self.name, self.where = name, where
        self.why, self.file, self.old, self.new = "", None, "", ""


def parse(path):
    found, part = [], None
    for number, line in enumerate(open(path), 1):
        if line.startswith("== "):
            found.append(Mutant(line[3:].strip(), "%s:%d" % (path, number)))
            part = "why"
        elif not found:
            continue
        elif line.startswith("file ") and part == "why":
            found[-1].file = line[5:].strip()
        elif line == "---\n" and part == "why":
            part = "old"
        elif line == "+++\n" and part == "old":
            part = "new"
        else:
            setattr(found[-1], part, getattr(found[-1], part) + line)
    for m in found:
        m.new = m.new.rstrip("\n") + "\n" if m.new.strip() else ""
    return found


def build(m):
    """None, or why the bug could not be planted."""
    with open(os.path.join(ROOT, m.file)) as f:
        text = f.read()
    if text.count(m.old) != 1:
        return "the text stands %d times in %s" % (text.count(m.old), m.file)
    base = os.path.join(BUILD, "mutants", m.name)
    os.makedirs(os.path.dirname(base), exist_ok=True)
    line = text[:text.index(m.old)].count("\n") + 1
    with open(base + ".c", "w") as f:
        f.write('#line 1 "%s"\n' % m.file + text.replace(m.old, m.new))
    for command in (
            "%s -Wno-error -w -c -o %s.o %s.c" % (os.environ["COMPILE"], base, base),
            os.environ["LINK"].replace("@OUT@", base + ".sim")
            .replace("@OBJECT@", base + ".o")):
        done = subprocess.run(command, shell=True, cwd=ROOT,
                              capture_output=True, text=True)
        if done.returncode:
            return "%s:%d: %s" % (m.file, line, done.stderr[-400:])
    return None


def hunt(m, first, seeds):
    """(seed, what the simulator said), or None."""
    base = os.path.join(BUILD, "mutants", m.name)
    step = 20
    for seed in range(first, first + seeds, step):
        try:
            done = subprocess.run(
                [base + ".sim", "-q", "-j", "1", "-s", str(seed), "-n",
                 str(min(step, first + seeds - seed))],
                capture_output=True, text=True, cwd=ROOT, timeout=600)
        except subprocess.TimeoutExpired:
            return seed, "never ends"
        if done.returncode:
            said = done.stdout + done.stderr
            number = re.search(r"seed[ =](\d+)", said, re.I)
            return int(number[1]) if number else seed, said
    return None


def try_one(m, args):
    started = time.monotonic()
    why = build(m)
    if why:
        return m, "cannot be planted: " + why, False
    got = hunt(m, args.start, args.seeds)
    for suffix in (".c", ".o", ".sim"):
        os.unlink(os.path.join(BUILD, "mutants", m.name + suffix))
    took = time.monotonic() - started
    if not got:
        return m, "NOT CAUGHT in %d seeds (%.0f s)" % (args.seeds, took), False
    first = next((line.strip() for line in got[1].splitlines()
                  if re.search(r"fail|violat|not |lost|differ", line, re.I)),
                 "")
    return m, "seed %d (%.0f s): %s" % (got[0], took, first[:90]), True


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-n", "--seeds", type=int, default=400)
    p.add_argument("-s", "--start", type=int, default=1)
    p.add_argument("-j", "--jobs", type=int, default=os.cpu_count())
    p.add_argument("names", nargs="*")
    args = p.parse_args()
    mutants = [m for path in sorted(glob.glob(HERE + "/*.mutants"))
               for m in parse(path)]
    names = [m.name for m in mutants]
    if len(set(names)) != len(names):
        sys.exit("a name comes twice")
    if args.names:
        mutants = [m for m in mutants
                   if any(n in m.name for n in args.names)]
    caught = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for m, said, ok in pool.map(lambda m: try_one(m, args), mutants):
            print("%s %-36s %s" % ("ok" if ok else "not ok", m.name, said),
                  flush=True)
            caught += ok
    print("%d bugs planted, %d caught" % (len(mutants), caught))
    sys.exit(0 if caught == len(mutants) else 1)


main()
