#!/usr/bin/env python3
"""bench/grow.py - how the cost of a request grows.

    bench/grow.py [--quick] [connections] [values] [partitions] [nodes]
                  [merging] [large]

connections  1 to 1,000, one node, 200-byte values, beside libmicrohttpd alone
values       128 B to 16 MiB, one node
partitions   1 to 64 on three nodes, and what they cost at rest
nodes        1 to 7
merging      p99 of GET while files are merged, and while not
large        a value of 64 MiB put and read back beside the disk itself

Figures go where bench/lib/nodes.py puts them.
"""

import os
import shutil
import subprocess
import sys
import time
from statistics import median

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "lib"))
from facts import disk_seconds  # noqa: E402
from nodes import (Cluster, Hello, Trouble, data_directory, emit, load,  # noqa
                   load_for, main, note, quick, rounds, seconds, table, wrk)

MIB = 1 << 20
KEYS = 10000
PUT = """
math.randomseed(os.time())
local headers = { ["Content-Type"] = "application/octet-stream" }
local body = string.rep("v", 200)
request = function()
	return wrk.format("PUT", "/k" .. math.random(1, 10000), headers, body)
end
"""
GET = """
math.randomseed(os.time())
request = function()
	return wrk.format("GET", "/k" .. math.random(1, 1000))
end
"""


def fill(cluster, i=0, size=200, keys=KEYS, conns=50):
    load(cluster.url(i), "W", keys, size, min(conns, keys), keys, "seq")


def emit_load(name, x, who, what, number, report):
    emit(name, x, who, f"{what} rate", "requests/s", number, report["rate"])
    emit(name, x, who, f"{what} p99", "ms", number, report["p99_ms"])


def connections():
    table("connections", "one node, 200-byte values", "connections", "line")
    note("connections", "Up to some ten connections the round trip decides, "
         "from there the processors, which the load generator shares.")
    with Cluster() as c, Hello() as hello:
        fill(c)
        for number in range(rounds(3, 2)):
            for conns in (1, 3, 10, 30, 100, 300, 1000):
                for who, url, kind, what in (
                        ("raftcask", c.url(), "W", "PUT"),
                        ("raftcask", c.url(), "R", "GET"),
                        ("bare libmicrohttpd", hello.url, "R", "GET")):
                    try:
                        report = load_for(url, kind, seconds(2, 1), 200,
                                          conns, KEYS)
                    except Trouble:
                        # The bare library stops, once in a while, when it
                        # gets exactly 128 events and no more are to come.
                        if who == "raftcask":
                            raise
                        continue
                    emit_load("connections", conns, who, what, number, report)


def values():
    table("values", "one node, 8 connections", "value bytes", "line")
    note("values", "Above 64 KiB a value is cut into chunks, staged and made "
         "visible by one small entry.")
    sizes = [128, 1024, 8192, 65536, 131072, MIB, 4 * MIB, 16 * MIB]
    with Cluster() as c:
        for size in sizes:
            keys = max(8, min(1000, 64 * MIB // size))
            fill(c, size=size, keys=keys, conns=8)
            for number in range(rounds(3, 2)):
                for kind, what in (("W", "PUT"), ("R", "GET")):
                    r = load_for(c.url(), kind, seconds(2, 1), size, 8, keys,
                                 some=max(16, min(400, 16 * MIB // size)))
                    emit_load("values", size, "raftcask", what, number, r)
                    emit("values", size, "raftcask", f"{what} bytes",
                         "MiB/s", number, r["rate"] * size / MIB)


def at_rest(c, name, x):
    span_s = seconds(10, 4)
    time.sleep(1)
    before = c.processor_seconds()
    time.sleep(span_s)
    for i, (a, b) in enumerate(zip(before, c.processor_seconds())):
        emit(name, x, "raftcask", "at rest", "% of a processor a node", i,
             100 * (b - a) / span_s)


def wrk_round(c, name, x, number, at):
    directory = c.directory
    for what, script in (("PUT", PUT), ("GET", GET)):
        rate, p99, failed = wrk(c.url(at), 100, seconds(3, 2), script,
                                directory)
        emit(name, x, "raftcask", f"{what} rate", "requests/s", number, rate)
        emit(name, x, "raftcask", f"{what} p99", "ms", number, p99)
        if failed:
            note(name, f"{x}, {what}: {failed} requests failed")


def fill_root(c, at):
    """Keys that GET asks for, at the root: they go to all partitions."""
    for k in range(1, 1001):
        status, _ = c.ask(at, "PUT", f"/k{k}", b"v" * 200)
        if status not in (200, 201, 204):
            raise Trouble(f"PUT /k{k} answers {status}")


def partitions():
    table("partitions", "three nodes, 100 connections, 200-byte values",
          "partitions", "line")
    note("partitions", "All partitions share one log, one sync and one link "
         "a peer; their leaders are spread over the nodes, so that with more "
         "than one most requests are passed on.")
    for count in (1, 4, 16, 64):
        with Cluster(3, count) as c:
            at = c.leader()
            fill_root(c, at)
            for number in range(rounds(3, 2)):
                wrk_round(c, "partitions", count, number, at)
            at_rest(c, "partitions", count)


def nodes():
    table("nodes", "100 connections at the leader, 200-byte values", "nodes",
          "line")
    note("nodes", "All nodes and the load generator share this machine's "
         "processors and disk: each node more takes from the others.")
    for count in (1, 2, 3, 5, 7):
        with Cluster(count) as c:
            at = c.leader()
            fill_root(c, at)
            for number in range(rounds(3, 2)):
                wrk_round(c, "nodes", count, number, at)


def merge_once(c):
    """Ask for a merge; False: there is none to do."""
    done = c.status()["storage"]["merges"]
    c.ask(0, "POST", "/_/merge", b"")
    end = time.monotonic() + 10
    while time.monotonic() < end:
        storage = c.status()["storage"]
        if storage["merge"] != "idle":
            return True
        if storage["merges"] > done:
            return False
        time.sleep(0.01)
    return False


def merging():
    keys = 50000 if quick() else 200000
    table("merging", "GET of 1 KiB values at random, 20 connections, merge "
          "rate 64 MiB/s", "-", "bar")
    note("merging", "quiet: before the merge of the same round. Half of what "
         "is stored is dead when it begins. Medians of runs of a fifth of a "
         "second each.")
    with Cluster(settings=(
            'storage: { max_file_size = "16M"; merge: { dead_ratio = 0.95; '
            'dead_bytes = "1G"; small_file = "1M"; }; };',)) as c:
        load(c.url(), "W", keys, 1024, 50, keys, "seq")
        for number in range(rounds(5, 3)):
            load(c.url(), "W", keys, 1024, 50, keys, "seq")
            rate = load_for(c.url(), "R", 1, 1024, 20, keys)["rate"]
            requests = max(1000, int(rate / 5))
            quiet = [load(c.url(), "R", requests, 1024, 20, keys)
                     for _ in range(5)]
            if not merge_once(c):
                note("merging", f"round {number}: no merge was seen to run")
                continue
            during = []
            while True:
                r = load(c.url(), "R", requests, 1024, 20, keys)
                if c.status()["storage"]["merge"] == "idle":
                    break
                during.append(r)
            if not during:
                note("merging", f"round {number}: the merge was over before "
                     "it could be measured")
                continue
            for who, reports in (("raftcask, quiet", quiet),
                                 ("raftcask", during)):
                emit("merging", "GET", who, "p99", "ms", number,
                     median(r["p99_ms"] for r in reports))
                emit("merging", "GET", who, "rate", "requests/s", number,
                     median(r["rate"] for r in reports))


# --------------------------------------------------------------- large -----

def drop_files(directory):
    """The daemon's files leave the page cache, as far as they may."""
    for where, _, names in os.walk(directory):
        for name in names:
            try:
                fd = os.open(os.path.join(where, name), os.O_RDONLY)
            except OSError:
                continue
            try:
                os.fdatasync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def curl(*words):
    """Seconds that one request takes."""
    done = subprocess.run(
        ["curl", "-sS", "-f", "-w", "%{stderr}%{time_total}", *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        check=False)
    if done.returncode:
        raise Trouble(f"curl: {done.stderr.strip()}")
    return float(done.stderr)


def large():
    size = 64 * MIB
    table("large", "a value of 64 MiB over HTTP, one connection", "-", "bar")
    note("large", "the disk: the same bytes written in pieces of 1 MiB to a "
         "new file and synced; read from the disk, not from memory. "
         "raftcask, again: the same read when memory has it.")
    directory = data_directory("large")
    source = os.path.join(directory, "value")
    with open(source, "wb") as f:
        f.write(os.urandom(MIB) * (size // MIB))
    with Cluster() as c:
        for number in range(rounds(5, 3)):
            wrote, read = disk_seconds(os.path.join(directory, "f"), size)
            emit("large", "put", "the disk", "rate", "MiB/s", number,
                 64 / wrote)
            emit("large", "get", "the disk", "rate", "MiB/s", number,
                 64 / read)
            emit("large", "put", "raftcask", "rate", "MiB/s", number,
                 64 / curl("-T", source, "-H",
                           "Content-Type: application/octet-stream",
                           c.url() + "/large"))
            drop_files(c.directory)
            for who in ("raftcask", "raftcask, again"):
                emit("large", "get", who, "rate", "MiB/s", number,
                     64 / curl("-o", "/dev/null", c.url() + "/large?raw"))
        status, body = c.ask(0, "GET", "/large?raw")
        with open(source, "rb") as f:
            if status != 200 or body != f.read():
                raise Trouble(f"GET of 64 MiB: {status}, other bytes")
    shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main({"connections": connections, "values": values,
                   "partitions": partitions, "nodes": nodes,
                   "merging": merging, "large": large}))
