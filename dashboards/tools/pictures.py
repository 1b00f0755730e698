"""Draws each dashboard from what its own queries return: the same grid, the same colours.

It is not Grafana, and the pictures do not claim to be screenshots. They say what a page is for.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from boards import FOLDER, Board, Panel, every
from prometheus import Prometheus, Series
from units import written

FOLDER_OF_PICTURES = FOLDER / "pictures"
# Inches: the width of the picture, the height of a row of the grid, and the margin around a panel.
WIDTH, UNIT, GAP = 15.0, 0.36, 0.05
COLOURS = {
    "green": "#56a64b", "orange": "#ff780a", "red": "#e02f44", "blue": "#3274d9", "purple": "#a352cc",
    "yellow": "#e5b400", "transparent": "none",
}
PALETTE = ["#56a64b", "#e5b400", "#3274d9", "#ff780a", "#e02f44", "#a352cc", "#5195ce", "#b877d9",
           "#8ab8ff", "#96d98d", "#ffb357", "#7c7c7c"]
PAGE, CARD, LINE, TEXT, FAINT = "#f4f5f5", "#ffffff", "#dcdcdd", "#24292e", "#7b8087"

STYLE: dict[str, Any] = {
    "font.size": 7.5, "font.family": "DejaVu Sans", "text.color": TEXT, "axes.edgecolor": LINE,
    "xtick.color": FAINT, "ytick.color": FAINT, "text.parse_math": False,
}

Answers = list[tuple[str, Series]]
Box = tuple[float, float, float, float]


def draw(prometheus: Prometheus) -> Iterator[Path]:
    """Draws every dashboard and yields the files."""
    FOLDER_OF_PICTURES.mkdir(exist_ok=True)
    matplotlib.rcParams.update(STYLE)
    for board in every():
        path = FOLDER_OF_PICTURES / f"{board.name}.png"
        save(Page(board, prometheus).figure, path)
        yield path


def save(figure: Figure, path: Path) -> None:
    """Few colours suffice, and make a small file."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    image = Image.open(drawn).convert("RGB")
    image.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


class Page:
    """One dashboard on paper."""

    def __init__(self, board: Board, prometheus: Prometheus) -> None:
        self.prometheus = prometheus
        self.rows = max(panel.place.y + panel.place.h for panel in board.panels)
        self.figure = Figure(figsize=(WIDTH, self.rows * UNIT), dpi=90, facecolor=PAGE)
        for panel in board.panels:
            self.row(panel) if panel.is_row else self.panel(panel)

    def box(self, panel: Panel) -> Box:
        """Left, bottom, width and height of a panel, in inches."""
        place, column = panel.place, WIDTH / 24
        bottom = (self.rows - place.y - place.h) * UNIT
        return (place.x * column + GAP, bottom + GAP, place.w * column - 2 * GAP, place.h * UNIT - 2 * GAP)

    def axes(self, box: Box) -> Axes:
        height = self.rows * UNIT
        left, bottom, wide, high = box
        return self.figure.add_axes((left / WIDTH, bottom / height, wide / WIDTH, high / height))

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        self.figure.text(x / WIDTH, y / (self.rows * UNIT), text, **style)

    def row(self, panel: Panel) -> None:
        left, bottom, _, high = self.box(panel)
        self.text(left + 0.05, bottom + high / 2, panel.title, weight="bold", size=10, va="center")

    def panel(self, panel: Panel) -> None:
        left, bottom, wide, high = self.box(panel)
        card = self.axes((left, bottom, wide, high))
        card.set(xticks=[], yticks=[], facecolor=CARD)
        self.text(left + 0.1, bottom + high - 0.11, panel.title, weight="bold", size=8, va="top")
        draw_one = {"stat": self.stat, "table": self.table, "heatmap": self.heatmap, "timeseries": self.lines}
        draw_one[panel.kind](panel, self.answers(panel), (left, bottom, wide, high - 0.32))

    def answers(self, panel: Panel) -> Answers:
        return [(query.legend, one) for query in panel.queries for one in self.prometheus.ask(query)]

    def stat(self, panel: Panel, answers: Answers, box: Box) -> None:
        left, bottom, wide, high = box
        value = answers[0][1].last if answers else math.nan
        colour = reached(panel, value)
        filled = panel.raw["options"]["colorMode"] == "background_solid"
        if filled:
            patch = self.axes((left + 0.04, bottom + 0.04, wide - 0.08, high))
            patch.set(xticks=[], yticks=[], facecolor=colour)
            patch.spines[:].set_visible(False)
        said = written(value, panel.unit, panel.defaults.get("decimals")) if answers else "no data"
        self.text(left + wide / 2, bottom + high / 2 + 0.02, said, size=17, ha="center", va="center",
                  weight="bold", color="white" if filled else colour)

    def lines(self, panel: Panel, answers: Answers, box: Box) -> None:
        named = named_series(panel, answers)
        beside = panel.raw["options"]["legend"]["placement"] == "right"
        axes = self.plot(box, legend_lines(named, box[2], beside), beside)
        custom = panel.defaults["custom"]
        if custom["stacking"]["mode"] == "normal":
            stack(axes, named)
        else:
            step = "steps-post" if custom["lineInterpolation"] == "stepAfter" else "default"
            for name, colour, one in named:
                axes.plot(times(one), values(one), color=colour, lw=1.2, label=name, drawstyle=step)
        self.scales(panel, axes)
        thresholds(panel, axes)
        self.legend(axes, named, box, beside)

    def plot(self, box: Box, below: int, beside: bool) -> Axes:
        left, bottom, wide, high = box
        foot = 0.26 + (0 if beside else 0.17 * below)
        width = wide - 0.72 - (1.5 if beside else 0)
        return self.axes((left + 0.6, bottom + foot, width, high - foot - 0.02))

    def scales(self, panel: Panel, axes: Axes) -> None:
        if axes.dataLim.height == 0 and axes.dataLim.y0 == 0:
            axes.set_ylim(top=1)
        if "min" in panel.defaults:
            axes.set_ylim(bottom=panel.defaults["min"])
        whole = panel.unit in ("none", "bytes")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=whole))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, panel.unit)))
        self.time_axis(axes)
        axes.grid(color="#ececed", lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)

    def time_axis(self, axes: Axes) -> None:
        end, length = self.prometheus.end, self.prometheus.window.seconds
        axes.set_xlim(day(end - length), day(end))
        axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=6))
        axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
        axes.tick_params(length=0, labelsize=7)

    def legend(self, axes: Axes, named: list[Any], box: Box, beside: bool) -> None:
        handles = [Rectangle((0, 0), 1, 1, color=colour) for _, colour, _ in named]
        if not handles:
            axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color=FAINT)
            return
        height = self.rows * UNIT
        left, bottom, wide, high = box
        where = (left + wide - 0.05, bottom + high) if beside else (left + 0.5, bottom)
        self.figure.legend(
            handles, [name for name, _, _ in named], frameon=False, fontsize=7, handlelength=1.2,
            handleheight=0.35, columnspacing=1.2, handletextpad=0.5, borderaxespad=0.2, labelspacing=0.35,
            ncols=1 if beside else columns(named, wide), loc="upper right" if beside else "lower left",
            bbox_to_anchor=(where[0] / WIDTH, where[1] / height))

    def heatmap(self, panel: Panel, answers: Answers, box: Box) -> None:
        axes = self.plot(box, 0, False)
        buckets = sorted((one for _, one in answers), key=lambda one: float(one.labels["le"]))
        if not buckets:
            return
        grid = differences(buckets)
        middle = times(buckets[0])
        axes.pcolormesh(middle, range(len(buckets)), grid, cmap="Blues", shading="nearest",
                        norm=PowerNorm(0.5, vmin=0))
        marks = range(0, len(buckets), 1 if len(buckets) < 9 else 2)
        axes.set_yticks(list(marks), [bound(buckets[mark], panel.unit) for mark in marks])
        self.time_axis(axes)

    def table(self, panel: Panel, answers: Answers, box: Box) -> None:
        head, body = organized(panel, self.prometheus)
        left, bottom, wide, high = box
        longest = [max(len(row[column]) for row in [head, *body]) + 3 for column in range(len(head))]
        for column, title in enumerate(head):
            x = left + 0.12 + (wide - 0.2) * sum(longest[:column]) / sum(longest)
            self.text(x, bottom + high - 0.1, title, size=7.5, color=FAINT, va="top")
            for line, row in enumerate(body):
                self.text(x, bottom + high - 0.42 - 0.26 * line, row[column], size=7.5, va="top")


def named_series(panel: Panel, answers: Answers) -> list[tuple[str, str, Series]]:
    """Each series with its name in the legend and its colour."""
    if len(panel.queries) == 1:
        answers = sorted(answers, key=lambda answer: answer[1].name(answer[0]))
    found = []
    for place, (legend, one) in enumerate(answers):
        name = one.name(legend)
        fixed = panel.overridden(name, "color")
        colour = COLOURS[fixed["fixedColor"]] if fixed else PALETTE[place % len(PALETTE)]
        found.append((name, colour, one))
    return found


def stack(axes: Axes, named: list[tuple[str, str, Series]]) -> None:
    if not named:
        return
    moments = sorted({at for _, _, one in named for at, _ in one.points})
    floor = [0.0] * len(moments)
    for _, colour, one in named:
        known = {at: value for at, value in one.points if not math.isnan(value)}
        top = [below + known.get(at, 0.0) for at, below in zip(moments, floor)]
        at = [day(moment) for moment in moments]
        axes.fill_between(at, floor, top, color=colour, alpha=0.35, lw=0)
        axes.plot(at, edge(floor, top), color=colour, lw=1)
        floor = top
    if not any(floor):
        axes.plot([day(moment) for moment in moments], floor, color=named[0][1], lw=1)
        axes.set_ylim(0, 1)


def edge(floor: list[float], top: list[float]) -> list[float]:
    """The upper edge of a layer, where there is any of it or beside there."""
    some = [above > below for above, below in zip(top, floor)]
    return [above if any(some[max(0, at - 1) : at + 2]) else math.nan for at, above in enumerate(top)]


def thresholds(panel: Panel, axes: Axes) -> None:
    if "thresholdsStyle" not in panel.defaults["custom"]:
        return
    for step in panel.defaults["thresholds"]["steps"]:
        if step["value"] is not None:
            axes.axhline(step["value"], color=COLOURS[step["color"]], lw=0.9, ls="--")
    axes.set_ylim(top=max(axes.get_ylim()[1], 1.08 * panel.defaults["thresholds"]["steps"][-1]["value"]))


def reached(panel: Panel, value: float) -> str:
    """The colour of the highest threshold that a value reaches."""
    colour = ""
    for step in panel.defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    return COLOURS[colour]


def organized(panel: Panel, prometheus: Prometheus) -> tuple[list[str], list[list[str]]]:
    """A table's head and body, as its transformations make them."""
    options = next(one["options"] for one in panel.raw["transformations"] if one["id"] == "organize")
    rows: dict[str, dict[str, str]] = {}
    for query in panel.queries:
        column = "Value" if len(panel.queries) == 1 else f"Value #{query.ref}"
        title = options["renameByName"].get(column, column)
        for one in prometheus.ask(query):
            row = rows.setdefault(one.labels["instance"], {})
            row.update(one.labels)
            row[column] = written(one.last, panel.overridden(title, "unit") or panel.unit)
    kept = [name for name in next(iter(rows.values()), {}) if name not in options["excludeByName"]]
    order = options.get("indexByName", {})
    kept.sort(key=lambda name: order.get(name, name.startswith("Value")))
    head = [options["renameByName"].get(name, name) for name in kept]
    return head, [[row.get(name, "") for name in kept] for _, row in sorted(rows.items())]


def differences(buckets: list[Series]) -> list[list[float]]:
    """What lies in each bucket, from what lies below each bound. The moments are those of the first."""
    moments = [at for at, _ in buckets[0].points]
    below = [[dict(one.points).get(at, 0.0) for at in moments] for one in buckets]
    lowest = [0.0] * len(moments)
    rows = zip(below, [lowest, *below])
    return [[max(0.0, a - b) for a, b in zip(row, before)] for row, before in rows]


def bound(bucket: Series, unit: str) -> str:
    le = float(bucket.labels["le"])
    return "more" if math.isinf(le) else written(le, unit)


def legend_lines(named: list[Any], wide: float, beside: bool) -> int:
    return 0 if beside else math.ceil(len(named) / columns(named, wide))


def columns(named: list[Any], wide: float) -> int:
    longest = max((len(name) for name, _, _ in named), default=1)
    return max(1, min(len(named) or 1, int((wide - 0.5) / (0.072 * longest + 0.32))))


def times(one: Series) -> list[float]:
    return [day(at) for at, _ in one.points]


def values(one: Series) -> list[float]:
    return [value for _, value in one.points]


def day(at: float) -> float:
    """A moment as matplotlib counts them: days since 1970."""
    return at / 86400
