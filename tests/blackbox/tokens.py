"""tokens.py - tokens on three real daemons: made on one, asked on all, changed
while requests run, lost and found again."""
import os
import subprocess
import threading
import time

from cluster_kit import TORN, Cluster
from harness import (CLIENT, Conn, JSON_TYPE, case, equal, expect, main,
                     wait_for)

VALUE = b'{"value":"v"}'


def bearer(token):
    return [("Authorization", "Bearer " + token)] if token else []


def call(member, token, method, path, body=None):
    headers = bearer(token)
    if body is not None and method == "POST":
        headers = headers + JSON_TYPE
    with member.conn() as c:
        return c.call(method, path, body, headers)


def client(member, token, *words):
    environment = dict(os.environ, RAFTCASK_TOKEN=token or "")
    return subprocess.run(
        [CLIENT, "-e", "http://%s:%d" % (member.host, member.port), *words],
        env=environment, capture_output=True, text=True, timeout=60)


def init(member, *words):
    done = subprocess.run(
        [CLIENT, "token", "init", "--data-dir", member.data, *words],
        capture_output=True, text=True, timeout=60)
    return done


def add(member, admin, name, prefix, rights):
    done = client(member, admin, "token", "add", name, "--prefix", prefix,
                  "--rights", rights)
    equal(done.returncode, 0, done.stderr)
    return done.stdout.strip()


def begin():
    """Three nodes that ask for tokens, and the first administrator's."""
    k = Cluster(settings={"security.tokens": "true"}, start=False)
    done = init(k.members[1])
    equal(done.returncode, 0, done.stderr)
    admin = done.stdout.strip()
    k.start()
    for m in k.members:
        wait_for(lambda: call(m, admin, "GET", "/_/tokens").status == 200,
                 "the first token counts on " + m.name)
    return k, admin


@case("the first token counts on every node, and is nowhere in the clear")
def _():
    k, admin = begin()
    with k:
        expect(not os.path.exists(os.path.join(k.members[1].data,
                                               "token.init")),
               "its file is gone")
        for m in k.members:
            equal(call(m, None, "GET", "/k").status, 401, m.name)
            equal(call(m, admin, "POST", "/k", VALUE).status, 200, m.name)
        for m in k.members:
            m.stop()
            for root, _, files in os.walk(m.root):
                for name in files:
                    with open(os.path.join(root, name), "rb") as f:
                        expect(admin[4:].encode() not in f.read(),
                               "the token stands in", name)
        for m in k.members:
            m.spawn()
        k.wait_ready()
        equal(call(k.members[0], admin, "GET", "/k").status, 200, "restarted")


@case("a token that is made or removed on one node counts so on all")
def _():
    k, admin = begin()
    with k:
        a, b, c = k.members
        for i in range(10):
            by = k.members[i % 3]
            token = add(by, admin, "t%d" % i, "app/", "rw")
            # At once where it was answered, soon elsewhere.
            equal(call(by, token, "POST", "/app/x", VALUE).status, 200, by.name)
            for m in k.members:
                wait_for(lambda: call(m, token, "GET", "/app/x").status == 200,
                         "the token counts on " + m.name, 5)
                equal(call(m, token, "GET", "/other").status, 403, m.name)
            other = k.members[(i + 1) % 3]
            done = client(other, admin, "token", "remove", "t%d" % i)
            equal(done.returncode, 0, done.stderr)
            equal(call(other, token, "GET", "/app/x").status, 401, other.name)
            for m in k.members:
                wait_for(lambda: call(m, token, "GET", "/app/x").status == 401,
                         "the token counts no more on " + m.name, 5)
        done = client(a, admin, "token", "remove", "t1")
        equal(done.returncode, 4, "a token that is not there")
        done = client(a, admin, "token", "list")
        equal([line.split()[0] for line in done.stdout.splitlines()],
              ["NAME", "admin"], done.stdout)


@case("tokens change while requests run: no other status than is promised")
def _():
    k, admin = begin()
    with k:
        steady = add(k.members[0], admin, "steady", "s/", "rw")
        for m in k.members:
            wait_for(lambda: call(m, steady, "GET", "/s/k").status == 404,
                     "the steady token counts on " + m.name, 5)
        stop, seen, wrong = threading.Event(), {}, []
        flicker = {"token": steady}

        def run(member, which):
            while not stop.is_set():
                try:
                    with member.conn() as c:
                        while not stop.is_set():
                            token = steady if which == "steady" \
                                else flicker["token"]
                            r = c.call("POST", "/s/k", VALUE,
                                       bearer(token) + JSON_TYPE)
                            key = (which, r.status)
                            seen[key] = seen.get(key, 0) + 1
                            good = (200,) if which == "steady" else (200, 401)
                            if r.status not in good:
                                wrong.append((key, r.body))
                except TORN as error:
                    wrong.append(("torn", str(error)))

        threads = [threading.Thread(target=run, args=(m, w))
                   for m in k.members for w in ("steady", "flicker")]
        for t in threads:
            t.start()
        end = time.monotonic() + 6
        i = 0
        while time.monotonic() < end:
            by = k.members[i % 3]
            flicker["token"] = add(by, admin, "f", "s/", "rw")
            time.sleep(0.05)
            done = client(k.members[(i + 1) % 3], admin, "token", "remove", "f")
            equal(done.returncode, 0, done.stderr)
            i += 1
        stop.set()
        for t in threads:
            t.join()
        equal(wrong[:3], [], "answers")
        expect(seen.get(("steady", 200), 0) > 100, seen)
        expect(seen.get(("flicker", 200), 0) > 10, seen)
        expect(seen.get(("flicker", 401), 0) > 10, seen)


@case("a stream ends on another node when its token is removed")
def _():
    k, admin = begin()
    with k:
        token = add(k.members[0], admin, "w", "w/", "r")
        far = k.members[2]
        wait_for(lambda: call(far, token, "GET", "/w/k").status == 404,
                 "the token counts", 5)
        with Conn(far.port, 10) as c:
            c.send(("GET /_/watch?prefix=w/ HTTP/1.1\r\nHost: x\r\n"
                    "Authorization: Bearer %s\r\n\r\n" % token).encode())
            expect(c.read_head().status == 200, "the stream begins")
            while b": raftcask" not in c.got:
                expect(c.read(), "the stream goes on")
            started = time.monotonic()
            client(k.members[1], admin, "token", "remove", "w")
            equal(call(k.members[1], admin, "POST", "/w/k", VALUE).status, 200,
                  "a write")
            while not c.got.endswith(b"0\r\n\r\n") and c.read():
                pass
            rest = c.got
            expect(time.monotonic() - started < 5, "it ends soon")
            expect(b"w/k" not in rest, "no event came after the removal:", rest)


@case("a prefix is not left by any spelling, on the real store")
def _():
    k, admin = begin()
    with k:
        m = k.members[0]
        equal(call(m, admin, "POST", "/secret", VALUE).status, 200, "a secret")
        equal(call(m, admin, "POST", "/app/a", VALUE).status, 200, "a key")
        token = add(m, admin, "app", "app/", "rw")
        cursor = call(m, admin, "GET", "/_/kv?limit=1").json()["next"]
        for path in ("/secret", "/%73ecret", "/_/kv/secret", "/%5f/kv/secret",
                     "/_%2fkv%2fsecret", "/x/../secret", "//secret", "/app",
                     "/app%00", "/_/kv?prefix=", "/_/kv?start=app/&end=app0",
                     "/", "/_/watch", "/_/watch?prefix=s",
                     "/_/snapshot", "/secret?watch&wait=1ms",
                     "/_/kv?after=" + cursor):
            equal(call(m, token, "GET", path).status, 403, path)
        for path in ("/app/../secret", "/app%2f..%2fsecret", "/app//secret",
                     "/app/%2e%2e/secret", "/app/%2e/secret"):
            equal(call(m, token, "GET", path).status, 400, path)
            equal(call(m, token, "PUT", path, b"x").status, 400, path)
        page = call(m, token, "GET",
                    "/_/kv?prefix=app/&values=1&after=" + cursor).json()
        expect("secret" not in str(page), page)
        page = call(m, token, "GET",
                    "/_/kv?prefix=app/&start=a&end=z&reverse=1").json()
        equal([key["key"] for key in page["keys"]], ["app/a"], "a listing")
        equal(call(m, token, "DELETE", "/_/kv?prefix=app/").json(),
              {"deleted": 1}, "a prefix deletion")
        equal(call(m, admin, "GET", "/secret").status, 200, "the secret")
        equal(call(m, token, "POST", "/_/txn", b'{"then":[{"put":"app/n",'
                   b'"value":"x"},{"get":"secret"}]}').status, 403, "a batch")
        equal(call(m, admin, "GET", "/app/n").status, 404, "of it nothing")


@case("all tokens lost: a new first one, made offline, replaces the old")
def _():
    k, admin = begin()
    with k:
        m = k.members[0]
        equal(init(m).returncode, 75, "while the daemon runs")
        m.stop()
        done = init(m)
        equal(done.returncode, 0, done.stderr)
        fresh = done.stdout.strip()
        m.spawn()
        k.wait_ready()
        for n in k.members:
            wait_for(lambda: call(n, fresh, "GET", "/_/tokens").status == 200,
                     "the new one counts on " + n.name)
            equal(call(n, admin, "GET", "/_/tokens").status, 401, n.name)
        m.stop()
        with open(os.path.join(m.data, "token.init"), "w") as f:
            f.write("nonsense\n")
        m.spawn()
        k.wait_ready()
        expect("token_file_ignored" in m.log_text(), "it is said")
        equal(call(m, fresh, "GET", "/_/tokens").status, 200, "the tokens")


main()
