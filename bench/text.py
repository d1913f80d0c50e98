"""bench/text.py - the report as text."""

from results import STATUS_OK, more_is_better, spread

WIDTH = 100
NAME_WIDTH = 24
CELL_WIDTH = 19


def number(value):
    """A figure with three digits that count: 0.0123, 1.23, 12.3, 12,300."""
    if value is None:
        return "-"
    if value == float("inf"):
        return "inf"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3g}"


def cell(s):
    if not s:
        return "-"
    if s.count == 1 or s.low == s.high:
        return number(s.median)
    return f"{number(s.median)} ({number(s.low)}..{number(s.high)})"


def factor(s):
    """How many times as good, as cell() with an x."""
    if not s:
        return "-"
    if s.count == 1:
        return f"{s.median:.2f}x"
    return f"{s.median:.2f}x ({s.low:.2f}..{s.high:.2f})"


def heading(results, table, metric):
    unit = results.units[table.part, table.name, metric]
    better = "more" if more_is_better(unit) else "less"
    return f"{table.title}: {metric}, {unit} ({better} is better)"


def rows_of(results, table, metric):
    """(name, is it a ratio, {x: text}) for everybody measured; below each
    peer how many times as good plain raftcask is."""
    ours = results.who(table, metric)
    ours = ours[0] if ours and ours[0].startswith("raftcask") else None
    cases = results.cases(table, metric)
    for who in results.who(table, metric):
        yield who, False, {
            x: cell(spread(r.values())) for x in cases
            if (r := results.rounds(table, metric, who, x))}
        if not ours or who.startswith("raftcask"):
            continue
        ratios = {x: factor(r) for x in cases
                  if (r := results.ahead(table, metric, ours, who, x))}
        if ratios:
            yield f"  {ours} is", True, ratios


def table_lines(results, table):
    for metric in results.metrics(table):
        cases = results.cases(table, metric)
        rows = list(rows_of(results, table, metric))
        name_width = max([NAME_WIDTH, *(len(r[0]) + 1 for r in rows)])
        room = (WIDTH - name_width) // (CELL_WIDTH + 1) or 1
        yield ""
        if results.is_zero(table, metric):
            yield heading(results, table, metric) + ": 0 in every case"
            continue
        yield heading(results, table, metric)
        for start in range(0, len(cases), room):
            block = cases[start:start + room]
            width = max([CELL_WIDTH, *(len(x) for x in block),
                         *(len(r[2].get(x, "")) for r in rows for x in block)])
            yield (f"{table.x:<{name_width}}" +
                   "".join(f" {x:>{width}}" for x in block))
            for name, _, cells in rows:
                if any(x in cells for x in block):
                    yield (f"{name:<{name_width}}" + "".join(
                        f" {cells.get(x, '-'):>{width}}" for x in block))
    for part, name, who, why in results.missing:
        if (part, name) == (table.part, table.name):
            yield f"  missing: {who}: {why}"
    for part, name, text in results.notes:
        if (part, name) == (table.part, table.name):
            yield f"  note: {text}"


def loose_ends(results, part):
    """What a part says of tables that it does not have."""
    for p, name, who, why in results.missing:
        if p == part and (p, name) not in results.tables:
            yield f"  missing: {name}, {who}: {why}"
    for p, name, text in results.notes:
        if p == part and (p, name) not in results.tables:
            yield f"  note: {text}"
    for p, line_number, line in results.bad:
        if p == part:
            yield f"  line {line_number} makes no sense: {line[:80]}"


def part_lines(results, part):
    name, status, seconds, load, when = part
    yield ""
    took = f", {seconds} s" if seconds else ""
    loaded = f", load {load} before it" if load else ""
    yield f"=== {name}: {status}{took}{loaded}"
    if status != STATUS_OK:
        yield "    INCOMPLETE: figures of this part may be missing below"
    for table in results.tables_of(name):
        yield from table_lines(results, table)
    yield from loose_ends(results, name)


RULE_TEXT = {
    "ahead": "at least {bound:g} times as good as {peer}",
    "behind": "at most {bound:g} times as bad as {peer}",
    "most": "at most {bound:g}",
    "least": "at least {bound:g}",
}


def wished(verdict):
    wish = verdict.wish
    return RULE_TEXT[wish.rule].format(bound=wish.bound, peer=wish.peer)


def seen(verdict):
    if verdict.seen is None:
        return "-"
    text = number(verdict.seen)
    if verdict.low != verdict.high:
        text += f" ({number(verdict.low)}..{number(verdict.high)})"
    if verdict.wish.rule in ("ahead", "behind"):
        text += f" = {number(verdict.own)} to {number(verdict.other)}"
    return text


def subject(verdict):
    wish = verdict.wish
    who = "" if wish.who == "raftcask" else f" [{wish.who}]"
    case = "" if verdict.x in ("*", "-") else f", {verdict.x}"
    return f"{wish.says}{case}{who}"


def status(verdict):
    return verdict.status + (", in the noise" if verdict.close else "")


def verdict_lines(verdicts):
    if not verdicts:
        return
    yield ""
    yield "=== What was wished for"
    count = {s: sum(v.status == s for v in verdicts)
             for s in ("met", "not met", "not measured")}
    yield ("    " + ", ".join(f"{n} {s}" for s, n in count.items()) +
           " (in the noise: the bound lies between the rounds' figures)")
    part = None
    for v in verdicts:
        if v.wish.part != part:
            part = v.wish.part
            yield f"  {part}"
        yield f"    {subject(v)}"
        yield (f"        wished: {wished(v)}; seen: {seen(v)}: "
               f"{status(v).upper() if v.status != 'met' else status(v)}")


def report(results, verdicts):
    lines = ["raftcask: benchmarks", ""]
    width = max([0, *(len(name) for name, _ in results.facts)])
    lines += [f"{name:<{width}}  {value}" for name, value in results.facts]
    lines += ["", "Cells: median of the rounds (lowest..highest). Ratios: "
              "taken round by round, above 1x",
              "raftcask is the better one."]
    for part in results.parts:
        lines += part_lines(results, part)
    lines += verdict_lines(verdicts)
    bad = [p for p in results.parts if p[1] != STATUS_OK]
    if bad:
        lines += ["", "=== Missing or incomplete"]
        lines += [f"    {name}: {state}" for name, state, *_ in bad]
    if results.bad:
        lines += ["", f"{len(results.bad)} lines of results made no sense "
                  "and were left out."]
    return "\n".join(lines) + "\n"
