"""The page: every target, what was measured for it, and all figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from figures.findings import Report
from figures.machine import FACTS
from figures.markdown import anchor, cell, picture, table_of
from figures.numbers import number
from figures.plots import bars, bars_of_targets
from figures.remarks import read_remarks, remarks_file
from figures.repository import Trouble, shown
from figures.tables import PLOT_OF_TARGETS, Table, tables_of
from figures.targets import Figure, Target, Verdict, is_ours

HEAD = """\
<!-- Made by `scripts/performance`. Edit docs/performance/remarks.md, or scripts/performance. -->
# Performance

Eleven targets, and what was measured. What counts is the ratio: ours beside a rival's, in the same run on the same machine.
The absolute times are those of this machine, and of the minutes in which a bench ran. `scripts/performance run` measures
on yours, and writes this page.
"""

EXPLANATION = """\
*At most 1.5×* asks that ours is at most 1.5 times the rival's; *at least 4×*, that the rival's is at least 4 times ours.
Without a rival, the figure itself is asked for. A target is met when all of its measurements hold. The table shows the one
that comes closest to its bound, or misses it furthest.
"""


def write(docs: Path, reports: list[Report], targets: list[Target]) -> None:
    """Writes page and plots, and takes away plots that nothing is drawn in any more."""
    tables, remarks = tables_of(reports), read_remarks(docs)
    unexplained = [target for target in targets if not target.is_met and str(target.number) not in remarks]
    if unexplained:
        raise Trouble("\n".join(map(missed, unexplained)), f"say why in {shown(remarks_file(docs))}")
    plots = {table.plot: bars(table) for table in tables if table.is_plotted}
    plots[PLOT_OF_TARGETS] = bars_of_targets(targets)
    folder = docs / "performance"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        if old.stem not in plots:
            old.unlink()
    for name, plot in plots.items():
        (folder / f"{name}.svg").write_text(plot, encoding="utf-8")
    page = "\n".join(sections(reports, targets, tables, remarks))
    (docs / "performance.md").write_text(page, encoding="utf-8")


def missed(target: Target) -> str:
    worst = target.worst
    return (f"target {target.number} is missed, and no remark says why: "
            f"{worst.what}, {worst.written}, asked for {worst.asked}")


def sections(
    reports: list[Report], targets: list[Target], tables: list[Table], remarks: dict[str, str]
) -> Iterator[str]:
    """The page, part by part; each ends with a line break."""
    yield HEAD
    yield picture("The targets: measured by asked", PLOT_OF_TARGETS)
    yield "## Machine and runs\n"
    yield machines(reports)
    yield runs(reports)
    yield "## The targets\n"
    yield EXPLANATION
    yield overview(targets)
    for target in targets:
        yield f"### {heading(target)}\n"
        yield verdicts(target)
        if str(target.number) in remarks:
            yield remarks[str(target.number)] + "\n"
    yield "## Figures\n"
    for table in tables:
        yield from figures(table)
    if "after" in remarks:
        yield remarks["after"] + "\n"


def machines(reports: list[Report]) -> str:
    """One column for each machine; there are several when benches ran on several."""
    found: dict[tuple[str, ...], list[str]] = {}
    for report in reports:
        found.setdefault(tuple(report.machine.get(fact, "") for fact in FACTS), []).append(report.bench)
    head = [""] if len(found) == 1 else [", ".join(benches) for benches in found.values()]
    return table_of(["", *head], zip(FACTS, *found, strict=True))


def runs(reports: list[Report]) -> str:
    rows = [
        (report.bench, f"`{report.command}`", report.commit, f"{report.finished:%Y-%m-%d %H:%M} UTC")
        for report in reports
    ]
    return table_of(["bench", "command", "commit", "when"], rows)


def overview(targets: list[Target]) -> str:
    rows = [
        (
            str(target.number), f"[{target.title}](#{anchor(heading(target))})", cell(target.worst.what),
            target.worst.written, target.worst.asked, f"{target.holding} of {len(target.verdicts)}",
            judged(target.is_met),
        )
        for target in targets
    ]
    return table_of(["", "target", "worst case", "measured", "asked", "hold", ""], rows, "lllrlll")


def verdicts(target: Target) -> str:
    rows = [
        (
            cell(verdict.what), beside(verdict.ours, verdict) if verdict.rival else verdict.written,
            beside(verdict.rival, verdict) if verdict.rival else "", verdict.written if verdict.rival else "",
            verdict.asked, judged(verdict.met),
        )
        for verdict in target.verdicts
    ]
    return table_of(["what", "ours", "rival", "ratio", "asked", "met"], rows, "lllrll")


def beside(figure: Figure, verdict: Verdict) -> str:
    """A figure with its unit, and its name where the head of the column does not say it."""
    name = "" if figure.name in ("", "ours") else f" ({cell(figure.name)})"
    return f"{number(figure.value)} {verdict.unit}".rstrip() + name


def judged(is_met: bool) -> str:
    return "met" if is_met else "**missed**"


def figures(table: Table) -> Iterator[str]:
    yield f"### {cell(table.title)}\n"
    yield f"From {' and '.join(f'`{bench}`' for bench in table.benches)}.\n"
    if table.is_plotted:
        yield picture(cell(table.title), table.plot)
    rows = [(row_name(row), *(value_of(table, row, column) for column in table.columns)) for row in table.rows]
    yield table_of(["", *map(cell, table.columns)], rows, "l" + "r" * len(table.columns))


def row_name(row: str) -> str:
    return f"**{cell(row)}**" if is_ours(row) else cell(row)


def value_of(table: Table, row: str, column: str) -> str:
    return number(table.values[row, column]) if (row, column) in table.values else ""


def heading(target: Target) -> str:
    return f"{target.number}. {target.title}"
