"""cluster_chaos.py - three real daemons under kill -9, pauses, cut links and
membership changes, with clients on all of them: the recorded history must be
linearizable, nothing acknowledged may be lost, and afterwards all nodes hold
the same.

CHAOS_S is the length of each case in seconds."""
import os
import random
import time

from cluster_kit import Cluster, Load
from harness import SEED, case, expect, main, wait_for

CHAOS_S = float(os.environ.get("CHAOS_S", "5"))
rng = random.Random(SEED)


def rounds(seconds=None):
    end = time.monotonic() + (seconds or CHAOS_S)
    while time.monotonic() < end:
        yield


def finish(cluster, load):
    """The faults are over: writes go on, and every node agrees."""
    cluster.heal()
    for m in cluster.members:
        if not m.is_alive():
            m.spawn()
    cluster.wait_ready(30)
    load.progress("writes after the faults")


@case("a leader that is killed loses no acknowledged write")
def _():
    with Cluster() as cluster:
        with Load(cluster) as load:
            for _ in rounds():
                load.progress("writes with all nodes")
                victim = cluster.leader()
                victim.kill9()
                load.progress("writes with two nodes")
                victim.spawn()
            finish(cluster, load)
        cluster.wait_equal()


@case("any node killed at any time, all at once too: nothing is lost")
def _():
    with Cluster() as cluster:
        with Load(cluster) as load:
            for _ in rounds():
                victims = rng.sample(cluster.members, rng.choice((1, 1, 2, 3)))
                for m in victims:
                    if m.is_alive():
                        m.kill9()
                time.sleep(rng.random() * 0.7)
                for m in victims:
                    m.spawn()
                time.sleep(rng.random())
            finish(cluster, load)
        cluster.wait_equal()


@case("a leader that sleeps and wakes answers nothing stale")
def _():
    with Cluster() as cluster:
        with Load(cluster) as load:
            for _ in rounds():
                load.progress("writes with all nodes")
                victim = cluster.leader()
                victim.pause()
                time.sleep(rng.choice((0.1, 0.5, 1.5)))
                victim.resume()
                time.sleep(rng.random() * 0.3)
            finish(cluster, load)
        cluster.wait_equal()


@case("cut links: a minority acknowledges nothing, the rest goes on")
def _():
    with Cluster(isolated=True) as cluster:
        with Load(cluster) as load:
            for _ in rounds():
                victim = rng.choice((cluster.leader(),
                                     rng.choice(cluster.members)))
                shape = rng.choice(("off", "one link", "one way"))
                others = [m for m in cluster.members if m is not victim]
                if shape == "off":
                    cluster.cut_off(victim)
                elif shape == "one link":
                    a = rng.choice(others)
                    cluster.network.cut(victim.number, a.number)
                    cluster.network.cut(a.number, victim.number)
                else:
                    for a in others:
                        cluster.network.cut(victim.number, a.number)
                time.sleep(rng.choice((0.3, 1.0, 2.0)))
                load.progress("writes with links cut (%s)" % shape)
                cluster.heal()
                time.sleep(rng.random() * 0.5)
            finish(cluster, load)
        cluster.wait_equal()


@case("a partly connected node cannot depose the leader for ever")
def _():
    with Cluster(count=5, isolated=True) as cluster:
        with Load(cluster, clients=4) as load:
            leader = cluster.leader()
            middle, *_ = cluster.followers()
            # All but the middle one lose sight of the leader.
            for m in cluster.members:
                if m not in (leader, middle):
                    cluster.network.cut(m.number, leader.number)
                    cluster.network.cut(leader.number, m.number)
            for _ in rounds(5):
                load.progress("writes with a leader few can see", 10)
            finish(cluster, load)
        cluster.wait_equal()


@case("leadership is handed around under load: nothing lost, nothing twice")
def _():
    with Cluster() as cluster:
        with Load(cluster) as load:
            for _ in rounds():
                target = rng.choice(cluster.followers())
                r = cluster.leader().call(
                    "POST", "/_/transfer", {"to": target.name},
                    [("Content-Type", "application/json")])
                expect(r.status in (200, 503), "transfer answered", r)
                if rng.random() < 0.2:
                    target.kill9()
                    time.sleep(0.5)
                    target.spawn()
                time.sleep(rng.random() * 0.5)
            finish(cluster, load)
        cluster.wait_equal()


@case("members come and go under load")
def _():
    with Cluster() as cluster:
        with Load(cluster, clients=4) as load:
            guest = cluster.add()
            guest.spawn()
            load.progress("writes beside an empty node")

            def change(method, path, body=None):
                r = cluster.leader().call(
                    method, path, body, [("Content-Type", "application/json")])
                return r.status == 200

            wait_for(lambda: change("POST", "/_/members", {
                "name": guest.name, "peer": guest.address(guest.peer_port),
                "http": guest.address(guest.port)}), "the member is added")

            def role(name):
                found = (cluster.leader().ask("/_/members") or
                         {"members": []})["members"]
                return next((m["role"] for m in found if m["name"] == name),
                            None)
            wait_for(lambda: role(guest.name) == "voter", "it is promoted", 30)
            cluster.wait_ready(30)
            gone = next(m for m in cluster.followers() if m is not guest)
            wait_for(lambda: change("DELETE", "/_/members/" + gone.name),
                     "a member is removed", 30)
            wait_for(lambda: role(gone.name) is None, "it is gone", 30)
            load.progress("writes without it")
            cluster.members.remove(gone)
            for c in load.clients:
                if c.node is gone:
                    c.node = None
            gone.remove()
            cluster.leader().kill9()
            load.progress("writes with two of three", 20)
            finish(cluster, load)
        cluster.wait_equal()


main()
