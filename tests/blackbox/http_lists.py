"""http_lists.py - listings, batches, prefix deletions, watches and partitions
over HTTP, against a plain model where there is one."""
import base64
import json
import os
import random
import threading
import time

from harness import (JSON_TYPE, Node, case, equal, expect, in_threads,
                     lasting, main, quote, wait_for)

node = None
idle = []
ROUNDS = int(os.environ.get("ROUNDS", "150"))


def start_node():
    global node
    node = Node()
    node.start()
    lasting.append(node)
    # Its comment is due while the other cases run.
    idle.append(Events(node, "/_/watch?prefix=idle/"))


def code_of(reply, status, code):
    equal(reply.status, status, "status of", reply)
    equal(reply.code, code, "code of", reply)


def name_of(entry):
    """The bytes of a listed key."""
    if entry.get("encoding") == "base64":
        name = base64.b64decode(entry["key"], validate=True)
        try:
            name.decode("utf-8")
            expect(False, "base64 only where it is not UTF-8:", name)
        except UnicodeDecodeError:
            pass
        return name
    return entry["key"].encode("utf-8")


# --- listings --------------------------------------------------------------

@case("the listing has the promised shape, byte for byte where it is small")
def _():
    node.clear()
    rev_a = node.put("a", b"123").rev
    node.put("b/x", b"1")
    rev = node.put("b/y", b"2").rev
    r = node.call("GET", "/_/kv?delimiter=/")
    equal(r.body, b'{"keys":[{"key":"a","rev":%d,"size":3}],"prefixes":["b/"]'
          b',"more":false,"next":null,"revision":%d}' % (rev_a, rev), "body")
    r = node.call("GET", "/?delimiter=/&limit=1")
    page = r.json()
    equal([k["key"] for k in page["keys"]], ["a"], "GET / is the listing")
    equal((page["more"], page["prefixes"]), (True, []), "page")
    expect(isinstance(page["next"], str), "next")
    page = node.list(delimiter="/", limit=1, after=page["next"])
    equal((page["keys"], page["prefixes"], page["more"], page["next"]),
          ([], ["b/"], False, None), "second page")
    page = node.list(values=1, prefix="b/")
    equal([(k["key"], k["value"], k["size"]) for k in page["keys"]],
          [("b/x", "1", 1), ("b/y", "2", 1)], "values")


@case("an explicit directory is a key e/ of size 0, or one of the prefixes")
def _():
    node.clear()
    node.call("PUT", "/e/", b"")
    node.put("f/x", b"1")
    page = node.list()
    equal([(k["key"], k["size"]) for k in page["keys"]],
          [("e/", 0), ("f/x", 1)], "plain")
    page = node.list(delimiter="/")
    equal((page["keys"], page["prefixes"]), ([], ["e/", "f/"]), "delimiter")
    page = node.list(prefix="e/", delimiter="/")
    equal([k["key"] for k in page["keys"]], ["e/"], "inside it")


@case("names and values that are not UTF-8 are base64")
def _():
    node.clear()
    names = [b"\xff", b"a\xfe/b", b"a\xc3", "ä".encode(), b"z\n\"\\"]
    for name in names:
        node.put(name, b"\x80" + name)
    page = node.list(values=1)
    equal([name_of(k) for k in page["keys"]], sorted(names), "names")
    for k in page["keys"]:
        equal(k["value_encoding"], "base64", "value_encoding")
        equal(base64.b64decode(k["value"]), b"\x80" + name_of(k), "value")
    node.put("plain", b"text")
    page = node.list(values=1, prefix="plain")
    equal(page["keys"][0]["value"], "text", "value")
    expect("value_encoding" not in page["keys"][0], "text has no encoding")
    equal(len(node.list(prefix=b"a\xfe")["keys"]), 1, "such a prefix")


def model_list(keys, prefix, start, end, delimiter, reverse):
    rows = []
    for key in sorted(keys):
        if not key.startswith(prefix) or key < start or (end and key >= end):
            continue
        cut = key.find(b"/", len(prefix)) if delimiter else -1
        row = ("p", key[:cut + 1]) if cut >= 0 else ("k", key)
        if not rows or rows[-1] != row:
            rows.append(row)
    return rows[::-1] if reverse else rows


@case("every combination of parameters pages to what a plain model says")
def _():
    node.clear()
    rng = random.Random(random.random())
    parts = [b"a", b"b", b"ab", b"a!", b"\xff", b"z", "é".encode(), b"0"]
    keys = {}
    for _ in range(400):
        key = b"/".join(rng.choice(parts) for _ in range(rng.randrange(1, 5)))
        if node.call("PUT", quote(key), b"v" * rng.randrange(9)).status == 201:
            keys[key] = True
    some = sorted(keys)
    for _ in range(ROUNDS):
        def bound():
            key = rng.choice(some)
            return rng.choice((b"", key, key[:rng.randrange(len(key) + 1)],
                               key + b"\x01", b"~"))
        asked = {"prefix": rng.choice((b"", bound(), b"a/")),
                 "start": bound(), "end": bound(),
                 "delimiter": rng.choice((None, None, b"/")),
                 "reverse": rng.choice((None, 1)),
                 "values": rng.choice((None, 1)),
                 "limit": rng.choice((None, 1, 2, 3, 7, 50, 1000))}
        want = model_list(keys, asked["prefix"], asked["start"], asked["end"],
                          asked["delimiter"], asked["reverse"])
        got, after = [], None
        while True:
            page = node.list(after=after, **asked)
            here = [("k", name_of(k)) for k in page["keys"]] + [
                ("p", p.encode() if isinstance(p, str) else name_of(
                    {"key": p["prefix" if "prefix" in p else "key"],
                     "encoding": p["encoding"]}))
                for p in page["prefixes"]]
            here.sort(key=lambda row: row[1], reverse=bool(asked["reverse"]))
            expect(len(here) <= (asked["limit"] or 1000), "limit", asked)
            got += here
            if not page["more"]:
                break
            after = page["next"]
        equal(got, want, "listing of", asked)


@case("bad parameters of a listing are 400")
def _():
    for bad in ("limit=x", "limit=-1", "limit=99999999999999999999",
                "after=%00%01garbage", "after=!!!!",
                "reverse=maybe", "values=7x", "prefix=%zz"):
        r = node.call("GET", "/_/kv?" + bad)
        equal(r.status, 400, bad, "answered", r, "status")
        expect(r.code in ("bad_request", "bad_key"), r)


@case("pages are capped by bytes, and lose nothing")
def _():
    node.clear()
    values = {}
    for i in range(150):
        values["big/%02d" % i] = os.urandom(65000)
        node.put("big/%02d" % i, values["big/%02d" % i])
    page = node.list(values=1)
    expect(page["more"], "10 MB are not one page")
    got, after = {}, None
    while True:
        page = node.list(values=1, after=after)
        for k in page["keys"]:
            expect(k["key"] not in got, "once")
            got[k["key"]] = base64.b64decode(k["value"])
        if not page["more"]:
            break
        after = page["next"]
    expect(got == values, "all values are there")


@case("paging under concurrent writes shows every key that stays, once")
def _():
    node.clear()
    stay = ["stay/%03d" % i for i in range(0, 400, 2)]
    for key in stay:
        node.put(key, b"s")
    done = []

    def churn():
        rng = random.Random(7)
        with node.conn() as c:
            while not done:
                key = "/stay/%03d" % (2 * rng.randrange(200) + 1)
                c.call(*rng.choice((("PUT", key, b"c"), ("DELETE", key))))

    def page():
        try:
            for i in range(12):
                keys, _ = node.list_all(limit=7, prefix="stay/",
                                        reverse=i % 2)
                names = [k["key"] for k in keys]
                equal(names, sorted(set(names), reverse=i % 2), "order")
                equal([k for k in names if int(k[5:]) % 2 == 0],
                      sorted(stay, reverse=i % 2), "those that stay")
        finally:
            done.append(1)

    in_threads(churn, churn, page)


# --- batches ---------------------------------------------------------------

@case("a batch: conditions, both branches, all results")
def _():
    node.clear()
    rev = node.put("a", b"x").rev
    node.put("b", b"1")
    for conditions, holds in (
            ([], True), ([{"key": "a", "rev": rev}], True),
            ([{"key": "a", "rev": rev + 1}], False),
            ([{"key": "a", "value": "x"}], True),
            ([{"key": "a", "value": "y"}], False),
            ([{"key": "a", "value": ""}], False),
            ([{"key": "none", "exists": False}], True),
            ([{"key": "a", "exists": False}], False),
            ([{"key": "a", "exists": True}], True),
            ([{"key": "none", "exists": True}], False),
            ([{"key": "none", "rev": 1}], False),
            ([{"key": "none", "value": ""}], False),
            ([{"key": "a", "value": "x"}, {"key": "b", "value": "2"}], False)):
        r = node.post_json("/_/txn", {"if": conditions, "then": [{"get": "a"}],
                                      "else": [{"get": "b"}]})
        equal(r["succeeded"], holds, conditions)
        equal(len(r["results"]), 1, "results")
        equal(r["results"][0]["key"], "a" if holds else "b", "branch")
    r = node.post_json("/_/txn", {
        "if": [{"key": "a", "rev": rev}],
        "then": [{"put": "a", "value": "y"}, {"delete": "b"}, {"get": "c"},
                 {"delete": "none"}, {"put": "n/m", "value": ""}],
        "else": [{"get": "a"}]})
    equal(r["succeeded"], True, "succeeded")
    new = node.get("a").rev
    equal(r, {"succeeded": True, "revision": new, "results": [
        {"rev": new}, {"deleted": True}, None, {"deleted": False},
        {"rev": new}]}, "answer")
    equal((node.get("a").body, node.get("n/m").body), (b"y", b""), "written")
    equal(node.get("n/m").rev, new, "one revision for the batch")
    node.get("b", 404)
    r = node.post_json("/_/txn", {"then": [{"get": "a"}]})
    equal(r["results"], [{"key": "a", "rev": new, "value": "y"}], "get")
    r = node.post_json("/_/txn", {"if": [{"key": "a", "exists": False}],
                                  "then": [{"put": "a", "value": "no"}]})
    equal((r["succeeded"], r["results"]), (False, []), "no else")


@case("a bad batch is 400 and changes nothing")
def _():
    node.clear()
    node.put("a", b"x")
    put = {"put": "new", "value": "v"}
    for body in ([], "x", 1, None, {"then": 1}, {"then": [1]},
                 {"then": [{}]}, {"then": [{"put": "k"}]},
                 {"then": [put, {"put": "k", "value": 1}]},
                 {"then": [put, {"put": "k", "value": "v", "delete": "k"}]},
                 {"then": [put, {"frob": "k"}]},
                 {"then": [put, {"get": 7}]}, {"then": [put], "iff": []},
                 {"if": [{"key": "a"}], "then": [put]},
                 {"if": [{"rev": 1}], "then": [put]},
                 {"if": [{"key": "a", "rev": "1"}], "then": [put]},
                 {"if": [{"key": "a", "rev": -1}], "then": [put]},
                 {"if": [{"key": "a", "exists": "no"}], "then": [put]},
                 {"if": {"key": "a"}, "then": [put]},
                 {"if": [], "then": [put], "else": 0}):
        r = node.call("POST", "/_/txn", body if not isinstance(
            body, (str, int, type(None))) else json.dumps(body), JSON_TYPE)
        code_of(r, 400, "bad_request")
    for text in (b"", b"{", b'{"then":[],"then":[]}',
                 b'{"then":[{"put":"k","value":"\\ud800"}]}'):
        code_of(node.call("POST", "/_/txn", text), 400, "bad_request")
    for key in ("", "a//b", "..", "a/./b", "c" * 256, "a\0b", "/a"):
        r = node.post_json("/_/txn", {"then": [put, {"put": key,
                                                     "value": "v"}]}, 400)
        equal(r["error"]["code"], "bad_key", "key", key)
    for pair in ([put, put], [put, {"delete": "new"}],
                 [{"delete": "a"}, {"delete": "a"}]):
        r = node.post_json("/_/txn", {"then": pair}, 400)
        equal(r["error"]["code"], "duplicate_key", pair)
    r = node.post_json("/_/txn", {"then": [put, {"put": "a/b",
                                                 "value": "v"}]}, 409)
    equal(r["error"]["code"], "not_a_directory", "tree")
    r = node.post_json("/_/txn", {"then": [put, {"put": "new/b",
                                                 "value": "v"}]}, 409)
    equal([k["key"] for k in node.list()["keys"]], ["a"], "keys")
    equal(node.get("a").body, b"x", "value")


@case("a batch has at most 128 operations and 1 MiB")
def _():
    node.clear()
    ops = [{"put": "m/%d" % i, "value": "v"} for i in range(128)]
    r = node.post_json("/_/txn", {"then": ops})
    equal(len(r["results"]), 128, "128 operations")
    expect(node.call("POST", "/_/txn", {"then": ops + [{"get": "x"}]}).status
           == 413, "129 operations")
    big = [{"put": "big/%d" % i, "value": "v" * 1000000} for i in range(2)]
    equal(node.call("POST", "/_/txn", {"then": big}).status, 413, "2 MB")
    equal(node.list(prefix="big/")["keys"], [], "nothing of it")
    equal(node.call("POST", "/_/txn", {"then": big[:1]}).status, 200, "1 MB")


@case("a batch is seen whole or not at all")
def _():
    node.clear()
    done = []

    def write():
        with node.conn() as c:
            for i in range(150):
                body = json.dumps({"then": [
                    {"put": "pair/%s" % k, "value": str(i)}
                    for k in "abcdefgh"]}).encode()
                equal(c.call("POST", "/_/txn", body).status, 200, "txn")
        done.append(1)

    def read():
        body = json.dumps({"then": [{"get": "pair/%s" % k}
                                    for k in "ahc"]}).encode()
        with node.conn() as c:
            while not done:
                r = c.call("POST", "/_/txn", body).json()["results"]
                equal(len({json.dumps(x and x["value"]) for x in r}), 1,
                      "one batch in", r)

    in_threads(write, read)


@case("DELETE of a prefix counts and deletes exactly those below it")
def _():
    node.clear()
    for key in ("p/1", "p/2", "p/x/y", "p-", "p0", "q"):
        node.put(key, b"v")
    r = node.call("DELETE", "/_/kv?prefix=p/")
    equal((r.status, r.body), (200, b'{"deleted":3}'), "answer")
    equal([k["key"] for k in node.list()["keys"]], ["p-", "p0", "q"], "left")
    equal(node.call("DELETE", "/_/kv?prefix=p/").body, b'{"deleted":0}',
          "again")
    for path in ("/_/kv", "/_/kv?prefix=", "/_/kv?all=0"):
        code_of(node.call("DELETE", path), 400, "bad_request")
    expect(len(node.list()["keys"]) == 3, "nothing deleted")
    r = node.call("DELETE", "/_/kv?prefix=p")
    equal(r.json()["deleted"], 2, "a prefix need not end in /")
    equal(node.call("DELETE", "/_/kv?all=1").json()["deleted"], 1, "all")
    equal(node.list()["keys"], [], "empty")
    node.put("p/1", b"new life", 201)
    equal(node.get("p/1").body, b"new life", "written after the deletion")


@case("a prefix deletion is atomic: a reader sees all of it or nothing")
def _():
    node.clear()
    done = []

    def write():
        for i in range(25):
            node.post_json("/_/txn", {"then": [
                {"put": "at/%d" % k, "value": "v"} for k in range(40)]})
            equal(node.call("DELETE", "/_/kv?prefix=at/").json()["deleted"],
                  40, "deleted")
        done.append(1)

    def read():
        while not done:
            r = node.post_json("/_/txn", {"then": [
                {"get": "at/%d" % k} for k in range(40)]})
            expect(len({x is None for x in r["results"]}) == 1, "torn", r)

    in_threads(write, read)


# --- watches ---------------------------------------------------------------

def later(seconds, fn):
    t = threading.Timer(seconds, fn)
    t.daemon = True
    t.start()
    return t


@case("a key's watch waits for the next change: put, delete, or nothing")
def _():
    node.clear()
    node.put("w/k", b"1")
    t = later(0.3, lambda: node.put("w/k", b"2"))
    begun = time.monotonic()
    r = node.call("GET", "/w/k?watch&raw&wait=10s")
    t.join()
    equal((r.status, r.body), (200, b"2"), "a put")
    expect(time.monotonic() - begun > 0.25, "it waited")
    rev = r.rev
    t = later(0.2, lambda: node.delete("w/k"))
    r = node.call("GET", "/w/k?watch&wait=10s&after=%d" % rev)
    t.join()
    equal(r.status, 404, "a delete")
    expect(r.rev > rev, "with the revision")
    t = later(0.2, lambda: node.put("w/new", b"n"))
    r = node.call("GET", "/w/new?watch&wait=10s")
    t.join()
    equal((r.status, r.body), (200, b'{"value":"n"}'), "a missing key")
    begun = time.monotonic()
    r = node.call("GET", "/w/new?watch&wait=400ms")
    equal((r.status, r.body), (204, b""), "nothing happens")
    expect(0.35 < time.monotonic() - begun < 5, "after the wait")
    rev = node.get("w/new").rev
    r = node.call("GET", "/w/new?watch&wait=10s&after=%d" % (rev - 1))
    equal(r.status, 200, "after an older revision: at once")
    r = node.call("GET", "/w/new?watch&wait=200ms&after=%d" % rev)
    equal(r.status, 204, "after the current revision: waits")
    node.put("w/ttl", b"x", ttl="300ms")
    r = node.call("GET", "/w/ttl?watch&wait=10s")
    equal(r.status, 404, "an expiry")
    for bad in ("after=x", "after=-1", "wait=x", "wait="):
        code_of(node.call("GET", "/w/new?watch&" + bad), 400, "bad_request")


@case("another key's change does not end a watch")
def _():
    node.clear()
    t = later(0.1, lambda: [node.put(k, b"x") for k in ("w/kk", "w/j", "wk")])
    equal(node.call("GET", "/w/k?watch&wait=500ms").status, 204, "watch")
    t.join()


class Events:
    """A stream of server-sent events, parsed by the rules of the standard."""

    def __init__(self, n, path, headers=()):
        self.c = n.conn()
        self.c.start("GET", path, [("Accept", "text/event-stream"),
                                   *headers])
        self.head = self.c.read_head()
        self.data = b""
        self.comments = 0
        self.begun = time.monotonic()

    def line(self):
        while b"\n" not in self.data:
            if self.head.header("Transfer-Encoding"):
                count = int(self.c.read_line(), 16)
                if count == 0:
                    return None
                self.data += self.c.read_bytes(count)
                self.c.read_line()
            else:
                if not self.c.read():
                    return None
                self.data += self.c.got
                self.c.got = b""
        line, self.data = self.data.split(b"\n", 1)
        return line.rstrip(b"\r").decode()

    def next(self):
        event = {}
        while True:
            line = self.line()
            if line is None:
                return None
            if line == "":
                if event:
                    return event["event"], json.loads(event["data"]), \
                        event["id"]
            elif line.startswith(":"):
                self.comments += 1
            else:
                name, _, value = line.partition(":")
                event[name] = value.removeprefix(" ")

    def close(self):
        self.c.close()


@case("an event stream tells every change below its prefix, in order, once")
def _():
    node.clear()
    node.put("ev/before", b"x")
    e = Events(node, "/_/watch?prefix=ev/")
    equal(e.head.status, 200, "status")
    expect(e.head.header("Content-Type").startswith("text/event-stream"),
           e.head.headers)
    rev = node.put("ev/a", b"1").rev
    node.put("other", b"x")
    node.put("ev/bin", b"\xff")
    node.delete("ev/a")
    node.delete("ev/none")
    node.put("ev/ttl", b"t", ttl="200ms")
    node.put("ev/big", b"B" * 100000)
    want = [("put", "ev/a"), ("put", "ev/bin"), ("delete", "ev/a"),
            ("put", "ev/ttl"), ("put", "ev/big"), ("expire", "ev/ttl")]
    got = [e.next() for _ in want]
    equal([(k, d["key"]) for k, d, _ in got], want, "events")
    equal(got[0][1], {"key": "ev/a", "rev": rev, "value": "1"}, "data")
    equal((got[1][1]["value"], got[1][1]["value_encoding"]),
          ("/w==", "base64"), "binary data")
    expect("value" not in got[2][1], "a delete has no value")
    expect("value" not in got[4][1], "a value over 64 KiB is left out")
    equal(got[4][1]["size"], 100000, "size")
    revs = [d["rev"] for _, d, _ in got]
    equal(revs, sorted(revs), "revisions rise")
    e.close()


@case("a stream resumes after Last-Event-ID, also in the middle of a batch")
def _():
    node.clear()
    rev = node.put("re/0", b"0").rev
    node.post_json("/_/txn", {"then": [{"put": "re/b%d" % i, "value": str(i)}
                                       for i in range(5)]})
    node.put("re/1", b"1")
    node.call("DELETE", "/_/kv?prefix=re/b")
    node.put("re/2", b"2")
    e = Events(node, "/_/watch?prefix=re/&after=%d" % (rev - 1))
    equal(e.head.status, 200, "after")
    every = [e.next() for _ in range(13)]
    e.close()
    equal([(k, d["key"]) for k, d, _ in every],
          [("put", "re/0")] + [("put", "re/b%d" % i) for i in range(5)] +
          [("put", "re/1")] + [("delete", "re/b%d" % i) for i in range(5)] +
          [("put", "re/2")], "events")
    equal(len({i for _, _, i in every}), 13, "one id per event")
    for at in range(12):
        e = Events(node, "/_/watch?prefix=re/",
                   [("Last-Event-ID", every[at][2])])
        equal(e.head.status, 200, "resumed")
        equal([e.next() for _ in every[at + 1:]], every[at + 1:],
              "after event", at)
        e.close()
    e = Events(node, "/_/watch?prefix=re/&after=%d" % rev)
    equal(e.next()[1]["key"], "re/b0", "after is exclusive")
    e.close()


@case("streams miss nothing while many write, and resuming goes on exactly")
def _():
    node.clear()
    total, writers = 400, 4

    def write(w):
        with node.conn() as c:
            for i in range(total // writers):
                equal(c.call("PUT", "/mw/%d" % w, b"%d" % i).status in
                      (201, 204), True, "put")

    def read():
        got, last = [], None
        e = first
        while len(got) < total:
            for _ in range(random.randrange(1, 60)):
                kind, data, last = e.next()
                got.append((data["key"], data["value"]))
                if len(got) == total:
                    break
            e.close()
            e = Events(node, "/_/watch?prefix=mw/", [("Last-Event-ID", last)])
        e.close()
        for w in range(writers):
            equal([v for k, v in got if k == "mw/%d" % w],
                  [str(i) for i in range(total // writers)], "writer", w)

    first = Events(node, "/_/watch?prefix=mw/")
    in_threads(read, *[lambda w=w: write(w) for w in range(writers)])


@case("bad cursors are 400, compacted ones 410")
def _():
    for bad in ("garbage", "!", "1:2:3:4:5:6:7:8:9"):
        r = node.call("GET", "/_/watch", None, [
            ("Accept", "text/event-stream"), ("Last-Event-ID", bad)])
        expect(r.status in (400, 410), "Last-Event-ID", bad, "answered", r)
    code_of(node.call("GET", "/_/watch?after=x"), 400, "bad_request")
    small = Node({"storage.watch_history": '"1M"'})
    small.start()
    e = Events(small, "/_/watch?prefix=")
    small.put("first", b"1")
    kind, data, cursor = e.next()
    e.close()
    for i in range(100):
        small.put("fill/%d" % i, b"x" * 60000)
    r = Events(small, "/_/watch?prefix=", [("Last-Event-ID", cursor)])
    if r.head.status == 200:
        for i in range(100):
            equal(r.next()[1]["key"], "fill/%d" % i, "nothing is missing")
        r.close()
    else:
        equal(r.head.status, 410, "a compacted cursor")
        r.close()
        r = small.call("GET", "/_/watch?after=%d" % data["rev"])
        equal(r.status, 410, "a compacted revision")
        expect(r.code, "code")
        r = small.call("GET", "/first?watch&after=0&wait=5s")
        equal((r.status, r.body), (200, b'{"value":"1"}'),
              "a key's watch answers the present state at once")
    small.remove()


@case("a thousand watches wait at once, and all are answered")
def _():
    node.clear()
    count = 1000
    conns = [node.conn() for _ in range(count)]
    for c in conns:
        c.start("GET", "/many?watch&raw&wait=30s")
    wait_for(lambda: node.status()["stats"]["curr_connections"] >= count,
             "all are connected")
    begun = time.monotonic()
    node.put("many", b"now")
    for c in conns:
        equal(c.reply().body, b"now", "answer")
        c.close()
    expect(time.monotonic() - begun < 10, "in time")
    # A thousand more that go away while they wait.
    conns = [node.conn() for _ in range(count)]
    for c in conns:
        c.start("GET", "/many?watch&wait=2s")
    for c in conns:
        c.close()
    wait_for(lambda: node.status()["stats"]["curr_connections"] < 50,
             "those that went away are forgotten")


# --- several partitions ----------------------------------------------------

@case("four partitions: listings merged, batches within one, opaque revision")
def _():
    four = Node({"cluster.partitions": "4"})
    four.start()
    keys = ["d%02d/x" % i for i in range(40)] + ["k%02d" % i
                                                 for i in range(40)]
    for key in keys:
        four.put(key, key.encode(), 201)
    s = four.status()
    equal([p["id"] for p in s["partitions"]], [0, 1, 2, 3], "partitions")
    counts = [p["keys"] for p in s["partitions"]]
    equal(sum(counts), 80, "keys")
    expect(min(counts) > 0, "spread over all:", counts)
    for asked in ({}, {"limit": 3}, {"reverse": 1, "limit": 7},
                  {"start": "d05", "end": "k03"}):
        got = [k["key"] for k in four.list_all(**asked)[0]]
        want = sorted(k for k in keys if asked.get("start", "") <= k <
                      asked.get("end", "z"))
        equal(got, want[::-1] if "reverse" in asked else want, asked)
    keys_, prefixes = four.list_all(delimiter="/", limit=9)
    equal(prefixes, ["d%02d/" % i for i in range(40)], "prefixes")
    expect(isinstance(four.list()["revision"], str), "revision is a string")
    r = four.call("POST", "/_/txn", {"then": [
        {"put": "k%02d" % i, "value": "x"} for i in range(10)]})
    code_of(r, 400, "cross_partition")
    equal(four.get("k00").body, b"k00", "nothing changed")
    r = four.post_json("/_/txn", {"if": [{"key": "d01/x", "value": "d01/x"}],
                                  "then": [{"put": "d01/y", "value": "1"},
                                           {"delete": "d01/x"}]})
    equal(r["succeeded"], True, "a batch in one directory")
    r = four.call("DELETE", "/_/kv?prefix=d02/").json()
    equal(r, {"deleted": 1}, "a prefix with a slash is atomic")
    r = four.call("DELETE", "/_/kv?prefix=k").json()
    equal(r, {"deleted": 40, "atomic": False}, "one without is not, it says")
    e = Events(four, "/_/watch?prefix=")
    for i in range(20):
        four.put("e%d" % i, b"x")
    got = [e.next() for _ in range(20)]
    equal(sorted(d["key"] for _, d, _ in got),
          sorted("e%d" % i for i in range(20)), "events")
    e.close()
    e = Events(four, "/_/watch?prefix=", [("Last-Event-ID", got[9][2])])
    equal([e.next()[1]["key"] for _ in got[10:]],
          [d["key"] for _, d, _ in got[10:]], "resumed")
    e.close()
    four.kill9()
    four.start()
    equal(four.get("d05/x").body, b"d05/x", "after a restart")
    equal(len(four.list_all()[0]), 20 + 39, "all of them")
    equal(four.call("DELETE", "/_/kv?all=1").json(),
          {"deleted": 59, "atomic": False}, "all")
    four.remove()


@case("the number of partitions is fixed when the directory is made")
def _():
    n = Node({"cluster.partitions": "4"})
    n.start()
    n.put("k", b"v")
    n.stop()
    n.configure({"cluster.partitions": "2"})
    n.spawn()
    status = wait_for(lambda: n.process.poll() is not None and
                      [n.process.returncode], "the daemon refuses")
    n.ended = True
    equal(status, [78], "exit status")
    expect("partitions" in n.log_text(), "names it:", n.log_text())
    n.configure({"cluster.partitions": "4"})
    n.start()
    equal(n.get("k").body, b"v", "value")
    n.remove()


@case("an idle stream has a comment line every 15 s")
def _():
    age = time.monotonic() - idle[0].begun
    if age < 15.5:
        time.sleep(15.5 - age)
    age = time.monotonic() - idle[0].begun
    node.put("idle/x", b"x")
    equal(idle[0].next()[1]["key"], "idle/x", "event")
    expect(1 <= idle[0].comments <= age / 14 + 1, "comments:", idle[0].comments,
           "in", age)


if __name__ == "__main__":
    start_node()
    main()
