"""bench/plot.py - small SVG pictures of one metric of one table.

Colours are CSS classes (s0..s7) that bench/page.py defines for light and dark.
"""

import html
import math

from results import more_is_better, number_of, spread
from text import number

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 168, 14, 42
COLOURS = 8


def escape(text):
    return html.escape(str(text))


def ticks_of(low, high):
    """Values on a logarithmic axis: decades, and 2 and 5 if few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 2 else (1,)
    return [s * 10.0 ** e for e in range(first, last + 1) for s in steps
            if low * 0.999 <= s * 10.0 ** e <= high * 1.001]


class Scale:
    """A logarithmic axis from low..high to a..b."""

    def __init__(self, low, high, a, b):
        if low == high:
            low, high = low / 1.5, high * 1.5
        self.low, self.high, self.a, self.b = low, high, a, b
        self.span = math.log(high / low)

    def at(self, value):
        share = math.log(max(value, self.low) / self.low) / self.span
        return self.a + share * (self.b - self.a)


def frame(y, label):
    yield (f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" '
           f'y2="{HEIGHT - BOTTOM}"/>')
    for value in ticks_of(y.low, y.high):
        at = y.at(value)
        yield (f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" '
               f'y1="{at:.1f}" y2="{at:.1f}"/>')
        yield (f'<text class="tick" x="{LEFT - 6}" y="{at + 4:.1f}" '
               f'text-anchor="end">{number(value)}</text>')
    yield (f'<text class="tick" x="{LEFT}" y="{HEIGHT - 6}">'
           f'{escape(label)}</text>')


def spread_labels(places, least):
    """Move labels apart so that they lie least apart, in their order."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for before, after in zip(order, order[1:]):
        moved[after] = max(moved[after], moved[before] + least)
    over = max([0, *(p - (HEIGHT - BOTTOM) for p in moved)])
    return [p - over for p in moved]


def series_of(results, table, metric):
    """[(who, [(x, Spread)])] without what is zero."""
    cases = results.cases(table, metric)
    series = []
    for who in results.who(table, metric):
        points = [(x, spread(r.values())) for x in cases
                  if (r := results.rounds(table, metric, who, x))]
        points = [(x, s) for x, s in points if s.median > 0]
        if points:
            series.append((who, points))
    return series


def bounds(series):
    lows = [max(s.low, s.median / 10) for _, points in series
            for _, s in points]
    highs = [s.high for _, points in series for _, s in points]
    return min(lows) * 0.9, max(highs) * 1.1


def dot(x, y, s, klass, tip):
    low, high = y.at(max(s.low, y.low)), y.at(s.high)
    return (f'<g class="{klass}"><title>{escape(tip)}</title>'
            f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" '
            f'y1="{low:.1f}" y2="{high:.1f}"/>'
            f'<circle cx="{x:.1f}" cy="{y.at(s.median):.1f}" r="3"/></g>')


def legend(names, places):
    moved = spread_labels(places, 13)
    for i, (who, at) in enumerate(zip(names, moved)):
        klass = f"s{i % COLOURS}"
        at = max(at, TOP + 4)
        yield (f'<g class="{klass}"><line class="line" '
               f'x1="{WIDTH - RIGHT + 8}" x2="{WIDTH - RIGHT + 20}" '
               f'y1="{at:.1f}" y2="{at:.1f}"/></g>'
               f'<text class="name" x="{WIDTH - RIGHT + 24}" '
               f'y="{at + 4:.1f}">{escape(who)}</text>')


def tip_of(who, x, s, unit):
    return f"{who}, {x}: {number(s.median)} {unit} " \
           f"({number(s.low)}..{number(s.high)})"


def line_plot(results, table, metric, series):
    unit = results.units[table.part, table.name, metric]
    cases = results.cases(table, metric)
    xs = [number_of(x) for x in cases]
    x = Scale(min(xs), max(xs), LEFT + 10, WIDTH - RIGHT - 6)
    y = Scale(*bounds(series), HEIGHT - BOTTOM, TOP)
    yield from frame(y, f"{unit} against {table.x}, both logarithmic")
    for case in cases:
        yield (f'<text class="tick" x="{x.at(number_of(case)):.1f}" '
               f'y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
               f'{escape(case)}</text>')
    for i, (who, points) in enumerate(series):
        klass = f"s{i % COLOURS}"
        path = " ".join(f"{x.at(number_of(c)):.1f},{y.at(s.median):.1f}"
                        for c, s in points)
        dash = ' stroke-dasharray="5 3"' if i >= COLOURS else ""
        yield (f'<g class="{klass}"><polyline class="line"{dash} '
               f'points="{path}"/></g>')
        for c, s in points:
            yield dot(x.at(number_of(c)), y, s, klass,
                      tip_of(who, c, s, unit))
    yield from legend([who for who, _ in series],
                      [y.at(points[-1][1].median) for _, points in series])


def bar_plot(results, table, metric, series):
    unit = results.units[table.part, table.name, metric]
    cases = results.cases(table, metric)
    low, high = bounds(series)
    y = Scale(low / 1.5, high, HEIGHT - BOTTOM, TOP)
    yield from frame(y, f"{unit}, logarithmic")
    group = (WIDTH - RIGHT - LEFT - 10) / len(cases)
    width = min(26, group * 0.85 / len(series))
    letters = max(4, int(group / 6))
    for c, case in enumerate(cases):
        middle = LEFT + 10 + group * (c + 0.5)
        short = case if len(case) <= letters else case[:letters - 1] + "…"
        yield (f'<text class="tick" x="{middle:.1f}" '
               f'y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
               f'<title>{escape(case)}</title>{escape(short)}</text>')
        for i, (who, points) in enumerate(series):
            s = dict(points).get(case)
            if not s:
                continue
            left = middle + (i - len(series) / 2) * width
            top = y.at(s.median)
            klass = f"s{i % COLOURS}"
            yield (f'<g class="{klass}"><title>'
                   f'{escape(tip_of(who, case, s, unit))}</title>'
                   f'<rect x="{left + 1:.1f}" y="{top:.1f}" '
                   f'width="{width - 2:.1f}" '
                   f'height="{HEIGHT - BOTTOM - top:.1f}"/>'
                   f'<line class="whisker" x1="{left + width / 2:.1f}" '
                   f'x2="{left + width / 2:.1f}" '
                   f'y1="{y.at(max(s.low, y.low)):.1f}" '
                   f'y2="{y.at(s.high):.1f}"/></g>')
    yield from legend([who for who, _ in series],
                      [TOP + 10 + 14 * i for i in range(len(series))])


def svg(results, table, metric):
    """The picture, or "" where there is nothing to draw."""
    series = series_of(results, table, metric)
    cases = results.cases(table, metric)
    if table.plot == "none" or not series:
        return ""
    draw = bar_plot
    if table.plot == "line" and len(cases) > 1:
        try:
            if all(number_of(x) > 0 for x in cases):
                draw = line_plot
        except ValueError:
            pass
    unit = results.units[table.part, table.name, metric]
    better = "more" if more_is_better(unit) else "less"
    label = f"{table.title}: {metric}, {unit}, {better} is better"
    body = "\n".join(draw(results, table, metric, series))
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(label)}">\n{body}\n</svg>')
