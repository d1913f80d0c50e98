"""top.py - the live picture of a cluster, on a terminal of 80 columns and 24
lines and without one; and the terminal is as it was whatever ends it."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

from client_kit import ENV, as_json, run, succeed, url
from cluster_kit import Cluster
from harness import CLIENT, Node, case, equal, expect, main, wait_for


class Terminal:
    """A program on a pseudo terminal; screen is what a person would see."""

    def __init__(self, *arguments, columns=80, lines=24):
        self.columns, self.lines = columns, lines
        self.main, self.end = pty.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ,
                    struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(self.end)
        self.raw = b""
        self.process = subprocess.Popen(
            [CLIENT, *arguments], stdin=self.end, stdout=self.end,
            stderr=self.end, env=dict(ENV, TERM="xterm"),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.main)
        os.close(self.end)

    def read(self, seconds=0.1):
        while select.select([self.main], [], [], seconds)[0]:
            self.raw += os.read(self.main, 65536)
            seconds = 0.01

    def screen(self):
        """The last picture drawn whole."""
        self.read()
        frames = self.raw.decode("utf-8", "replace").split("\033[H")
        if len(frames) < 2:
            return []
        text = re.sub(r"\033\[[?0-9;]*[A-Za-z]", "", frames[-1])
        return [line.strip("\r") for line in text.split("\n")]

    def fits(self):
        screen = wait_for(self.screen, "a picture")
        expect(len(screen) <= self.lines, len(screen), "lines:", screen)
        for line in screen:
            expect(len(line) <= self.columns, "too long:", line)
            expect(not re.search(r"[^ -~]", line), "plain text:", repr(line))
        return screen

    def key(self, key):
        os.write(self.main, key)

    def ended(self, status):
        equal(self.process.wait(10), status, "exit status")
        self.read()
        equal(termios.tcgetattr(self.end), self.before, "terminal settings")
        for on, off in ((b"\033[?1049h", b"\033[?1049l"),
                        (b"\033[?25l", b"\033[?25h")):
            expect(0 <= self.raw.rfind(on) < self.raw.rfind(off), on,
                   "is taken back by", off)


class Writing:
    def __init__(self, node):
        self.node, self.stop = node, threading.Event()

    def write(self):
        with self.node.conn() as c:
            i = 0
            while not self.stop.is_set():
                i += 1
                c.call("PUT", "/load/%d" % (i % 50), b"x" * 100)
                c.call("GET", "/load/%d?raw" % (i % 50))

    def __enter__(self):
        self.thread = threading.Thread(target=self.write, daemon=True)
        self.thread.start()

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


@case("three nodes on 80x24: roles, rates and latencies while it is written")
def _():
    with Cluster(settings={"cluster.partitions": "30"}) as cluster, \
            Writing(cluster.members[1]):
        every = [w for m in cluster.members for w in ("-e", url(m))]
        with Terminal(*every, "top", "-d", "300ms") as t:
            wait_for(lambda: any(re.match(
                r"n2 +leads \d+ +\d+ +\d+ +[1-9]\S* +[1-9]\S* ", line)
                for line in t.screen()), "rates of n2")
            screen = t.fits()
            expect("nodes 3 of 3" in screen[0] and "partitions 30" in
                   screen[0], screen[0])
            equal(len(screen), 24, "lines")
            expect(any("more partitions" in line for line in screen),
                   "what does not fit is counted")
            expect("MERGE" in screen[2], "the head is whole:", screen[2])
            row = next(line for line in screen if line.startswith("n2"))
            expect(re.search(r"\d+(us|ms) +\d+(us|ms)", row), "latencies", row)
            cluster.members[2].kill9()
            wait_for(lambda: any(re.match(r"n3 +(silent|down)", line)
                                 for line in t.screen()), "n3 is gone")
            t.fits()
            t.key(b"q")
            t.ended(0)


@case("the terminal is restored by q, Ctrl-C, signals, -n, and a lost cluster")
def _():
    node = Node()
    node.start()
    for how in (b"q", b"\x03", signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT,
                "-n", "stop"):
        words = ["-e", url(node), "top", "-d", "200ms"]
        with Terminal(*words, *(["-n", "2"] if how == "-n" else [])) as t:
            if how == "-n":
                t.ended(0)
                continue
            t.fits()
            if how == "stop":
                t.process.send_signal(signal.SIGTSTP)
                wait_for(lambda: open("/proc/%d/stat" % t.process.pid).read()
                         .split()[2] == "T", "it stands still")
                equal(termios.tcgetattr(t.end), t.before, "while it stands")
                t.process.send_signal(signal.SIGCONT)
                time.sleep(0.3)
                expect(termios.tcgetattr(t.end) != t.before, "again")
                how = b"q"
            if isinstance(how, bytes):
                t.key(how)
                t.ended(0 if how == b"q" else -signal.SIGINT)
            else:
                t.process.send_signal(how)
                t.ended(-how)
    with Terminal("-e", url(node), "top", "-d", "200ms", columns=30,
                  lines=5) as t:
        t.fits()
        fcntl.ioctl(t.end, termios.TIOCSWINSZ,
                    struct.pack("HHHH", 10, 50, 0, 0))
        t.columns, t.lines = 50, 10
        time.sleep(0.5)
        t.fits()
        node.kill9()
        wait_for(lambda: "no node answers" in (t.screen() or [""])[0],
                 "it says so")
        node.start()
        wait_for(lambda: "nodes 1 of 1" in (t.screen() or [""])[0], "back")
        t.key(b"q")
        t.ended(0)
    node.remove()


@case("without a terminal it is one picture in plain text, or JSON")
def _():
    with Cluster() as cluster, Writing(cluster.members[0]):
        one = url(cluster.members[0])
        out = succeed("-e", one, "top", "-d", "300ms").decode()
        expect("\033" not in out, "no escapes")
        equal(len([line for line in out.splitlines()
                   if re.match("n[123] ", line)]), 3, "nodes in", out)
        out = succeed("-e", one, "top", "-n", "3", "-d", "100ms").decode()
        equal(out.count("cluster "), 3, "pictures")
        told = as_json("-e", one, "top", "-n", "1", "-d", "500ms")
        equal([n["name"] for n in told["nodes"]], ["n1", "n2", "n3"], "names")
        equal(sorted(n["state"] for n in told["nodes"]),
              ["follower", "follower", "leader"], "states")
        first = told["nodes"][0]
        expect(first["set_per_s"] > 0 and first["get_per_s"] > 0, first)
        leader = next(n for n in told["nodes"] if n["state"] == "leader")
        expect(leader["file_bytes"] > 0 and leader["uptime_s"] >= 0, leader)
    status, out, err = run("-e", one, "top")
    equal((status, out), (1, b""), "no cluster")
    expect("Couldn't connect" in err or "refused" in err, err)
    for words in (["-n", "0"], ["-n", "x"], ["-d", "1ms"], ["more"]):
        equal(run("-e", one, "top", *words)[0], 2, words)


@case("a token that is missing, or taken away meanwhile, is what it says")
def _():
    node = Node({"security.tokens": "true"})
    status, admin, err = run("token", "init", "--data-dir", node.data)
    equal(status, 0, err)
    words = ["-e", url(node), "--token", admin.decode().strip(), "token"]
    node.start()
    wait_for(lambda: run(*words)[0] == 0, "the first token counts")
    status, out, err = run("-e", url(node), "top")
    equal((status, out), (1, b""), "without one")
    expect("unauthorized" in err, err)
    reader = succeed(*words, "add", "reader", "--prefix", "", "--rights", "r")
    with Terminal("-e", url(node), "--token", reader.decode().strip(), "top",
                  "-d", "200ms") as t:
        t.fits()
        succeed(*words, "remove", "reader")
        wait_for(lambda: "the token is refused (401)" in
                 (t.screen() or [""])[0], "it says so")
        t.key(b"q")
        t.ended(0)
    node.remove()


if __name__ == "__main__":
    main()
