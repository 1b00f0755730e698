"""Plots of bars: the figures of a table, and the targets."""

from __future__ import annotations

from collections.abc import Iterator

from figures.numbers import exact, number, number_beside
from figures.scale import Scale
from figures.svg import BOLD, FAINT, LINE, MARGIN, PAPER, PLAIN, TEXT, drawing, tag, widest, words
from figures.tables import Table
from figures.targets import Figure, Target, is_ours

# Pixels: the width that a plot has unless its words need more, the height of a bar with its gap,
# how deep in that its words stand, and the room that the longest bar has at least.
WIDTH, BAR, BASE, SHORTEST = 880, 19, 13.5, 180
GRID, OURS, OTHERS, MISSED = "#e1e4e8", "#2f6fde", "#b0b9c3", "#d9480f"
# What is further beyond its bound than this does not stretch the plot of the targets.
FURTHEST = 2.0


def bars(table: Table) -> str:
    """A group of bars for each column, two groups beside each other where they have room."""
    values = list(table.values.values())
    gutter = widest(table.rows) + 10
    room = widest(map(number, values)) + 10
    least = gutter + max(room + SHORTEST, widest(table.columns))
    across = 2 if len(table.columns) > 2 and 2 * least + 3 * MARGIN <= WIDTH else 1
    wide = max((WIDTH - MARGIN * (across + 1)) / across, least)
    scale = Scale.over(values, wide - gutter - room)
    parts: list[str] = []
    top: float = MARGIN + (2 * LINE if scale.is_logarithmic else LINE)
    for line in (table.columns[at : at + across] for at in range(0, len(table.columns), across)):
        for at, column in enumerate(line):
            left = MARGIN + at * (wide + MARGIN) + gutter
            parts += group(column, table.of(column), scale, left, top)
        top += LINE * 2 + BAR * max(len(table.of(column)) for column in line) + MARGIN / 2
    note = "Logarithmic scale." if scale.is_logarithmic else ""
    return drawing(table.title, note, MARGIN + across * (wide + MARGIN), top, parts)


def group(name: str, figures: list[Figure], scale: Scale, left: float, top: float) -> Iterator[str]:
    """The bars of one column, with its name above and its axis below."""
    yield words(name, left, top + 15, font_weight=BOLD)
    top += LINE
    yield from axis(scale, left, top, BAR * len(figures))
    for at, figure in enumerate(figures):
        label, y = number(figure.value), top + at * BAR
        colour = OURS if is_ours(figure.name) else OTHERS
        yield from bar(figure.name, scale, figure.value, colour, left, y)
        end = left + scale.at(max(0, figure.value)) + 6
        # No line of the axis goes through the value.
        yield tag("rect", x=end - 3, y=y + 2, width=widest([label]), height=BAR - 4, fill=PAPER)
        yield words(label, end, y + BASE, font_weight=weight(figure.name))


def bars_of_targets(targets: list[Target]) -> str:
    """How close each target is to its bound, which is the line at 1."""
    names = [f"{target.number}  {target.title}" for target in targets]
    labels = [number_beside(target.worst.reach, 1) + ("" if target.is_met else " missed") for target in targets]
    gutter, room = widest(names) + 10, widest(labels) + 10
    furthest = max(1.25, min(FURTHEST, max(target.worst.reach for target in targets)))
    scale = Scale(0, furthest, False, WIDTH - 2 * MARGIN - gutter - room)
    left, top, high = MARGIN + gutter, MARGIN + LINE * 2 + 8, BAR * len(targets)
    parts = list(axis(scale, left, top, high))
    for at, (target, name, label) in enumerate(zip(targets, names, labels, strict=True)):
        reach, colour = min(target.worst.reach, furthest), OURS if target.is_met else MISSED
        parts += bar(name, scale, reach, colour, left, top + at * BAR)
        parts.append(words(label, left + scale.width + 10, top + at * BAR + BASE))
    bound = left + scale.at(1)
    parts.append(tag("path", d=f"M{bound:.1f} {top - 5}v{high + 8}", stroke=TEXT, stroke_width=1.5))
    note = f"The worst case of each target. Beyond 1, which is the bound, it is missed. Bars end at {furthest:.3g}."
    return drawing("The targets: measured by asked", note, WIDTH, top + high + LINE + 8, parts)


def bar(name: str, scale: Scale, value: float, colour: str, left: float, top: float) -> Iterator[str]:
    """A bar, and its name before it."""
    start, end = sorted((scale.at(max(0, scale.low)), scale.at(value)))
    yield words(name, left - 8, top + BASE, text_anchor="end", font_weight=weight(name))
    yield tag("rect", x=left + start, y=top + 2, width=max(end - start, 1), height=BAR - 4, rx=2, fill=colour)


def weight(name: str) -> str:
    return BOLD if is_ours(name) else PLAIN


def axis(scale: Scale, left: float, top: float, height: float) -> Iterator[str]:
    """Lines behind the bars, and what they stand for below."""
    for tick in scale.ticks():
        at = left + scale.at(tick)
        yield tag("path", d=f"M{at:.1f} {top}v{height + 3}", stroke=GRID)
        yield words(exact(tick), at, top + height + 15, text_anchor="middle", fill=FAINT, font_size=10)
