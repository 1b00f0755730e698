"""Whether the page is whole, without measuring or writing anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from figures.remarks import read_remarks, remarks_file
from figures.repository import Trouble, shown
from figures.targets import NUMBERS


def check(docs: Path) -> Iterator[str]:
    """A line for each thing that the page lacks."""
    path, remarks = docs / "performance.md", read_remarks(docs)
    if not path.exists():
        raise Trouble(f"{shown(path)} is missing", "scripts/performance run")
    page = path.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| .* \| \**(met|missed)\** \|$", page, re.MULTILINE))
    for at in map(str, NUMBERS):
        if at not in rows:
            yield f"{shown(path)} has no row for target {at}: run scripts/performance render"
        elif rows[at] == "missed" and at not in remarks:
            yield f"target {at} is missed, and {shown(remarks_file(docs))} does not say why"
    for name, remark in remarks.items():
        if remark not in page:
            yield f"the remark {name} is not in {shown(path)} as it was written: run scripts/performance render"
    yield from check_plots(docs, set(re.findall(r"\]\(performance/([^)]+\.svg)\)", page)))


def check_plots(docs: Path, linked: set[str]) -> Iterator[str]:
    there = {path.name for path in (docs / "performance").glob("*.svg")}
    if not linked:
        yield f"{shown(docs / 'performance.md')} links no plot: run scripts/performance render"
    for name in sorted(linked - there):
        yield f"{shown(docs / 'performance' / name)} is linked and not there: run scripts/performance render"
    for name in sorted(there - linked):
        yield f"{shown(docs / 'performance' / name)} is there and not linked: run scripts/performance render"
