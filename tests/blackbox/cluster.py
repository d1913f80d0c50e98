"""cluster.py - what a user sees of three nodes: any node takes any request, a
majority is enough, less is told so, and lost disks come back."""
import json
import os
import random
import struct
import subprocess
import time

from cluster_kit import Cluster, dump
from harness import (BUILD, JSON_TYPE, case, equal, expect, in_threads, main,
                     quote, wait_for)


def change(member, method, path, body=None):
    r = member.call(method, path, body, JSON_TYPE)
    expect(r.status == 200 and r.json()["success"], method, path, "answered", r)
    return r.json()


@case("any node takes any request and shows it at once on every other")
def _():
    with Cluster() as cluster:
        for i in range(60):
            at = cluster.members[i % 3]
            there = cluster.members[(i + 1 + i // 7 % 2) % 3]
            at.put("a/%d" % (i % 7), b"value %d" % i)
            equal(there.get("a/%d" % (i % 7)).body, b"value %d" % i, "GET")
        at = cluster.followers()[0]
        equal(at.delete("a/0").status, 200, "DELETE at a follower")
        for m in cluster.members:
            m.get("a/0", status=404)
            equal([k["key"] for k in m.list(prefix="a/")["keys"]],
                  ["a/%d" % i for i in range(1, 7)], "listing")


@case("conditions, transactions and prefix deletions hold at a follower")
def _():
    with Cluster() as cluster:
        at, other = cluster.followers()
        r = at.put("x", b"1", 201)
        etag = r.header("ETag")
        at.put("x", b"2", 204, [("If-Match", etag)])
        r = other.call("PUT", "/x", b"3", [("If-Match", etag)])
        equal(r.status, 412, "PUT with an old ETag")
        equal(r.header("ETag"), other.get("x").header("ETag"), "its ETag")
        r = other.call("PUT", "/x", b"3", [("If-None-Match", "*")])
        equal(r.status, 412, "PUT of what is there")
        r = at.call("PUT", "/x/y", b"3")
        equal((r.status, r.code), (409, "not_a_directory"), "PUT below a file")
        t = other.post_json("/_/txn", {
            "if": [{"key": "x", "value": "2"}],
            "then": [{"put": "y", "value": "5"}, {"get": "x"},
                     {"delete": "none"}]})
        equal((t["succeeded"], t["results"][1]["value"]), (True, "2"), "txn")
        for i in range(20):
            at.put("d/%d" % i, b"z")
        r = other.call("DELETE", "/_/kv?prefix=d/")
        equal((r.status, r.json()["deleted"]), (200, 20), "prefix deletion")
        at.put("t", b"soon gone", ttl="300ms")
        wait_for(lambda: all(m.call("GET", "/t").status == 404
                             for m in cluster.members), "it expires", 5)


@case("large values travel through a follower, whole")
def _():
    with Cluster(settings={"http.max_value_size": '"8M"'}) as cluster:
        at, other = cluster.followers()
        for size in (0, 1, 65536, 65537, 1 << 20, (5 << 20) + 17):
            body = random.randbytes(size)
            at.put("big", body)
            expect(other.get("big").body == body, "size", size, "differs")
            expect(cluster.leader().get("big").body == body, "size", size)


@case("a minority writes nothing and says so; stale reads go on")
def _():
    with Cluster() as cluster:
        cluster.members[0].put("k", b"v")
        cluster.wait_equal()
        alone = cluster.leader()
        for m in cluster.members:
            if m is not alone:
                m.kill9()
        wait_for(lambda: alone.call("GET", "/_/ready").status == 503,
                 "it is not ready alone")
        started = time.monotonic()
        r = alone.call("PUT", "/k", b"new")
        expect(r.status in (503, 504), "PUT without quorum answered", r)
        if r.status == 504:
            equal(r.json()["error"].get("outcome") or r.json().get("outcome"),
                  "unknown", "outcome")
        expect(time.monotonic() - started < 15, "it took too long")
        expect(alone.call("GET", "/k").status == 503, "a fresh read is refused")
        equal(alone.get("k", consistency="stale").body, b"v", "stale read")
        for m in cluster.members:
            if not m.is_alive():
                m.spawn()
        cluster.wait_ready(30)
        expect(alone.get("k").body in (b"v", b"new"), "value afterwards")
        alone.put("k", b"newer")


@case("a node that was away catches up, from the log and from a snapshot")
def _():
    with Cluster() as cluster:
        away = cluster.followers()[0]
        away.kill9()
        at = cluster.leader()
        for i in range(50):
            at.put("few/%d" % i, b"x" * 100)
        away.spawn()
        cluster.wait_ready(30)
        cluster.wait_equal()
        away.kill9()
        blob = random.randbytes(60000)
        for i in range(300):  # 18 MB over and over: merges drop the log
            at.put("many/%d" % (i % 40), blob)
        equal(at.call("POST", "/_/merge").status, 200, "merge")
        wait_for(lambda: at.status()["storage"]["merge"] == "idle", "merge", 30)
        for i in range(300):
            at.put("many/%d" % (i % 40), blob)
        away.spawn()
        cluster.wait_ready(60)
        cluster.wait_equal(60)
        cluster.leader().kill9()
        for i in range(40):
            expect(away.get("many/%d" % i).body == blob, "many", i)


@case("SIGTERM of the leader hands over first: writes pause only briefly")
def _():
    # Without a hand-over a write would wait for an election of 4 s and more.
    with Cluster(settings={"cluster.election_timeout": '"4s"'}) as cluster:
        leader = cluster.leader()
        other = cluster.followers()[0]
        other.put("k", b"v")
        longest = [0.0]
        done = []

        def write():
            while not done:
                started = time.monotonic()
                r = other.call("PUT", "/k", b"v")
                if r.status == 204:
                    longest[0] = max(longest[0], time.monotonic() - started)

        def stop():
            time.sleep(0.3)
            equal(leader.stop(), 0, "exit status")
            time.sleep(0.5)
            done.append(1)
        in_threads(write, stop)
        expect(longest[0] < 3.5, "a write waited", longest[0],
               "s: no hand-over before the end")


@case("a wiped node never votes as itself and comes back by members replace")
def _():
    with Cluster() as cluster:
        cluster.members[0].put("k", b"v")
        lost = cluster.followers()[0]
        at = cluster.leader()
        old = next(m["id"] for m in at.get_json("/_/members")["members"]
                   if m["name"] == lost.name)
        lost.kill9()
        lost.wipe()
        lost.spawn()
        wait_for(lambda: answers(lost), "the wiped node answers")
        time.sleep(1)
        r = lost.call("GET", "/_/ready")
        equal(r.status, 503, "ready of a wiped node")
        equal(lost.call("GET", "/_/health").status, 200, "health")
        change(at, "POST", "/_/members/%s/replace" % lost.name)
        wait_for(lost.is_ready, "it is back", 40)
        cluster.wait_equal()
        members = at.get_json("/_/members")["members"]
        wait_for(lambda: sorted(
            (m["name"], m["role"])
            for m in cluster.leader().get_json("/_/members")["members"]) ==
            [("n1", "voter"), ("n2", "voter"), ("n3", "voter")],
            "three voters", 30)
        new = next(m["id"] for m in cluster.leader().get_json(
            "/_/members")["members"] if m["name"] == lost.name)
        expect(new != old, "the id is not used again", members)
        cluster.leader().kill9()
        expect(wait_for(lambda: lost.call("PUT", "/k", b"w").status == 204,
                        "writes with the replaced node in the majority", 20),
               "")


def answers(member):
    try:
        return member.call("GET", "/_/health").status == 200
    except OSError:
        return False


@case("a flipped bit in one node's log is found and mended from its peers")
def _():
    with Cluster() as cluster:
        for i in range(40):
            cluster.members[0].put("f/%d" % i, b"%04d" % i * 200)
        cluster.wait_equal()
        hurt = cluster.followers()[0]
        equal(hurt.stop(), 0, "exit")
        path = os.path.join(hurt.data, sorted(
            f for f in os.listdir(hurt.data) if f.endswith(".log"))[0])
        with open(path, "r+b") as f:
            data = f.read()
            at = data.index(b"0017" * 50) + 30
            f.seek(at)
            f.write(bytes([data[at] ^ 4]))
        hurt.spawn()
        cluster.wait_ready(30)
        wait_for(lambda: hurt.call("GET", "/f/17?raw").body == b"0017" * 200,
                 "the damaged value is mended", 20)
        wait_for(lambda: hurt.get("f/17", consistency="stale").body ==
                 b"0017" * 200, "also in its own files", 20)


def flip_header(member):
    """A key itself: which one it was nobody can know."""
    name = sorted(f for f in os.listdir(member.data) if f.endswith(".log"))[0]
    with open(os.path.join(member.data, name), "r+b") as f:
        data = f.read()
        at = data.index(b"h/017")
        f.seek(at)
        f.write(bytes(b ^ 0x15 for b in data[at:at + 5]))
    return name


def cut_manifest(member):
    os.truncate(os.path.join(member.data, "MANIFEST"), 40)
    return "MANIFEST"


def remove_manifest(member):
    os.unlink(os.path.join(member.data, "MANIFEST"))
    return "MANIFEST"


def remove_segment(member):
    name = sorted(f for f in os.listdir(member.data) if f.endswith(".log"))[0]
    os.unlink(os.path.join(member.data, name))
    return name


def raftcask(*words):
    got = subprocess.run((os.path.join(BUILD, "raftcask"),) + words,
                         capture_output=True, text=True)
    return got.returncode, got.stdout + got.stderr


def repair_refuses(member):
    """Neither look nor consent changes anything in a member's directory."""
    where = ("repair", "--data-dir", member.data)
    before = files_of(member.data)
    status, said = raftcask(*where)
    equal(status, 1, "repair said", said, "status")
    expect("members replace %s" % member.name in said, "it says the way", said)
    status, said = raftcask(*where, "--accept-loss")
    equal(status, 1, "repair --accept-loss said", said, "status")
    expect("members replace %s" % member.name in said and
           "committed writes" in said, "it says why", said)
    equal(raftcask(*where, "--force")[0], 2, "--force alone")
    equal(files_of(member.data), before, "files")


def files_of(path):
    got = {}
    for name in os.listdir(path):
        if name != "LOCK" and os.path.isfile(os.path.join(path, name)):
            with open(os.path.join(path, name), "rb") as f:
                got[name] = f.read()
    return got


def waits_damaged(member, file):
    """It is up, says what is wrong, and serves nothing."""
    wait_for(lambda: answers(member), "it answers", 20)
    equal(member.call("GET", "/_/health").status, 200, "health")
    # It answers before it has read its files: then it starts, no more.
    wait_for(lambda: b"members replace" in
             member.call("GET", "/_/ready").body, "it knows the damage", 20)
    r = member.call("GET", "/_/ready")
    expect(r.status == 503 and r.code == "starting" and file in r.body.decode() and
           "members replace %s" % member.name in r.body.decode(), "ready said", r)
    r = member.call("GET", "/h/1")
    equal((r.status, r.code), (503, "starting"), "GET of a key")
    expect(r.header("Retry-After"), "Retry-After of", r)
    return member.call("GET", "/_/ready").body.decode()


def lose_power_midway(member, old, file):
    """As if it had been granted an id and set aside only a part: it waits."""
    member.kill9()
    aside = os.path.join(member.data, "damaged-%d" % old)
    os.mkdir(aside)
    moved = [f for f in ("MANIFEST", "state")
             if f in os.listdir(member.data)]
    for name in moved:
        os.rename(os.path.join(member.data, name), os.path.join(aside, name))
    left = files_of(member.data)
    member.spawn()
    waits_damaged(member, "MANIFEST" if "MANIFEST" in moved else file)
    equal(files_of(member.data), left, "files beside those that lie aside")


def id_of(at, name):
    return next(m["id"] for m in at.get_json("/_/members")["members"]
                if m["name"] == name)


@case("a member whose files do not open waits and says so; members replace "
      "brings it back under a new id")
def _():
    with Cluster() as cluster:
        for i in range(40):
            cluster.members[0].put("h/%03d" % i, b"%04d" % i * 200)
        for hurt_by in (flip_header, cut_manifest, remove_segment,
                        remove_manifest):
            replace_damaged(cluster, hurt_by)


def replace_damaged(cluster, hurt_by):
    cluster.wait_equal()
    hurt, at = cluster.followers()[0], cluster.leader()
    old = id_of(at, hurt.name)
    equal(hurt.stop(), 0, "exit")
    file = hurt_by(hurt)
    repair_refuses(hurt)
    left = files_of(hurt.data)
    told = hurt.log_text().count("damaged reason=")
    hurt.spawn()
    said = waits_damaged(hurt, file)
    expect(hurt_by is not flip_header or "offset" in said, "offset", said)
    equal(hurt.log_text().count("damaged reason="), told + 1, "told once")
    wait_for(lambda: cluster.leader().call(
        "PUT", "/by", hurt_by.__name__.encode()).status < 300, "writes go on")
    hurt.kill9()
    hurt.spawn()
    waits_damaged(hurt, file)
    now = files_of(hurt.data)
    expect(all(now[n] == left[n] for n in left if n != "cluster"),
           "the damaged files are as they were")
    lose_power_midway(hurt, old, file)
    status, said = raftcask("-e", "http://%s" % at.address(at.port), "members",
                            "replace", hurt.name)
    equal(status, 0, "members replace said", said, "status")
    wait_for(hurt.is_ready, "it is back", 40)
    state = cluster.wait_equal()
    expect(len(state) >= 40, "all keys are there", len(state))
    voters = [(n, "voter") for n in ("n1", "n2", "n3")]
    wait_for(lambda: sorted(
        (m["name"], m["role"]) for m in cluster.leader().get_json(
            "/_/members")["members"]) == voters, "three voters", 30)
    new = id_of(cluster.leader(), hurt.name)
    expect(new != old, "the id is not used again", new)
    aside = files_of(os.path.join(hurt.data, "damaged-%d" % old))
    left.pop("cluster")
    equal(sorted(aside), sorted(left), "files that lie aside")
    expect(aside == left, "they are as they were")
    equal(hurt.get("h/017", consistency="stale").body, b"0017" * 200, "value")


def records_of(data):
    """(offset, type, bytes of the key, where the value is) of a log."""
    for at in range(0, len(data) - 64, 8):
        if data[at + 8:at + 10] != b"\x43\x52":
            continue
        key, attrs = struct.unpack("<HH", data[at + 56:at + 60])
        value = struct.unpack("<I", data[at + 60:at + 64])[0]
        begin = at + 64 + key + attrs
        if begin + value <= len(data):
            yield at, data[at + 10], data[at + 64:at + 64 + key], begin, value


def flip_values(member, wanted):
    """One byte of the value of each record of the log that is wanted."""
    count = 0
    for name in os.listdir(member.data):
        if not name.endswith((".log", ".dat")):
            continue
        with open(os.path.join(member.data, name), "r+b") as f:
            for _, kind, key, begin, value in records_of(f.read()):
                if value and wanted(kind, key):
                    f.seek(begin)
                    byte = f.read(1)
                    f.seek(begin)
                    f.write(bytes([byte[0] ^ 1]))
                    count += 1
    expect(count > 0, "something is flipped", count)


def flip_membership(member):
    flip_values(member, lambda kind, key: key == b"\0g")
    return "own records"


def flip_votes(member):
    """Term and vote, in the log and in the other place."""
    flip_values(member, lambda kind, key: kind == 6)
    path = os.path.join(member.data, "state")
    with open(path, "r+b") as f:
        data = f.read()
        f.seek(64)
        f.write(bytes(b ^ 1 for b in data[64:]))
    return ""


@case("a member whose own records or votes are damaged waits, and is replaced")
def _():
    with Cluster() as cluster:
        for i in range(40):
            cluster.members[0].put("h/%03d" % i, b"%04d" % i * 200)
        for hurt_by in (flip_membership, flip_votes):
            cluster.wait_equal()
            hurt, at = cluster.followers()[0], cluster.leader()
            old = id_of(at, hurt.name)
            equal(hurt.stop(), 0, "exit")
            said = hurt_by(hurt)
            hurt.spawn()
            waits_damaged(hurt, said)
            hurt.kill9()
            hurt.spawn()
            waits_damaged(hurt, said)
            wait_for(lambda: cluster.leader().call(
                "PUT", "/by", b"x").status < 300, "writes go on")
            status, said = raftcask("-e", "http://%s" % at.address(at.port),
                                    "members", "replace", hurt.name)
            equal(status, 0, "members replace said", said, "status")
            wait_for(hurt.is_ready, "it is back", 40)
            expect(len(cluster.wait_equal()) >= 40, "all keys are there")
            wait_for(lambda: len(cluster.leader().get_json(
                "/_/members")["members"]) == 3, "the old one is gone", 30)
            expect(id_of(cluster.leader(), hurt.name) != old,
                   "the id is not used again")


@case("a damaged member repaired by force is the one it was")
def _():
    with Cluster() as cluster:
        for i in range(40):
            cluster.members[0].put("h/%03d" % i, b"%04d" % i * 200)
        cluster.wait_equal()
        hurt, at = cluster.followers()[0], cluster.leader()
        old = id_of(at, hurt.name)
        equal(hurt.stop(), 0, "exit")
        file = flip_header(hurt)
        hurt.spawn()
        waits_damaged(hurt, file)
        where = ("repair", "--data-dir", hurt.data, "--accept-loss", "--force")
        equal(raftcask(*where)[0], 75, "repair of a directory in use")
        equal(hurt.stop(), 0, "exit of one that waits")
        status, said = raftcask(*where)
        equal(status, 0, "repair by force said", said, "status")
        hurt.spawn()
        wait_for(hurt.is_ready, "it serves again", 20)
        equal(id_of(cluster.leader(), hurt.name), old, "id")
        cluster.members[0].put("after", b"1")
        wait_for(lambda: hurt.call("GET", "/after?raw").body == b"1",
                 "and follows", 20)


@case("one who was alone when it began knows its peers when it is damaged")
def _():
    with Cluster(count=1) as cluster:
        first = cluster.members[0]
        for i in range(40):
            first.put("h/%03d" % i, b"%04d" % i * 200)
        second = cluster.add()
        second.spawn()
        change(first, "POST", "/_/members", {
            "name": second.name, "peer": second.address(second.peer_port),
            "http": second.address(second.port)})
        wait_for(second.is_ready, "the second is a member", 30)
        path = os.path.join(first.data, "cluster")

        def is_known():
            with open(path, "rb") as f:
                return second.name.encode() in f.read()
        wait_for(is_known, "the first has written down the second", 20)
        equal(first.stop(), 0, "exit")
        file = flip_header(first)
        repair_refuses(first)
        first.spawn()
        waits_damaged(first, file)


@case("eight partitions: leaders are spread, a node's death moves them")
def _():
    with Cluster(settings={"cluster.partitions": "8",
                           "cluster.heartbeat": '"25ms"',
                           "cluster.election_timeout": '"200ms"'}) as cluster:
        for i in range(64):
            cluster.members[i % 3].put("p%d/x" % i, b"%d" % i)

        def leaders():
            s = cluster.alive()[0].status()["partitions"]
            return [p["leader"] for p in s]
        wait_for(lambda: len(set(leaders()) - {None}) == 3,
                 "every node leads something", 30)
        victim = cluster.members[2]
        victim.kill9()
        for i in range(64):
            at = cluster.members[i % 2]
            wait_for(lambda: at.call("PUT", "/p%d/x" % i, b"new").status == 204,
                     "partition of p%d goes on" % i)
        expect(victim.name not in leaders(), "who is dead leads nothing")
        victim.spawn()
        cluster.wait_ready(30)
        for i in range(64):
            equal(victim.get("p%d/x" % i).body, b"new", "value", i)
        equal(len(victim.list_all()[0]), 64, "listing of all partitions")


@case("different member lists are refused and name the line")
def _():
    with Cluster(start=False) as cluster:
        a, b, c = cluster.members
        c.write_config([a, c])
        for m in cluster.members:
            m.spawn()
        wait_for(lambda: not c.is_alive() or "member" in c.log_text(),
                 "the odd one complains")
        time.sleep(1)
        for m in (a, b):
            expect(not (answers(m) and m.is_ready()), m.name, "formed anyway")
        if not c.is_alive():
            c.ended = True
            equal(c.process.returncode, 78, "exit status")
        expect("cluster.members" in c.log_text() + a.log_text(),
               "the setting is named:", c.log_text()[-300:])
        for m in (a, b):
            if not m.is_alive():
                m.ended = True


main()
