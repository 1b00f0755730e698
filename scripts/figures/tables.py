"""Figures of all benches, put together to tables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from figures.findings import Cell, Report
from figures.repository import Trouble
from figures.targets import Figure

# The plot of the targets has the name of no table.
PLOT_OF_TARGETS = "the-targets"


@dataclass
class Table:
    """Figures that belong together."""

    title: str
    benches: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    values: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def plot(self) -> str:
        """The name of its plot."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    @property
    def is_plotted(self) -> bool:
        return len(self.rows) > 1

    def of(self, column: str) -> list[Figure]:
        """The figures of a column, as far as there are any."""
        return [Figure(row, self.values[row, column]) for row in self.rows if (row, column) in self.values]

    def add(self, cell: Cell, bench: str) -> None:
        if (cell.row, cell.column) in self.values:
            what = f"{bench} has found {cell.row}, {cell.column} of “{self.title}” twice"
            raise Trouble(what, "give the row, the column or the table a name of its own")
        for names, name in ((self.benches, bench), (self.rows, cell.row), (self.columns, cell.column)):
            if name not in names:
                names.append(name)
        self.values[cell.row, cell.column] = cell.value


def tables_of(reports: list[Report]) -> list[Table]:
    tables: dict[str, Table] = {}
    for report in reports:
        for cell in report.cells:
            tables.setdefault(cell.table, Table(cell.table)).add(cell, report.bench)
    names: dict[str, str] = {PLOT_OF_TARGETS: "The targets"}
    for table in tables.values():
        if names.setdefault(table.plot, table.title) != table.title or table.plot == PLOT_OF_TARGETS:
            what = f"the plots of “{names[table.plot]}” and “{table.title}” would have the same name"
            raise Trouble(what, f"rename a table of the bench {table.benches[0]}")
    return list(tables.values())
