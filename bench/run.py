#!/usr/bin/env python3
"""bench/run.py - run the benchmarks, one part after another, and report.

    bench/run.py [--quick] [--add] [PART...]

No PART: all of them. --quick: fewer rounds and keys. --add: keep the results
of other parts from the run before. --report: measure nothing, only report what
there is. `make bench` calls it when everything is built.

Each part runs in a process group of its own with a limit of time; what it
wrote to $BENCH_OUT counts, however it ended. Ctrl-C ends the part that runs
and reports what there is; the exit status is then 130. A part that fails does
not keep the others from running; the exit status is then 1.

Left in build/bench/: results/ (see bench/results.py), logs/PART.log,
report.txt, report.html.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import facts  # noqa: E402
import page   # noqa: E402
import text   # noqa: E402
from results import STATUS_OK, read_results, read_rows, read_wishes  # noqa

HERE = os.path.dirname(os.path.abspath(__file__))
WISHES = os.path.join(HERE, "wishes.tsv")
PATIENCE = 4          # a part may take so many times what is expected
LIMIT_S_MIN = 90      # but at least so long
GRACE_S = 10          # between TERM and KILL
SKIPPED = 77

# name: (command, seconds expected quick, full, what it is)
PARTS = {
    "engine": (["build/bench/bench_engine"], 60, 330,
               "get and put of the engine beside LMDB, LevelDB, RocksDB"),
    "http": (["bench/http.sh"], 40, 130,
             "one node over HTTP beside bare libmicrohttpd and redis"),
    "cluster": (["bench/cluster.sh"], 100, 300,
                "three nodes beside etcd and a bare model"),
    "mount": (["bench/mount.sh"], 60, 180,
              "the mount beside libfuse's pass-through"),
    "seeds": (["bench/seeds.py"], 40, 170,
              "the benchmarks of raft-kv, impulse and caskdb"),
    "keys": (["build/bench/bench_grow", "keys"], 20, 150,
             "1 thousand to 10 million keys: get, memory, start"),
    "amplify": (["build/bench/bench_grow", "amplify"], 10, 30,
                "bytes written, without and with merges"),
    "merging": (["bench/grow.py", "merging"], 25, 110,
                "p99 of GET during a merge"),
    "connections": (["bench/grow.py", "connections"], 45, 130,
                    "1 to 1,000 connections"),
    "values": (["bench/grow.py", "values"], 35, 110,
               "128 B to 16 MiB values"),
    "partitions": (["bench/grow.py", "partitions"], 55, 130,
                   "1 to 64 partitions on three nodes, also at rest"),
    "nodes": (["bench/grow.py", "nodes"], 50, 100, "1 to 7 nodes"),
    "large": (["bench/grow.py", "large"], 10, 15,
              "64 MiB over HTTP beside the disk"),
}


def say(message):
    print(message, flush=True)


class Run:
    def __init__(self, out, quick):
        self.out, self.quick = out, quick
        self.results = os.path.join(out, "results")
        self.logs = os.path.join(out, "logs")
        self.ended = []     # rows of parts.tsv
        self.child = None
        self.interrupted = False

    def prepare(self, parts, keep):
        if keep:
            self.ended = [r for r in read_rows(
                os.path.join(self.results, "parts.tsv"), 5)
                if r[0] not in parts]
        else:
            shutil.rmtree(self.results, ignore_errors=True)
        os.makedirs(self.results, exist_ok=True)
        os.makedirs(self.logs, exist_ok=True)
        for part in parts:
            if os.path.exists(self.part_file(part)):
                os.unlink(self.part_file(part))

    def part_file(self, part):
        return os.path.join(self.results, part + ".tsv")

    def write_facts(self, how):
        self.write_rows("facts.tsv", facts.gather(self.out, how))

    def write_rows(self, name, rows):
        path = os.path.join(self.results, name)
        with open(path + ".new", "w", encoding="utf-8") as f:
            for fields in rows:
                f.write("\t".join(fields) + "\n")
        os.replace(path + ".new", path)

    def end_child(self):
        """The whole group: asked first, then killed."""
        for number, patience in ((signal.SIGTERM, GRACE_S),
                                 (signal.SIGKILL, GRACE_S)):
            try:
                os.killpg(self.child.pid, number)
            except ProcessLookupError:
                pass
            try:
                self.child.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        try:  # what a shell left behind
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def environment(self, part, data):
        env = dict(os.environ)
        env.update(BENCH_OUT=os.path.abspath(self.part_file(part)),
                   BENCH_DIR=data, BENCH_QUICK="1" if self.quick else "")
        return env

    def run_part(self, part, command, limit_s):
        """How it ended, in words."""
        if not os.path.exists(command[0]):
            return f"failed: there is no {command[0]}"
        os.makedirs(self.out, exist_ok=True)
        data = tempfile.mkdtemp(prefix=part + "-",
                                dir=os.path.abspath(self.out))
        open(self.part_file(part), "a", encoding="utf-8").close()
        log = os.path.join(self.logs, part + ".log")
        try:
            with open(log, "wb") as f:
                self.child = subprocess.Popen(
                    command + (["--quick"] if self.quick else []),
                    stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                    env=self.environment(part, data), start_new_session=True)
                status = self.wait(limit_s)
        finally:
            self.child = None
            shutil.rmtree(data, ignore_errors=True)
        if status not in (STATUS_OK, "skipped"):
            self.show_tail(log)
        return status

    def interrupt(self, *_):
        """A handler that only takes note: nothing is torn out of its step."""
        self.interrupted = True

    def wait(self, limit_s):
        end = time.monotonic() + limit_s
        while True:
            try:
                code = self.child.wait(0.2)
                break
            except subprocess.TimeoutExpired:
                pass
            if self.interrupted:
                self.end_child()
                return "cut: interrupted"
            if time.monotonic() > end:
                self.end_child()
                return f"cut: took longer than {limit_s:.0f} s"
        self.end_child()
        if code == 0:
            return STATUS_OK
        if code == SKIPPED:
            return "skipped"
        if code < 0:
            return f"failed: died of signal {-code}"
        return f"failed: exit status {code}"

    def show_tail(self, log):
        with open(log, encoding="utf-8", errors="replace") as f:
            for line in f.read().splitlines()[-15:]:
                say(f"     | {line}")

    def run_parts(self, parts):
        for number, part in enumerate(parts, 1):
            command, quick_s, full_s, what = PARTS[part]
            expected = quick_s if self.quick else full_s
            if self.interrupted:
                self.end_part(part, "not run: interrupted", "", "")
                continue
            say(f"\n[{number}/{len(parts)}] {part}: {what}; "
                f"about {expected} s")
            load = f"{os.getloadavg()[0]:.2f}"
            start = time.monotonic()
            status = self.run_part(
                part, command, max(expected * PATIENCE, LIMIT_S_MIN))
            took = f"{time.monotonic() - start:.0f}"
            self.end_part(part, status, took, load)
            self.show_part(part)

    def end_part(self, part, status, took, load):
        self.ended.append((part, status, took, load,
                           time.strftime("%Y-%m-%d %H:%M:%S")))
        self.write_rows("parts.tsv", self.ended)

    def show_part(self, part):
        results = read_results(self.results)
        for entry in results.parts:
            if entry[0] == part:
                say("\n".join(text.part_lines(results, entry)))

    def report(self, parts):
        results = read_results(self.results)
        known = {p[0] for p in results.parts} | set(parts)
        verdicts = results.verdicts(
            [w for w in read_wishes(WISHES) if w.part in known])
        as_text = text.report(results, verdicts)
        for name, content in (("report.txt", as_text),
                              ("report.html", page.report(results,
                                                          verdicts))):
            path = os.path.join(self.out, name)
            with open(path + ".new", "w", encoding="utf-8") as f:
                f.write(content)
            os.replace(path + ".new", path)
        return results, verdicts


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="bench/run.py", formatter_class=argparse.RawTextHelpFormatter,
        description="Run the benchmarks and report.",
        epilog="parts:\n" + "\n".join(
            f"  {name:<12} {p[3]} ({p[1]} s quick, {p[2]} s)"
            for name, p in PARTS.items()))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--add", action="store_true",
                        help="keep the other parts' results")
    parser.add_argument("--report", action="store_true",
                        help="only report what there is")
    parser.add_argument("--out", default="build/bench")
    parser.add_argument("parts", nargs="*", metavar="PART")
    args = parser.parse_args(argv)
    for part in args.parts:
        if part not in PARTS:
            parser.error(f"no part {part}; there are: {' '.join(PARTS)}")
    return args


def main(argv):
    args = arguments(argv)
    parts = args.parts or list(PARTS)
    run = Run(args.out, args.quick)
    read_wishes(WISHES)
    start = time.monotonic()
    signal.signal(signal.SIGINT, run.interrupt)
    signal.signal(signal.SIGTERM, run.interrupt)
    if not args.report:
        run.prepare(parts, args.add)
        run.write_facts(("quick, " if args.quick else "") +
                        "parts: " + " ".join(parts))
        run.run_parts(parts)
    results, verdicts = run.report([] if args.report else parts)
    say("\n".join(text.verdict_lines(verdicts)))
    for part, status, *_ in results.parts:
        if status != STATUS_OK:
            say(f"bench: {part}: {status}")
    say(f"\n{time.monotonic() - start:.0f} s; {args.out}/report.txt, "
        f"{args.out}/report.html")
    if run.interrupted:
        return 130
    return 0 if all(p[1] == STATUS_OK for p in results.parts) else 1


if __name__ == "__main__":
    os.chdir(os.path.dirname(HERE))
    sys.exit(main(sys.argv[1:]))
