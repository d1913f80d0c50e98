#!/usr/bin/env python3
"""bench/seeds.py - the benchmarks of the three systems that raftcask replaces.

    bench/seeds.py [--quick] [raftkv] [impulse] [caskdb]

raftkv   the table of its Bitcask (bench_seeds); its cluster of three, 20 users
impulse  concurrent: 100 connections, 10 s each of PUT, GET and DELETE on one
         key; sequential: N=2048, one curl each, the values verified
caskdb   bench -sz=1K -n=1000, -t=W and -t=R

Beside each stands what the seed published of its own machine; nothing of it was
durable. Figures go where bench/lib/nodes.py puts them.
"""

import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "lib"))
from nodes import (ROOT, Cluster, Trouble, emit, load, load_for, main,  # noqa
                   note, quick, rounds, seconds, table, wrk)

IMPULSE = {"PUT": 22580, "GET": 25175, "DELETE": 23559}
RAFTKV_RATE = 39


def raftkv():
    command = [os.path.join(ROOT, "build/bench/bench_seeds")]
    if subprocess.run(command + ["--quick"] * quick(),
                      check=False).returncode:
        raise Trouble("bench_seeds failed")
    table("raftkv-cluster", "raft-kv: a cluster of three, 20 users", "-",
          "bar")
    note("raftkv-cluster", "raft-kv acknowledged before anything was "
         "replicated; here every write is on two disks.")
    with Cluster(3) as c:
        urls = [c.url(i) for i in range(3)]
        load(urls, "W", 1000, 1024, 20, 1000, "seq")
        for number in range(rounds(5, 2)):
            for kind, what in (("W", "PUT"), ("R", "GET")):
                r = load_for(urls, kind, seconds(3, 2), 1024, 20, 1000)
                emit("raftkv-cluster", what, "raftcask", "rate",
                     "requests/s", number, r["rate"])
                emit("raftkv-cluster", what, "raft-kv, its figure", "rate",
                     "requests/s", number, RAFTKV_RATE)


def one_key(method):
    return f"""
local body = {'string.rep("v", 32)' if method == "PUT" else "nil"}
local headers = {{ ["Content-Type"] = "application/octet-stream" }}
request = function()
	return wrk.format("{method}", "/key", headers, body)
end
"""


def impulse_concurrent():
    table("impulse-concurrent",
          "impulse: concurrent, 100 connections on one key", "-", "bar")
    note("impulse-concurrent", "impulse kept its values in memory, on one "
         "node; here each write is synced. GET is of a key that is there.")
    span_s = seconds(10, 3)
    with Cluster() as c:
        for number in range(rounds(3, 2)):
            for method, published in IMPULSE.items():
                c.ask(0, "PUT", "/key", b"v" * 32)
                rate, p99, failed = wrk(c.url(), 100, span_s,
                                        one_key(method), c.directory)
                if failed:
                    note("impulse-concurrent", f"round {number}, {method}: "
                         f"{failed} requests failed")
                emit("impulse-concurrent", method, "raftcask", "rate",
                     "requests/s", number, rate)
                emit("impulse-concurrent", method, "impulse, its figure",
                     "rate", "requests/s", number, published)
                emit("impulse-concurrent", method, "raftcask", "p99", "ms",
                     number, p99)


def curl(*words):
    done = subprocess.run(["curl", "-s", "-f", *words], check=False,
                          capture_output=True)
    if done.returncode:
        raise Trouble(f"curl {' '.join(words)} ends with {done.returncode}")
    return done.stdout


def impulse_sequential():
    count = 256 if quick() else 2048
    table("impulse-sequential", f"impulse: sequential, N={count}, one curl "
          "each, values verified", "-", "bar")
    note("impulse-sequential", "Starting curl is most of it.")
    with Cluster() as c:
        steps = (
            ("PUT", lambda i: curl(
                "-X", "PUT", "-H", "Content-Type: application/octet-stream",
                "--data-binary", f"value-{i}", f"{c.url()}/key-{i}")),
            ("GET", lambda i: check(curl(f"{c.url()}/key-{i}?raw"), i)),
            ("DELETE", lambda i: curl("-X", "DELETE",
                                      f"{c.url()}/key-{i}")))
        for what, step in steps:
            start = time.monotonic()
            for i in range(count):
                step(i)
            emit("impulse-sequential", what, "raftcask", "rate",
                 "requests/s", 0, count / (time.monotonic() - start))


def check(seen, i):
    if seen != b"value-%d" % i:
        raise Trouble(f"key-{i} holds {seen[:40]!r}")


def caskdb():
    table("caskdb", "caskdb: bench -sz=1K -n=1000", "-", "bar")
    note("caskdb", "One connection, as by default; three nodes, every pair on "
         "all of them. caskdb published no figures.")
    with Cluster(3) as c:
        for number in range(rounds(5, 3)):
            for kind in ("W", "R"):
                r = load(c.url(c.leader()), kind, 1000, 1024, 1, 1000, "seq")
                emit("caskdb", f"-t={kind}", "raftcask", "rate",
                     "requests/s", number, r["rate"])
                emit("caskdb", f"-t={kind}", "raftcask", "p99", "ms", number,
                     r["p99_ms"])


def impulse():
    impulse_concurrent()
    impulse_sequential()


if __name__ == "__main__":
    sys.exit(main({"raftkv": raftkv, "impulse": impulse, "caskdb": caskdb}))
