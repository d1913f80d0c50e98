"""tests/bench/report.py - cases of test_report.sh."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "bench"))
os.chdir(ROOT)

import page      # noqa: E402
import results   # noqa: E402
import run       # noqa: E402
import text      # noqa: E402

CASES = []


def case(function):
    CASES.append(function)
    return function


def fields(*rows):
    return ["\t".join(str(f) for f in row) + "\n" for row in rows]


SMALL = fields(
    ("table", "get", "get of a key", "value bytes", "line"),
    ("fig", "get", 1024, "peer", "time", "ns", 0, 300),
    ("fig", "get", 128, "peer", "time", "ns", 0, 200),
    ("fig", "get", 128, "peer", "time", "ns", 1, 220),
    ("fig", "get", 128, "raftcask", "time", "ns", 0, 100),
    ("fig", "get", 128, "raftcask", "time", "ns", 1, 200),
    ("fig", "get", 1024, "raftcask", "time", "ns", 0, 400),
    ("fig", "get", 128, "raftcask", "rate", "gets/s", 0, 1000),
    ("fig", "get", 128, "peer", "rate", "gets/s", 0, 500),
    ("missing", "get", "other <peer>", "is not installed"),
    ("note", "get", "a note & more"))


def read(lines, name="part", status="ok", directory=None):
    with tempfile.TemporaryDirectory() as made:
        directory = directory or made
        write(os.path.join(directory, name + ".tsv"), "".join(lines))
        write(os.path.join(directory, "parts.tsv"),
              "".join(fields((name, status, 7, "0.50", "today"))))
        write(os.path.join(directory, "facts.tsv"),
              "".join(fields(("commit", "abc"))))
        return results.read_results(directory)


def write(path, content):
    with open(path, "w", encoding="utf-8") as f:
        f.write(content)


def wish(*f):
    return results.Wish(*f)


@case
def the_text_of_a_small_run_is_the_golden_one():
    r = read(SMALL)
    wishes = [
        wish("part", "get", "time", "*", "raftcask", "ahead", 1.2, "peer",
             "get"),
        wish("part", "get", "rate", "128", "raftcask", "least", 900, "-",
             "rate of gets"),
        wish("part", "put", "time", "*", "raftcask", "most", 1, "-", "put"),
    ]
    with open(os.path.join(HERE, "golden.txt"), encoding="utf-8") as f:
        golden = f.read()
    seen = text.report(r, r.verdicts(wishes))
    if os.environ.get("GOLDEN"):
        write(os.path.join(HERE, "golden.txt"), seen)
    assert seen == golden, seen


@case
def ratios_are_taken_round_by_round_and_above_one_is_better():
    r = read(SMALL)
    table = r.tables["part", "get"]
    s = r.ahead(table, "time", "raftcask", "peer", "128")
    assert (s.low, s.high, s.count) == (1.1, 2.0, 2), s
    s = r.ahead(table, "rate", "raftcask", "peer", "128")
    assert s.median == 2.0, s
    assert r.ahead(table, "time", "raftcask", "nobody", "128") is None


@case
def each_rule_judges_its_way():
    r = read(SMALL)

    def judge(metric, x, rule, bound):
        (v,) = r.verdicts([wish("part", "get", metric, x, "raftcask", rule,
                                bound, "peer", "-")])
        return v.status, v.close

    assert judge("time", "1024", "ahead", 0.7) == ("met", False)
    assert judge("time", "1024", "ahead", 0.8) == ("not met", False)
    assert judge("time", "1024", "behind", 1.4) == ("met", False)
    assert judge("time", "1024", "behind", 1.3) == ("not met", False)
    assert judge("time", "128", "ahead", 1.6) == ("not met", True)
    assert judge("time", "128", "behind", 0.8) == ("met", True)
    assert judge("time", "128", "most", 150) == ("met", True)
    assert judge("rate", "128", "least", 1001) == ("not met", False)
    assert judge("rate", "4096", "least", 1) == ("not measured", False)
    (last,) = r.verdicts([wish("part", "get", "time", "last", "raftcask",
                               "most", 500, "-", "-")])
    assert (last.x, last.status, last.own) == ("1024", "met", 400), last


@case
def a_cut_file_keeps_its_whole_lines_and_says_what_is_lost():
    whole = read(SMALL[:5])
    cut = read(SMALL[:5] + [SMALL[5][:-4]], status="cut: interrupted")
    assert cut.figures == whole.figures
    assert len(cut.bad) == 1
    seen = text.report(cut, [])
    assert "INCOMPLETE" in seen and "part: cut: interrupted" in seen, seen
    assert "Missing or incomplete: part: cut" in page.report(cut, [])


@case
def lines_without_sense_are_counted_and_shown_never_guessed_at():
    bad = fields(
        ("fig", "get", 128, "raftcask", "time", "ns", "one", 1),
        ("fig", "get", 128, "raftcask", "time", "ns", 1, "fast"),
        ("fig", "get", 128, "raftcask", "time", "ns", 1, "nan"),
        ("fig", "get", 128, "raftcask", "time", "ns", 1, "inf"),
        ("fig", "get", 128, "raftcask", "time", "ns", 1, -1),
        ("fig", "get", 128, "raftcask", "time", "us", 1, 1),
        ("fig", "get", 128, "", "time", "ns", 1, 1),
        ("fig", "get", 128),
        ("table", "get", "title", "x", "pie"),
        ("fig", "get", 128, "raftcask", "rate", "gets/s", 0, ""),
        ("what",))
    r = read(SMALL + bad)
    assert len(r.bad) == len(bad), r.bad
    assert r.figures == read(SMALL).figures
    assert f"{len(bad)} lines of results made no sense" in text.report(r, [])


@case
def a_part_without_an_end_or_without_figures_is_named():
    with tempfile.TemporaryDirectory() as d:
        write(os.path.join(d, "lost.tsv"), "".join(SMALL))
        write(os.path.join(d, "parts.tsv"), "".join(
            fields(("gone", "failed: exit status 1", 1, 0, "now"))))
        seen = text.report(results.read_results(d), [])
    assert "gone: failed: exit status 1" in seen, seen
    assert "lost: no end is recorded" in seen, seen


@case
def the_page_is_whole_and_stands_alone():
    seen = page.report(read(SMALL), [])
    for start in re.findall(r"<svg.*?</svg>", seen, re.S):
        xml.etree.ElementTree.fromstring(start)
    assert seen.count("<svg") == 2
    assert "other &lt;peer&gt;" in seen and "a note &amp; more" in seen
    assert not re.search(r"<script|src=|url\(|https?://|@import", seen)
    assert "prefers-color-scheme: dark" in seen
    body = re.sub(r"<style>.*?</style>", "", seen, flags=re.S)
    body = body.replace("<!DOCTYPE html>", "")
    for tag in ("<meta charset=\"utf-8\">",
                "<meta name=\"viewport\" content=\"width=device-width\">",
                "<br>"):
        body = body.replace(tag, "")
    xml.etree.ElementTree.fromstring(body)


@case
def odd_figures_are_drawn_all_the_same():
    rows = [("table", "t", "odd", "case", "line")]
    rows += [("fig", "t", x, "raftcask", "m", "ms", 0, v) for x, v in
             (("a", 0), ("b", 1e-9), ("c", 1e12), ("0", 5))]
    rows += [("table", "z", "zeros", "case", "bar"),
             ("fig", "z", "1", "raftcask", "m", "ms", 0, 0),
             ("table", "one", "one case", "n", "line"),
             ("fig", "one", "1", "raftcask", "m", "ms", 0, 3)]
    r = read(fields(*rows))
    assert not r.bad
    assert "zeros: m, ms (less is better): 0 in every case" in \
        text.report(r, [])
    seen = page.report(r, [])
    assert "<p>0 in every case</p>" in seen
    for picture in re.findall(r"<svg.*?</svg>", seen, re.S):
        xml.etree.ElementTree.fromstring(picture)
        assert "nan" not in picture and "inf" not in picture, picture


@case
def every_wish_of_the_tree_is_one_and_its_part_exists():
    for w in results.read_wishes(run.WISHES):
        assert w.part in run.PARTS, w
        if w.rule in ("most", "least"):
            assert w.peer == "-", w
        else:
            assert w.peer != "-", w


@case
def the_shell_and_c_emit_what_is_read():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "part.tsv")
        subprocess.run(["bash", "-euc", """. bench/lib/emit.sh
            emit_table t 'a title' 'a case' bar
            emit t 'a case' raftcask time ns 0 1.5
            emit_missing t 'a peer' 'not here'
            emit_note t 'two  words'"""], check=True,
                       env=dict(os.environ, BENCH_OUT=path))
        r = results.read_results(d)
    assert not r.bad, r.bad
    assert list(r.figures.values()) == [{0: 1.5}]
    assert r.notes == [("part", "t", "two  words")]
    assert r.missing == [("part", "t", "a peer", "not here")]


# ------------------------------------------------------------- the driver ---

PROGRAM = """#!/bin/bash
. bench/lib/emit.sh
emit_table t 'a title' 'a case' bar
emit t a raftcask time ns 0 1
"""


@contextlib.contextmanager
def parts(**programs):
    """PARTS of the driver replaced by bash programs; gives the directory."""
    with tempfile.TemporaryDirectory() as d:
        kept = (run.PARTS, run.GRACE_S, run.PATIENCE, run.LIMIT_S_MIN,
                run.facts.gather)
        run.PARTS, run.GRACE_S, run.PATIENCE, run.LIMIT_S_MIN = {}, 2, 1, 0
        run.facts.gather = lambda directory, how: [("how", how)]
        for name, (code, seconds) in programs.items():
            path = os.path.join(d, name + ".sh")
            write(path, PROGRAM + code)
            os.chmod(path, 0o755)
            run.PARTS[name] = [path], seconds, seconds, "a part"
        try:
            yield d
        finally:
            (run.PARTS, run.GRACE_S, run.PATIENCE, run.LIMIT_S_MIN,
             run.facts.gather) = kept


def drive(directory, *args):
    """Exit status, and what is left in report.txt."""
    out = os.path.join(directory, "out")
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            status = run.main(["--out", out, *args])
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with open(os.path.join(out, "report.txt"), encoding="utf-8") as f:
        return status, f.read(), said.getvalue()


@case
def a_part_that_fails_does_not_stop_the_others():
    with parts(bad=("echo why >&2; exit 3", 20), good=("", 20),
               absent=("", 20)) as d:
        os.unlink(os.path.join(d, "absent.sh"))
        status, report, said = drive(d)
        assert os.path.exists(os.path.join(d, "out", "report.html"))
    assert status == 1
    assert "bad: failed: exit status 3" in report, report
    assert "=== good: ok" in report and "absent: failed: there is no" in report
    assert "| why" in said, said
    assert report.count("a title: time") == 2, report


@case
def a_part_over_its_time_is_ended_with_all_it_started():
    with parts(slow=("sleep 3600 & echo $! >$BENCH_DIR/../pid; wait",
                     1)) as d:
        status, report, _ = drive(d)
        with open(os.path.join(d, "out", "pid"), encoding="utf-8") as f:
            pid = int(f.read())
        left = [n for n in os.listdir(os.path.join(d, "out"))
                if n.startswith("slow-")]
    assert status == 1 and "slow: cut: took longer than 1 s" in report, report
    assert "a title: time" in report, "what was measured is lost"
    assert not left, left
    end = time.monotonic() + 20
    while os.path.exists(f"/proc/{pid}/cmdline"):
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                break
        assert time.monotonic() < end, "a child lives on"
        time.sleep(0.02)


@case
def an_interrupt_leaves_a_report_of_what_there_is():
    with parts(first=("", 60), second=("touch $BENCH_DIR/../here; "
                                       "sleep 3600", 3600),
               third=("", 60)) as d:
        here = os.path.join(d, "out", "here")

        def interrupt():
            while not os.path.exists(here):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        status, report, _ = drive(d)
    assert status == 130, status
    assert "=== first: ok" in report, report
    assert "second: cut: interrupted" in report, report
    assert "third: not run: interrupted" in report, report
    assert report.count("a title: time") == 2, report


@case
def parts_are_chosen_and_added():
    with parts(one=("", 60), two=("", 60)) as d:
        status, report, _ = drive(d, "one")
        assert status == 0 and "=== two" not in report, report
        status, report, _ = drive(d, "--add", "two")
        assert "=== one: ok" in report and "=== two: ok" in report, report
        status, report, _ = drive(d, "two")
        assert "=== one" not in report, report
        status, again, _ = drive(d, "--report")
        assert status == 0 and again == report, again
        with contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                drive(d, "three")
                raise AssertionError("an unknown part was taken")
            except SystemExit as e:
                assert e.code == 2
        assert "no part three; there are: one two" in said.getvalue()


@case
def a_part_may_skip_itself():
    with parts(one=("emit_missing t - 'no /dev/fuse'; exit 77", 60)) as d:
        status, report, _ = drive(d)
    assert status == 1 and "one: skipped" in report, report
    assert "missing: -: no /dev/fuse" in report, report


def main():
    failed = 0
    for function in CASES:
        name = function.__name__.replace("_", " ")
        try:
            function()
            print("ok", name, flush=True)
        except Exception as why:  # every case says its own
            failed += 1
            print(f"not ok {name}: {type(why).__name__}: {why}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
