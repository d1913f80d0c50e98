"""bench/results.py - what a run of the benchmarks left behind, and its sense.

Every part of the benchmarks appends lines to a file of its own,
build/bench/results/PART.tsv, as it measures; a part that is cut short leaves
what it had. Fields are divided by tabs, the first says what the line is:

    table    NAME  TITLE  X  PLOT        X: what the cases are; PLOT: line
                                         (cases are numbers), bar, none
    fig      TABLE  X  WHO  METRIC  UNIT  ROUND  VALUE
    missing  TABLE  WHO  WHY             WHO: what is not there; - for all
    note     TABLE  TEXT

A unit with "/s" in it: more is better; any other: less is. WHO that begins
with "raftcask" is ours. Figures of the same table, case, metric and round were
taken next to each other, and are compared with each other. The same figure
twice: the later one counts. Anything else is a bad line: counted, shown,
never guessed at.

How the parts ended is in parts.tsv (PART STATUS SECONDS LOAD WHEN), the
machine in facts.tsv (NAME VALUE), both written by bench/run.py.

What was wished for is in bench/wishes.tsv:

    PART  TABLE  METRIC  X  WHO  RULE  BOUND  PEER  SAYS

with RULE one of
    ahead    WHO is at least BOUND times as good as PEER
    behind   WHO is at most BOUND times as bad as PEER
    most     the figure itself is at most BOUND
    least    the figure itself is at least BOUND
X "*" stands for every case that was measured, "last" for the largest of them.
"""

import collections
import os

Table = collections.namedtuple("Table", "part name title x plot")
Wish = collections.namedtuple(
    "Wish", "part table metric x who rule bound peer says")
Verdict = collections.namedtuple(
    "Verdict", "wish x seen low high own other status close")
Spread = collections.namedtuple("Spread", "median low high count")

PLOTS = ("line", "bar", "none")
RULES = ("ahead", "behind", "most", "least")
STATUS_OK = "ok"


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    if len(values) % 2:
        return values[middle]
    return (values[middle - 1] + values[middle]) / 2


def spread(values):
    values = list(values)
    return Spread(median(values), min(values), max(values), len(values))


def more_is_better(unit):
    return "/s" in unit


class Results:
    """All that was measured, by part, in the order of the lines."""

    def __init__(self):
        self.parts = []       # (part, status, seconds, load, when)
        self.facts = []       # (name, value)
        self.tables = {}      # (part, table) -> Table
        self.figures = {}     # (part, table, metric, who, x) -> {round: value}
        self.units = {}       # (part, table, metric) -> unit
        self.missing = []     # (part, table, who, why)
        self.notes = []       # (part, table, text)
        self.bad = []         # (part, line number, line)

    # ------------------------------------------------------------- reading

    def add_line(self, part, number, line):
        if line.endswith("\n") and self._take(part, line[:-1].split("\t")):
            return
        if line.strip():
            self.bad.append((part, number, line.rstrip("\n")))

    def _take(self, part, f):
        if f[0] == "table" and len(f) == 5 and f[1] and f[4] in PLOTS:
            self.tables[part, f[1]] = Table(part, *f[1:])
        elif f[0] == "fig" and len(f) == 8 and all(f):
            return self._figure(part, *f[1:])
        elif f[0] == "missing" and len(f) == 4:
            self.missing.append((part, *f[1:]))
        elif f[0] == "note" and len(f) == 3:
            self.notes.append((part, *f[1:]))
        else:
            return False
        return True

    def _figure(self, part, table, x, who, metric, unit, number, value):
        try:
            number, value = int(number), float(value)
        except ValueError:
            return False
        if not 0 <= value < float("inf"):
            return False
        if self.units.setdefault((part, table, metric), unit) != unit:
            return False
        self.tables.setdefault((part, table),
                               Table(part, table, table, "case", "none"))
        key = part, table, metric, who, x
        self.figures.setdefault(key, {})[number] = value
        return True

    # ------------------------------------------------------------- looking

    def tables_of(self, part):
        return [t for (p, _), t in self.tables.items() if p == part]

    def metrics(self, table):
        return [m for (p, t, m) in self.units
                if (p, t) == (table.part, table.name)]

    def cases(self, table, metric):
        """The x of a table: in rising order where all are numbers."""
        seen = dict.fromkeys(
            x for (p, t, m, _, x) in self.figures
            if (p, t, m) == (table.part, table.name, metric))
        try:
            return sorted(seen, key=number_of)
        except ValueError:
            return list(seen)

    def who(self, table, metric):
        """Who was measured: ours first, then in the order of appearance."""
        seen = dict.fromkeys(
            w for (p, t, m, w, _) in self.figures
            if (p, t, m) == (table.part, table.name, metric))
        return sorted(seen, key=lambda w: not w.startswith("raftcask"))

    def rounds(self, table, metric, who, x):
        return self.figures.get((table.part, table.name, metric, who, x), {})

    def is_zero(self, table, metric):
        """Nothing but zeros was measured."""
        return not any(any(r.values()) for (p, t, m, _, _), r in
                       self.figures.items()
                       if (p, t, m) == (table.part, table.name, metric))

    def ahead(self, table, metric, who, peer, x):
        """How many times as good as peer: a Spread over the rounds that both
        have, or None. Above 1 who is better."""
        own = self.rounds(table, metric, who, x)
        other = self.rounds(table, metric, peer, x)
        more = more_is_better(self.units.get(
            (table.part, table.name, metric), ""))
        ratios = []
        for number in own.keys() & other.keys():
            a, b = own[number], other[number]
            if not more:
                a, b = b, a
            if b > 0:
                ratios.append(a / b)
        return spread(ratios) if ratios else None

    # -------------------------------------------------------------- judging

    def verdicts(self, wishes):
        return [v for w in wishes for v in self._judge(w)]

    def _judge(self, wish):
        table = self.tables.get((wish.part, wish.table))
        cases = [wish.x]
        if table and wish.x in ("*", "last"):
            cases = [x for x in self.cases(table, wish.metric)
                     if self.rounds(table, wish.metric, wish.who, x)]
            cases = cases[-1:] if wish.x == "last" else cases
        if not table or not cases:
            return [Verdict(wish, wish.x, None, None, None, None, None,
                            "not measured", False)]
        return [self._judge_case(wish, table, x) for x in cases]

    def _judge_case(self, wish, table, x):
        own = self.rounds(table, wish.metric, wish.who, x)
        other = None
        if wish.rule in ("ahead", "behind"):
            seen = self.ahead(table, wish.metric, wish.who, wish.peer, x)
            peer = self.rounds(table, wish.metric, wish.peer, x)
            other = median(peer.values()) if peer else None
            if seen and wish.rule == "behind":
                seen = Spread(*(1 / v if v else float("inf") for v in
                                (seen.median, seen.high, seen.low)),
                              seen.count)
        else:
            seen = spread(own.values()) if own else None
        if seen is None:
            return Verdict(wish, x, None, None, None, None, other,
                           "not measured", False)
        if wish.rule in ("ahead", "least"):
            met = seen.median >= wish.bound
        else:
            met = seen.median <= wish.bound
        return Verdict(wish, x, seen.median, seen.low, seen.high,
                       median(own.values()), other,
                       "met" if met else "not met",
                       seen.low < seen.high and
                       seen.low <= wish.bound <= seen.high)


def number_of(x):
    """The number at the start of a case: "100 connections" is 100, "64K"
    65536. ValueError if there is none."""
    word = x.split()[0] if x.split() else ""
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(word[-1:], 0)
    return float(word[:-1]) * scale if scale else float(word)


def read_rows(path, width):
    """Rows of a TSV file that have width fields; [] if there is no file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            rows = [line.rstrip("\n").split("\t") for line in f
                    if line.strip() and not line.startswith("#")]
    except FileNotFoundError:
        return []
    return [row for row in rows if len(row) == width]


def read_results(directory):
    results = Results()
    results.facts = [tuple(r) for r in
                     read_rows(os.path.join(directory, "facts.tsv"), 2)]
    ended = {r[0]: tuple(r) for r in
             read_rows(os.path.join(directory, "parts.tsv"), 5)}
    names = [n[:-4] for n in sorted(os.listdir(directory))
             if n.endswith(".tsv") and n not in ("parts.tsv", "facts.tsv")]
    for part in [*ended, *(n for n in names if n not in ended)]:
        results.parts.append(
            ended.get(part, (part, "no end is recorded", "", "", "")))
        if part not in names:
            continue
        path = os.path.join(directory, part + ".tsv")
        with open(path, encoding="utf-8", errors="replace", newline="\n") as f:
            for number, line in enumerate(f, 1):
                results.add_line(part, number, line)
    return results


def read_wishes(path):
    """The wishes; ValueError names a line that is none."""
    wishes = []
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            if not line.strip() or line.startswith("#"):
                continue
            fields = line.rstrip("\n").split("\t")
            try:
                wish = Wish(*fields)
                wish = wish._replace(bound=float(wish.bound))
            except (TypeError, ValueError):
                raise ValueError(f"{path}:{number}: not a wish") from None
            if wish.rule not in RULES:
                raise ValueError(f"{path}:{number}: no rule {wish.rule}")
            wishes.append(wish)
    return wishes
