"""cluster_faults.py - single faults against real daemons: lease reads beside a
leader that stands still, and a follower that does.

MB is how much is written past the slow follower (64; the promise is tested
with 500), CHAOS_S the length of a case with clients."""
import os
import random
import time

from cluster_kit import Cluster, Load
from harness import SEED, case, equal, expect, in_threads, main, wait_for

CHAOS_S = float(os.environ.get("CHAOS_S", "5"))
MB = int(os.environ.get("MB", "64"))
SLACK_KB = 48 << 10  # of memory of a process's own, whatever is written
rng = random.Random(SEED)


def anonymous_kb(member):
    """Memory of its own; mapped files are the kernel's to drop."""
    with open("/proc/%d/status" % member.process.pid) as f:
        for line in f:
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    return 0


@case("lease reads beside a leader that stands still are never stale")
def _():
    with Cluster() as cluster:
        with Load(cluster, read="?raw&consistency=lease") as load:
            pauses = [0.1, 0.35, 0.45, 1.0, 10.0]
            end = time.monotonic() + CHAOS_S
            while time.monotonic() < end:
                load.progress("writes with all nodes")
                victim = cluster.leader()
                victim.pause()
                time.sleep(rng.choice(pauses[:4 if CHAOS_S < 30 else 5]))
                victim.resume()
                time.sleep(rng.random() * 0.2)
            load.progress("writes after the pauses")
        expect(load.history.done("get") > 50, "reads were answered")
        cluster.wait_equal()


@case("a follower that stands still costs the leader no memory")
def _():
    with Cluster(settings={"storage.max_file_size": '"16M"'}) as cluster:
        leader, slow = cluster.leader(), cluster.followers()[0]
        blob = rng.randbytes(256 << 10)

        def fill(mb):
            def some(part):
                with leader.conn(20) as c:
                    for i in range(mb):
                        r = c.call("PUT", "/w%d/%d" % (part, i % 20), blob)
                        expect(r.status in (200, 201, 204), "PUT", r)
            in_threads(*[lambda part=p: some(part) for p in range(4)])
        fill(8)
        before = anonymous_kb(leader)
        slow.pause()
        fill(MB)
        grown = anonymous_kb(leader) - before
        slow.resume()
        expect(grown < SLACK_KB, "the leader has grown by", grown, "KiB")
        equal(cluster.leader().name, leader.name, "who leads")
        leader.put("after", b"1")
        wait_for(lambda: slow.call("GET", "/after").status == 200,
                 "the slow one serves again", 60)
        cluster.wait_equal(60)


main()
