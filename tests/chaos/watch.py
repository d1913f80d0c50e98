"""watch.py - one stream of changes per node, written down as it comes.

    python3 watch.py CONTROL OUT PREFIX STREAMS

A stream that breaks is gone on with at any node, behind the last event that it
had. Lines of OUT, which belong to one stream each:

    {"s":1,"node":"n1","open":"11.0"}     asked for what is behind that id
    {"s":1,"id":"12.0","event":"put","key":..,"rev":..,"value":..}
    {"s":1,"gap":true}                    410: what was between is not known
"""
import json
import os
import random
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "blackbox"))
from harness import Failure  # noqa: E402
from cluster_kit import TORN  # noqa: E402
from history import Control  # noqa: E402
from rig import dial  # noqa: E402

SILENCE_S = 18  # a comment is due every 15 s


class Stream:
    def __init__(self, control, out, lock, prefix, number):
        self.control, self.out, self.lock = control, out, lock
        self.prefix, self.number, self.last = prefix, number, None
        self.rng = random.Random(number)

    def put_down(self, **what):
        with self.lock:
            self.out.write(json.dumps(dict(what, s=self.number),
                                      separators=(",", ":")) + "\n")

    def run(self):
        while not self.stop():
            try:
                self.follow()
            except (Failure, *TORN):
                time.sleep(0.1)

    def stop(self):
        return self.control.look().get("stop_watching")

    def follow(self):
        nodes = self.control.look()["nodes"]
        if not nodes:
            return time.sleep(0.1)
        node = self.rng.choice(nodes)
        path = "/_/watch?prefix=" + self.prefix
        headers = [("Last-Event-ID", self.last)] if self.last else []
        with dial(node, 2) as c:
            c.start("GET", path, headers)
            head = c.read_head()
            if head.status == 410:
                self.put_down(gap=True)
                self.last = None
                return
            if head.status != 200:
                return time.sleep(0.1)
            self.put_down(node=node["name"], open=self.last)
            self.events(c, time.monotonic() + self.rng.uniform(1, 30))

    def events(self, c, until):
        """Until the stream ends, is silent too long, or it is time to move."""
        text, heard = b"", time.monotonic()
        c.sock.settimeout(1)
        while True:
            try:
                if not c.read():
                    return
                heard = time.monotonic()
            except TimeoutError:
                pass
            got, c.got = self.chunks(c.got)
            text += got
            while b"\n\n" in text:
                one, text = text.split(b"\n\n", 1)
                self.event(one.decode())
            now = time.monotonic()
            if now > until or now > heard + SILENCE_S or self.stop():
                return

    @staticmethod
    def chunks(data):
        """(what whole chunks say, the rest)"""
        out = b""
        while b"\r\n" in data:
            head, rest = data.split(b"\r\n", 1)
            size = int(head.split(b";")[0], 16)
            if len(rest) < size + 2:
                break
            out, data = out + rest[:size], rest[size + 2:]
        return out, data

    def event(self, text):
        fields = {}
        for line in text.split("\n"):
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
        if "id" in fields:
            self.last = fields["id"]
            self.put_down(id=fields["id"], event=fields["event"],
                          **json.loads(fields["data"]))


def main():
    control, path, prefix, count = sys.argv[1:]
    control, lock = Control(control), threading.Lock()
    with open(path, "w", 1) as out:
        threads = [threading.Thread(
            target=Stream(control, out, lock, prefix, i).run, daemon=True)
            for i in range(int(count))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()


if __name__ == "__main__":
    main()
