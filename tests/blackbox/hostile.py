"""hostile.py - clients that lie, drip, vanish and never read. The daemon
answers or hangs up, stores nothing of a broken upload, keeps serving others,
and holds no more memory or descriptors afterwards. SEED= and ROUNDS= steer the
random part."""
import os
import random
import signal
import socket
import time

from harness import (Conn, Failure, Node, SEED, case, equal,
                     expect, in_threads, lasting, main, wait_for)

ROUNDS = int(os.environ.get("ROUNDS", "400"))
LIMIT = 300
node = None


def start_node():
    global node
    # The history of changes is memory by design: here it is kept small.
    node = Node({"storage.watch_history": '"1M"',
                 "http.max_connections": str(LIMIT),
                 "http.max_value_size": '"8M"'})
    node.start()
    lasting.append(node)
    # Warm what grows once: threads' stacks, caches of the allocator.
    for i in range(20):
        node.put("keep/%d" % i, b"k" * 100000)
        node.get("keep/%d" % i)


def send_raw(data, wait_s=5, shut=False):
    """Everything that comes back until the daemon closes or is silent for
    wait_s; None in second place when it kept the connection open."""
    with Conn(node.port, wait_s) as c:
        try:
            c.send(data)
            if shut:
                c.sock.shutdown(socket.SHUT_WR)
            while c.read():
                pass
        except ConnectionError:
            pass
        except socket.timeout:
            return c.got, None
        return c.got, "closed"


def head(method, target, *lines):
    return ("%s %s HTTP/1.1\r\nHost: x\r\n" % (method, target) +
            "".join(l + "\r\n" for l in lines) + "\r\n").encode("latin-1")


def status_of(answer):
    expect(answer.startswith(b"HTTP/1.1 "), "answer", answer[:200])
    return int(answer[9:12])


def absent(key):
    equal(node.call("GET", "/" + key).status, 404, "GET of", key)


def works():
    node.put("works", b"yes")
    equal(node.get("works").body, b"yes", "value")
    equal(node.get("keep/3").body, b"k" * 100000, "a large value")


@case("framing in doubt: 400, connection closed, nothing stored")
def _():
    for lines, body in (
            (("Content-Length: 3", "Content-Length: 4"), b"abcd"),
            (("Content-Length: 3", "Content-Length: 3"), b"abc"),
            (("Content-Length: 3, 3",), b"abc"),
            (("Content-Length: 3", "Transfer-Encoding: chunked"),
             b"3\r\nabc\r\n0\r\n\r\n"),
            (("Transfer-Encoding: chunked", "Content-Length: 3"),
             b"3\r\nabc\r\n0\r\n\r\n"),
            (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
             b"3\r\nabc\r\n0\r\n\r\n"),
            (("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
             b"3\r\nabc\r\n0\r\n\r\n"),
            (("Transfer-Encoding: gzip",), b"abc"),
            (("Transfer-Encoding: gzip, chunked",),
             b"3\r\nabc\r\n0\r\n\r\n"),
            (("Transfer-Encoding: xchunked",), b"3\r\nabc\r\n0\r\n\r\n"),
            (("Content-Length: -1",), b"abc"),
            (("Content-Length: +3",), b"abc"),
            (("Content-Length: 0x3",), b"abc"),
            (("Content-Length: 3 3",), b"abc"),
            (("Content-Length: abc",), b"abc"),
            (("Content-Length:",), b"abc"),
            (("Content-Length: 18446744073709551619",), b"abc"),
            (("Content-Length: 99999999999999999999999",), b"abc"),
            (("Content-Length : 3",), b"abc")):
        for method in ("PUT", "POST"):
            smuggled = head("PUT", "/smuggled", "Content-Length: 1") + b"x"
            answer, closed = send_raw(head(method, "/doubt", *lines) + body +
                                      smuggled)
            expect(answer == b"" or status_of(answer) in (400, 413, 501),
                   lines, "answered", answer[:300])
            expect(closed, lines, "left the connection open")
            # libmicrohttpd answers some of these itself, head doubled.
            expect(b"HTTP/1.1 2" not in answer, lines, "answers", answer)
            absent("doubt")
            absent("smuggled")


@case("bad chunks: refused or cut off, nothing stored")
def _():
    for body in (b"x\r\nabc\r\n0\r\n\r\n", b"-3\r\nabc\r\n0\r\n\r\n",
                 b"3\r\nabcdef\r\n0\r\n\r\n",
                 b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
                 b"10000000000000003\r\nabc\r\n0\r\n\r\n",
                 b"3\r\nabc\r\n", b"3\r\nab", b"3", b"",
                 b"0x3\r\nabc\r\n0\r\n\r\n", b"3\r\nabcXX0\r\n\r\n"):
        answer, _closed = send_raw(
            head("PUT", "/chunks", "Transfer-Encoding: chunked") + body,
            2, True)
        if answer:
            expect(status_of(answer) >= 400, body, "answered", answer[:100])
        absent("chunks")
    works()


@case("a body cut short stores nothing, small, JSON or large")
def _():
    for n, have in ((10, 0), (10, 9), (100000, 99999), (5 << 20, 4 << 20)):
        for shut in (True, False):
            for lines in ((), ("Content-Type: application/json",)):
                with Conn(node.port, 5) as c:
                    c.send(head("PUT", "/short", "Content-Length: %d" % n,
                                *lines) + b"x" * have)
                    if shut:
                        c.sock.shutdown(socket.SHUT_WR)
                        try:
                            while c.read():
                                pass
                        except (ConnectionError, socket.timeout):
                            pass
                    expect(c.got == b"" or status_of(c.got) >= 400, c.got)
        absent("short")
    node.put("short", b"old")
    with Conn(node.port) as c:
        c.send(head("PUT", "/short", "Content-Length: 3000000") +
               b"n" * 2999999)
    time.sleep(0.2)
    equal(node.get("short").body, b"old", "the old value stays")
    node.delete("short")


@case("huge heads are refused: 414, 431 or 400, and the daemon lives")
def _():
    for data in (head("GET", "/" + "k" * 100000),
                 head("GET", "/" + "k" * 10000000),
                 head("GET", "/k", "X-Big: " + "v" * 1000000),
                 head("GET", "/k", *["X-%d: v" % i for i in range(20000)]),
                 head("G" * 100000, "/k"), b"G" * 1000000,
                 b"\r\n" * 100000 + b"x" * 1000,
                 b"GET /k HTTP/1.1\r\n" + b" folded\r\n" * 100000):
        answer, _closed = send_raw(data, 3)
        if answer:
            expect(400 <= status_of(answer) < 600, answer[:200])
    works()


@case("junk instead of HTTP is refused or hung up on")
def _():
    rng = random.Random(SEED)
    for data in (b"\0" * 1000, b"\r\n\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET /k\r\n",
                 b"GET /k HTTP/9.9\r\n\r\n", b"GET /k HTTP/1.1\r\n\r\n",
                 b"GET k HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"GET http://x/k HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00",
                 b"GET /k HTTP/1.1\r\nno colon\r\n\r\n",
                 b"GET /k HTTP/1.1\r\n: empty\r\n\r\n",
                 b"GET /k\x00x HTTP/1.1\r\nHost: x\r\n\r\n",
                 b"GET /k HTTP/1.1\nHost: x\n\n",
                 b"G\xffT /k HTTP/1.1\r\nHost: x\r\n\r\n",
                 rng.randbytes(100), rng.randbytes(5000)):
        answer, _closed = send_raw(data, 0.5, True)
        if answer.startswith(b"HTTP/1.1 2"):
            expect(b"GET /" in data or b"OPTIONS" in data or b"http:" in data,
                   data, "answered", answer[:100])
    works()


@case("HTTP/1.0 is answered and closed")
def _():
    answer, closed = send_raw(b"GET /keep/1?raw HTTP/1.0\r\n\r\n")
    equal(status_of(answer), 200, "status")
    expect(answer.endswith(b"k" * 100000) and closed, "body, then closed")
    answer, closed = send_raw(b"PUT /ten HTTP/1.0\r\nContent-Length: 3\r\n"
                              b"\r\nten")
    equal(status_of(answer), 201, "PUT")
    equal(node.get("ten").body, b"ten", "value")


@case("methods that nobody knows are 405 with Allow")
def _():
    for method in ("FROB", "get", "Put", "MKCOL", "A" * 200, "DELETE2"):
        answer, _closed = send_raw(head(method, "/k", "Connection: close"))
        equal(status_of(answer), 405, method)
        expect(b"\nAllow:" in answer or b"\nallow:" in answer, answer[:300])


@case("no header can be injected through key, query or request id")
def _():
    for data in (head("GET", "/k%0d%0aX-Evil:%201"),
                 head("GET", "/k?raw%0d%0aX-Evil:%201"),
                 head("GET", "/k", "X-Request-Id: a\x01b\x7f"),
                 head("GET", "/k", "X-Request-Id: a\tX-Evil: 1"),
                 b"GET /k HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\r X-Evil: 1"
                 b"\r\n\r\n",
                 b"GET /k HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\r\n X-Evil: 1"
                 b"\r\n\r\n"):
        answer, _closed = send_raw(data, 0.5)
        for line in answer.split(b"\r\n\r\n")[0].replace(
                b"\r", b"\n").split(b"\n"):
            expect(not line.lower().startswith(b"x-evil"), answer[:400])


@case("pipelined requests are answered in order, writes and waits among them")
def _():
    rng = random.Random(SEED)
    requests, want = [], []
    for i in range(120):
        what = rng.randrange(5)
        if what == 0:
            requests.append(head("PUT", "/pipe/%d" % i, "Content-Length: 2")
                            + b"%02d" % (i % 100))
            want.append((201, b""))
        elif what == 1:
            requests.append(head("GET", "/keep/2?raw"))
            want.append((200, b"k" * 100000))
        elif what == 2:
            requests.append(head("GET", "/none/%d" % i))
            want.append((404, None))
        elif what == 3:
            requests.append(head("GET", "/none?watch&wait=20ms"))
            want.append((204, b""))
        else:
            requests.append(head("DELETE", "/none/%d" % i))
            want.append((200, b'{"success":true}'))
    with Conn(node.port) as c:
        def send():
            c.send(b"".join(requests))

        def receive():
            for i, (status, body) in enumerate(want):
                r = c.reply()
                equal(r.status, status, "answer", i)
                expect(body is None or r.body == body, "body", i)

        in_threads(send, receive)


@case("bytes that drip in are put together; others are not held up")
def _():
    request = head("PUT", "/drip", "Content-Length: 20") + b"d" * 20
    with Conn(node.port) as slow:
        for i in range(len(request)):
            slow.send(request[i:i + 1])
            if i % 10 == 0:
                begun = time.monotonic()
                node.get("keep/1")
                expect(time.monotonic() - begun < 2, "others wait")
            time.sleep(0.002)
        equal(slow.reply().status, 201, "the dripped PUT")
    equal(node.get("drip").body, b"d" * 20, "value")


@case("clients that never read a large answer hold up nobody, and no memory")
def _():
    node.put("keep/large", b"L" * (8 << 20))
    before = node.memory_bytes()
    conns = []
    for _ in range(50):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", node.port))
        s.sendall(head("GET", "/keep/large?raw") * 3)
        conns.append(s)
    time.sleep(0.3)
    begun = time.monotonic()
    for _ in range(20):
        works()
    expect(time.monotonic() - begun < 10, "others are served")
    grown = node.memory_bytes() - before
    expect(grown < 100 << 20, "50 readers of 8 MB hold", grown, "bytes")
    for s in conns:
        s.close()
    node.delete("keep/large")


@case("many large uploads at once do not live in memory")
def _():
    before = node.memory_bytes()
    conns = []
    for i in range(40):
        c = Conn(node.port)
        c.send(head("PUT", "/up/%d" % i, "Content-Length: %d" % (8 << 20)))
        c.sock.settimeout(0.2)
        conns.append(c)
    sent = dict.fromkeys(conns, 0)
    for _ in range(7):
        for c in conns:
            try:
                sent[c] += c.sock.send(b"u" * (1 << 20))
            except socket.timeout:
                pass
    grown = node.memory_bytes() - before
    expect(sum(sent.values()) > 100 << 20, "much was taken:",
           sum(sent.values()))
    expect(grown < 128 << 20, "uploads hold", grown, "bytes")
    works()
    for c in conns:
        c.close()
    time.sleep(0.2)
    equal(node.list(prefix="up/")["keys"], [], "nothing of them is stored")


@case("however many requests are there at once, all are answered")
def _():
    # The library takes events by 128: that many and not one more have to come
    # while the daemon does not look.
    for count in (127, 128, 129, 256):
        conns = [Conn(node.port, 5) for _ in range(count)]
        for _ in range(3):
            os.kill(node.process.pid, signal.SIGSTOP)
            for c in conns:
                c.send(head("GET", "/keep/1"))
            os.kill(node.process.pid, signal.SIGCONT)
            for c in conns:
                equal(c.reply("GET").status, 200, "one of", count)
        for c in conns:
            c.close()


@case("past the limit of connections: 429 or 503 or hung up, never a crash")
def _():
    idle = []
    refused = 0
    for _ in range(LIMIT + 200):
        s = socket.create_connection(("127.0.0.1", node.port), 5)
        idle.append(s)
    time.sleep(0.3)
    for s in idle[-20:]:
        s.settimeout(2)
        try:
            s.sendall(head("GET", "/_/health"))
            answer = s.recv(1000)
            if not answer or b" 429 " in answer[:20] or \
                    b" 503 " in answer[:20]:
                refused += 1
                if answer:
                    expect(b"Retry-After:" in answer, answer)
            else:
                raise Failure("served past the limit: %r" % answer[:50])
        except (ConnectionError, socket.timeout):
            refused += 1
    equal(refused, 20, "refused")
    expect(node.is_alive(), "the daemon lives")
    for s in idle:
        s.close()
    wait_for(lambda: try_status() == 200, "it serves again")
    works()


def try_status():
    try:
        return node.call("GET", "/_/ready").status
    except (ConnectionError, socket.timeout):
        return 0


@case("ten thousand connections in turn, half of them cut in mid-request")
def _():
    def storm(seed):
        rng = random.Random(seed)
        for _ in range(2500):
            s = socket.socket()
            try:
                s.connect(("127.0.0.1", node.port))
                s.sendall(head("GET", "/keep/%d?raw" % rng.randrange(20))[
                    :rng.choice((0, 1, 20, 1000))])
                if rng.random() < 0.3:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                 b"\1\0\0\0\0\0\0\0")
            except OSError:
                pass
            s.close()

    in_threads(*[lambda i=i: storm(SEED + i) for i in range(4)])
    wait_for(lambda: try_status() == 200, "it serves")
    works()


@case("random mangling of good requests never harms the daemon")
def _():
    rng = random.Random(SEED)
    good = [head("PUT", "/fuzz/k", "Content-Length: 5") + b"hello",
            head("POST", "/fuzz/k", "Content-Type: application/json",
                 "Content-Length: 13") + b'{"value":"v"}',
            head("GET", "/fuzz/k?raw", "Range: bytes=0-3"),
            head("GET", "/_/kv?prefix=fuzz/&delimiter=/&limit=5&after="),
            head("POST", "/_/txn", "Content-Length: 37") +
            b'{"then":[{"put":"fuzz/t","value":1}]}',
            head("PUT", "/fuzz/c", "Transfer-Encoding: chunked") +
            b"5\r\nhello\r\n0\r\n\r\n",
            head("DELETE", "/_/kv?prefix=fuzz/")]
    for _ in range(ROUNDS):
        data = bytearray(rng.choice(good) + rng.choice(good))
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data))
            what = rng.randrange(4)
            if what == 0:
                data[at] = rng.randrange(256)
            elif what == 1:
                del data[at:at + rng.randrange(20)]
            elif what == 2:
                data[at:at] = data[rng.randrange(len(data)):][:20]
            else:
                data[at:at] = rng.choice((b"\r\n", b"\0", b"%", b"\"", b"/",
                                          b"99999999999999999999", b"\xff"))
            if not data:
                data = bytearray(b"x")
        try:
            with Conn(node.port, 0.05) as c:
                c.send(data)
                c.sock.shutdown(socket.SHUT_WR)
                while c.read():
                    pass
        except (ConnectionError, socket.timeout):
            pass
        expect(node.is_alive(), "the daemon died of", bytes(data))
    works()


@case("afterwards: descriptors and memory are what they were")
def _():
    fresh = Node()
    fresh.start()
    time.sleep(0.2)
    # Half a head whose end came along with it may stay until its time limit.
    few = 5 + ROUNDS // 20
    wait_for(lambda: node.status()["stats"]["curr_connections"] <= few,
             "all connections are gone")
    expect(node.descriptors() <= fresh.descriptors() + few + 8, "descriptors:",
           node.descriptors(), "a fresh daemon has", fresh.descriptors())
    grown = node.memory_bytes() - fresh.memory_bytes()
    expect(grown < 64 << 20, "memory grew by", grown)
    fresh.remove()
    equal(node.stop(), 0, "SIGTERM")
    node.start()
    works()


if __name__ == "__main__":
    start_node()
    main()
