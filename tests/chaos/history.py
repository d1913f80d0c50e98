"""history.py - what clients asked and were told, as lines for build/linear
(tests/lib/linear.h), and where everybody looks for the nodes."""
import json
import os
import threading
import time


class Control:
    """The file that the rig writes, read again now and then."""

    def __init__(self, path):
        self.path, self.at = path, 0
        self.now = {}
        self.look()

    def look(self):
        if time.monotonic() < self.at:
            return self.now
        self.at = time.monotonic() + 0.2
        try:
            with open(self.path) as f:
                self.now = json.load(f)
        except FileNotFoundError:
            self.now = dict(self.now, stop=True)  # the rig is gone
        return self.now


class History:
    """Lines in a file; threads share it."""

    def __init__(self, path):
        self.file, self.lock = open(path, "a", 1 << 16), threading.Lock()
        self.counts, self.path = {}, path
        self.noted = 0

    def add(self, **op):
        line = json.dumps(op, separators=(",", ":")) + "\n"
        with self.lock:
            self.file.write(line)
            word = "%s %s" % (op["op"], op["ok"])
            self.counts[word] = self.counts.get(word, 0) + 1
            if time.monotonic() - self.noted > 0.5:
                self.noted = time.monotonic()
                self.file.flush()
                self.note()

    def note(self):
        """Counts go beside the history, for who waits for progress."""
        with open(self.path + ".counts.new", "w") as f:
            json.dump(self.counts, f)
        os.rename(self.path + ".counts.new", self.path + ".counts")

    def close(self):
        with self.lock:
            self.file.close()
            self.note()


# The keys of one generation, below g<number>/. Each kind of key lives with
# operations that fit to it, so that what they do can be judged.
REGISTERS = ("r0", "r1", "r2", "r3")  # changed whole, all of a length
MOVERS = ("m0", "m1", "m2")           # put, and renamed among each other
LISTS = ("l0", "l1")                  # appended to, and deleted
TWINS = ("t0", "t1")                  # one transaction writes both
FADING = ("x0", "x1")                 # put with a time to live
BIG = ("b0", "b1")                    # several chunks, over HTTP
SWAPPED = ("a0", "a1")                # several chunks, put in place by rename
DIRECTORIES = ("d/D", "d/E")          # renamed whole, with what is in them
INSIDE = ("", "p", "q")
SHARED = REGISTERS + MOVERS + LISTS + TWINS + FADING + BIG + SWAPPED


def keys_of(generation):
    names = SHARED + tuple("%s/%s" % (d, n) for d in DIRECTORIES
                           for n in INSIDE)
    return ["g%d/%s" % (generation, n) for n in names]


BLOCK = 97  # no power of two, so that no chunk begins where a block does


def inflate(tag, size):
    """Bytes that say in every block of 97 which value they are of."""
    block = ("%s;" % tag).encode().ljust(BLOCK, b".")
    return (block * (size // BLOCK + 1))[:size // BLOCK * BLOCK]


def deflate(data):
    """The value's tag with its length, or what is wrong with the bytes."""
    tag = data[:BLOCK].split(b";")[0]
    want = inflate(tag.decode("latin-1"), len(data))
    if not data or data == want:
        return "%s*%d" % (tag.decode("latin-1"), len(data)) if data else ""
    at = next((i for i, (a, b) in enumerate(zip(data, want)) if a != b),
              min(len(data), len(want)))
    return "MIXED %s.. of %d bytes has at %d %r" % (
        tag.decode("latin-1"), len(data), at, data[at:at + 40])
