"""http_files.py - appending and renaming over HTTP, as one node can show it."""
import json
import random

from harness import (JSON_TYPE, Node, case, equal, expect, in_threads, lasting,
                     main)

node = None


def start_node():
    global node
    node = Node({"http.max_value_size": '"4M"'})
    node.start()
    lasting.append(node)


def append(key, data, *more):
    return node.call("POST", "/" + key + "?append", data, *more)


def rename(old, new, **more):
    body = json.dumps(dict({"from": old, "to": new}, **more))
    return node.call("POST", "/_/rename", body, JSON_TYPE)


def code_of(reply, status, code):
    equal(reply.status, status, "status of", reply)
    equal(reply.code, code, "code of", reply)


def raw(key):
    return node.call("GET", "/" + key + "?raw").body


def size_of(reply):
    equal(reply.status, 200, "status of", reply)
    return json.loads(reply.body)["size"]


@case("an append makes the key, adds to it, and says revision and size")
def _():
    r = append("log/a", b"one\n")
    equal(json.loads(r.body), {"success": True, "rev": r.rev,
                               "size": 4}, "first")
    r = append("log/a", b"\x00\xff")
    equal(size_of(r), 6, "second")
    equal(raw("log/a"), b"one\n\x00\xff", "value")
    equal(node.call("HEAD", "/log/a").header("ETag"), r.header("ETag"),
          "ETag")
    code_of(append("log", b"x"), 409, "is_a_directory")
    code_of(append("log/a/b", b"x"), 409, "not_a_directory")
    code_of(append("log/", b"x"), 400, "bad_key")


@case("appends of many connections are all there, each once and whole")
def _():
    said = [[] for _ in range(6)]

    def appender(n):
        for i in range(60):
            line = b"%d:%d:" % (n, i) + b"x" * random.randrange(3000) + b"\n"
            said[n].append((size_of(append("many", line)), line))

    in_threads(*[lambda n=n: appender(n) for n in range(len(said))])
    value = raw("many")
    lines = sorted(x for one in said for x in one)
    equal(b"".join(line for _, line in lines), value, "in the order of sizes")
    for size, line in lines:
        equal(value[size - len(line):size], line, "where size says")


@case("a large value is appended to, up to its limit, and survives kill -9")
def _():
    piece = bytes(random.randrange(256) for _ in range(1000)) * 1000
    for i in range(4):
        equal(size_of(append("big", piece)), (i + 1) * len(piece), "size")
    code_of(append("big", piece), 413, "value_too_large")
    append("big", b"end")
    node.kill9()
    node.start()
    expect(raw("big") == piece * 4 + b"end", "the value differs")


@case("an append keeps the time to live")
def _():
    node.call("PUT", "/t?ttl=100s", b"a")
    append("t", b"b")
    left = node.call("GET", "/t").header("X-Raftcask-TTL")
    expect(left and 90 < float(left) < 100, "ttl left:", left)


@case("a key and a directory are renamed whole")
def _():
    for key in ("d/a", "d/s/b", "d/s/c"):
        node.call("PUT", "/" + key, key.encode())
    r = rename("d/a", "d/z")
    equal((r.status, json.loads(r.body)),
          (200, {"success": True, "rev": r.rev}), "rename")
    equal(rename("d", "e/f").status, 200, "rename of a directory")
    listing = json.loads(node.call("GET", "/_/kv?prefix=e/").body)
    equal([k["key"] for k in listing["keys"]], ["e/f/s/b", "e/f/s/c", "e/f/z"],
          "keys")
    equal(raw("e/f/z"), b"d/a", "value")
    equal(raw("e/f/s/b"), b"d/s/b", "value")
    equal(node.call("GET", "/d/z").status, 404, "the old name")


@case("what a rename may not do")
def _():
    node.call("PUT", "/r/a", b"1")
    node.call("PUT", "/r/b", b"2")
    node.call("PUT", "/r/d/x", b"3")
    code_of(rename("r/none", "r/c"), 404, "not_found")
    code_of(rename("r/a", "r/b", noreplace=True), 409, "exists")
    code_of(rename("r/a", "r/d"), 409, "is_a_directory")
    code_of(rename("r/d", "r/a"), 409, "not_a_directory")
    code_of(rename("r", "r/d/e"), 400, "bad_request")
    code_of(rename("r/a", "r/b/c"), 409, "not_a_directory")
    code_of(rename("r/a/", "r/c"), 400, "bad_key")
    equal(raw("r/a") + raw("r/b") + raw("r/d/x"), b"123", "all is there")
    equal(rename("r/a", "r/b").status, 200, "over a value")
    equal(raw("r/b"), b"1", "replaced")


@case("renames to and fro beside readers: always exactly one name")
def _():
    node.call("PUT", "/swing/here/k", b"v")
    stop = []

    def swing():
        for i in range(100):
            names = ("swing/here", "swing/there")
            equal(rename(names[i % 2], names[1 - i % 2]).status, 200, "rename")
        stop.append(1)

    def look():
        while not stop:
            page = node.call("GET", "/_/kv?prefix=swing/").body
            equal(len(json.loads(page)["keys"]), 1, "keys in", page)

    in_threads(swing, look, look)


if __name__ == "__main__":
    start_node()
    main()
