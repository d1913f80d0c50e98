"""bench/lib/nodes.py - daemons and load for the benchmarks that are Python.

A Cluster is 1 to 7 daemons on loopback with their data below $BENCH_DIR; load()
is one run of `raftcask bench`, wrk() one of wrk. emit() and its kind write lines
of the form that bench/results.py describes. What goes wrong raises Trouble.
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
DAEMON = os.path.join(ROOT, "build/raftcaskd")
CLIENT = os.path.join(ROOT, "build/raftcask")
READY_S = 60


class Trouble(Exception):
    """Why a measurement is not possible."""


def quick():
    return bool(os.environ.get("BENCH_QUICK")) or "--quick" in sys.argv


def rounds(full, fast):
    return int(os.environ.get("ROUNDS") or (fast if quick() else full))


def seconds(full, fast):
    return int(os.environ.get("SECONDS_EACH") or (fast if quick() else full))


# ------------------------------------------------------------------ emit ---

def line(*fields):
    text = "\t".join(str(f) for f in fields) + "\n"
    path = os.environ.get("BENCH_OUT")
    if not path:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def table(name, title, x, plot):
    line("table", name, title, x, plot)


def emit(name, x, who, metric, unit, number, value):
    line("fig", name, x, who, metric, unit, number, f"{value:.6g}")


def missing(name, who, why):
    line("missing", name, who, why)


def note(name, text):
    line("note", name, text)


# --------------------------------------------------------------- daemons ---

def free_ports(count):
    socks = [socket.socket() for _ in range(count)]
    for s in socks:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


def data_directory(name):
    base = os.environ.get("BENCH_DIR") or os.path.join(ROOT, "build/bench")
    os.makedirs(base, exist_ok=True)
    return tempfile.mkdtemp(prefix=name + "-", dir=base)


class Cluster:
    """with Cluster(3) as c: ... ; the daemons and their data go with it."""

    def __init__(self, nodes=1, partitions=1, settings=()):
        self.nodes = nodes
        self.directory = data_directory(f"nodes{nodes}")
        ports = free_ports(2 * nodes)
        self.http, self.peer = ports[:nodes], ports[nodes:]
        self.daemons = []
        members = ", ".join(
            f'{{ name = "n{i + 1}"; peer = "127.0.0.1:{self.peer[i]}"; '
            f'http = "127.0.0.1:{self.http[i]}"; }}' for i in range(nodes))
        for i in range(nodes):
            path = os.path.join(self.directory, f"n{i + 1}")
            with open(path + ".conf", "w", encoding="utf-8") as f:
                f.write(f'node: {{ name = "n{i + 1}"; '
                        f'data_dir = "{path}"; }};\n'
                        f'http: {{ listen = [ "127.0.0.1:{self.http[i]}" ]; '
                        f'}};\nlog: {{ level = "warn"; }};\ncluster: {{ '
                        f"partitions = {partitions};\n")
                if nodes > 1:
                    f.write(f'listen = "127.0.0.1:{self.peer[i]}"; '
                            f"members = ( {members} );\n")
                f.write("};\n" + "".join(s + "\n" for s in settings))
        try:
            for i in range(nodes):
                self.start(i)
            self.await_ready()
        except BaseException:
            self.stop()
            raise

    def start(self, i):
        path = os.path.join(self.directory, f"n{i + 1}")
        with open(path + ".log", "ab") as log:
            self.daemons.append(subprocess.Popen(
                [DAEMON, "--config", path + ".conf"], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL))

    def await_ready(self):
        end = time.monotonic() + READY_S
        for i in range(self.nodes):
            while self.ask(i, "GET", "/_/ready")[0] != 200:
                if self.daemons[i].poll() is not None:
                    raise Trouble(f"daemon n{i + 1} ended: {self.log(i)}")
                if time.monotonic() > end:
                    raise Trouble(f"n{i + 1} is not ready: {self.log(i)}")
                time.sleep(0.05)

    def log(self, i):
        path = os.path.join(self.directory, f"n{i + 1}.log")
        with open(path, encoding="utf-8", errors="replace") as f:
            return " / ".join(f.read().splitlines()[-3:])

    def ask(self, i, method, path, body=None):
        """(status, body); status 0: no answer."""
        try:
            c = http.client.HTTPConnection("127.0.0.1", self.http[i],
                                           timeout=60)
            try:
                c.request(method, path, body, {
                    "Content-Type": "application/octet-stream"}
                    if body is not None else {})
                answer = c.getresponse()
                return answer.status, answer.read()
            finally:
                c.close()
        except OSError:
            return 0, b""

    def status(self, i=0):
        code, body = self.ask(i, "GET", "/_/status")
        if code != 200:
            raise Trouble(f"/_/status of n{i + 1} answers {code}")
        return json.loads(body)

    def url(self, i=0):
        return f"http://127.0.0.1:{self.http[i]}"

    def leader(self):
        """The place of the node that leads the first partition."""
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            name = self.status().get("leader") or ""
            if name:
                return int(name[1:]) - 1
            time.sleep(0.05)
        raise Trouble("no leader")

    def processor_seconds(self):
        """What each daemon has used up so far."""
        used = []
        for daemon in self.daemons:
            with open(f"/proc/{daemon.pid}/stat", encoding="utf-8") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            used.append((int(fields[11]) + int(fields[12])) /
                        os.sysconf("SC_CLK_TCK"))
        return used

    def stop(self):
        for daemon in self.daemons:
            if daemon.poll() is None:
                daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.stop()


class Hello:
    """The bare libmicrohttpd that answers anything from memory."""

    def __enter__(self):
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [os.path.join(ROOT, "build/bench/bench_hello"), str(port), "1"])
        end = time.monotonic() + READY_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return self
            except OSError:
                if time.monotonic() > end:
                    self.process.kill()
                    raise Trouble("bench_hello does not listen") from None
                time.sleep(0.05)

    def __exit__(self, *why):
        self.process.kill()
        self.process.wait()


# ------------------------------------------------------------------ load ---

def load(urls, kind, requests, size, conns, keys=None, dist="uniform",
         check=True):
    """One run of `raftcask bench`: its report. urls: one or a list."""
    if isinstance(urls, str):
        urls = [urls]
    command = [CLIENT, *(w for url in urls for w in ("-e", url)), "bench",
               f"-t={kind}", f"-n={requests}", f"-sz={size}",
               f"-conns={conns}", f"-dist={dist}",
               f"-keys={keys or requests}", "--json"]
    done = subprocess.run(command, capture_output=True, text=True,
                          check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise Trouble(f"raftcask bench: {done.stderr.strip()}") from None
    if check and report["failed"]:
        raise Trouble(f"raftcask bench: {report['failed']} requests failed: "
                      f"{done.stderr.strip()}")
    return report


def load_for(urls, kind, span_s, size, conns, keys, dist="uniform",
             some=None):
    """The same for about span_s seconds, found out by a short run first."""
    some = some or max(200, 10 * conns)
    rate = load(urls, kind, some, size, conns, keys, dist)["rate"]
    return load(urls, kind, max(conns, int(rate * span_s)), size, conns, keys,
                dist)


def wrk(url, conns, span_s, script, directory):
    """Rate, p99 in ms and failures of a wrk run with a Lua script."""
    path = os.path.join(directory, "load.lua")
    with open(path, "w", encoding="utf-8") as f:
        f.write(script)
    out = subprocess.run(
        ["wrk", "-t1", f"-c{conns}", f"-d{span_s}s", "--timeout", "10s",
         "--latency", "-s", path, url], capture_output=True, text=True,
        check=False).stdout
    rate = re.search(r"Requests/sec:\s*([\d.]+)", out)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s|m)\b", out)
    if not rate or not p99:
        raise Trouble(f"wrk: {out.strip()[-200:]}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    failed = int(bad.group(1)) if bad else 0
    errors = re.search(r"Socket errors: (.*)", out)
    if errors:
        failed += sum(int(n) for n in re.findall(r"\d+", errors.group(1)))
    scale = {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[p99.group(2)]
    return float(rate.group(1)), float(p99.group(1)) * scale, failed


def main(parts):
    """Run the part named on the command line; parts: {name: function}."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = [a for a in sys.argv[1:] if not a.startswith("-")]
    try:
        for name in names or parts:
            parts[name]()
    except Trouble as why:
        print(f"bench: {why}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
