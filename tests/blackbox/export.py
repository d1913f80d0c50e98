"""export.py - export and import carry every key and value, and say where they
stopped; requests go to another node when one fails, and are done once."""
import json
import os
import pty
import random
import signal
import socket
import subprocess
import threading
import time

from client_kit import ENV, Scratch, as_json, run, succeed, url
from cluster_kit import Cluster
from harness import CLIENT, Node, case, equal, expect, main, wait_for

rng = random.Random(11)


def fresh(settings=None):
    node = Node(settings or {})
    node.start()
    return node


def everything(node):
    keys, _ = node.list_all(values=1)
    return {(k["key"], k.get("encoding")): (
        k["size"], k.get("value"), k.get("value_encoding")) for k in keys}


@case("what is exported and imported is the same, of any bytes and size")
def _():
    with Scratch() as s:
        for partitions in ("1", "4"):
            one = fresh({"cluster.partitions": partitions})
            two = fresh({"cluster.partitions": "1" if partitions == "4"
                         else "4"})
            for i in range(700):
                one.put("d%d/k%d" % (i % 13, i), b"value %d" % i)
            for i in range(50):
                one.put("top%d" % i, b"")
            big = {size: rng.randbytes(size) for size in
                   (1, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 5000000)}
            for size, data in big.items():
                one.put("big/%d" % size, data)
            one.put("text/big", b"\xc3\xa4\n\"\\" * 30000)
            one.put(b"\xff\x01\x80/k", bytes(range(256)))
            one.put("ctrl/\x01\x1f\"\\ \x7f", b"\x00")
            one.put("empty/", b"")
            one.put("t/x", b"timed", ttl="1h")
            one.put("t/big", b"z" * 70000, ttl="1h")
            out = succeed("-e", url(one), "export")
            lines = [json.loads(line) for line in out.splitlines()]
            equal(len(lines), 700 + 50 + 7 + 6, "lines")
            by_key = {line["key"]: line for line in lines}
            equal(by_key["d7/k7"], {"key": "d7/k7", "value": "value 7",
                                    "rev": one.get("d7/k7").rev}, "a line")
            for key in ("t/x", "t/big"):
                expect(3500 < float(by_key[key]["ttl"]) <= 3600, by_key[key])
            s.write("e", out)
            equal(succeed("-e", url(two), "import", s.path("e")),
                  b"imported %d keys\n" % len(lines), "import")
            equal(everything(two), everything(one), "state")
            for size, data in big.items():
                equal(two.get("big/%d" % size).body, data, size)
            for key in ("t/x", "t/big"):
                ttl = float(two.get(key).header("X-Raftcask-TTL"))
                expect(3500 < ttl <= 3600, "TTL of", key, ttl)
            told = as_json("-e", url(two), "import", stdin=out)  # again
            equal(told, {"success": True, "keys": len(lines)}, "JSON")
            equal(everything(two), everything(one), "state")
            part = succeed("-e", url(one), "export", "d7/")
            equal({json.loads(line)["key"] for line in part.splitlines()},
                  {k for k in by_key if k.startswith("d7/")}, "a prefix")
            one.remove()
            two.remove()


@case("a line that is refused is named; all before it are in, none after")
def _():
    node = fresh()
    node.put("file", b"x")
    good = ['{"key":"a/%d","value":"v"}' % i for i in range(300)]
    after = ['{"key":"z/%d","value":"v"}' % i for i in range(10)]
    for bad, word in (('{"key":"file/below","value":"v"}', "not_a_directory"),
                      ("nonsense", "JSON"), ('{"value":"v"}', "key"),
                      ('{"key":"x","value":7}', "value"),
                      ('{"key":"x","value":"!","value_encoding":"base64"}',
                       "value"),
                      ('{"key":"x","value":"v","encoding":"rot13"}', "key"),
                      ('{"key":"x//y","value":"v"}', "bad_key"),
                      ('{"key":"x","value":"v","ttl":"soon"}', "ttl")):
        text = "\n".join(good + [bad] + after) + "\n"
        status, out, err = run("-e", url(node), "import", stdin=text.encode())
        equal(status, 1, bad)
        expect("301" in err and word in err, bad, "gives", err)
        equal(len(node.list(prefix="a/")["keys"]), 300, "keys before")
        equal(node.list(prefix="z/")["keys"], [], "keys after")
        status, out, err = run("-e", url(node), "-o", "json", "import",
                               "--from", "302", stdin=text.encode())
        equal((status, json.loads(out)["keys"]), (0, 10), "--from", err)
        node.clear()
        node.put("file", b"x")
    equal(run("-e", url(node), "import", "--from", "0")[0], 2, "--from 0")
    equal(run("-e", url(node), "import", "/none")[0], 1, "no file")
    succeed("-e", url(node), "import",
            stdin=b'\n  \n{"key":"k","value":"v"}\n\n')
    node.remove()


@case("an import that is interrupted or loses its node says where it stopped")
def _():
    for how in ("signal", "kill"):
        node = fresh()
        p = subprocess.Popen([CLIENT, "-e", url(node), "--timeout", "5s",
                              "import"], stdin=subprocess.PIPE, env=ENV,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        lines = [b'{"key":"k/%06d","value":"%d"}\n' % (i, i)
                 for i in range(1000)]
        p.stdin.write(b"".join(lines))
        p.stdin.flush()
        wait_for(lambda: len(node.list(prefix="k/")["keys"]) > 500, "some")
        if how == "signal":
            time.sleep(0.2)
            p.send_signal(signal.SIGINT)
        else:
            node.kill9()
            try:
                p.stdin.write(b"".join(lines))
            except BrokenPipeError:
                pass  # it has ended over a line that it had already
        out, err = p.communicate(timeout=20)
        equal(p.returncode, 1, how, err)
        line = int(err.decode().split("--from ")[1].split(" ")[0])
        if how == "kill":
            node.start()
        have = [k["key"] for k in node.list(prefix="k/")["keys"]]
        equal(have[:line - 1], ["k/%06d" % i for i in range(
            min(line - 1, 1000))], "all before line", line)
        succeed("-e", url(node), "import", "--from", str(line),
                stdin=b"".join(lines))
        equal(len(node.list(prefix="k/")["keys"]), 1000, "all")
        node.remove()


@case("a damaged value is named and left out, the rest is exported")
def _():
    node = fresh()
    for i in range(20):
        node.put("k%d" % i, b"some value that is easy to find %d." % i)
    node.stop()
    name = [f for f in os.listdir(node.data) if f.endswith(".log")][0]
    path = os.path.join(node.data, name)
    with open(path, "r+b") as f:
        data = f.read()
        at = data.index(b"easy to find 7.")
        f.seek(at)
        f.write(b"EASY")
    node.start()
    status, out, err = run("-e", url(node), "export")
    equal(status, 1, "status")
    expect("k7:" in err, err)
    equal(len(out.splitlines()), 19, "lines")
    expect(b"EASY" not in out, "the damaged bytes")
    node.remove()


# --- several nodes ---------------------------------------------------------

class Fake:
    """A node that does with each request what the test says."""

    def __init__(self, behave):
        self.behave, self.requests = behave, []
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(16)
        self.url = "http://127.0.0.1:%d" % self.sock.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(conn,),
                             daemon=True).start()

    def talk(self, conn):
        with conn:
            data = b""
            while b"\r\n\r\n" not in data:
                more = conn.recv(65536)
                if not more:
                    return
                data += more
            self.requests.append(data.split(b"\r\n")[0].decode())
            answer = self.behave(len(self.requests))
            if answer is None:
                return  # the connection breaks
            if answer == "silence":
                time.sleep(30)
                return
            conn.sendall(b"HTTP/1.1 %s\r\nContent-Length: 2\r\n"
                         b"Connection: close\r\n\r\n{}" % answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


READS = (["get", "k"], ["stat", "k"], ["ls"], ["status"], ["members"],
         ["export"])
TWICE = (["put", "k", "v"], ["cas", "k", "0", "v"], ["del", "k"], ["merge"],
         ["put", "--if-absent", "k", "v"])
ONCE = (["txn"], ["append", "k", "v"], ["rename", "k", "l"], ["del", "--prefix", "p/"], ["transfer", "n1"],
        ["members", "add", "x", "127.0.0.1:1"], ["members", "remove", "x"])
TXN = b'{"then":[{"put":"k","value":"v"}]}'


@case("a node that is not there or does not serve is passed by, in every verb")
def _():
    with Cluster() as cluster, Fake(lambda n: b"503 Busy") as busy, \
            socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = "127.0.0.1:%d" % closed.getsockname()[1]
        cluster.members[0].put("k", b"v")
        for verb in READS + TWICE[:1] + TWICE[2:4] + ONCE[:2]:
            status, out, err = run("-e", dead, "-e", busy.url, "-e",
                                   url(cluster.members[1]), *verb, stdin=TXN)
            equal((status, err), (0, ""), verb)
            if verb[0] == "get":
                equal(out, b"v", "value")
        expect(len(busy.requests) >= 10, busy.requests)


@case("a request whose outcome is unknown is sent again if that is harmless")
def _():
    node = fresh()
    for broken in (None, b"504 Gateway Timeout"):
        for verb in READS[:-1] + TWICE:
            node.clear()
            if verb in (["get", "k"], ["stat", "k"]):
                node.put("k", b"v")
            with Fake(lambda n: broken) as fake:
                status, out, err = run("-e", fake.url, "-e", url(node), *verb)
                equal((status, err), (0, ""), verb, broken)
                equal(len(fake.requests), 1, verb, "asked of the first")
        for verb in ONCE:
            with Fake(lambda n: broken) as fake, \
                    Fake(lambda n: b"200 OK") as second:
                status, out, err = run("-e", fake.url, "-e", second.url,
                                       *verb, stdin=TXN)
                equal(status, 1, verb, err)
                equal((len(fake.requests), second.requests), (1, []), verb)
                if broken is None:
                    expect("unknown" in err, verb, err)
    node.remove()


@case("a condition that fails at the second try says that it may be the first's")
def _():
    node = fresh()
    node.put("k", b"old")
    rev = node.get("k").rev

    def done_but_not_told(n):
        node.put("k", b"new")
        return None

    with Fake(done_but_not_told) as fake:
        status, out, err = run("-e", fake.url, "-e", url(node), "cas", "k",
                               str(rev), "new")
        equal(status, 1, "status")
        expect("earlier try" in err, err)
    node.remove()


@case("while a leader is missing it is asked for again, for some seconds")
def _():
    with Fake(lambda n: b"503 Busy" if n < 4 else b"204 No Content") as fake:
        succeed("-e", fake.url, "put", "k", "v")
        equal(len(fake.requests), 4, "requests")
    with Fake(lambda n: b"503 Busy") as fake:
        begun = time.monotonic()
        equal(run("-e", fake.url, "--timeout", "1s", "put", "k", "v")[0], 1,
              "status")
        expect(time.monotonic() - begun < 4, "--timeout bounds it")
    with Cluster() as cluster:
        every = [w for m in cluster.members for w in ("-e", url(m))]
        succeed(*every, "put", "a", "1")
        cluster.leader().kill9()
        succeed(*every, "put", "a", "2")
        equal(succeed(*every, "get", "a"), b"2", "after the leader's death")


@case("--timeout holds for a node that is silent, and the next one is asked")
def _():
    with Fake(lambda n: "silence") as fake:
        node = fresh()
        begun = time.monotonic()
        status, out, err = run("-e", fake.url, "--timeout", "700ms", "get",
                               "k")
        equal(status, 1, "status")
        expect(fake.url in err and time.monotonic() - begun < 5, err)
        status, out, err = run("-e", fake.url, "--timeout", "700ms", "put",
                               "k", "v")
        equal(status, 1, "status")
        expect("unknown" in err, err)
        node.remove()


@case("an import shows its share on a terminal, also of redirected input")
def _():
    with Scratch() as s:
        node = fresh()
        path = s.write("lines", b"".join(
            b'{"key":"k%d","value":"%s"}\n' % (i, b"v" * 10000)
            for i in range(2000)))  # no machine does that in 0.2 s
        for words, given in ((["import", path], None), (["import"], path)):
            seen, end = pty.openpty()
            with open(given or os.devnull) as lines:
                p = subprocess.Popen(
                    [CLIENT, "-e", url(node), *words], stdin=lines,
                    stdout=subprocess.DEVNULL, stderr=end, env=ENV)
            os.close(end)
            text = b""
            try:
                while True:
                    text += os.read(seen, 65536)
            except OSError:
                pass  # the other end is closed
            os.close(seen)
            equal(p.wait(), 0, "status")
            expect(b"[#" in text or b"[-" in text, text)
            expect(b" left" in text, text)
        node.remove()


if __name__ == "__main__":
    main()
