"""backup.py - a backup is one moment of a cluster, whole or not there at all,
and a new cluster can be made of it."""
import json
import os
import random
import signal
import socket
import stat
import subprocess
import threading
import time

from client_kit import ENV, Scratch, as_json, run, succeed, url
from cluster_kit import QUICK, TORN, Cluster
from harness import (CLIENT, JSON_TYPE, Node, case, equal, expect, free_port,
                     main, query, wait_for)


def fill(node):
    rng = random.Random(7)
    for i in range(60):
        node.put("dir%d/k%d" % (i % 9, i), b"v%d" % i)
    node.put("big/x", rng.randbytes(3000000))
    node.put(b"raw/\xff\x01", bytes(range(256)))
    node.put("e/", b"")
    node.put("gone", b"x")
    node.delete("gone")
    node.put("t/x", b"y", ttl="1h")


def state(node):
    """Everything that a client can see."""
    keys, _ = node.list_all()
    got = {}
    for k in keys:
        name = k["key"] if "encoding" not in k else b"raw/\xff\x01"
        got[k["key"]] = (k["rev"], k["size"], node.get(name).body
                         if k["size"] else b"")
    return got


def restored(s, data, partitions=1, **settings):
    """A daemon on a directory that restore has made."""
    more = {"cluster.partitions": str(partitions)} if partitions > 1 else {}
    node = Node(dict(more, **settings), data=s.path(data))
    node.start()
    return node


@case("backup and restore: keys, values, revisions and TTLs are the same")
def _():
    for partitions in (1, 3):
        with Scratch() as s:
            node = Node({"cluster.partitions": str(partitions)})
            node.start()
            fill(node)
            before, rev = state(node), node.get("t/x").rev
            old = node.status()["cluster"]
            told = as_json("-e", url(node), "backup", s.path("b"))
            equal(told["cluster"], old, "cluster in the summary")
            equal(len(told["revisions"]), partitions, "revisions")
            equal(told["bytes"], os.path.getsize(s.path("b")), "bytes")
            equal(os.listdir(s.root), ["b"], "nothing but the file")
            node.put("after", b"the backup")
            cursor = node.list()["revision"]
            told = as_json("restore", s.path("b"), "--data-dir", s.path("d"))
            equal(told["keys"], len(before), "keys")
            node.remove()
            new = restored(s, "d", partitions)
            equal(state(new), before, "state")
            expect(new.status()["cluster"] not in (old, None), "a new id")
            ttl = float(new.get("t/x").header("X-Raftcask-TTL"))
            expect(3500 < ttl <= 3600, "TTL", ttl)
            expect(new.put("t/x", b"z").rev > rev + 1000000, "revision")
            r = new.call("GET", "/_/watch?prefix=&after=%s" % cursor, None,
                         [("Accept", "text/event-stream")])
            equal(r.status, 410, "an old cursor")
            equal(new.call("GET", "/t/x?watch&after=%d&wait=1s" % rev).status,
                  200, "the present state at once")
            new.remove()


@case("the daemon's own port is all it takes: backup through a pipe")
def _():
    with Scratch() as s:
        node = Node()
        node.start()
        fill(node)
        before = state(node)
        status, out, err = run("-e", url(node), "backup", "-")
        equal(status, 0, "backup -", err)
        expect("revision" in err, "the summary goes to stderr:", err)
        node.remove()
        told = as_json("restore", "-", "--data-dir", s.path("d"), "--name",
                       "again", stdin=out)
        equal(told["keys"], len(before), "keys")
        new = restored(s, "d")
        equal(state(new), before, "state")
        new.remove()


@case("a damaged, cut or foreign file is refused and leaves nothing")
def _():
    with Scratch() as s:
        node = Node()
        node.start()
        fill(node)
        succeed("-e", url(node), "backup", s.path("b"))
        node.remove()
        good = s.read("b")
        succeed("restore", "--check", s.path("b"))
        rng = random.Random(3)
        bad = {"cut": good[:len(good) // 2], "cut at the end": good[:-1],
               "empty": b"", "longer": good + b"x",
               "foreign": b"<html>no backup, but a page of one</html>" * 9}
        for i in range(12):
            at = rng.randrange(len(good))
            bad["flipped at %d" % at] = good[:at] + bytes(
                [good[at] ^ 1 << rng.randrange(8)]) + good[at + 1:]
        os.mkdir(s.path("there"))
        for what, data in bad.items():
            s.write("bad", data)
            for target in ("absent", "there"):
                status, out, err = run("restore", s.path("bad"), "--data-dir",
                                       s.path(target))
                equal((status, out), (1, b""), "restore of", what)
                expect(s.path("bad") in err, what, "is named in", err)
            equal(run("restore", "--check", s.path("bad"))[0], 1, "--check")
            expect(not os.path.exists(s.path("absent")), what, "left it")
            equal(os.listdir(s.path("there")), [], what, "left something")
        status, out, err = run("restore", s.path("none"), "--data-dir",
                               s.path("absent"))
        equal(status, 1, "a file that is not there")
        equal(run("restore", s.path("b"))[0], 2, "no directory")


@case("restore refuses a directory that is not empty or in use")
def _():
    with Scratch() as s:
        node = Node()
        node.start()
        fill(node)
        succeed("-e", url(node), "backup", s.path("b"))
        names = sorted(os.listdir(node.data))
        status, out, err = run("restore", s.path("b"), "--data-dir", node.data)
        equal(status, 1, "a live node's directory")
        expect("not empty" in err, err)
        equal(sorted(os.listdir(node.data)), names, "untouched")
        node.get("t/x")
        node.remove()
        os.mkdir(s.path("d"))
        s.write("d/mine", b"1")
        equal(run("restore", s.path("b"), "--data-dir", s.path("d"))[0], 1,
              "a file of somebody")
        equal(s.read("d/mine"), b"1", "still there")
        equal(run("restore", s.path("b"), "--data-dir", s.path("b"))[0], 1,
              "no directory")


@case("a restore that is killed leaves nothing a daemon would start on")
def _():
    with Scratch() as s:
        node = Node()
        node.start()
        fill(node)
        succeed("-e", url(node), "backup", s.path("b"))
        before = state(node)
        node.remove()
        good = s.read("b")
        for number in (signal.SIGKILL, signal.SIGTERM):
            p = subprocess.Popen([CLIENT, "restore", "-", "--data-dir",
                                  s.path("d")], stdin=subprocess.PIPE, env=ENV,
                                 stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
            p.stdin.write(good[:len(good) // 2])
            p.stdin.flush()
            wait_for(lambda: os.path.exists(s.path("d/restoring/MANIFEST")),
                     "it has begun")
            status, out, err = run("restore", s.path("b"), "--data-dir",
                                   s.path("d"))
            equal(status, 75, "a second one meanwhile:", err)
            p.send_signal(number)
            p.wait()
            p.stdin.close()
            if number == signal.SIGTERM:
                equal(os.listdir(s.path("d")), [], "it cleans up")
                continue
            n = Node(data=s.path("d"))
            n.spawn()
            n.ended = True
            equal(n.process.wait(20), 1, "the daemon's exit status")
            expect("MANIFEST" in n.log_text(), n.log_text())
            n.remove()
        succeed("restore", s.path("b"), "--data-dir", s.path("d"))
        expect(not os.path.exists(s.path("d/restoring")), "nothing is left")
        new = restored(s, "d")
        equal(state(new), before, "state")
        new.remove()


@case("a backup that breaks off leaves no file; another node gives a whole one")
def _():
    def cut_server(sock, data):
        while True:
            try:
                conn, _ = sock.accept()
            except OSError:
                return
            with conn:
                conn.recv(65536)
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                conn.sendall(head + b"%x\r\n" % len(data) + data + b"\r\n")

    with Scratch() as s, socket.socket() as sock:
        node = Node()
        node.start()
        fill(node)
        succeed("-e", url(node), "backup", s.path("b"))
        sock.bind(("127.0.0.1", 0))
        sock.listen(8)
        broken = "http://127.0.0.1:%d" % sock.getsockname()[1]
        threading.Thread(target=cut_server, daemon=True, args=(
            sock, s.read("b")[:500000])).start()
        status, out, err = run("-e", broken, "backup", s.path("c"))
        equal((status, out), (1, b""), "cut")
        expect(broken in err, err)
        equal(os.listdir(s.root), ["b"], "files")
        status, out, err = run("-e", broken, "-e", url(node), "backup",
                               s.path("c"))
        equal(status, 0, "the second node", err)
        succeed("restore", "--check", s.path("c"))
        status, out, err = run("-e", url(node), "backup", s.path("no/c"))
        equal(status, 1, "a directory that is not there")
        expect(s.path("no/c") in err, err)
        os.mkfifo(s.path("pipe"))
        status, out, err = run("-e", url(node), "backup", s.path("pipe"))
        equal(status, 1, "what is no file")
        expect("no regular file" in err, err)
        expect(stat.S_ISFIFO(os.stat(s.path("pipe")).st_mode), "is kept")
        status, out, err = run("-e", broken, "backup", "-")
        equal(status, 1, "cut, to stdout")
        node.remove()


class Steps:
    """Writers whose keys tell by themselves which moment a state is of.

    Each puts x = i and then y = i, one after the other: at any moment y is x
    or x - 1. Both are also put together in one transaction, as tx and ty."""

    def __init__(self, cluster, count):
        self.cluster, self.stop = cluster, threading.Event()
        self.acked = [0] * count

    def write(self, number):
        rng, i, conn = random.Random(number), 0, None
        while not self.stop.is_set():
            i += 1
            requests = [("PUT", "/w%d/x" % number, b"%d" % i, []),
                        ("PUT", "/w%d/y" % number, b"%d" % i, []),
                        ("POST", "/_/txn", json.dumps({"then": [
                            {"put": "w%d/tx" % number, "value": str(i)},
                            {"put": "w%d/ty" % number, "value": str(i)}]
                            }).encode(), JSON_TYPE)]
            for request in requests:
                while not self.stop.is_set():  # the same until it is taken
                    try:
                        conn = conn or rng.choice(self.cluster.members).conn(5)
                        r = conn.call(request[0], request[1], request[2],
                                      request[3])
                        if r.status in (200, 201, 204):
                            break
                    except TORN:
                        pass
                    conn = None
            if not self.stop.is_set():
                self.acked[number] = i

    def __enter__(self):
        self.threads = [threading.Thread(target=self.write, args=(n,),
                                         daemon=True)
                        for n in range(len(self.acked))]
        for t in self.threads:
            t.start()
        wait_for(lambda: min(self.acked) > 20, "writers get on")
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()


def judge(node, before, after, revisions):
    """The state is one moment, and not one before it was asked for."""
    for k in node.list_all()[0]:
        expect(k["rev"] <= max(revisions), k, "is newer than", revisions)
    for n in range(len(before)):
        x, y, tx, ty = (int(node.get("w%d/%s" % (n, name)).body)
                        for name in ("x", "y", "tx", "ty"))
        expect(x - 1 <= y <= x, "writer", n, "x, y:", x, y)
        equal(tx, ty, "writer", n, "in one transaction")
        expect(y - 1 <= tx <= y, "writer", n, "y, tx:", y, tx)
        expect(before[n] <= tx, "acknowledged before:", before[n], "not", tx)
        expect(tx <= after[n] + 1, "not yet written:", tx, after[n])


@case("backups under load, of leader and followers, are one moment each")
def _():
    for partitions in (1, 3):
        with Cluster(settings={"cluster.partitions": str(partitions)}) \
                as cluster, Scratch() as s:
            taken = []
            with Steps(cluster, 4) as steps:
                leader = cluster.leader()
                for i, member in enumerate([leader] + cluster.followers() +
                                           [leader]):
                    before = list(steps.acked)
                    told = as_json("-e", url(member), "backup",
                                   s.path("b%d" % i))
                    taken.append((before, list(steps.acked), told))
                    if i == 1:
                        member.call("POST", "/_/merge", b"")
                    time.sleep(0.3)
            cluster.remove()
            for i, (before, after, told) in enumerate(taken):
                succeed("restore", s.path("b%d" % i), "--data-dir",
                        s.path("d%d" % i), "--max-file-size", "4M")
                node = restored(s, "d%d" % i, partitions)
                judge(node, before, after, told["revisions"])
                node.remove()


@case("without a majority there is no backup but a stale one")
def _():
    with Cluster() as cluster, Scratch() as s:
        cluster.members[0].put("k", b"v")
        cluster.wait_equal()
        for m in cluster.members[1:]:
            m.kill9()
        one = cluster.members[0]
        wait_for(lambda: one.call("GET", "/_/ready").status == 503, "alone")
        status, out, err = run("-e", url(one), "backup", s.path("b"))
        equal(status, 1, "backup")
        expect("no_leader" in err, err)
        equal(os.listdir(s.root), [], "no file")
        succeed("-e", url(one), "backup", "--stale", s.path("b"))
        succeed("restore", s.path("b"), "--data-dir", s.path("d"))
        node = restored(s, "d")
        equal(node.get("k").body, b"v", "value")
        node.remove()


@case("a restored node grows into a cluster by members add")
def _():
    with Cluster() as cluster, Scratch() as s:
        for i in range(50):
            cluster.members[i % 3].put("a/%d" % i, b"v%d" % i)
        big = os.urandom(2000000)
        cluster.members[1].put("big", big)
        succeed("-e", url(cluster.members[2]), "backup", s.path("b"))
        for m in cluster.members:
            m.kill9()
            m.wipe()
        first = cluster.members[0]
        succeed("restore", s.path("b"), "--data-dir", first.data)
        Node.configure(first, dict(QUICK, **{
            "node.name": '"n1"', "cluster.listen": '"127.0.0.1:%d"' %
            first.peer_port}))
        first.start()
        equal(first.get("a/7").body, b"v7", "alone")
        for m in cluster.members[1:]:
            m.write_config([first, m])
            m.spawn()
            succeed("-e", url(first), "members", "add", "--wait", m.name,
                    "127.0.0.1:%d" % m.peer_port, "127.0.0.1:%d" % m.port)
            roles = {v["name"]: v["role"] for v in
                     first.get_json("/_/members")["members"]}
            equal(roles[m.name], "voter", "the role after --wait")
            wait_for(m.is_ready, "it has joined")
        wait_for(lambda: [v["role"] for v in first.get_json("/_/members")
                          ["members"]] == ["voter"] * 3, "three voters")
        for m in cluster.members:
            equal(m.get("a/31").body, b"v31", "at", m.name)
            equal(m.get("big").body, big, "at", m.name)
        cluster.wait_equal()
        first.kill9()
        wait_for(lambda: cluster.members[1].call(
            "PUT", "/after", b"1").status in (201, 204), "a majority is left")


def http_is_up(node):
    try:
        return node.call("GET", "/_/health").status == 200
    except TORN:
        return False


@case("a lost majority: recover makes a new cluster of one member's log")
def _():
    for partitions in (1, 3):
        with Cluster(settings={"cluster.partitions": str(partitions)}) \
                as cluster:
            for i in range(60):
                cluster.members[i % 3].put("a%d/k" % i, b"v%d" % i)
            big = os.urandom(1000000)
            cluster.members[0].put("big", big)
            cluster.wait_equal()
            one = cluster.leader()
            old = one.status()["cluster"]
            cursor = one.list()["revision"]
            others = [m for m in cluster.members if m is not one]
            for m in others:
                m.kill9()
            # Nobody acknowledges it, so it may count or not: here it does.
            r = one.call("PUT", "/a0/k", b"unknown")
            expect(r.status in (503, 504), "a write alone answered", r)
            one.kill9()
            status, out, err = run("recover", "--data-dir", one.data)
            equal(status, 1, "without consent")
            expect("nothing was changed" in err, err)
            for m in cluster.members:
                expect(m.name.encode() in out, m.name, "is listed:", out)
            expect(b"May be lost" in out, out)
            for m in cluster.members:
                m.spawn()
            cluster.wait_ready()  # it did no harm
            for m in cluster.members:
                m.kill9()
            told = as_json("recover", "--data-dir", one.data,
                           "--force-new-cluster")
            equal((told["cluster"], told["damaged"]), (old, 0), "told")
            expect(told["new_cluster"] != old, "a new id")
            one.start()  # with the members of old in its configuration
            for i in range(1, 60):
                equal(one.get("a%d/k" % i).body, b"v%d" % i, i)
            equal(one.get("big").body, big, "big")
            equal(one.status()["cluster"], told["new_cluster"], "cluster")
            equal([m["name"] for m in one.get_json("/_/members")["members"]],
                  [one.name], "members")
            r = one.call("GET", "/_/watch?prefix=&after=%s" % cursor, None,
                         [("Accept", "text/event-stream")])
            equal(r.status, 410, "an old cursor")
            others[1].wipe()
            others[1].spawn()
            succeed("-e", url(one), "members", "add", others[1].name,
                    "127.0.0.1:%d" % others[1].peer_port,
                    "127.0.0.1:%d" % others[1].port)
            wait_for(others[1].is_ready, "an emptied one joins")
            equal(others[1].get("big").body, big, "big there")
            others[0].spawn()  # of the old cluster: it finds nobody
            wait_for(lambda: http_is_up(others[0]), "it is up")
            time.sleep(1)
            equal(others[0].call("GET", "/_/ready").status, 503, "the old one")


@case("a write that only the last member has counts after recover")
def _():
    with Cluster() as cluster:
        one = cluster.leader()
        for m in cluster.members:
            if m is not one:
                m.kill9()
        r = one.call("PUT", "/only/here", b"unknown")
        equal(r.status, 504, "a write alone")
        one.kill9()
        out = succeed("recover", "--data-dir", one.data, "--force-new-cluster")
        expect(b"not known to have been" in out, out)
        one.start()
        equal(one.get("only/here").body, b"unknown", "the entry of its log")


@case("a recover that was broken off is finished by the next one")
def _():
    with Cluster() as cluster, Scratch() as s:
        for i in range(20):
            cluster.members[0].put("k%d" % i, b"v%d" % i)
        cluster.wait_equal()
        for m in cluster.members:
            m.kill9()
        one = cluster.members[0]
        subprocess.run(["cp", "-a", one.data, s.path("old")], check=True)
        aside = as_json("recover", "--data-dir", one.data,
                        "--force-new-cluster")["aside"]
        subprocess.run(["cp", "-a", one.data, s.path("new")], check=True)
        names = [n for n in os.listdir(s.path("new")) if n not in
                 ("LOCK", aside)]
        for step in range(4):
            one.wipe()
            subprocess.run(["cp", "-a", s.path("old"), one.data], check=True)
            place = os.path.join(one.data, "restoring")
            os.mkdir(place)
            os.mkdir(os.path.join(one.data, aside))
            for name in names:
                subprocess.run(["cp", "-a", s.path("new/" + name), place],
                               check=True)
            os.rename(os.path.join(one.data, "MANIFEST"),
                      os.path.join(one.data, aside, "MANIFEST"))
            with open(os.path.join(one.data, "MANIFEST"), "w") as f:
                f.write("raftcask recover: not finished, %s\n" % aside)
            moved = sorted(n for n in os.listdir(one.data) if n not in
                           ("LOCK", "MANIFEST", "restoring", aside))
            for name in moved if step > 1 else moved[:step]:
                os.rename(os.path.join(one.data, name),
                          os.path.join(one.data, aside, name))
            if step == 3:
                open(os.path.join(place, "old-moved"), "w").close()
                os.rename(os.path.join(place, "state"),
                          os.path.join(one.data, "state"))
            open(one.log, "w").close()
            one.spawn()  # half of it is nothing to start on
            one.ended = True
            wait_for(lambda: one.process.poll() is not None or
                     "damaged" in one.log_text(), "it does not serve")
            one.kill9()
            succeed("recover", "--data-dir", one.data, "--force-new-cluster")
            equal(sorted(os.listdir(one.data)), sorted(
                os.listdir(s.path("new"))), "names")
            one.start()
            equal(one.get("k7").body, b"v7", "after step", step)
            one.kill9()
        node = Node()
        node.start()
        node.put("k", b"v")
        node.kill9()
        status, out, err = run("recover", "--data-dir", node.data,
                               "--force-new-cluster")
        equal(status, 1, "of a node that is alone")
        expect("alone" in err, err)
        equal(run("recover", "--data-dir", s.path("none"))[0], 1, "of nothing")
        node.start()
        equal(run("recover", "--data-dir", node.data)[0], 75, "of a live one")
        node.remove()


if __name__ == "__main__":
    main()
