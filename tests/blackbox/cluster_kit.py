"""cluster_kit.py - real clusters of daemons, what goes wrong with them, and
clients whose histories are judged.

With isolated=True every node lives in a network namespace of its own, joined
by a bridge, so that links between chosen nodes can be cut while clients still
reach all of them; that needs root (a case that wants it is skipped loudly
elsewhere). A cut is a route into nowhere on the sender's side: packets are lost
and nobody is told, as when a cable is pulled."""
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time

from harness import (BUILD, Conn, Failure, JSON_TYPE, Node, Skip, equal, expect,
                     free_port, make_directory, quote, wait_for)

TORN = (ConnectionError, socket.timeout, OSError)
QUICK = {"cluster.heartbeat": '"50ms"', "cluster.election_timeout": '"400ms"',
         "storage.max_file_size": '"2M"', "storage.merge.rate": '"0"'}
used_networks = 0


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.PIPE)


class Network:
    """A bridge and one namespace for each of up to 9 nodes."""

    def __init__(self):
        global used_networks
        if os.geteuid() != 0:
            raise Skip("network namespaces need root")
        used_networks += 1
        self.tag = "rc%d%d" % (os.getpid() % 100000, used_networks)
        self.net = "10.%d.%d" % (100 + os.getpid() % 100,
                                 random.SystemRandom().randrange(256))
        self.made = []
        try:
            run("ip", "link", "add", self.tag, "type", "bridge")
            run("ip", "addr", "add", self.net + ".254/24", "dev", self.tag)
            run("ip", "link", "set", self.tag, "up")
        except (OSError, subprocess.CalledProcessError) as error:
            self.remove()
            raise Skip("no bridge can be made: %s" % error)

    def add(self, number):
        ns, end = "%sn%d" % (self.tag, number), "%sv%d" % (self.tag, number)
        run("ip", "netns", "add", ns)
        self.made.append(ns)
        run("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0",
            "netns", ns)
        run("ip", "link", "set", end, "master", self.tag, "up")
        run("ip", "-n", ns, "addr", "add", "%s/24" % self.address(number),
            "dev", "eth0")
        run("ip", "-n", ns, "link", "set", "eth0", "up")
        run("ip", "-n", ns, "link", "set", "lo", "up")
        return ns

    def address(self, number):
        return "%s.%d" % (self.net, number)

    def cut(self, sender, receiver):
        run("ip", "-n", "%sn%d" % (self.tag, sender), "route", "replace",
            "blackhole", self.address(receiver))

    def mend(self, sender, receiver):
        subprocess.run(["ip", "-n", "%sn%d" % (self.tag, sender), "route",
                        "del", "blackhole", self.address(receiver)],
                       stderr=subprocess.DEVNULL)

    def heal(self):
        for ns in self.made:
            for n in range(1, 10):
                subprocess.run(["ip", "-n", ns, "route", "del", "blackhole",
                                self.address(n)], stderr=subprocess.DEVNULL)

    def remove(self):
        for ns in self.made:
            subprocess.run(["ip", "netns", "del", ns],
                           stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", self.tag],
                       stderr=subprocess.DEVNULL)


class Member(Node):
    def __init__(self, cluster, number):
        self.cluster, self.number = cluster, number
        self.name = "n%d" % number
        self.peer_port = free_port()
        self.paused = False
        super().__init__(root=os.path.join(cluster.root, self.name))

    def configure(self, config):
        os.makedirs(self.root, exist_ok=True)
        if self.cluster.network:
            ns = self.cluster.network.add(self.number)
            self.prefix = ("ip", "netns", "exec", ns)
            self.host = self.cluster.network.address(self.number)

    def address(self, port):
        return "%s:%d" % (self.host, port)

    def entry(self):
        return '{ name = "%s"; peer = "%s"; http = "%s"; }' % (
            self.name, self.address(self.peer_port), self.address(self.port))

    def write_config(self, members):
        settings = {
            "node.name": '"%s"' % self.name,
            "http.listen": '[ "%s" ]' % self.address(self.port),
            "cluster.listen": '"%s"' % self.address(self.peer_port),
            "cluster.members": "( %s )" % ", ".join(
                m.entry() for m in members)}
        settings.update(self.cluster.settings)
        if self.cluster.network:
            settings["security.insecure"] = "true"
        Node.configure(self, settings)

    def pause(self):
        self.paused = True
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.paused = False
        self.process.send_signal(signal.SIGCONT)

    def kill9(self):
        self.paused = False
        super().kill9()

    def wipe(self):
        subprocess.run(["rm", "-rf", self.data], check=True)

    def ask(self, path, timeout=2):
        """JSON of a GET, or None when there is no whole answer."""
        try:
            with self.conn(timeout) as c:
                r = c.call("GET", path)
                return r.json() if r.status == 200 else None
        except TORN:
            return None


class Cluster:
    keep_root = False  # what is left of it is somebody else's

    def __init__(self, count=3, isolated=False, settings=None, start=True,
                 root=None, kind=Member):
        self.root, self.kind = root or make_directory(), kind
        self.network = Network() if isolated else None
        self.settings = dict(QUICK)
        self.settings.update(settings or {})
        try:
            self.members = []
            for i in range(count):
                self.members.append(kind(self, i + 1))
            for m in self.members:
                m.write_config(self.members)
            if start:
                self.start()
        except BaseException:
            self.remove()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def start(self):
        for m in self.members:
            m.spawn()
        self.wait_ready()

    def wait_ready(self, seconds=None):
        for m in self.alive():
            wait_for(m.is_ready, "%s is ready" % m.name, seconds)

    def alive(self):
        return [m for m in self.members if m.is_alive() and not m.paused]

    def remove(self):
        for m in getattr(self, "members", []):
            if m.is_alive():
                if m.paused:
                    m.resume()
                m.kill9()
            m.remove()
        if self.network:
            self.network.remove()
        if not self.keep_root:
            subprocess.run(["rm", "-rf", self.root])

    def leader(self, seconds=None):
        """The member whom a living one names and who says so itself."""
        def look():
            for m in self.alive():
                status = m.ask("/_/status")
                if status and status["role"] == "leader":
                    return m
        return wait_for(look, "someone leads", seconds)

    def followers(self):
        leader = self.leader()
        return [m for m in self.alive() if m is not leader]

    def by_name(self, name):
        return next(m for m in self.members if m.name == name)

    def heal(self):
        if self.network:
            self.network.heal()
        for m in self.members:
            if m.paused:
                m.resume()

    def cut_off(self, member):
        for other in self.members:
            if other is not member:
                self.network.cut(member.number, other.number)
                self.network.cut(other.number, member.number)

    def add(self):
        """One more daemon, empty, that lists itself and all others."""
        m = self.kind(self, max(m.number for m in self.members) + 1)
        m.write_config(self.members + [m])
        self.members.append(m)
        return m

    def wait_equal(self, seconds=30):
        """Every living node answers the same, from its own state."""
        def states():
            got = []
            for m in self.alive():
                state = dump(m)
                if state is None:
                    return None
                got.append(state)
            return got if all(g == got[0] for g in got) else None
        state = wait_for(states, "all nodes hold the same", seconds)
        return state[0]


def dump(member):
    """{key: (rev, size)} of what the node itself has applied."""
    keys, after = {}, None
    while True:
        page = member.ask("/_/kv?limit=1000&consistency=stale" + (
            "&after=" + after if after else ""), 10)
        if page is None:
            return None
        for k in page["keys"]:
            keys[(k["key"], k.get("encoding"))] = (k["rev"], k["size"])
        if not page["more"]:
            return keys
        after = page["next"]


# --- clients and their history ---------------------------------------------

class History:
    """What clients asked and were told, as lines for build/linear."""

    def __init__(self, cluster):
        self.path = os.path.join(cluster.root, "history")
        self.lines, self.lock = [], threading.Lock()
        self.counts = {}

    def add(self, **op):
        with self.lock:
            self.lines.append(json.dumps(op))
            word = "%s-%s" % (op["op"], op["ok"])
            self.counts[word] = self.counts.get(word, 0) + 1

    def done(self, *ops):
        return sum(self.counts.get(op + "-True", 0) for op in ops)

    def judge(self):
        with open(self.path, "w") as f:
            f.write("\n".join(self.lines) + "\n")
        got = subprocess.run([os.path.join(BUILD, "linear"), self.path],
                             capture_output=True, text=True)
        if got.returncode:
            kept = os.path.join(BUILD, "history-%d" % os.getpid())
            with open(kept, "w") as f:
                f.write("\n".join(self.lines) + "\n")
            raise Failure("not linearizable (%s): %s" % (
                kept, (got.stdout + got.stderr)[-700:]))


class Client:
    """Sends one request after the other to any node, on few keys."""

    def __init__(self, cluster, history, number, keys=6, timeout=2.5):
        self.cluster, self.history, self.number = cluster, history, number
        self.rng = random.Random((os.getpid() << 20) + number)
        self.keys = ["k%d" % i for i in range(keys)]
        self.timeout, self.conn, self.node = timeout, None, None
        self.seen = {}
        self.count = 0
        self.read = "?raw"

    def connect(self):
        if self.conn is None:
            self.node = self.rng.choice(self.cluster.members)
            self.conn = Conn(self.node.port, self.timeout, self.node.host)

    def drop(self):
        if self.conn:
            self.conn.close()
        self.conn = None

    def request(self, method, path, body=None, headers=()):
        """(reply or None, sent): sent False: it cannot have been read."""
        try:
            self.connect()
        except TORN:
            self.conn = None
            time.sleep(0.02)
            return None, False
        try:
            r = self.conn.call(method, path, body, headers)
            if r.status >= 500 or self.rng.random() < 0.02:
                self.drop()
            return r, True
        except TORN:
            self.drop()
            return None, True

    def step(self):
        key = self.rng.choice(self.keys)
        self.count += 1
        value = "c%d.%d" % (self.number, self.count)
        dice = self.rng.random()
        started = time.monotonic_ns()
        if dice < 0.4:
            op = {"op": "get", "key": key}
            r, sent = self.request("GET", quote(key) + self.read)
        elif dice < 0.7:
            op = {"op": "put", "key": key, "value": value}
            r, sent = self.request("PUT", quote(key), value.encode())
        elif dice < 0.8:
            op = {"op": "delete", "key": key}
            r, sent = self.request("DELETE", quote(key))
        else:
            was = self.seen.get(key)
            op = {"op": "cas", "key": key, "value": value, "expect": was}
            cond = {"key": key, "value": was} if was is not None else \
                {"key": key, "exists": False}
            r, sent = self.request("POST", "/_/txn", json.dumps({
                "if": [cond], "then": [{"put": key, "value": value}]}).encode(),
                JSON_TYPE)
        self.record(op, r, sent, started)

    def record(self, op, r, sent, started):
        op.update(client=self.number, start_ns=started,
                  end_ns=time.monotonic_ns(), node=self.node.name
                  if self.node else None)
        if r is None or r.status == 504:
            op["ok"] = "unknown" if sent else False
        elif r.status in (429, 503, 507):
            op["ok"] = False
        elif op["op"] == "get":
            expect(r.status in (200, 404), "GET answered", r)
            op["ok"] = True
            op["value"] = r.body.decode() if r.status == 200 else None
            self.seen[op["key"]] = op["value"]
        elif op["op"] == "cas":
            equal(r.status, 200, "txn answered", r, "status")
            op["ok"] = True if r.json()["succeeded"] else "refused"
        else:
            expect(r.status in (200, 201, 204), op["op"], "answered", r)
            op["ok"] = True
        if op["ok"] is False or (op["op"] == "get" and op["ok"] is not True):
            return  # it surely did not happen, or nothing was seen
        self.history.add(**op)

    def run_until(self, stop):
        while not stop.is_set():
            self.step()
        self.drop()


class Load:
    """Clients in threads, for the length of a with block; judged after."""

    def __init__(self, cluster, clients=6, keys=6, read="?raw"):
        self.history = History(cluster)
        self.cluster, self.stop = cluster, threading.Event()
        self.errors = []
        self.clients = [Client(cluster, self.history, i + 1, keys)
                        for i in range(clients)]
        for c in self.clients:
            c.read = read

    def guarded(self, client):
        try:
            client.run_until(self.stop)
        except BaseException as error:
            self.errors.append(error)

    def __enter__(self):
        self.threads = [threading.Thread(target=self.guarded, args=(c,),
                                         daemon=True) for c in self.clients]
        for t in self.threads:
            t.start()
        return self

    def progress(self, what, seconds=15):
        """Writes go on being acknowledged."""
        before = self.history.done("put", "delete", "cas")
        wait_for(lambda: self.errors or
                 self.history.done("put", "delete", "cas") > before + 20,
                 what, seconds)
        if self.errors:
            raise self.errors[0]

    def __exit__(self, kind, *_):
        self.stop.set()
        for t in self.threads:
            t.join()
        if kind:
            return
        if self.errors:
            raise self.errors[0]
        self.cluster.heal()
        self.history.judge()
