"""http_api.py - what the pages promise about HTTP, sentence by sentence, as one
node can show it: keys, values, conditions, expiry and errors. Listings, batches
and watches are in http_lists.py."""
import base64
import hashlib
import json
import os
import random
import re
import subprocess
import time

from harness import (Conn, Failure, JSON_TYPE, Node, Skip, case, equal, expect,
                     in_threads, lasting, main, quote, wait_for)

OK = b'{"success":true}'
node = None


def start_node():
    global node
    node = Node({"http.max_value_size": '"8M"'})
    node.start()
    lasting.append(node)


def curl(*arguments):
    try:
        return subprocess.run(["curl", "-s", *arguments], check=True,
                              capture_output=True, timeout=20).stdout
    except FileNotFoundError:
        raise Skip("curl is not installed")


def code_of(reply, status, code):
    equal(reply.status, status, "status of", reply)
    equal(reply.code, code, "code of", reply)


# --- the seed's dialect ----------------------------------------------------

@case("the seed's three curl calls answer byte for byte")
def _():
    url = "http://127.0.0.1:%d/outspace" % node.port
    equal(curl("-X", "POST", url, "-H", "Content-Type: application/json",
               "-d", '{"value":"outof file"}'), OK, "POST")
    equal(curl(url), b'{"value":"outof file"}', "GET")
    equal(curl("-X", "DELETE", url), OK, "DELETE")
    equal(curl("-X", "DELETE", url), OK, "DELETE of a missing key")
    equal(curl("-o", "/dev/null", "-w", "%{http_code}", url), b"404", "GET")


@case("POST without a content type, PUT and POST with JSON: the same dialect")
def _():
    for i, (method, headers) in enumerate((
            ("POST", []), ("POST", JSON_TYPE), ("PUT", JSON_TYPE),
            ("PUT", [("Content-Type", "application/json; charset=utf-8")]),
            ("PUT", [("content-type", "Application/JSON")]))):
        r = node.call(method, "/seed/k", '{"value":"v%d"}' % i, headers)
        equal((r.status, r.body), (200, OK), method, headers)
        r = node.call("GET", "/seed/k")
        equal(r.body, b'{"value":"v%d"}' % i, "GET after", method, headers)
        expect(r.header("Content-Type").startswith("application/json"), r)


@case("an empty value and a key with slashes are stored")
def _():
    equal(node.call("POST", "/seed/a/b/c", '{"value":""}').body, OK, "POST")
    equal(node.call("GET", "/seed/a/b/c").body, b'{"value":""}', "GET")
    equal(node.get("seed/a/b/c").body, b"", "raw")


@case("every JSON string comes back the same, NUL and surrogate pairs too")
def _():
    for text in ("\0", "a\0b", '"\\/\b\f\n\r\t', "\x1f\x7f", "äö€",
                 "\U0001f600\U0010ffff", "\u2028\u2029\ufeff\ufffe",
                 "</script>", "x" * 70000, "\ud7ff\ue000"):
        for encoded in (json.dumps(text),
                        json.dumps(text, ensure_ascii=False)):
            r = node.call("POST", "/seed/json", ('{"value":%s}' % encoded
                                                 ).encode(), JSON_TYPE)
            equal((r.status, r.body), (200, OK), "POST of", text)
            r = node.call("GET", "/seed/json")
            equal(r.json(), {"value": text}, "GET of", text)
            equal(node.get("seed/json").body, text.encode(), "raw")


@case("a value that is not UTF-8 is base64 in JSON, and base64 is stored decoded")
def _():
    for value in (b"\xff\xfe", b"\x80", b"ok\xc3", b"\xed\xa0\x80",
                  b"\xf4\x90\x80\x80", b"\xc0\x80", os.urandom(1000) + b"\xff"):
        node.put("seed/bin", value)
        text = base64.b64encode(value)
        equal(node.call("GET", "/seed/bin").body,
              b'{"value":"%s","encoding":"base64"}' % text, "GET")
        r = node.call("POST", "/seed/bin2", b'{"value":"%s","encoding":'
                      b'"base64"}' % text, JSON_TYPE)
        equal((r.status, r.body), (200, OK), "POST base64")
        equal(node.get("seed/bin2").body, value, "decoded")
    r = node.call("POST", "/seed/bin2",
                  '{"encoding":"base64","value":"aGVsbG8="}', JSON_TYPE)
    equal(r.body, OK, "the order of names does not matter")
    equal(node.call("GET", "/seed/bin2").body, b'{"value":"hello"}', "GET")


@case("bad JSON is 400 and stores nothing")
def _():
    for body in (b"", b"{", b"[]", b'"v"', b"null", b"{}", b'{"value":1}',
                 b'{"value":null}', b'{"value":["a"]}', b'{"value":{}}',
                 b'{"value":"a"', b'{"value":"a"}x', b'{"value":"a"}{}',
                 b'{"value":"\xff"}', b'{"value":"\xc3"}',
                 b'{"value":"\\ud800"}', b'{"value":"\\udc00\\ud800"}',
                 b'{"value":"\\ud800x"}', b'{"value":"\\ud83d\\u0041"}',
                 b'{"value":"\xed\xa0\x80"}', b'{"value":"a\nb"}',
                 b'{"value":"a\0b"}', b'{"value":"a\x1fb"}',
                 b'{"value":"a","value":"b"}', b"{'value':'a'}",
                 b'{"value":"\\x41"}', b'{"value":"a",}', b'{value:"a"}',
                 b'{"value":"a"} // c', b'{"value":NaN}', b'{"Value":"a"}',
                 b'{"value":"a","x":NaN}', b'{"value":"a","x":01}',
                 b'{"value":"a","encoding":"rot13"}',
                 b'{"value":"a","encoding":7}',
                 b'{"value":"a","encoding":"base64"}',
                 b'{"value":"!!!!","encoding":"base64"}',
                 b'{"value":"QQ=","encoding":"base64"}',
                 b'{"value":"Q===","encoding":"base64"}',
                 b"[" * 100000, b'{"a":' * 100000,
                 b'\xef\xbb\xbf{"value":"a"}'):
        r = node.call("POST", "/seed/bad", body, JSON_TYPE)
        equal(r.status, 400, "POST of", body, "answered", r, "status")
        equal(r.code, "bad_request", "code for", body)
        node.get("seed/bad", 404)


@case("white space and other names around the value are fine")
def _():
    r = node.call("POST", "/seed/ws", b' \r\n\t{ "note" : [1, {"a":null}] ,'
                  b' "value"\n:\t"a" } \n', JSON_TYPE)
    equal(r.body, OK, "POST", r)
    equal(node.get("seed/ws").body, b"a", "value")


# --- raw -------------------------------------------------------------------

@case("PUT raw is 201 when created and 204 when replaced")
def _():
    for headers in ([], [("Content-Type", "application/octet-stream")],
                    [("Content-Type", "text/plain")],
                    [("Content-Type", "application/x-www-form-urlencoded")],
                    [("Content-Type", "application/jsonx")],
                    [("Content-Type", "multipart/form-data; boundary=x")]):
        value = bytes(range(256)) + str(headers).encode()
        r = node.put("raw/k", value, 201, headers)
        equal(r.body, b"", "body of 201")
        equal(node.get("raw/k").body, value, "value")
        r = node.put("raw/k", b"", 204, headers)
        equal(node.get("raw/k").body, b"", "empty value")
        expect(r.header("Content-Length") in (None, "0"), "204 has no body")
        node.delete("raw/k")
    node.get("raw/k", 404)


@case("GET raw by ?raw or by Accept, with nosniff")
def _():
    value = os.urandom(5000)
    rev = node.put("raw/g", value).rev
    for r in (node.call("GET", "/raw/g?raw"), node.call("GET", "/raw/g?raw="),
              node.call("GET", "/raw/g?raw=1"),
              node.call("GET", "/raw/g", None,
                        [("Accept", "application/octet-stream")])):
        equal((r.status, r.body), (200, value), "GET")
        equal(r.header("X-Content-Type-Options"), "nosniff", "nosniff")
        equal(r.header("Content-Type"), "application/octet-stream", "type")
        equal(r.header("ETag"), '"%d"' % rev, "ETag")
        equal(r.rev, rev, "revision")
        equal(r.header("Content-Length"), "5000", "length")
    expect(node.call("GET", "/raw/g", None, [("Accept", "*/*")]).body
           .startswith(b'{"value":'), "curl's Accept gets JSON")


@case("Range: 206 with the bytes asked for, 416 beyond the end")
def _():
    value = random.Random(1).randbytes(300000)
    n = len(value)
    node.put("raw/r", value)
    for text, first, last in (("0-0", 0, 0), ("0-99", 0, 99),
                              ("65530-65550", 65530, 65550),
                              ("299999-", n - 1, n - 1), ("100-", 100, n - 1),
                              ("-1", n - 1, n - 1), ("-70000", n - 70000,
                                                     n - 1),
                              ("-999999999", 0, n - 1),
                              ("299000-999999", 299000, n - 1),
                              ("0-18446744073709551615", 0, n - 1)):
        r = node.get("raw/r", 206, [("Range", "bytes=" + text)])
        equal(r.body, value[first:last + 1], "bytes of", text)
        equal(r.header("Content-Range"), "bytes %d-%d/%d" % (first, last, n),
              "Content-Range")
        equal(r.header("Content-Length"), str(last - first + 1), "length")
    for text in ("300000-", "300000-300001", "18446744073709551615-", "-0"):
        r = node.get("raw/r", 416, [("Range", "bytes=" + text)])
        equal(r.header("Content-Range"), "bytes */%d" % n, "Content-Range")
        expect(r.code, "code")
    for text in ("bytes=5-2", "bytes=a-b", "lines=1-2", "bytes", "bytes=--1"):
        r = node.call("GET", "/raw/r?raw", None, [("Range", text)])
        expect(r.status in (200, 416, 400), "Range", text, "answered", r)
        expect(r.status != 200 or r.body == value, "the whole value")
    for _ in range(30):
        a = random.randrange(n)
        b = random.randrange(a, n)
        r = node.get("raw/r", 206, [("Range", "bytes=%d-%d" % (a, b))])
        equal(r.body, value[a:b + 1], "bytes", a, b)
    node.put("raw/empty", b"")
    node.get("raw/empty", 416, [("Range", "bytes=0-")])


@case("Accept-Ranges or not, a JSON answer is never cut by a Range")
def _():
    node.put("raw/jr", b"0123456789")
    r = node.call("GET", "/raw/jr", None, [("Range", "bytes=0-3")])
    equal((r.status, r.body), (200, b'{"value":"0123456789"}'), "GET")


@case("HEAD has the headers of GET and no body")
def _():
    node.put("raw/h", b"x" * 777)
    changing = {"date", "x-request-id", "connection"}
    for path in ("/raw/h", "/raw/h?raw", "/raw/missing", "/_/status"):
        with node.conn() as c:
            head = c.call("HEAD", path)
            get = c.call("GET", path)
        equal(head.status, get.status, "status of", path)
        if path != "/_/status":
            equal(sorted((k.lower(), v) for k, v in head.headers if
                         k.lower() not in changing),
                  sorted((k.lower(), v) for k, v in get.headers if
                         k.lower() not in changing), "headers of", path)


@case("a missing key: 404 not_found, no ETag, the current revision")
def _():
    rev = node.put("raw/rev", b"1").rev
    r = node.call("GET", "/raw/none")
    code_of(r, 404, "not_found")
    equal(r.header("ETag"), None, "ETag")
    equal(r.rev, rev, "revision")


@case("an uploaded value streams, with a length and in chunks")
def _():
    value = random.Random(2).randbytes(5 << 20)
    node.put("raw/big", value, 201)
    got = node.get("raw/big").body
    equal(hashlib.sha256(got).hexdigest(), hashlib.sha256(value).hexdigest(),
          "digest")
    with node.conn() as c:
        c.start("PUT", "/raw/big", [("Transfer-Encoding", "chunked")])
        at = 0
        while at < len(value):
            n = random.choice((1, 7, 1000, 65536, 100000))
            part = value[at:at + n]
            c.send(b"%x;ext=1\r\n%s\r\n" % (len(part), part) if n == 7 else
                   b"%X\r\n%s\r\n" % (len(part), part))
            at += n
        c.send(b"0\r\nTrailer: x\r\n\r\n")
        equal(c.reply().status, 204, "chunked PUT")
        r = c.call("GET", "/raw/big?raw")
    expect(r.body == value, "the chunked bytes come back")
    r = node.call("GET", "/raw/big")
    equal(r.status, 413, "JSON of a value over 1 MiB")
    expect("raw" in r.json()["error"]["message"], "names ?raw:", r)
    equal(r.code, "value_too_large", "code")
    r = node.call("POST", "/raw/big", b'{"value":"%s"}' % (b"x" * (1 << 21)),
                  JSON_TYPE)
    equal(r.status, 413, "JSON value over 1 MiB")
    expect("PUT" in r.json()["error"]["message"] or
           "raw" in r.json()["error"]["message"], "names the raw PUT:", r)
    expect(node.get("raw/big").body == value, "nothing was stored")


@case("a value of 1 MiB is fine in JSON, by its decoded size")
def _():
    text = b"y" * (1 << 20)
    equal(node.call("POST", "/raw/mib", b'{"value":"%s"}' % text,
                    JSON_TYPE).body, OK, "plain")
    equal(node.call("GET", "/raw/mib").body, b'{"value":"%s"}' % text, "GET")
    value = b"\xff" * (1 << 20)
    body = b'{"value":"%s","encoding":"base64"}' % base64.b64encode(value)
    equal(node.call("POST", "/raw/mib", body, JSON_TYPE).body, OK, "base64")
    equal(node.call("GET", "/raw/mib").body, body, "GET of base64")
    body = b'{"value":"%s"}' % (b"\\u0041" * (1 << 20))
    equal(node.call("POST", "/raw/mib", body, JSON_TYPE).body, OK, "escaped")
    equal(node.get("raw/mib").body, b"A" * (1 << 20), "decoded")


@case("max_value_size: the limit itself fits, one byte more is 413")
def _():
    limit = 8 << 20
    value = b"z" * limit
    node.put("raw/limit", value, 201)
    r = node.call("PUT", "/raw/over", value + b"!")
    code_of(r, 413, "value_too_large")
    with node.conn() as c:
        c.start("PUT", "/raw/over", [("Transfer-Encoding", "chunked")])
        try:
            for _ in range(9):
                c.send(b"100000\r\n%s\r\n" % value[:1 << 20])
            c.send(b"0\r\n\r\n")
        except ConnectionError:
            pass
        code_of(c.reply(), 413, "value_too_large")
    node.get("raw/over", 404)
    small = Node({"http.max_value_size": '"1000"'})
    small.start()
    body = b'{"value":"%s","encoding":"base64"}'
    equal(small.call("POST", "/k", body % base64.b64encode(
        b"\xff" * 1000)).status, 200, "1000 decoded bytes")
    equal(small.call("POST", "/k", body % base64.b64encode(
        b"\xff" * 1001)).status, 413, "1001 decoded bytes")
    equal(small.call("POST", "/k", b'{"value":"%s"}' % (
        b"\\u0041" * 1000)).status, 200, "1000 bytes, escaped")
    small.remove()


@case("Expect: 100-continue is answered before the body, 413 instead of it")
def _():
    with node.conn() as c:
        c.start("PUT", "/raw/exp", [("Content-Length", 5),
                                    ("Expect", "100-continue")])
        equal(c.reply().status, 100, "interim answer")
        c.send(b"hello")
        expect(c.reply().status in (201, 204), "final answer")
    with node.conn() as c:
        c.start("PUT", "/raw/exp", [("Content-Length", 1 << 30),
                                    ("Expect", "100-continue")])
        equal(c.reply().status, 413, "answer without the body")
    equal(node.get("raw/exp").body, b"hello", "value")


# --- versions and conditions -----------------------------------------------

@case("every write has an ETag that GET then shows, and revisions rise")
def _():
    last = 0
    for method, body, headers in (("PUT", b"1", []),
                                  ("POST", b'{"value":"2"}', JSON_TYPE),
                                  ("PUT", b"1", []), ("PUT", b"1", [])):
        r = node.call(method, "/etag/k", body, headers)
        rev = r.rev
        equal(r.header("ETag"), '"%d"' % rev, "ETag of", method)
        expect(rev > last, "revision rises")
        got = node.call("GET", "/etag/k")
        equal((got.header("ETag"), got.rev), ('"%d"' % rev, rev), "GET")
        last = rev
    node.put("etag/other", b"x")
    equal(node.call("GET", "/etag/k").rev, last, "another key's write")
    expect(node.delete("etag/k").rev > last, "a delete has a revision")


@case("If-Match and If-None-Match decide writes: 412 with the current ETag")
def _():
    def write(key, value, *headers):
        return node.call("PUT", "/cond/" + key, value, headers)

    r = write("k", b"0", ("If-Match", "*"))
    code_of(r, 412, "precondition_failed")
    equal(r.header("ETag"), None, "no ETag of a missing key")
    code_of(write("k", b"0", ("If-Match", '"1"')), 412, "precondition_failed")
    node.get("cond/k", 404)
    r = write("k", b"1", ("If-None-Match", "*"))
    equal(r.status, 201, "create only")
    tag = r.header("ETag")
    r = write("k", b"2", ("If-None-Match", "*"))
    code_of(r, 412, "precondition_failed")
    equal(r.header("ETag"), tag, "the current ETag")
    r = write("k", b"2", ("If-Match", '"%d"' % (int(tag[1:-1]) + 1)))
    code_of(r, 412, "precondition_failed")
    equal(r.header("ETag"), tag, "the current ETag")
    equal(node.get("cond/k").body, b"1", "not written")
    r = write("k", b"2", ("If-Match", tag))
    equal(r.status, 204, "matching")
    tag = r.header("ETag")
    equal(write("k", b"3", ("If-Match", "*")).status, 204, "any version")
    r = node.call("POST", "/cond/k", '{"value":"x"}', [("If-Match", tag)])
    equal(r.status, 412, "the seed's dialect too")
    tag = r.header("ETag")
    r = node.call("DELETE", "/cond/k", None, [("If-Match", '"1"')])
    code_of(r, 412, "precondition_failed")
    equal(r.header("ETag"), tag, "the current ETag")
    r = node.call("DELETE", "/cond/k", None, [("If-None-Match", "*")])
    equal(r.status, 412, "If-None-Match on a delete")
    equal(node.delete("cond/k", 200, [("If-Match", tag)]).body, OK, "delete")
    equal(node.call("DELETE", "/cond/k", None,
                    [("If-Match", tag)]).status, 412, "delete of nothing")
    for bad in ("7", '"x"', '"', "W/", '"7', '"-1"', '"99999999999999999999"'):
        r = write("k", b"0", ("If-Match", bad))
        expect(r.status in (400, 412), "If-Match", bad, "answered", r)
    for bad in ("7", '"x"'):
        r = write("k", b"0", ("If-None-Match", bad))
        expect(r.status in (400, 412, 201, 204), "answered", r)


@case("a conditional upload of a large value is decided by the same rules")
def _():
    big = b"b" * (1 << 20)
    tag = node.put("cond/big", big, 201, [("If-None-Match", "*")]).header(
        "ETag")
    equal(node.call("PUT", "/cond/big", big, [("If-None-Match", "*")]).status,
          412, "create only")
    equal(node.call("PUT", "/cond/big", big, [("If-Match", '"1"')]).status,
          412, "other version")
    equal(node.call("PUT", "/cond/big", big, [("If-Match", tag)]).status, 204,
          "matching")


@case("GET with If-None-Match: 304 when unchanged, without a body")
def _():
    tag = node.put("cond/get", b"v").header("ETag")
    for headers in ([("If-None-Match", tag)], [("If-None-Match", "*")]):
        for path in ("/cond/get", "/cond/get?raw"):
            with node.conn() as c:
                r = c.call("GET", path, None, headers)
                equal((r.status, r.header("ETag")), (304, tag), headers)
                equal(c.call("GET", "/cond/get?raw").body, b"v",
                      "the connection goes on")
    r = node.call("GET", "/cond/get", None, [("If-None-Match", '"1"')])
    equal(r.status, 200, "another version")
    equal(node.call("HEAD", "/cond/get", None,
                    [("If-None-Match", tag)]).status, 304, "HEAD")


@case("create-only is won by exactly one of many; If-Match counts exactly")
def _():
    won, rounds, workers = [], 25, 6

    def create():
        with node.conn() as c:
            for i in range(rounds):
                r = c.call("PUT", "/race/c%d" % i, b"me",
                           [("If-None-Match", "*")])
                expect(r.status in (201, 412), r)
                if r.status == 201:
                    won.append(i)

    in_threads(*[create] * workers)
    equal(sorted(won), list(range(rounds)), "winners")
    node.put("race/n", b"0")

    def count():
        with node.conn() as c:
            done = 0
            while done < 15:
                r = c.call("GET", "/race/n?raw")
                w = c.call("PUT", "/race/n", b"%d" % (int(r.body) + 1),
                           [("If-Match", r.header("ETag"))])
                done += w.status == 204
                expect(w.status in (204, 412), w)

    in_threads(*[count] * workers)
    equal(node.get("race/n").body, b"%d" % (15 * workers), "counter")


@case("of a file and a file below it, racing, exactly one is made")
def _():
    for i in range(20):
        got = []

        def write(key):
            got.append(node.call("PUT", "/race/t%d%s" % (i, key), b"x").status)

        in_threads(lambda: write(""), lambda: write("/a"))
        equal(sorted(got), [201, 409], "statuses")


# --- expiry ----------------------------------------------------------------

@case("?ttl= expires a key, and GET shows the seconds left")
def _():
    r = node.put("ttl/a", b"v", ttl="30s")
    left = node.get("ttl/a").header("X-Raftcask-TTL")
    expect(re.fullmatch(r"\d+\.\d{3}", left or ""), "TTL is", left)
    expect(25 < float(left) <= 30, "TTL is", left)
    for text, seconds in (("30", 30), ("1500ms", 1.5), ("2m", 120),
                          ("3h", 10800), ("4d", 345600), ("5s", 5)):
        node.put("ttl/b", b"v", ttl=text)
        left = float(node.get("ttl/b").header("X-Raftcask-TTL"))
        expect(seconds - 5 < left <= seconds, text, "is", left)
    equal(node.call("POST", "/ttl/c?ttl=60", '{"value":"x"}').body, OK, "POST")
    expect(node.call("GET", "/ttl/c").header("X-Raftcask-TTL"), "in JSON too")
    for bad in ("x", "-1s", "1.5.5s", "10parsecs", "", "s", "99999999999999d",
                "30s30s", "nan"):
        r = node.call("PUT", "/ttl/bad?ttl=" + bad, b"v")
        code_of(r, 400, "bad_request")
    node.get("ttl/bad", 404)
    node.put("ttl/a", b"w")
    equal(node.get("ttl/a").header("X-Raftcask-TTL"), None,
          "a plain write clears it")


@case("an expired key is gone at once everywhere, and not before")
def _():
    begun = time.monotonic()
    node.put("ttl/x", b"v", ttl="700ms")
    node.put("ttl/y", b"v", ttl="700ms")
    node.put("ttl/y", b"stays")
    while node.call("GET", "/ttl/x").status == 200:
        expect(time.monotonic() - begun < 3, "it expires in time")
        time.sleep(0.005)
    took = time.monotonic() - begun
    expect(took >= 0.7, "it does not expire early:", took)
    equal(node.list_all(prefix="ttl/x")[0], [], "the listing")
    node.put("ttl/x", b"new", 201, [("If-None-Match", "*")])
    time.sleep(0.8)
    equal(node.get("ttl/y").body, b"stays", "the rewritten key")
    equal(node.get("ttl/x").body, b"new", "the new key")


# --- keys ------------------------------------------------------------------

@case("the key is the percent-decoded path, byte by byte")
def _():
    for path, key in (("/keys/b%20c", b"keys/b c"), ("/keys/%41", b"keys/A"),
                      ("/keys/%2541", b"keys/%41"), ("/keys/a+b", b"keys/a+b"),
                      ("/keys/%c3%a4", "keys/ä".encode()),
                      ("/keys/%ff%fe", b"keys/\xff\xfe"),
                      ("/keys/%0a%0d", b"keys/\n\r"),
                      ("/keys%2Fx", b"keys/x"), ("/keys/%3Fq", b"keys/?q"),
                      ("/keys/...", b"keys/..."), ("/keys/.a", b"keys/.a"),
                      ("/keys/%23", b"keys/#"), ("/keys/a%7Fb", b"keys/a\x7fb"),
                      ("/keys/x:y@z!$&'()*,;=~", b"keys/x:y@z!$&'()*,;=~")):
        value = b"value of " + key
        r = node.call("PUT", path, value)
        expect(r.status in (201, 204), path, r)
        equal(node.call("GET", "/_/kv" + quote(key) + "?raw").body, value, path)
        equal(node.call("DELETE", path).body, OK, path)
        equal(node.call("GET", quote(key)).status, 404, path)


@case("/_/kv/KEY reaches every key, also one that begins with _/")
def _():
    node.call("PUT", "/_/kv/_/health", b"mine")
    equal(node.call("GET", "/_/kv/_/health?raw").body, b"mine", "GET")
    expect(node.call("GET", "/_/health").body != b"mine", "the system's own")
    keys = [k["key"] for k in node.list_all(prefix="_/")[0]]
    equal(keys, ["_/health"], "listed")
    equal(node.call("HEAD", "/_/kv/_/health").status, 200, "HEAD")
    equal(node.call("DELETE", "/_/kv/_/health").body, OK, "DELETE")
    node.call("POST", "/_/kv/plain", '{"value":"p"}')
    equal(node.call("GET", "/plain").body, b'{"value":"p"}', "the same key")
    r = node.call("PUT", "/_x", b"")
    equal(r.status, 201, "only the prefix /_/ is the system's")


@case("keys that are no path are 400 bad_key, too long ones 414 key_too_long")
def _():
    long = "c" * 255
    for path in ("//", "/a//b", "//a", "/./a", "/a/.", "/a/..", "/../a", "/a/./b",
                 "/a/../b", "/.", "/..", "/a//", "/" + "c" * 256,
                 "/a/" + "c" * 300 + "/b", "/a%00b", "/%00", "/a%zzb", "/a%4",
                 "/a%", "/%g0", "/a%2F%2Fb", "/a/%2e%2e/b", "/a/%2e",
                 "/_/kv//a", "/_/kv/a//b", "/_/kv/a%00"):
        for method, body in (("PUT", b"v"), ("GET", None), ("DELETE", None),
                             ("POST", b'{"value":"v"}')):
            code_of(node.call(method, path, body), 400, "bad_key")
    equal(node.call("PUT", "/keys/" + long, b"v").status, 201, "255 bytes")
    longest = "long/" + "/".join([long] * 15) + "/" + "c" * (4095 - 5 - 15 *
                                                              256)
    equal(len(longest), 4095, "length")
    node.put(longest, b"longest", 201)
    equal(node.get(longest).body, b"longest", "value")
    for path in ("/" + longest + "c", "/" + "a/" * 5000 + "b",
                 "/" + "x" * 4096, "/_/kv/" + longest + "c",
                 "/" + "%61" * 4096):
        for method, body in (("PUT", b"v"), ("GET", None)):
            code_of(node.call(method, path, body), 414, "key_too_long")
    escaped = quote("esc/" + "%" * 200 + "/" + "/".join(
        ["%" * 250] * 15))
    node.call("PUT", escaped, b"e")
    equal(node.call("GET", escaped + "?raw").body, b"e",
          "a long key, every byte escaped")


@case("one tree: what cannot be both file and directory is 409")
def _():
    node.put("tree/a", b"1")
    code_of(node.call("PUT", "/tree/a/b", b"x"), 409, "not_a_directory")
    code_of(node.call("PUT", "/tree/a/b/c/d", b"x"), 409, "not_a_directory")
    code_of(node.call("PUT", "/tree/a/", b""), 409, "not_a_directory")
    code_of(node.call("POST", "/tree/a/b", '{"value":"x"}'), 409,
            "not_a_directory")
    node.put("tree/d/e/f", b"2")
    for key in ("/tree/d", "/tree/d/e", "/tree"):
        code_of(node.call("PUT", key, b"x"), 409, "is_a_directory")
        code_of(node.call("PUT", key, b"x" * 200000), 409, "is_a_directory")
        code_of(node.call("DELETE", key), 409, "is_a_directory")
        equal(node.call("GET", key).status, 404, "GET of", key)
    equal(node.delete("tree/d/e/f").body, OK, "DELETE")
    node.put("tree/d", b"nothing was left behind", 201)
    node.put("tree/a.b", b"a sibling that sorts between", 201)
    node.put("tree/a-b", b"another", 201)
    equal(node.get("tree/a").body, b"1", "tree/a")


@case("an explicit directory: made by PUT of nothing, emptied before deleted")
def _():
    equal(node.call("PUT", "/dir/e/", b"").status, 201, "made")
    equal(node.call("PUT", "/dir/e/", b"").status, 204, "made again")
    r = node.call("PUT", "/dir/e/", b"x")
    equal(r.status, 400, "a body")
    expect(r.code, "code")
    equal(node.call("POST", "/dir/e/", '{"value":"x"}').status, 400, "a value")
    equal(node.get("dir/e/").body, b"", "GET")
    code_of(node.call("GET", "/dir/"), 404, "not_found")
    code_of(node.call("PUT", "/dir/e", b"x"), 409, "is_a_directory")
    node.put("dir/e/f", b"1")
    code_of(node.call("DELETE", "/dir/e/"), 409, "not_empty")
    code_of(node.call("DELETE", "/dir/e"), 409, "is_a_directory")
    node.delete("dir/e/f")
    equal(node.get("dir/e/").body, b"", "it stays")
    equal([k["key"] for k in node.list_all(prefix="dir/")[0]], ["dir/e/"],
          "listed")
    equal(node.call("DELETE", "/dir/e/").body, OK, "deleted")
    node.put("dir/e", b"a file now", 201)


@case("consistency: stale and lease are known, anything else is 400")
def _():
    node.put("cons", b"v")
    for word in ("stale", "lease"):
        equal(node.call("GET", "/cons?raw&consistency=" + word).body, b"v",
              word)
        equal(node.call("GET", "/_/kv?consistency=" + word).status, 200, word)
    for word in ("", "eventual", "Stale", "stale,lease"):
        for path in ("/cons?", "/_/kv?"):
            code_of(node.call("GET", path + "consistency=" + word), 400,
                    "bad_request")


# --- the system's pages ----------------------------------------------------

SEED_NAMES = ("cmd_get cmd_set cmd_delete get_hits get_misses "
              "curr_connections total_connections bytes_read bytes_written "
              "slow_cmd rusage_maxrss curr_items total_items").split()


@case("status has every promised field, of the promised type")
def _():
    node.put("status/k", b"12345")
    s = node.status()
    for name, kind in (("node", str), ("id", int), ("cluster", str),
                       ("version", str), ("uptime_s", int), ("term", int),
                       ("commit", int), ("applied", int), ("members", list),
                       ("partitions", list), ("storage", dict),
                       ("stats", dict)):
        expect(isinstance(s.get(name), kind), name, "is", s.get(name))
    equal((s["node"], s["role"], s["leader"]), ("n1", "leader", "n1"), "who")
    p = s["partitions"]
    equal(len(p), 1, "partitions")
    equal((p[0]["id"], p[0]["role"], p[0]["leader"], p[0]["term"]),
          (0, "leader", "n1", s["term"]), "partition 0")
    for name in ("commit", "applied", "keys"):
        expect(isinstance(p[0][name], int), name)
    expect(s["applied"] >= node.get("status/k").rev, "applied")
    equal(len(s["members"]), 1, "members")
    m = s["members"][0]
    for name, kind in (("name", str), ("id", int), ("peer", str),
                       ("http", str), ("role", str), ("up", bool),
                       ("match", int), ("lag", int),
                       ("last_contact_ms", int)):
        expect(isinstance(m.get(name), kind), "member's", name, "in", m)
    equal((m["name"], m["id"], m["role"], m["up"]),
          ("n1", s["id"], "voter", True), "the only member")
    for name in ("keys", "live_bytes", "dead_bytes", "files"):
        expect(isinstance(s["storage"][name], int), name)
    expect(s["storage"]["merge"] in ("idle", "running"), "merge")
    equal(s["storage"]["corrupt"], [], "corrupt")
    for name in SEED_NAMES:
        expect(isinstance(s["stats"].get(name), int), name, "in", s["stats"])


@case("the counters count")
def _():
    fresh = Node()
    fresh.start()
    before = fresh.status()["stats"]
    fresh.put("c/1", b"x" * 1000)
    fresh.put("c/2", b"y")
    fresh.get("c/1")
    fresh.get("c/none", 404)
    fresh.delete("c/2")
    s = fresh.status()
    now = s["stats"]
    for name, more in (("cmd_get", 2), ("cmd_set", 2), ("cmd_delete", 1),
                       ("get_hits", 1), ("get_misses", 1)):
        equal(now[name] - before[name], more, name)
    expect(now["bytes_read"] - before["bytes_read"] >= 1000, "bytes_read")
    expect(now["bytes_written"] - before["bytes_written"] >= 1000,
           "bytes_written")
    expect(now["total_connections"] > before["total_connections"],
           "total_connections")
    expect(now["curr_connections"] >= 1, "curr_connections")
    equal((now["curr_items"], s["storage"]["keys"],
           s["partitions"][0]["keys"]), (1, 1, 1), "keys")
    expect(now["rusage_maxrss"] > 0, "rusage_maxrss")
    fresh.remove()


@case("metrics are Prometheus text")
def _():
    r = node.call("GET", "/_/metrics")
    equal(r.status, 200, "status")
    expect(r.header("Content-Type").startswith("text/plain"), r.headers)
    kinds, seen, helped = {}, set(), set()
    expect(r.body.endswith(b"\n"), "the last line ends")
    for line in r.body.decode().splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            expect(name not in helped, "HELP twice", name)
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            expect(name not in kinds, "TYPE twice:", name)
            expect(kind in ("counter", "gauge", "histogram", "summary"), line)
            kinds[name] = kind
        elif line and not line.startswith("#"):
            m = re.fullmatch(
                r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|'
                r'\\["\\n])*",?)*\})? (\S+)', line)
            expect(m, "line", line)
            float(m[3])
            expect((m[1], m[2]) not in seen, "twice:", line)
            seen.add((m[1], m[2]))
            base = re.sub(r"_(bucket|sum|count)$", "", m[1])
            expect(m[1] in kinds or base in kinds, "no TYPE for", line)
            expect(m[1].startswith(("raftcask_", "process_")), line)
            kind = kinds.get(m[1], kinds.get(base))
            expect(kind != "counter" or m[1].endswith("_total"),
                   "a counter's name ends in _total:", line)
    expect(len(seen) > 10, "there are metrics")


@case("health and ready are 200, unknown pages 404, wrong methods 405 + Allow")
def _():
    for path in ("/_/health", "/_/ready", "/_/status", "/_/metrics"):
        equal(node.call("GET", path).status, 200, path)
        for method in ("POST", "PUT", "DELETE", "BREW"):
            r = node.call(method, path, b"")
            equal(r.status, 405, method, path)
            allow = re.split(r"\s*,\s*", r.header("Allow"))
            expect("GET" in allow and method not in allow, "Allow:", allow)
            expect(r.code, "code")
    for path in ("/_/nothing", "/_/", "/_/statusx", "/_/status/x"):
        code_of(node.call("GET", path), 404, "not_found")
    for method in ("PATCH", "BREW", "TRACE", "PROPFIND"):
        r = node.call(method, "/key", None)
        equal(r.status, 405, method)
        allow = set(re.split(r"\s*,\s*", r.header("Allow")))
        expect({"GET", "HEAD", "PUT", "POST", "DELETE"} <= allow, allow)
    for path in ("/_/txn", "/_/merge"):
        r = node.call("GET", path)
        equal(r.status, 405, path)
        expect("POST" in r.header("Allow"), "Allow", r.headers)
    equal(node.call("PUT", "/_/kv", b"x").status, 405, "PUT of the listing")


@case("POST /_/merge merges, and values stay")
def _():
    for i in range(30):
        node.put("merge/k", b"%d" % i * 1000)
    r = node.call("POST", "/_/merge", b"")
    expect(r.status in (200, 202), r)
    equal(r.json()["success"], True, "success")
    wait_for(lambda: node.status()["storage"]["merge"] == "idle", "merge ends")
    equal(node.get("merge/k").body, b"29" * 1000, "value")


@case("GET /_/snapshot streams a backup while writes go on")
def _():
    stop = []

    def write():
        i = 0
        while not stop:
            node.put("snap/%d" % (i % 50), b"%d" % i)
            i += 1

    def read():
        try:
            got.append(node.call("GET", "/_/snapshot"))
        finally:
            stop.append(1)

    got = []
    in_threads(write, read)
    r = got[0]
    equal(r.status, 200, "status")
    expect(len(r.body) > 1000, "it has content:", len(r.body))


@case("X-Request-Id: taken, or made when unfit, always returned")
def _():
    for given in ("abc", "x" * 128, "a b~!", "{id:7}"):
        for path in ("/none", "/_/health", "/a//b", "/_/nothing"):
            r = node.call("GET", path, None, [("X-Request-Id", given)])
            equal(r.header("X-Request-Id"), given, path)
            if r.status >= 400:
                expect(r.code, "shape of", r)
    for given in ("", "x" * 129, "a\tb", "a\x01b", "\xe4", "x" * 5000):
        r = node.call("GET", "/none", None, [("X-Request-Id", given)])
        made = r.header("X-Request-Id")
        expect(made and made != given and re.fullmatch(r"[!-~]{1,128}", made),
               "made for", given, ":", made)
        expect(r.code, "shape")
    ids = {node.call("GET", "/none").header("X-Request-Id")
           for _ in range(50)}
    equal(len(ids), 50, "made ones differ")
    r = node.call("PUT", "/id", b"x", [("X-Request-Id", 'q"\\')])
    equal(r.header("X-Request-Id"), 'q"\\', "of a write")
    r = node.call("GET", "/none", None, [("X-Request-Id", 'q"\\')])
    equal(r.code, "not_found", "quotes in the id are escaped in JSON")


@case("a restart keeps values, revisions, expiry and counters of versions")
def _():
    own = Node()
    own.start()
    revs = {}
    for i in range(200):
        key = "k%03d" % (i % 120)
        revs[key] = (own.put(key, b"v%d" % i).rev, b"v%d" % i)
    own.put("ttl", b"t", ttl="100s")
    own.put("big", b"B" * 300000)
    own.call("PUT", "/dir/", b"")
    own.delete("k007")
    last = own.status()["applied"]
    for way in (own.stop, own.kill9):
        way()
        own.start()
        for key, (rev, value) in revs.items():
            if key == "k007":
                own.get(key, 404)
            else:
                r = own.get(key)
                equal((r.body, r.rev), (value, rev), key)
        left = float(own.get("ttl").header("X-Raftcask-TTL"))
        expect(60 < left <= 100, "TTL", left)
        equal(own.get("big").body, b"B" * 300000, "big")
        equal(own.get("dir/").body, b"", "dir/")
        rev = own.put("after", b"x").rev
        expect(rev > last, "revisions go on rising")
        last = rev
    own.remove()


if __name__ == "__main__":
    start_node()
    main()
