"""judge.py - what a run wrote down is held against what must hold.

    python3 judge.py DIRECTORY     judge the histories kept there once more
"""
import collections
import glob
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "blackbox"))
from harness import BUILD  # noqa: E402


def lines_of(path):
    with open(path) as f:
        for line in f:
            if line.endswith("\n"):  # the last one may be cut
                yield json.loads(line)


def generation_of(op):
    key = op.get("key") or next(
        item["key"] for name in ("if", "gets", "puts")
        for item in op.get(name, ()))
    return key.split("/")[0]


def fading(op):
    """A put that goes by itself, not before its time; as two operations."""
    goes = op.pop("goes_ns", None)
    if goes is None:
        return [op]
    del op["ttl_ns"]
    return [op, {"op": "cas", "ok": "unknown", "key": op["key"],
                 "expect": op["value"], "value": None, "start_ns": goes,
                 "client": op["client"]}]


def histories(root):
    """({generation: operations}, what was bad by itself)"""
    found, bad = collections.defaultdict(list), []
    for path in sorted(glob.glob(os.path.join(root, "history.*"))):
        if path.endswith((".counts", ".new")):
            continue
        for op in lines_of(path):
            if op["op"] == "bad":
                bad.append(op)
                continue
            found[generation_of(op)] += fading(op)
    return found, bad


def judge_histories(root):
    """What is wrong, as sentences; and how much was judged."""
    found, bad = histories(root)
    wrong = ["at %d client %s (%s): %s" % (
        b["start_ns"], b["client"], b.get("node"), b["what"]) for b in bad]
    linear = os.path.join(BUILD, "linear")
    count = 0
    for generation, ops in sorted(found.items()):
        path = os.path.join(root, "judged." + generation)
        with open(path, "w") as f:
            for op in ops:
                f.write(json.dumps(op) + "\n")
        got = subprocess.run([linear, "-n", "3000000", path],
                             capture_output=True, text=True)
        count += len(ops)
        if got.returncode == 0:
            os.unlink(path)
        elif got.returncode == 2:
            print("   %s: %s" % (path, got.stdout[:200]))
        else:
            wrong.append("%s: %s" % (path, (got.stdout + got.stderr)[:3000]))
    return wrong, count


def place(text):
    rev, _, at = text.partition(".")
    return int(rev), int(at or 0)


def judge_watches(path, ordered, final):
    """Streams of one cluster tell one story: each event once, rising, none
    left out between two that a stream had, whoever told them. final:
    {key: rev} of what is there in the end. ordered: one partition only."""
    wrong, story = [], {}
    had = collections.defaultdict(list)  # stream: runs of ids without a gap
    gaps = opened = 0
    for e in lines_of(path):
        runs = had[e["s"]]
        if e.get("gap"):
            gaps += 1
            runs.append([])
        elif "open" in e:
            opened += 1
            if e["open"] is None:
                runs.append([])
        elif "id" in e:
            what = (e["event"], e["key"], e.get("value"))
            # With several partitions an id says how far the stream has come
            # in each, so that only revision and key mean the same to all. A
            # rename onto an empty directory removes it first, in one entry.
            name = e["id"] if ordered else (e["rev"], e["key"], e["event"])
            before = story.setdefault(name, what)
            if before[:2] != what[:2] or (
                    before[2] != what[2] and None not in (before[2], what[2])):
                wrong.append("event %s is %r and %r" % (name, before, what))
            runs[-1].append(e["id"])
    order = sorted(story, key=place) if ordered else []
    for stream, runs in had.items():
        for ids in runs:
            if len(set(ids)) != len(ids):
                twice = [i for i, n in collections.Counter(ids).items()
                         if n > 1]
                wrong.append("stream %s had twice: %r" % (stream, twice[:5]))
            if not ordered or not ids:
                continue
            places = [place(i) for i in ids]
            if places != sorted(places):
                at = next(i for i in range(1, len(ids))
                          if places[i] < places[i - 1])
                wrong.append("stream %s: %s came behind %s" % (
                    stream, ids[at], ids[at - 1]))
            inside = [i for i in order if places[0] <= place(i) <= places[-1]]
            left_out = set(inside) - set(ids)
            if left_out:
                first = min(left_out, key=place)
                wrong.append("stream %s lacks %d events, first %s %r" % (
                    stream, len(left_out), first, story[first]))
    if ordered:
        since = told_since(had)
        wrong += judge_story([i for i in order if place(i) >= since],
                             story, final)
    return wrong, "%d events, %d streams opened, %d gaps" % (
        len(story), opened, gaps)


def told_since(had):
    """From where on no event can be missing: behind a gap that all streams
    had at once nobody knows what was in it. Runs that overlap have none."""
    since = None
    for first, last in sorted(((place(ids[0]), place(ids[-1]))
                               for runs in had.values() for ids in runs
                               if ids), key=lambda run: run[1], reverse=True):
        if since is None or last >= since:
            since = first if since is None else min(since, first)
    return since


def judge_story(order, story, final):
    """The last event of a key is what became of it."""
    last = {}
    for i in order:
        last[story[i][1]] = (story[i][0], place(i)[0])
    wrong = []
    for key, (event, rev) in last.items():
        if (event == "put") != (key in final):
            wrong.append("the last event of %s is %s of %d, but it is %s" % (
                key, event, rev, "there" if key in final else "not there"))
        elif event == "put" and final[key] != rev:
            wrong.append("the last event of %s is of %d, the key's last "
                         "change of %d" % (key, rev, final[key]))
    return wrong


if __name__ == "__main__":
    wrong, judged = judge_histories(sys.argv[1])
    print("\n".join(wrong))
    print("%d operations judged, %d wrong" % (judged, len(wrong)))
    sys.exit(1 if wrong else 0)
