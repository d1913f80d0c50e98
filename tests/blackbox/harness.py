"""harness.py - a real daemon on a private directory, and a client that counts
every byte.

Everything here is written from the pages that promise something to users (the
HTTP interface, the programs and their configuration), not from the code. The
client is its own small one, because the standard library's forgives too much
and cannot send what a hostile client sends.

A test program registers functions with @case("what must hold") and ends with
main(). It prints `ok NAME` or `not ok NAME` for each, which tests/run counts,
and `N passed, N failed` at the end. No daemon outlives the program, whatever
ends it: the kernel is asked to kill each with its parent.
"""
import atexit
import ctypes
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
DAEMON = os.path.join(BUILD, "raftcaskd")
CLIENT = os.path.join(BUILD, "raftcask")
# Seconds to wait for what should be at once; a loaded machine needs more.
PATIENCE_S = float(os.environ.get("PATIENCE_S", "20"))
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)

cases = []
failures = []
nodes = []
lasting = []  # nodes that one case hands on to the next


class Failure(Exception):
    """A promise was not kept."""


class CutShort(ConnectionError):
    """The connection ended inside a body; part is what came of it."""

    def __init__(self, part, count):
        super().__init__("closed after %d of %d bytes" % (len(part), count))
        self.part = part


def case(name):
    def register(fn):
        cases.append((name, fn))
        return fn
    return register


def expect(condition, *what):
    if not condition:
        raise Failure(" ".join(show(w) for w in what) or "does not hold")


def equal(got, want, *what):
    if got != want:
        raise Failure("%s: got %s, want %s" % (
            " ".join(show(w) for w in what), show(got), show(want)))


def show(thing):
    text = thing if isinstance(thing, str) else repr(thing)
    return text if len(text) < 300 else text[:100] + "...%d" % len(text)


def wait_for(fn, what, seconds=None):
    """Call fn until it returns something true, and return that."""
    end = time.monotonic() + (seconds or PATIENCE_S)
    while True:
        got = fn()
        if got:
            return got
        if time.monotonic() > end:
            raise Failure("waited in vain: " + what)
        time.sleep(0.01)


def skip(name, why):
    print("ok %s # SKIP %s" % (name, why), flush=True)


class Skip(Exception):
    """What the case needs is not to be had on this machine."""


def run_case(name, fn):
    started = time.monotonic()
    why = None
    try:
        fn()
    except Skip as reason:
        skip(name, str(reason))
        return
    except Exception as error:
        why = "%s%s" % ("" if isinstance(error, Failure) else
                        type(error).__name__ + " ", show(str(error)))
        where = " < ".join("%s:%d" % (os.path.basename(f.filename), f.lineno)
                           for f in reversed(traceback.extract_tb(
                               error.__traceback__)[1:]))
    crashed = [n for n in nodes if n.crashed()]
    if not why and not crashed:
        took = time.monotonic() - started
        print("ok %s%s" % (name, " (%.1f s)" % took if took > 1 else ""),
              flush=True)
        return
    failures.append(name)
    print("not ok %s: %s" % (name, why or "the daemon died"))
    if why:
        print("   at " + where)
    print("   SEED=%d" % SEED)
    for node in list(nodes):
        node.show_log()
        if node.own_root and node not in lasting:
            node.remove()
        elif node.crashed():
            node.start()


def main():
    """Run every case (or those whose name holds argv[1]); exit."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    random.seed(SEED)
    if not os.access(DAEMON, os.X_OK):
        print("not ok %s is built" % DAEMON)
        sys.exit(1)
    chosen = [c for c in cases if wanted in c[0]]
    for name, fn in chosen:
        run_case(name, fn)
    stop_all()
    print("%d passed, %d failed" % (len(chosen) - len(failures),
                                    len(failures)))
    sys.exit(1 if failures else 0)


def stop_all():
    for node in list(nodes):
        node.remove()


atexit.register(stop_all)


# --- HTTP, byte by byte ---------------------------------------------------

class Reply:
    def __init__(self, status, reason, headers, body):
        self.status, self.reason = status, reason
        self.headers, self.body = headers, body

    def header(self, name):
        """The value, None if absent; one that comes twice is an error."""
        got = [v for k, v in self.headers if k.lower() == name.lower()]
        expect(len(got) <= 1, "header", name, "comes once, not", got)
        return got[0] if got else None

    def json(self):
        expect((self.header("Content-Type") or "").startswith(
            "application/json"), "Content-Type of", self)
        return json.loads(self.body.decode("utf-8"),
                          object_pairs_hook=unique_names)

    @property
    def rev(self):
        return int(self.header("X-Raftcask-Revision"))

    @property
    def code(self):
        """The error's code, after its shape was looked at."""
        error = self.json()
        equal(error.get("success"), False, "success in", self)
        equal(set(error), {"success", "error"}, "members of", self)
        expect({"code", "message", "request_id"} <= set(error["error"]),
               "error of", self)
        equal(error["error"]["request_id"], self.header("X-Request-Id"),
              "request_id in the body")
        expect(error["error"]["message"], "a message in", self)
        return error["error"]["code"]

    def __repr__(self):
        return "<%d %s %s>" % (self.status, self.reason, show(self.body))


def unique_names(pairs):
    names = [name for name, _ in pairs]
    expect(len(set(names)) == len(names), "a name comes twice in", names)
    return dict(pairs)


class Conn:
    """One connection. Strict about what comes back."""

    def __init__(self, port, timeout=None, host="127.0.0.1"):
        self.sock = socket.create_connection(
            (host, port), timeout or PATIENCE_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.sock.sendall(data)

    def read(self):
        more = self.sock.recv(1 << 18)
        self.got += more
        return len(more) > 0

    def read_line(self):
        while b"\n" not in self.got:
            if not self.read():
                raise ConnectionError("closed inside a line: %r" % self.got)
        line, self.got = self.got.split(b"\n", 1)
        expect(line.endswith(b"\r"), "line ends with CRLF:", line)
        return line[:-1]

    def read_bytes(self, count):
        parts, have = [self.got], len(self.got)
        while have < count:
            more = self.sock.recv(min(1 << 20, count - have))
            if not more:
                self.got = b""
                raise CutShort(b"".join(parts), count)
            parts.append(more)
            have += len(more)
        data = b"".join(parts)
        self.got = data[count:]
        return data[:count]

    def read_to_end(self):
        while self.read():
            pass
        data, self.got = self.got, b""
        return data

    def read_head(self):
        words = self.read_line().decode("latin-1").split(" ", 2)
        expect(len(words) >= 2 and re.fullmatch(r"HTTP/1\.[01]", words[0]) and
               re.fullmatch(r"\d{3}", words[1]), "status line:", words)
        headers = []
        while True:
            line = self.read_line().decode("latin-1")
            if not line:
                break
            name, colon, value = line.partition(":")
            expect(colon and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+",
                                          name), "header line:", line)
            headers.append((name, value.strip(" \t")))
        return Reply(int(words[1]), words[2] if len(words) > 2 else "",
                     headers, b"")

    def read_chunks(self):
        parts = []
        while True:
            count = int(self.read_line().split(b";")[0], 16)
            if count == 0:
                break
            parts.append(self.read_bytes(count))
            equal(self.read_line(), b"", "after a chunk")
        while self.read_line():
            pass
        return b"".join(parts)

    def reply(self, method="GET"):
        r = self.read_head()
        if r.status == 100:
            return r
        length = r.header("Content-Length")
        chunked = (r.header("Transfer-Encoding") or "").lower() == "chunked"
        expect(not (chunked and length is not None), "both framings in", r)
        if method == "HEAD" or r.status in (204, 304):
            return r
        if chunked:
            r.body = self.read_chunks()
        elif length is not None:
            r.body = self.read_bytes(int(length))
        else:
            r.body = self.read_to_end()
        return r

    def start(self, method, target, headers=()):
        lines = ["%s %s HTTP/1.1" % (method, target), "Host: 127.0.0.1"]
        lines += ["%s: %s" % h for h in headers]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    def call(self, method, target, body=None, headers=()):
        headers = list(headers)
        if body is not None:
            headers.append(("Content-Length", len(body)))
        lines = ["%s %s HTTP/1.1" % (method, target), "Host: 127.0.0.1"]
        lines += ["%s: %s" % h for h in headers]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" +
                  (body or b""))
        return self.reply(method)


def quote(key):
    """A key as a path, everything doubtful escaped."""
    if isinstance(key, str):
        key = key.encode("utf-8")
    return "/" + urllib.parse.quote(key, safe="/")


def query(**parameters):
    return "&".join("%s=%s" % (k, urllib.parse.quote(
        v if isinstance(v, bytes) else str(v), safe=""))
        for k, v in parameters.items() if v is not None)


JSON_TYPE = [("Content-Type", "application/json")]


# --- the daemon -----------------------------------------------------------

def free_port():
    """A port that is free now and that no client's end will take."""
    while True:
        port = random.SystemRandom().randrange(15000, 32000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def make_directory():
    os.makedirs(BUILD, exist_ok=True)
    return tempfile.mkdtemp(prefix="blackbox-", dir=BUILD)


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Node:
    """One daemon. Start it from the main thread only: the kernel ties its
    life to the thread that started it."""
    prefix = ()  # what the daemon is run under

    def __init__(self, config="", root=None, data=None):
        self.own_root = root is None
        self.host = "127.0.0.1"
        self.root = root or make_directory()
        self.data = data or os.path.join(self.root, "data")
        self.port = free_port()
        self.config = os.path.join(self.root, "node.conf")
        self.log = os.path.join(self.root, "log")
        self.process = None
        self.ended = False  # by us, not by itself
        self.configure(config)
        nodes.append(self)

    def configure(self, config):
        """config: settings below the groups, as {"http.max_value_size":
        '"1M"'}; node and listen address are given here."""
        groups = {"node": {"name": '"n1"', "data_dir": '"%s"' % self.data},
                  "http": {"listen": '[ "127.0.0.1:%d" ]' % self.port},
                  "storage": {"min_free_disk": '"1M"'}}
        for key, value in (config or {}).items():
            group, name = key.split(".", 1)
            groups.setdefault(group, {})[name] = value
        text = ""
        for group, settings in groups.items():
            plain = {k: v for k, v in settings.items() if "." not in k}
            deep = {}
            for k, v in settings.items():
                if "." in k:
                    deep.setdefault(k.split(".")[0], {})[
                        k.split(".")[1]] = v
            text += "%s: {\n" % group
            for k, v in plain.items():
                text += "    %s = %s;\n" % (k, v)
            for sub, more in deep.items():
                text += "    %s: {\n" % sub
                for k, v in more.items():
                    text += "        %s = %s;\n" % (k, v)
                text += "    };\n"
            text += "};\n"
        with open(self.config, "w") as f:
            f.write(text)

    def spawn(self, *arguments):
        self.ended = False
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, DAEMON, "--config", self.config, *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.root, preexec_fn=die_with_parent)

    def start(self, *arguments):
        """Start and wait until it is ready; returns the seconds it took."""
        started = time.monotonic()
        self.spawn(*arguments)
        wait_for(self.is_ready, "the daemon is ready")
        return time.monotonic() - started

    def is_ready(self):
        if self.process.poll() is not None:
            raise Failure("the daemon ended with %s: %s" % (
                self.process.returncode, self.log_text()[-600:]))
        try:
            with self.conn() as c:
                return c.call("GET", "/_/ready").status == 200
        except (ConnectionError, socket.timeout):
            return False

    def kill9(self):
        self.ended = True
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.ended = True
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Failure("SIGTERM does not stop the daemon")

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def remove(self):
        if self.is_alive():
            self.kill9()
        if self in nodes:
            nodes.remove(self)
        if self.own_root:
            shutil.rmtree(self.root, ignore_errors=True)

    def log_text(self):
        try:
            with open(self.log, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def crashed(self):
        return self.process is not None and not self.ended and \
            self.process.poll() is not None

    def show_log(self):
        print("   the daemon's log ends with:")
        for line in self.log_text().splitlines()[-8:]:
            print("   | " + line)
        sys.stdout.flush()

    def conn(self, timeout=None):
        return Conn(self.port, timeout, self.host)

    def call(self, method, target, body=None, headers=()):
        """One request on a connection of its own."""
        if isinstance(body, str):
            body = body.encode()
        elif isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        with self.conn() as c:
            return c.call(method, target, body, headers)

    # What most cases need, with the status that is due.
    def put(self, key, value, status=None, headers=(), **parameters):
        r = self.call("PUT", target(key, parameters), value, headers)
        expect(r.status in ((status,) if status else (201, 204)),
               "PUT of", key, "answered", r)
        return r

    def get(self, key, status=200, headers=(), **parameters):
        r = self.call("GET", target(key, parameters) +
                      ("&raw" if parameters else "?raw"), None, headers)
        equal(r.status, status, "GET of", key, "answered", r, "status")
        return r

    def delete(self, key, status=200, headers=()):
        r = self.call("DELETE", quote(key), None, headers)
        equal(r.status, status, "DELETE of", key, "answered", r, "status")
        return r

    def post_json(self, path, body, status=200):
        r = self.call("POST", path, body, JSON_TYPE)
        equal(r.status, status, "POST", path, body, "answered", r, "status")
        return r.json()

    def get_json(self, path, status=200):
        r = self.call("GET", path)
        equal(r.status, status, "GET", path, "answered", r, "status")
        return r.json()

    def list(self, **parameters):
        return self.get_json("/_/kv?" + query(**parameters))

    def list_all(self, **parameters):
        """Every page; returns (keys, prefixes) with the bytes of names."""
        keys, prefixes, after = [], [], None
        while True:
            page = self.list(after=after, **parameters)
            keys += page["keys"]
            prefixes += page["prefixes"]
            equal(page["more"], page["next"] is not None, "more and next")
            if not page["more"]:
                return keys, prefixes
            expect(page["keys"] or page["prefixes"], "a page is not empty")
            after = page["next"]

    def status(self):
        return self.get_json("/_/status")

    def clear(self):
        equal(self.call("DELETE", "/_/kv?all=1").status, 200, "clear")

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def memory_bytes(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            return int(re.search(r"RssAnon:\s+(\d+)", f.read())[1]) << 10


def target(key, parameters):
    return quote(key) + ("?" + query(**parameters) if parameters else "")


def in_threads(*functions):
    """Run all at once; the first one's error is raised again."""
    errors = []

    def guarded(fn):
        try:
            fn()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(fn,), daemon=True)
               for fn in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
