"""damage.py - bits flipped, files cut, swapped, zeroed and removed in a data
directory: the daemon answers the right bytes, or says `corrupt` for a key it
can name, or refuses to start and says how to repair. It never answers other
bytes or an older value, never loses a key in silence, never restarts for ever.

A directory is made once, with merged files, hints, sealed segments, the active
one, manifest and state in it; every round damages a copy. ROUNDS=2000 looks
longer; SEED= repeats."""
import base64
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import time

from harness import (CLIENT, CutShort, Failure, Node, SEED, case, equal,
                     expect, lasting, main, make_directory, quote, wait_for)

ROUNDS = int(os.environ.get("ROUNDS", "36"))
CONFIG = {"storage.max_file_size": '"1M"', "storage.merge.rate": '"0"',
          "storage.merge.dead_ratio": "0.9",
          "storage.merge.small_file": '"0"'}


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def contents(directory):
    """Of a running daemon's too: a merge may take a file away meanwhile."""
    while True:
        try:
            return {name: read(os.path.join(directory, name))
                    for name in sorted(os.listdir(directory))}
        except FileNotFoundError:
            continue


class Original:
    """The undamaged directory and what it must answer."""

    def __init__(self):
        rng = random.Random(SEED)
        self.values = {}    # key -> bytes; None when deleted
        self.past = {}      # key -> digests of all it ever had
        self.root = make_directory()
        self.node = n = Node(CONFIG)
        lasting.append(n)
        n.start()
        self.conn = n.conn()
        keys = ["%s/%02d" % (d, i) for d in "ab" for i in range(45)]
        for phase in range(3):
            for key in rng.sample(keys, 70):
                self.change(rng, key)
            if phase == 1:
                n.call("POST", "/_/merge", b"")
                time.sleep(0.3)
                wait_for(lambda: n.status()["storage"]["merge"] == "idle",
                         "the merge ends")
        time.sleep(0.3)
        before = contents(n.data)
        self.change(rng, keys[0], 100)
        time.sleep(0.2)
        after = contents(n.data)
        self.active = [f for f in after if f.endswith(".log") and
                       after[f] != before.get(f)]
        equal(len(self.active), 1, "active segments")
        self.active = self.active[0]
        a, b = before[self.active], after[self.active]
        self.data_end = max(i for i in range(0, len(b), 8)
                            if a[i:i + 8] != b[i:i + 8])
        self.conn.close()
        n.kill9()
        self.killed = os.path.join(self.root, "killed")
        shutil.copytree(n.data, self.killed)
        n.start()
        time.sleep(0.2)
        n.stop()
        self.clean = os.path.join(self.root, "clean")
        shutil.copytree(n.data, self.clean)
        self.copies = 0
        names = os.listdir(self.killed)
        for kind in (r"\.log$", r"\.dat$", r"\.hint$", "MANIFEST", "state"):
            expect(any(re.search(kind, f) for f in names), "a file", kind,
                   "in", names)

    def change(self, rng, key, size=None):
        if size is None and rng.random() < 0.2:
            self.conn.call("DELETE", quote(key))
            self.values[key] = None
        else:
            value = rng.randbytes(size or rng.choice((
                20, 300, 3000, 30000, 60000, rng.randrange(200000))))
            expect(self.conn.call("PUT", quote(key), value).status in
                   (201, 204), "put")
            self.values[key] = value
            self.past.setdefault(key, set()).add(
                hashlib.sha1(value).digest())

    def copy(self, which):
        """A daemon, not started, on a copy of the directory."""
        self.copies += 1
        root = os.path.join(self.root, str(self.copies))
        os.mkdir(root)
        n = Node(CONFIG, root)
        n.own_root = True
        shutil.copytree(which, n.data)
        return n


original = None


def offline(verb, node, *more):
    """Status and text of an offline verb of the client."""
    r = subprocess.run([CLIENT, verb, "--data-dir", node.data, *more],
                       stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=60)
    return r.returncode, (r.stdout + r.stderr).decode("utf-8", "replace")


def start(node):
    """Returns "serves" or "refuses"; anything else is a failure."""
    node.spawn()
    end = time.monotonic() + 15
    while True:
        status = node.process.poll()
        if status is not None:
            node.ended = True
            equal(status, 1, "exit status of a refusal")
            return "refuses"
        try:
            if node.is_ready():
                return "serves"
        except Failure:
            continue
        expect(time.monotonic() < end, "neither serves nor refuses")
        time.sleep(0.005)


def examine(node, lost_allowed=False):
    """Every key of the running node. Returns those that are corrupt."""
    corrupt, missing = [], []
    with node.conn() as c:
        for key, value in original.values.items():
            try:
                r = c.call("GET", quote(key) + "?raw")
            except CutShort as cut_short:
                # Found after the head was sent: it ends before the damage.
                expect(value and value.startswith(cut_short.part),
                       key, "has other bytes before it is cut short")
                corrupt.append(key)
                c.close()
                c = node.conn()
                continue
            if r.status == 500:
                equal(r.code, "corrupt", "code of", key)
                corrupt.append(key)
            elif r.status == 404:
                if value is not None:
                    missing.append(key)
            else:
                equal(r.status, 200, "status of", key)
                if r.body == value:
                    continue
                old = hashlib.sha1(r.body).digest() in original.past.get(
                    key, ())
                expect(old, key, "has bytes it never had")
                expect(lost_allowed, key, "is back" if value is None else
                       "has an older value")
    expect(lost_allowed or not missing, "silently missing:", missing[:5])
    names = {k["key"] for k in node.list_all()[0]}
    live = {k for k, v in original.values.items() if v is not None}
    expect(lost_allowed or live <= names, "not listed:",
           sorted(live - names)[:5])
    expect(lost_allowed or names <= live | set(corrupt), "listed, though "
           "deleted or never written:", sorted(names - live)[:5])
    return corrupt


def flip(rng, node, name, what):
    path = os.path.join(node.data, name)
    data = bytearray(read(path))
    end = original.data_end if name == original.active else len(data)
    at = rng.randrange(end)
    if rng.random() < 0.3:
        at = min(at, rng.randrange(1, 4096), end - 1)  # headers
    data[at] ^= 1 << rng.randrange(8)
    write(path, data)
    what.append("bit of %s at %d flipped" % (name, at))


def choose(rng, node, pattern):
    names = [f for f in sorted(os.listdir(node.data)) if f != "LOCK" and
             os.path.getsize(os.path.join(node.data, f)) and
             re.search(pattern, f)]
    return rng.choice(names) if names else None


def cut(rng, node, name, what):
    if name == original.active:
        return  # torn tails have their own case
    path = os.path.join(node.data, name)
    size = rng.randrange(os.path.getsize(path))
    os.truncate(path, size)
    what.append("%s cut to %d bytes" % (name, size))


def zero(rng, node, name, what):
    if name == original.active:
        return
    path = os.path.join(node.data, name)
    data = read(path)
    at = rng.randrange(len(data))
    write(path, data[:at] + bytes(len(data) - at))
    what.append("%s zero from %d" % (name, at))


def zero_sector(rng, node, name, what):
    path = os.path.join(node.data, name)
    data = bytearray(read(path))
    end = original.data_end if name == original.active else len(data)
    at = rng.randrange(end) // 512 * 512
    data[at:at + 512] = bytes(len(data[at:at + 512]))
    write(path, data)
    what.append("sector of %s at %d zeroed" % (name, at))


def remove(rng, node, name, what):
    os.unlink(os.path.join(node.data, name))
    what.append("%s removed" % name)


def same_kind(rng, node, name):
    return choose(rng, node, re.escape(re.sub(r"^.*?(?=\.|$)", "", name)) +
                  "$" if "." in name else "^(MANIFEST|state)$")


def swap(rng, node, name, what):
    other = same_kind(rng, node, name)
    a, b = (os.path.join(node.data, f) for f in (name, other))
    da, db = read(a), read(b)
    write(a, db)
    write(b, da)
    what.append("%s and %s swapped" % (name, other))


def overwrite(rng, node, name, what):
    other = same_kind(rng, node, name)
    shutil.copyfile(os.path.join(node.data, other),
                    os.path.join(node.data, name)) if other != name else None
    what.append("%s copied over %s" % (other, name))


KINDS = (r"\.log$", r"\.dat$", r"\.log\.hint$", r"\.dat\.hint$", "MANIFEST",
         "state")


def after_damage(node, what, tally):
    """What the daemon and the tools make of it."""
    outcome = start(node)
    text = node.log_text()
    corrupt = []
    if outcome == "serves":
        corrupt = examine(node)
        s = node.status()["storage"]["corrupt"]
        if corrupt:
            expect(s, "status names the damage")
            for c in s:
                expect(c["file"] and isinstance(c["offset"], int) and
                       isinstance(c["keys"], int), "entry", c)
            m = node.call("GET", "/_/metrics").body.decode()
            expect(re.search(r"(?m)^\S*corrupt\S*(\{.*\})? [1-9]", m),
                   "metrics count it")
            expect(s[0]["file"] in node.log_text(), "the log names it")
        equal(node.stop(), 0, "SIGTERM")
        tally["corrupt" if corrupt else "right"] += 1
    else:
        tally["refuses"] += 1
        expect(re.search(r"raftcask repair", text), "names the repair call:",
               text[-250:])
        expect(re.search(r"\.(log|dat|hint)|MANIFEST|state|manifest", text),
               "names the file:", text[-250:])
        # Of a file that is missing, short or of another place, it is all.
        expect(re.search(r"(offset|off=|at|byte) ?\d+|missing|shorter|longer|"
                         r"no MANIFEST|MANIFEST is|state is|is not|belongs", text),
               "names the offset:", text[-250:])
    return outcome, corrupt


def after_repair(node, outcome, corrupt, tally):
    status, said = offline("check", node)
    if outcome == "refuses" or corrupt:
        expect(status not in (0, 2), "check reports it:", status, said)
        expect(len(said) > 10, "check says what:", said)
    elif status == 0:
        return
    before = contents(node.data)
    status, said = offline("repair", node)
    if outcome == "refuses":
        if status == 0:
            tally["repaired"] += 1
            equal(start(node), "serves", "after a repair without loss")
            equal(examine(node), [], "corrupt after a repair without loss")
            node.stop()
            return
        expect(contents(node.data) == before,
               "repair without --accept-loss changes nothing:", said)
        expect(len(said) > 10, "it says what would be lost:", said)
    status, said = offline("repair", node, "--accept-loss")
    equal(status, 0, "repair --accept-loss said", said, "status")
    equal(start(node), "serves", "after repair --accept-loss said", said,
          "it")
    examine(node, lost_allowed=True)
    node.put("written/after", b"repair")
    equal(node.stop(), 0, "SIGTERM")


def round_of(rng, damage, kind, which, tally):
    node = original.copy(which)
    what = []
    try:
        name = choose(rng, node, kind)
        if name is None:
            return
        damage(rng, node, name, what)
        outcome, corrupt = after_damage(node, what, tally)
        after_repair(node, outcome, corrupt, tally)
    except Exception as error:
        keep = os.environ.get("KEEP")
        if keep:
            shutil.copytree(node.data, keep, dirs_exist_ok=True)
        raise Failure("%s (%s): %s" % ("; ".join(what), os.path.basename(
            which), error)) from error
    node.remove()


def rounds(count, damages, kinds=KINDS):
    rng = random.Random("%d %s" % (SEED, damages[0].__name__))
    tally = dict.fromkeys(("right", "corrupt", "refuses", "repaired"), 0)
    for i in range(count):
        round_of(rng, damages[i % len(damages)],
                 kinds[i // len(damages) % len(kinds)],
                 rng.choice((original.clean, original.killed)), tally)
    print("# %d rounds: %s" % (count, tally))


@case("the undamaged directory is right, and check finds nothing")
def _():
    for which in (original.clean, original.killed):
        node = original.copy(which)
        status, said = offline("check", node)
        equal(status, 0, "check of", os.path.basename(which), "said", said)
        status, said = offline("repair", node)
        equal(status, 0, "repair said", said)
        expect(contents(node.data) == contents(which), "neither changes it")
        equal(start(node), "serves", "it")
        equal(examine(node), [], "corrupt keys")
        status, said = offline("check", node)
        equal(status, 75, "check of a directory in use said", said)
        status, said = offline("repair", node, "--accept-loss")
        equal(status, 75, "repair of a directory in use said", said)
        equal(node.stop(), 0, "SIGTERM")
        node.remove()


@case("a flipped bit in any kind of file is never answered")
def _():
    rounds(ROUNDS, [flip])


def forgotten(node):
    """Write and merge: is the damaged place given back and forgotten?"""
    node.put("away", os.urandom(300000))
    node.call("POST", "/_/merge", b"")
    time.sleep(0.1)
    return node.status()["storage"]["corrupt"] == []


@case("a flipped bit in a value damages that key alone, named in status")
def _():
    rng = random.Random(SEED)
    for which in (original.clean, original.killed):
        node = original.copy(which)
        key = rng.choice([k for k, v in original.values.items()
                          if v and 1000 < len(v) < 60000])
        value = original.values[key]
        hits = 0
        for name, data in contents(node.data).items():
            at = data.find(value)
            if at >= 0:
                data = bytearray(data)
                data[at + rng.randrange(len(value))] ^= 4
                write(os.path.join(node.data, name), data)
                hits += 1
        expect(hits, "the value is found in a file")
        equal(start(node), "serves", "it")
        equal(examine(node), [key], "corrupt keys")
        s = node.status()["storage"]["corrupt"]
        equal(sum(c["keys"] for c in s), 1, "keys in", s)
        r = node.call("GET", quote(key))
        equal((r.status, r.code), (500, "corrupt"), "JSON GET")
        node.put(key, b"written anew", 204)
        equal(node.get(key).body, b"written anew", "a new value heals it")
        wait_for(lambda: forgotten(node), "the damage is merged away")
        equal(node.get(key).body, b"written anew", "after the merge")
        node.remove()


@case("a damaged value stays damaged through merges and restarts")
def _():
    rng = random.Random(SEED)
    for which in (original.clean, original.killed) * 2:
        node = original.copy(which)
        files = contents(node.data)
        hit = []
        live = [k for k, v in original.values.items()
                if v and 1000 < len(v) < 60000]
        for key in rng.sample(live, len(live)):
            places = [(name, data.find(original.values[key]))
                      for name, data in files.items()
                      if original.values[key] in data]
            if len(hit) == 6 or original.active in dict(places):
                continue
            for name, at in places:
                files[name] = files[name][:at] + b"damage" + \
                    files[name][at + 6:]
                write(os.path.join(node.data, name), files[name])
            hit.append(key)
        expect(len(hit) >= 3, "some values are hit")
        equal(start(node), "serves", "it")
        equal(sorted(examine(node)), sorted(hit), "corrupt keys")
        for _ in range(2):
            # Everything around them dies, and is merged away.
            for key in live:
                if key not in hit:
                    node.put(key, original.values[key])
            node.call("POST", "/_/merge", b"")
            time.sleep(0.3)
            wait_for(lambda: node.status()["storage"]["merge"] == "idle",
                     "the merge ends")
            equal(sorted(examine(node)), sorted(hit), "after a merge")
            expect(node.status()["storage"]["corrupt"], "status names them")
            node.kill9()
            status, said = offline("check", node)
            expect(status not in (0, 2), "check after a merge:", said)
            equal(start(node), "serves", "it, after a merge")
            equal(sorted(examine(node)), sorted(hit), "after a restart")
        node.remove()


@case("a bit flipped under the running daemon is never answered either")
def _():
    rng = random.Random(SEED)
    node = original.copy(original.clean)
    equal(start(node), "serves", "it")
    key = rng.choice([k for k, v in original.values.items()
                      if v and 1000 < len(v) < 60000])
    value = original.values[key]
    for name in os.listdir(node.data):
        path = os.path.join(node.data, name)
        at = read(path).find(value)
        if at >= 0:
            with open(path, "r+b") as f:
                f.seek(at + 7)
                byte = f.read(1)
                f.seek(at + 7)
                f.write(bytes([byte[0] ^ 1]))
    equal(examine(node), [key], "corrupt keys")
    expect(node.status()["storage"]["corrupt"], "status names it")
    node.remove()


@case("a file truncated under the running daemon costs keys, not the daemon")
def _():
    node = original.copy(original.clean)
    equal(start(node), "serves", "it")
    for name in os.listdir(node.data):
        if name.endswith(".dat"):
            os.truncate(os.path.join(node.data, name), 4096)
    corrupt = examine(node)
    expect(corrupt, "some keys are hit")
    expect(node.is_alive(), "the daemon lives")
    node.put("c/1", b"still takes writes", 201)
    node.remove()


@case("files cut, zeroed, swapped, overwritten or removed are noticed")
def _():
    rounds(ROUNDS, [cut, zero, zero_sector, remove, swap, overwrite])


@case("several things damaged at once")
def _():
    def several(rng, node, name, what):
        for _ in range(rng.randrange(2, 5)):
            damage = rng.choice((flip, flip, cut, zero_sector, remove))
            victim = choose(rng, node, rng.choice(KINDS))
            if victim:
                damage(rng, node, victim, what)
    rounds(ROUNDS // 4, [several])


def own_values():
    """Where the values of the store's own records lie: file, first, last."""
    node = original.copy(original.clean)
    status, text = offline("dump", node, "-o", "json")
    equal(status, 0, "dump")
    found = []
    for line in text.splitlines():
        r = json.loads(line)
        key = r.get("key", "")
        key = base64.b64decode(key) if r.get("encoding") else key.encode()
        if key[:1] != b"\0" or key[1:2] == b"c" or not r.get("value"):
            continue
        value = r["value"]
        value = base64.b64decode(value) if r.get("value_encoding") else \
            value.encode()
        at = read(os.path.join(node.data, r["file"])).index(
            key + value, r["offset"]) + len(key)
        found.append((key[1:2], r["file"], at, at + len(value)))
    node.remove()
    return found


@case("its own records damaged, a lone node serves every key or refuses")
def _():
    rng = random.Random(SEED)
    outcomes = {}
    for kind, name, first, end in own_values():
        node = original.copy(original.clean)
        path = os.path.join(node.data, name)
        data = bytearray(read(path))
        data[rng.randrange(first, end)] ^= 1 << rng.randrange(8)
        write(path, data)
        outcomes[kind] = start(node)
        if outcomes[kind] == "serves":
            equal(examine(node), [], "keys hit by", kind)
        else:
            status, text = offline("repair", node)
            expect("accept-loss" in text, text)
        if kind == b"m":  # it knows who it is, and writes that anew
            equal(outcomes[kind], "serves", "without its own entry")
            equal([m["name"] for m in node.call(
                "GET", "/_/members").json()["members"]], ["n1"], "members")
            wait_for(lambda: node.call("POST", "/_/merge", b"") and
                     not node.status()["storage"]["corrupt"], "it is healed")
        node.remove()
    expect({b"m", b"n"} <= set(outcomes), "records of", outcomes)


@case("any segment of zeroes can be given up, and the rest is served then")
def _():
    """Also one behind a segment that was left early, by a restart."""
    worked = 0
    base = original.copy(original.killed)
    for way in ("kill9", "stop"):
        base.start()
        base.put("segments/" + way, b"x" * 3000)
        getattr(base, way)()
    for name in sorted(os.listdir(base.data)):
        if not name.endswith(".log"):
            continue
        node = original.copy(base.data)
        path = os.path.join(node.data, name)
        write(path, bytes(os.path.getsize(path)))
        if start(node) == "refuses":
            status, text = offline("repair", node)
            equal(status, 1, "repair", text)
            expect("older values" in text, text)
            status, text = offline("repair", node, "--accept-loss")
            equal(status, 0, "giving up", name, text)
            equal(start(node), "serves", "after the repair of", name)
            worked += 1
        examine(node, lost_allowed=True)
        node.remove()
    expect(worked >= 1, "repaired", worked)
    base.remove()


@case("MANIFEST and all of the log lost, what was merged is served again")
def _():
    node = original.copy(original.clean)
    for name in os.listdir(node.data):
        if name == "MANIFEST" or ".log" in name:
            os.unlink(os.path.join(node.data, name))
    expect(any(n.endswith(".dat") for n in os.listdir(node.data)), "merged")
    equal(start(node), "refuses", "it")
    status, text = offline("repair", node, "--accept-loss")
    equal(status, 0, "repair", text)
    expect("all of the log is gone" in text, text)
    equal(start(node), "serves", "after the repair")
    examine(node, lost_allowed=True)
    node.remove()


@case("terms and votes of another node are no use, and check says so")
def _():
    other = Node(CONFIG)
    other.start()
    other.stop()
    node = original.copy(original.clean)
    shutil.copy(os.path.join(other.data, "state"), node.data)
    status, text = offline("check", node)
    equal(status, 1, "check", text)
    expect("state: belongs elsewhere" in text, text)
    equal(start(node), "refuses", "it")
    expect(os.path.join(node.data, "state") in node.log_text(), "it is named")
    other.remove()
    node.remove()


@case("a directory that is no node's is not called damaged")
def _():
    node = Node(CONFIG)
    os.mkdir(node.data)
    write(os.path.join(node.data, "letter.txt"), b"hello")
    for verb in ("check", "dump", "rebuild-hints", "repair"):
        status, text = offline(verb, node)
        equal(status, 1, verb, text)
        expect("no files of a node" in text, text)
    offline("repair", node, "--accept-loss")
    expect(set(os.listdir(node.data)) <= {"LOCK", "letter.txt"},
           os.listdir(node.data))
    node.remove()


@case("a file that cannot be read is named")
def _():
    for name in ("MANIFEST", "state", original.active):
        node = original.copy(original.clean)
        path = os.path.join(node.data, name)
        os.unlink(path)
        os.mkdir(path)
        equal(start(node), "refuses", name)
        expect(path + ":" in node.log_text(), name, "is named in",
               node.log_text())
        node.remove()


@case("a refusal is the same at every start: no restart loop")
def _():
    node = original.copy(original.killed)
    write(os.path.join(node.data, "MANIFEST"), b"\0" * 400)
    before = contents(node.data)
    for _ in range(3):
        equal(start(node), "refuses", "it")
        expect(contents(node.data) == before, "nothing is changed")
    node.remove()


@case("a torn tail of an unacknowledged batch is cut: all of it or nothing")
def _():
    rng = random.Random(SEED)
    for _ in range(max(6, ROUNDS // 2)):
        node, before, after, name = torn_batch(rng)
        a, b = before[name], after[name]
        changed = [i for i in range(len(b)) if a[i] != b[i]] if len(
            a) == len(b) else []
        expect(changed, "the batch is in", name)
        first, last = changed[0] // 512 * 512, changed[-1] + 1
        way = rng.choice(("stop", "sectors", "truncate", "zero"))
        at = rng.randrange(first, last)
        if way == "truncate":
            new = b[:at]
        elif way == "zero":
            new = b[:at] + bytes(last - at) + a[last:]
        elif way == "stop":
            new = b[:at] + a[at:]
        else:
            new = bytearray(b)
            sectors = range(first, last, 512)
            old = [s for s in sectors if rng.random() < 0.5] or [first]
            for s in old:
                new[s:s + 512] = a[s:s + 512]
        write(os.path.join(node.data, name), new)
        what = "%s of %s at %d (%d..%d)" % (way, name, at, first, last)
        try:
            # No crash makes a file shorter than it was made: that may be
            # refused, as long as it is said.
            outcome = start(node)
            if way != "truncate":
                equal(outcome, "serves", "it")
            if outcome == "serves":
                equal(examine_torn(node), [], "corrupt")
        except Exception as error:
            keep = os.environ.get("KEEP")
            if keep:
                shutil.copytree(node.data, keep, dirs_exist_ok=True)
            raise Failure("%s: %s" % (what, error)) from error
        node.remove()


def torn_batch(rng):
    """A daemon killed right after a batch, before its mark can follow."""
    while True:
        node = original.copy(original.killed)
        node.start()
        time.sleep(0.1)
        before = contents(node.data)
        big = rng.random() < 0.5
        body = json.dumps({"then": [
            {"put": "torn/%d" % i, "value": "t" * (20000 if big else 30)}
            for i in range(5)]}).encode()
        with node.conn() as c:
            begun = time.monotonic()
            equal(c.call("POST", "/_/txn", body).status, 200, "txn")
            node.process.kill()
            took = time.monotonic() - begun
        node.kill9()
        after = contents(node.data)
        names = [f for f in after if f.endswith(".log") and
                 before.get(f) != after[f]]
        if took < 0.009 and len(names) == 1 and len(
                before.get(names[0], b"")) == len(after[names[0]]):
            return node, before, after, names[0]
        node.remove()


def examine_torn(node):
    with node.conn() as c:
        got = {c.call("GET", "/torn/%d" % i).status for i in range(5)}
    expect(got in ({200}, {404}), "the batch is there in part:", got)
    if got == {200}:
        node.call("DELETE", "/_/kv?prefix=torn/")
    return examine(node)


if __name__ == "__main__":
    original = Original()
    try:
        main()
    finally:
        shutil.rmtree(original.root, ignore_errors=True)
