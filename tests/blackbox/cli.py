"""cli.py - flags, exit codes, messages and signals of raftcaskd and raftcask,
as their page promises them."""
import json
import os
import re
import signal
import socket
import subprocess
import time

from harness import (CLIENT, DAEMON, Node, case, equal, expect,
                     free_port, lasting, main, make_directory, wait_for)

node = None
ENV = {k: v for k, v in os.environ.items() if k != "RAFTCASK_URL"}


def start_node():
    global node
    node = Node()
    node.start()
    lasting.append(node)


def run(program, *arguments, stdin=b"", env=None, timeout=20):
    r = subprocess.run([program, *arguments], input=stdin, timeout=timeout,
                       capture_output=True, env=dict(ENV, **(env or {})),
                       cwd=node.root)
    return r.returncode, r.stdout, r.stderr.decode("utf-8", "replace")


def client(*arguments, stdin=b"", url=None):
    return run(CLIENT, "-e", url or "http://127.0.0.1:%d" % node.port,
               *arguments, stdin=stdin)


def succeed(*arguments, stdin=b""):
    status, out, err = client(*arguments, stdin=stdin)
    equal((status, err), (0, ""), arguments)
    return out


def config(text, name="bad.conf"):
    path = os.path.join(node.root, name)
    with open(path, "w") as f:
        f.write(text)
    return path


# --- raftcaskd -------------------------------------------------------------

@case("--version and --help print and exit 0, unknown flags exit 2")
def _():
    for program, name in ((DAEMON, "raftcaskd"), (CLIENT, "raftcask")):
        status, out, err = run(program, "--version")
        equal((status, err), (0, ""), name, "--version")
        expect(re.search(rb"\d+\.\d+", out), "a version in", out)
        status, out, err = run(program, "--help")
        equal((status, err), (0, ""), name, "--help")
        if program == DAEMON:
            for flag in ("--config", "--check-config", "--print-config",
                         "--data-dir", "--http", "--mount", "--name",
                         "--log-level", "--version", "--help"):
                expect(flag.encode() in out, flag, "in the help")
        for bad in (["--frob"], ["-Z"]):
            status, out, err = run(program, *bad)
            equal((status, out), (2, b""), name, bad)
            expect(len(err) > 5, "says why")
    for bad in (["stray"], ["--config"], ["--http"],
                ["--check-config=yes"], ["--data-dir"]):
        status, out, err = run(DAEMON, *bad)
        equal((status, out), (2, b""), bad)
    for bad in ([], ["frobnicate"], ["get"], ["put"], ["put", "k"],
                ["get", "a", "b"], ["cas", "k", "1"], ["-o", "xml", "ls"],
                ["--timeout", "x", "ls"], ["get", "--frob", "k"]):
        status, out, err = client(*bad)
        equal((status, out), (2, b""), bad)
        expect(len(err) > 5, bad, "says why")


@case("bad flag values exit 2 or 78 and name the value")
def _():
    for flag, value in (("--http", "nowhere"), ("--http", "127.0.0.1:99999"),
                        ("--http", "127.0.0.1"), ("--log-level", "loud"),
                        ("--name", "a b"), ("--name", "")):
        status, out, err = run(DAEMON, flag, value, "--check-config")
        expect(status in (2, 78), flag, value, "exits", status, err)
        expect(value in err, "names", value, "in", err)
    status, out, err = run(DAEMON, "--config", "/nonexistent/x.conf")
    equal(status, 78, "a missing configuration file")
    expect("/nonexistent/x.conf" in err, err)


@case("a configuration error exits 78 with file, line and the nearest name")
def _():
    for text, line, words in (
            ('node: {\n name = "n1";\n};\nhttp: {\n lisen = [ "x" ];\n};\n',
             5, ("lisen", "listen")),
            ('storage: {\n max_file_sise = "64M";\n};\n', 2,
             ("max_file_sise", "max_file_size")),
            ('\n\nstorrage: { };\n', 3, ("storrage", "storage")),
            ('storage: { merge: {\n dead_ration = 0.5; }; };\n', 2,
             ("dead_ration", "dead_ratio")),
            ('http: {\n max_value_size = 64;\n};\n', 2,
             ("max_value_size", '"')),
            ('http: {\n max_value_size = "64X";\n};\n', 2,
             ("max_value_size",)),
            ('http: {\n max_value_size = 99999999999;\n};\n', 2, ()),
            ('storage: {\n\n max_file_size = "1K";\n};\n', 3,
             ("max_file_size",)),
            ('storage: { read = "nfs"; };\n', 1, ("read", "mmap", "pread")),
            ('storage: { sync = "sometimes"; };\n', 1, ("sync", "always")),
            ('storage: { merge: { window = "25:00-26:00"; }; };\n', 1,
             ("window",)),
            ('storage: { merge: { dead_ratio = 1.5; }; };\n', 1,
             ("dead_ratio",)),
            ('storage: { merge: { dead_ratio = "x"; }; };\n', 1,
             ("dead_ratio",)),
            ('cluster: {\n partitions = 0;\n};\n', 2, ("partitions",)),
            ('cluster: {\n partitions = "four";\n};\n', 2, ("partitions",)),
            ('cluster: {\n heartbeat = "fast";\n};\n', 2, ("heartbeat",)),
            ('node: {\n name = 7;\n};\n', 2, ("name",)),
            ('node: {\n name = "a";\n name = "b";\n};\n', 3, ()),
            ('node: {\n name = "a"\n', 3, ()),
            ('node: {\n name = yes;\n};\n', 2, ()),
            ('http: { listen = "127.0.0.1:1"; };\n', 1, ("listen",)),
            ('http: { listen = [ "nonsense" ]; };\n', 1, ("nonsense",)),
            ('log: { level = "loud"; };\n', 1, ("level", "info"))):
        path = config(text)
        for flags in (["--check-config"], ["--print-config"], []):
            status, out, err = run(DAEMON, "--config", path, *flags)
            equal(status, 78, text, flags, "said", err, "status")
        first = [l for l in err.splitlines() if path in l]
        expect(first, "names the file:", err)
        expect(re.search(re.escape(path) + r":%d:" % line, err) or
               (line == 3 and re.search(re.escape(path) + r":[23]:", err)),
               "names line", line, "of", text, ":", err)
        for word in words:
            expect(word in err, word, "in", err)


@case("every error of a file is told at once")
def _():
    path = config('node: { nam = "x"; };\nhttp: {\n lisen = 1;\n};\n')
    status, out, err = run(DAEMON, "--config", path, "--check-config")
    equal(status, 78, "status")
    expect("nam" in err and "lisen" in err, "both in", err)


@case("--check-config says nothing bad of a good file, and starts nothing")
def _():
    data = os.path.join(node.root, "unused")
    path = config('node: { data_dir = "%s"; };\n' % data)
    status, out, err = run(DAEMON, "--config", path, "--check-config")
    equal((status, err), (0, ""), "good file")
    expect(not os.path.exists(data), "no directory is made")


@case("--print-config shows what holds and the file and line it is from")
def _():
    path = config('http: {\n  max_value_size = "7M";\n};\n', "print.conf")
    os.makedirs(os.path.join(node.root, "conf.d"), exist_ok=True)
    second = config('storage: {\n\n  read = "pread";\n};\nhttp: {\n'
                    '  max_value_size = "8M";\n};\n', "conf.d/20-b.conf")
    config('http: { max_value_size = "9M"; };\n', "conf.d/10-a.conf")
    config('nonsense', "conf.d/30-c.txt")
    status, out, err = run(DAEMON, "--config", path, "--print-config",
                           "--name", "flagged")
    equal((status, err), (0, ""), "status")
    text = out.decode()
    lines = text.splitlines()

    def line_of(word):
        found = [l for l in lines if re.search(r"\b%s = " % word, l)]
        equal(len(found), 1, "lines with", word)
        return found[0]

    expect('"8M"' in line_of("max_value_size") and
           second + ":6" in line_of("max_value_size"),
           "the last file in name order wins:", line_of("max_value_size"))
    expect('"pread"' in line_of("read") and second + ":3" in line_of("read"),
           line_of("read"))
    expect("flagged" in text and "--name" in text, "a flag:", text[:200])
    expect("default" in line_of("dead_ratio"), line_of("dead_ratio"))
    for word in ("data_dir", "listen", "max_connections", "partitions",
                 "heartbeat", "election_timeout", "max_file_size", "sync",
                 "window", "dead_ratio", "dead_bytes", "small_file", "rate",
                 "min_free_disk", "level", "insecure"):
        expect(re.search(r"\b%s = " % word, text), word, "is shown")
    again = config(text, "again.conf")
    status, out, err = run(DAEMON, "--config", again, "--check-config")
    equal((status, err), (0, ""), "its output is a configuration")
    config('http: { bad = 1; };\n', "conf.d/15-x.conf")
    status, out, err = run(DAEMON, "--config", path, "--check-config")
    equal(status, 78, "an error in conf.d")
    expect("conf.d/15-x.conf:1" in err, err)
    for name in ("10-a.conf", "15-x.conf", "20-b.conf", "30-c.txt"):
        os.unlink(os.path.join(node.root, "conf.d", name))


@case("a second daemon on the same directory exits 75; the first goes on")
def _():
    status, out, err = run(DAEMON, "--data-dir", node.data, "--http",
                           "127.0.0.1:%d" % free_port())
    equal(status, 75, "status")
    expect(node.data in err, "names the directory:", err)
    node.put("first", b"still here")


@case("an address in use, or a directory that cannot be made, exits 1")
def _():
    root = make_directory()
    other = os.path.join(root, "data")
    status, out, err = run(DAEMON, "--data-dir", other, "--http",
                           "127.0.0.1:%d" % node.port)
    equal(status, 1, "address in use")
    expect(str(node.port) in err, "names the port:", err)
    for path in ("/proc/nothing/data", node.config):
        status, out, err = run(DAEMON, "--data-dir", path, "--http",
                               "127.0.0.1:%d" % free_port())
        equal(status, 1, "data directory", path, err)
        expect(path in err, "names", path, "in", err)
    subprocess.run(["rm", "-rf", root], check=True)


@case("sizes in bytes and in units hold, at and between round numbers")
def _():
    for size in ("1M", "1500000", "1048576", "1048577", "2M"):
        n = Node({"storage.max_file_size": '"%s"' % size})
        n.start()
        n.put("k", b"v")
        n.kill9()
        n.start()
        equal(n.get("k").body, b"v", "after a restart")
        n.remove()


@case("a non-loopback address needs insecure = true")
def _():
    port = free_port()
    status, out, err = run(DAEMON, "--data-dir",
                           os.path.join(node.root, "ins"), "--http",
                           "0.0.0.0:%d" % port)
    expect(status in (1, 78), "refused:", status)
    expect("insecure" in err, "names the way out:", err)
    n = Node({"security.insecure": "true"})
    n.configure({"security.insecure": "true",
                 "http.listen": '[ "0.0.0.0:%d" ]' % n.port})
    n.start()
    equal(n.call("GET", "/_/health").status, 200, "serves")
    n.remove()


@case("flags win over the file: --data-dir, --http, --name, --log-level")
def _():
    n = Node({"log.level": '"error"'})
    port = free_port()
    data = os.path.join(n.root, "elsewhere")
    n.spawn("--data-dir", data, "--http", "127.0.0.1:%d" % port, "--name",
            "other", "--log-level", "info")
    n.port = port
    wait_for(n.is_ready, "it is ready")
    equal(n.status()["node"], "other", "name")
    expect(os.path.isdir(data) and not os.path.exists(n.data), "directory")
    expect("info" in n.log_text(), "log level")
    n.remove()


@case("SIGTERM and SIGINT stop cleanly with 0, with requests waiting")
def _():
    for number in (signal.SIGTERM, signal.SIGINT):
        n = Node()
        n.start()
        waiting = [n.conn() for _ in range(3)]
        waiting[0].start("GET", "/w?watch&wait=60s")
        waiting[1].start("GET", "/_/watch?prefix=",
                         [("Accept", "text/event-stream")])
        if number == signal.SIGTERM:
            waiting[2].send(b"PUT /half HTTP/1.1\r\nHost: x\r\n"
                            b"Content-Length: 1000\r\n\r\nhalf")
        time.sleep(0.2)
        begun = time.monotonic()
        n.ended = True
        n.process.send_signal(number)
        equal(n.process.wait(20), 0, "exit status after", number)
        # An upload on its way is given a few seconds to end.
        expect(time.monotonic() - begun < 10, "it does not wait for ever")
        for c in waiting:
            c.close()
        n.remove()


@case("SIGHUP reloads the log level; a bad file is told and ignored")
def _():
    n = Node({"log.level": '"error"'})
    n.start()
    n.configure({"log.level": '"debug"'})
    n.process.send_signal(signal.SIGHUP)
    n.put("k", b"v")
    wait_for(lambda: "debug" in n.log_text() or "reload" in n.log_text(),
             "a line at the new level")
    with open(n.config, "w") as f:
        f.write("nonsense = 1;\n")
    n.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "nonsense" in n.log_text(), "the error is told")
    time.sleep(0.1)
    equal(n.get("k").body, b"v", "it goes on")
    equal(n.stop(), 0, "SIGTERM")
    n.remove()


@case("values never, and keys never, are written to the log")
def _():
    n = Node({"log.level": '"debug"'})
    n.start()
    n.put("secretkey", b"secretvalue")
    n.call("GET", "/secretkey")
    n.call("PUT", "/secretkey/below", b"secretvalue")
    n.call("GET", "/a//secretkey")
    n.stop()
    expect("secret" not in n.log_text(), "log:", n.log_text())
    n.remove()


# --- raftcask --------------------------------------------------------------

@case("put and get carry the exact bytes, from line, standard input and file")
def _():
    every = bytes(range(256)) * 3
    succeed("put", "cli/a", "plain text")
    equal(succeed("get", "cli/a"), b"plain text", "no newline is added")
    succeed("put", "cli/b", "-", stdin=every)
    equal(succeed("get", "cli/b"), every, "from standard input")
    path = os.path.join(node.root, "file.bin")
    with open(path, "wb") as f:
        f.write(every * 5000)
    succeed("put", "cli/c", "@" + path)
    equal(succeed("get", "cli/c"), every * 5000, "from a file")
    succeed("put", "cli/d", "-", stdin=b"")
    equal(succeed("get", "cli/d"), b"", "empty")
    succeed("put", "cli/e", "")
    equal(node.get("cli/e").body, b"", "empty argument")
    for key in ("cli/sp ace", "cli/ä", "cli/%41", "cli/a?b#c", "cli/n\nl",
                "_/own", "-dash", "cli/+"):
        succeed("put", "--", key, "v of " + key)
        equal(succeed("get", "--", key), ("v of " + key).encode(), key)
        equal(node.call("GET", "/_/kv/" + "".join(
            "%%%02x" % b for b in key.encode()) + "?raw").body,
            ("v of " + key).encode(), "the same key over HTTP")
    raw = b"cli/\xff\xfe"
    succeed("put", raw, "bytes")
    equal(node.get(raw).body, b"bytes", "a key that is not UTF-8")
    status, out, err = client("put", "cli/x", "@/nonexistent")
    equal(status, 1, "a missing file")
    expect("/nonexistent" in err, err)


@case("a missing key is exit 4, for get, stat and cas alike")
def _():
    for verb in (["get", "none"], ["stat", "none"]):
        status, out, err = client(*verb)
        equal((status, out), (4, b""), verb)
        expect(len(err) > 3, "says so")
    equal(client("del", "none")[0], 0, "del of nothing")
    equal(client("cas", "none", "7", "v")[0] in (1, 4), True, "cas")


@case("del deletes, ls lists, stat and cas use the revision")
def _():
    node.clear()
    for key in ("a", "b/x", "b/y", "c"):
        succeed("put", key, key)
    equal(succeed("ls"), b"a\nb/x\nb/y\nc\n", "ls")
    equal(succeed("ls", "b/"), b"b/x\nb/y\n", "ls with a prefix")
    succeed("del", "a")
    equal(succeed("ls"), b"b/x\nb/y\nc\n", "after del")
    rev = node.get("c").rev
    expect(str(rev).encode() in succeed("stat", "c"), "stat shows it")
    status, out, err = client("cas", "c", str(rev + 1), "new")
    equal(status, 1, "another revision")
    equal(node.get("c").body, b"c", "unchanged")
    succeed("cas", "c", str(rev), "new")
    equal(node.get("c").body, b"new", "changed")
    succeed("put", "tree", "x")
    status, out, err = client("put", "tree/below", "x")
    equal(status, 1, "409")
    expect("not_a_directory" in err or "tree" in err, err)
    r = json.loads(succeed("-o", "json", "stat", "c"))
    expect(node.get("c").rev in r.values(), "JSON:", r)
    names = [json.loads(line)["key"] for line in
             succeed("-o", "json", "ls", "b/").splitlines()]
    equal(names, ["b/x", "b/y"], "JSON, one object a line")


@case("ls pages through more keys than one answer holds")
def _():
    for start in range(0, 2500, 125):
        node.post_json("/_/txn", {"then": [
            {"put": "many/%04d" % i, "value": ""}
            for i in range(start, start + 125)]})
    out = succeed("ls", "many/").decode().split()
    equal(out, ["many/%04d" % i for i in range(2500)], "keys")


@case("append adds to the end, from the line, standard input and a file")
def _():
    node.clear()
    succeed("append", "ap/k", "one ")
    succeed("append", "ap/k", "-", stdin=b"two\x00\xff ")
    path = os.path.join(node.root, "piece")
    with open(path, "wb") as f:
        f.write(b"three" * 1000)
    r = json.loads(succeed("-o", "json", "append", "ap/k", "@" + path))
    want = b"one two\x00\xff " + b"three" * 1000
    equal(node.get("ap/k").body, want, "value")
    equal((r["size"], r["rev"]), (len(want), node.get("ap/k").rev), "JSON")
    with open(path, "wb") as f:
        f.write(b"x" * (1 << 20) + b"x")
    status, out, err = client("append", "ap/k", "@" + path)
    equal((status, out), (1, b""), "too large")
    equal(node.get("ap/k").body, want, "unchanged")
    equal(client("append", "ap/k")[0], 2, "usage")


@case("rename gives keys and directories another name, bytes of any kind")
def _():
    node.clear()
    for key in ("re/a", "re/d/x", "re/d/y"):
        node.put(key, key.encode())
    succeed("rename", "re/a", "re/b")
    succeed("rename", "re/d", "re/e")
    equal(succeed("ls", "re/"), b"re/b\nre/e/x\nre/e/y\n", "names")
    equal(node.get("re/e/y").body, b"re/d/y", "value")
    status, out, err = client("rename", "--no-replace", "re/b", "re/e/x")
    equal(status, 1, "--no-replace")
    expect("exists" in err, err)
    succeed("rename", "re/b", b"re/\xff")
    equal(node.get(b"re/\xff").body, b"re/a", "not UTF-8")
    succeed("rename", b"re/\xff", "re/e/x")
    equal(node.get("re/e/x").body, b"re/a", "replaced")
    equal(client("rename", "re/none", "re/x")[0], 4, "nothing there")


@case("merge --wait stays until the dead records are gone")
def _():
    n = Node({"storage.max_file_size": '"1M"', "storage.merge.rate": '"0"'})
    n.start()
    for i in range(60):
        n.put("k%d" % (i % 6), b"x" * 100000)
    address = "http://127.0.0.1:%d" % n.port
    equal(client("merge", "--wait", url=address), (0, b"", ""), "merge")
    s = n.status()["storage"]
    equal(s["merge"], "idle", "merge")
    expect(s["merges"] > 0 and s["dead_bytes"] < 3000000, s)
    equal(client("merge", "--wait", url=address)[0], 0, "nothing to do")
    n.remove()


@case("txn takes standard input, prints results; a failed branch shows")
def _():
    node.put("t/a", b"1")
    out = json.loads(succeed("txn", stdin=json.dumps({
        "if": [{"key": "t/a", "value": "1"}],
        "then": [{"put": "t/b", "value": "2"}, {"get": "t/a"}]}).encode()))
    equal(out["succeeded"], True, "succeeded")
    equal(out["results"][1]["value"], "1", "results")
    equal(node.get("t/b").body, b"2", "written")
    equal(client("txn", stdin=b"{")[0], 1, "bad JSON")


@case("watch prints changes as they happen")
def _():
    p = subprocess.Popen([CLIENT, "-e", "http://127.0.0.1:%d" % node.port,
                          "watch", "--prefix", "cw/"],
                         stdout=subprocess.PIPE, env=ENV)
    try:
        wait_for(lambda: node.status()["stats"]["curr_connections"] >= 2,
                 "it is connected")
        time.sleep(0.2)
        node.put("cw/one", b"1")
        line = p.stdout.readline()
        expect(b"cw/one" in line, "the event:", line)
    finally:
        p.kill()
        p.wait()
        p.stdout.close()


@case("several -e and RAFTCASK_URL: the first that answers is used")
def _():
    url = "http://127.0.0.1:%d" % node.port
    dead = "http://127.0.0.1:%d" % free_port()
    succeed("put", "env", "v")
    status, out, err = run(CLIENT, "get", "env", env={"RAFTCASK_URL": url})
    equal((status, out), (0, b"v"), "RAFTCASK_URL")
    status, out, err = run(CLIENT, "-e", dead, "-e", url, "get", "env")
    equal((status, out), (0, b"v"), "the second of two")
    status, out, err = run(CLIENT, "-e", dead, "get", "env")
    equal((status, out), (1, b""), "no daemon")
    expect(dead[7:] in err, "names the address:", err)


@case("--timeout ends a wait for a daemon that never answers")
def _():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        begun = time.monotonic()
        status, out, err = run(CLIENT, "-e", "http://127.0.0.1:%d" %
                               s.getsockname()[1], "--timeout", "500ms",
                               "get", "k")
        equal(status, 1, "status")
        expect(time.monotonic() - begun < 5, "in time")


@case("status and merge speak of the node")
def _():
    expect(b"n1" in succeed("status"), "the name")
    equal(json.loads(succeed("-o", "json", "status"))["node"], "n1", "JSON")
    succeed("merge")


@case("offline verbs: dump shows every record, rebuild-hints makes hints")
def _():
    n = Node({"storage.max_file_size": '"1M"'})
    n.start()
    for i in range(40):
        n.put("off/%02d" % (i % 20), b"%d" % i * 20000)
    n.delete("off/03")
    n.call("POST", "/_/merge", b"")
    time.sleep(0.3)
    wait_for(lambda: n.status()["storage"]["merge"] == "idle", "idle")
    equal(client("dump", "--data-dir", n.data)[0], 75, "dump while in use")
    n.stop()
    status, out, err = client("dump", "--data-dir", n.data)
    equal(status, 0, "dump", err)
    for i in range(20):
        expect(b"off/%02d" % i in out, "off/%02d" % i)
    hints = [f for f in os.listdir(n.data) if f.endswith(".hint")]
    expect(hints, "there are hints")
    for f in hints:
        os.unlink(os.path.join(n.data, f))
    status, out, err = client("-o", "json", "rebuild-hints", "--data-dir",
                              n.data)
    equal(status, 0, "rebuild-hints", err)
    expect(json.loads(out.splitlines()[-1])["hints"] > 0, out)
    status, out, err = client("-o", "json", "check", "--data-dir", n.data)
    equal(json.loads(out.splitlines()[-1])["damaged"], 0, "check")
    # A merge that the stop ended may have left files that nothing lists.
    back = set(hints) & set(os.listdir(n.data))
    expect(back, "hints are back")
    equal(client("check", "--data-dir", n.data)[0], 0, "check")
    n.start()
    for i in range(20):
        r = n.call("GET", "/off/%02d?raw" % i)
        equal(r.status, 404 if i == 3 else 200, i)
        expect(i == 3 or r.body == b"%d" % (i + 20) * 20000, i)
    n.remove()
    for verb in ("check", "dump", "rebuild-hints", "repair"):
        status, out, err = client(verb, "--data-dir", "/nonexistent/dir")
        equal(status, 1, verb, "of no directory")
        expect("/nonexistent/dir" in err, err)
        equal(client(verb)[0], 2, verb, "without --data-dir")


if __name__ == "__main__":
    start_node()
    main()
