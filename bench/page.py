"""bench/page.py - the report as one HTML page that needs nothing else."""

import text
from plot import escape, svg
from results import STATUS_OK, more_is_better

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #5a6470;
  --page: #fff; --card: #f5f6f8; --rule: #d4d9df; --good: #17703a;
  --bad: #b3261e; --c0: #0b5cad; --c1: #b3561b; --c2: #1d7d6b; --c3: #9c3587;
  --c4: #6d5b00; --c5: #4b4fc4; --c6: #a52a3f; --c7: #55606b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --dim: #9aa5b1;
  --page: #14171b; --card: #1d2127; --rule: #363d46; --good: #5fc98a;
  --bad: #ff8a80; --c0: #6cb2ff; --c1: #f2a15f; --c2: #57cbb4; --c3: #e58ad0;
  --c4: #d6c14b; --c5: #a3a6ff; --c6: #ff8095; --c7: #a9b4bf; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--page); margin: 0 auto; padding: 1.5rem 1rem 4rem;
  max-width: 62rem; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem;
  border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
a { color: var(--c0); }
nav a { margin-right: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  font-size: .85rem; margin: .4rem 0; }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child, .left th { text-align: left; }
td.wrap { white-space: normal; text-align: left; }
tr.ratio td { color: var(--dim); border-bottom-style: dotted; }
tr.ours td:first-child { font-weight: 600; }
small, .dim { color: var(--dim); }
.met { color: var(--good); } .not { color: var(--bad); font-weight: 600; }
.warn { border-left: 4px solid var(--bad); background: var(--card);
  padding: .5rem 1rem; margin: .8rem 0; }
svg { width: 100%; max-width: 48rem; height: auto; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim); }
svg text.name { fill: var(--ink); }
.axis { stroke: var(--dim); } .grid { stroke: var(--rule); }
.line { fill: none; stroke-width: 2; stroke: currentColor; }
.whisker { stroke: currentColor; stroke-width: 1; opacity: .6; }
rect .whisker { opacity: 1; }
circle, rect { fill: currentColor; } rect { opacity: .8; }
.s0 { color: var(--c0); } .s1 { color: var(--c1); } .s2 { color: var(--c2); }
.s3 { color: var(--c3); } .s4 { color: var(--c4); } .s5 { color: var(--c5); }
.s6 { color: var(--c6); } .s7 { color: var(--c7); }
@media print { body { max-width: none; } h2 { break-before: auto; } }
"""


def row(cells, klass="", tag="td"):
    cells = "".join(f"<{tag}>{c}</{tag}>" for c in cells)
    return f'<tr{f" class={klass!r}" if klass else ""}>{cells}</tr>'


def facts(results):
    yield '<div class="scroll"><table>'
    for name, value in results.facts:
        yield (f'<tr><td>{escape(name)}</td>'
               f'<td class="wrap">{escape(value)}</td></tr>')
    yield "</table></div>"


def wishes(verdicts):
    met = sum(v.status == "met" for v in verdicts)
    yield '<h2 id="wishes">What was wished for</h2>'
    yield (f"<p>{met} met, "
           f"{sum(v.status == 'not met' for v in verdicts)} not met, "
           f"{sum(v.status == 'not measured' for v in verdicts)} not measured."
           " “In the noise”: the bound lies between the figures of the "
           "rounds.</p>")
    yield '<div class="scroll"><table class="left">'
    yield row(("", "wished", "seen", ""), tag="th")
    part = None
    for v in verdicts:
        if v.wish.part != part:
            part = v.wish.part
            yield (f'<tr><th colspan="4"><a href="#{escape(part)}">'
                   f'{escape(part)}</a></th></tr>')
        klass = "met" if v.status == "met" else "not"
        yield (f'<tr><td class="wrap">{escape(text.subject(v))}</td>'
               f'<td class="wrap">{escape(text.wished(v))}</td>'
               f'<td class="wrap">{escape(text.seen(v))}</td>'
               f'<td class="{klass}">{escape(text.status(v))}</td></tr>')
    yield "</table></div>"


def figures(results, table, metric):
    unit = results.units[table.part, table.name, metric]
    better = "more" if more_is_better(unit) else "less"
    yield (f'<h3>{escape(table.title)}: {escape(metric)}, {escape(unit)} '
           f'<small>{better} is better</small></h3>')
    if results.is_zero(table, metric):
        yield "<p>0 in every case</p>"
        return
    yield svg(results, table, metric)
    cases = results.cases(table, metric)
    yield '<div class="scroll"><table>'
    yield row([escape(table.x), *(escape(x) for x in cases)], tag="th")
    for name, is_ratio, cells in text.rows_of(results, table, metric):
        klass = "ratio" if is_ratio else \
            "ours" if name.startswith("raftcask") else ""
        yield row([escape(name.strip()),
                   *(escape(cells.get(x, "–")).replace(" (", "<br><small>(")
                     + ("</small>" if " (" in cells.get(x, "") else "")
                     for x in cases)], klass)
    yield "</table></div>"


def part_section(results, part):
    name, state, seconds, load, when = part
    took = f", {seconds} s" if seconds else ""
    loaded = f", load {load} before it" if load else ""
    yield (f'<h2 id="{escape(name)}">{escape(name)} <small>{escape(when)}'
           f"{escape(took)}{escape(loaded)}</small></h2>")
    if state != STATUS_OK:
        yield (f'<p class="warn">{escape(state)}: figures of this part may '
               "be missing.</p>")
    for table in results.tables_of(name):
        for metric in results.metrics(table):
            yield from figures(results, table, metric)
        for p, t, who, why in results.missing:
            if (p, t) == (name, table.name):
                yield (f'<p class="warn">missing: {escape(who)}: '
                       f"{escape(why)}</p>")
        for p, t, note in results.notes:
            if (p, t) == (name, table.name):
                yield f'<p class="dim">{escape(note)}</p>'
    for line in text.loose_ends(results, name):
        yield f'<p class="warn">{escape(line.strip())}</p>'


def report(results, verdicts):
    bad = [p for p in results.parts if p[1] != STATUS_OK]
    out = ['<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
           '<meta name="viewport" content="width=device-width">',
           f"<title>raftcask: benchmarks</title><style>{STYLE}</style>",
           "</head><body><h1>raftcask: benchmarks</h1>", "<nav>"]
    names = ["wishes", *(p[0] for p in results.parts)]
    out += [f'<a href="#{escape(n)}">{escape(n)}</a>' for n in names]
    out.append("</nav>")
    if bad:
        out.append('<p class="warn">Missing or incomplete: ' + escape(
            "; ".join(f"{name}: {state}" for name, state, *_ in bad)) +
            "</p>")
    out += facts(results)
    out.append("<p>Cells: median of the rounds (lowest..highest). Ratios are "
               "taken round by round: above 1x raftcask is the better one. "
               "Whiskers in the pictures: lowest to highest.</p>")
    out += wishes(verdicts)
    for part in results.parts:
        out += part_section(results, part)
    if results.bad:
        out.append(f"<p>{len(results.bad)} lines of results made no sense "
                   "and were left out.</p>")
    out.append("</body></html>")
    return "\n".join(out) + "\n"
