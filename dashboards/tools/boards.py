"""The dashboards as they stand in their files: panels, queries, and what stands for a variable.

Nothing here asks a Prometheus or draws. Paths are relative to the root of the repository.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "dashboards"
ALERTS = FOLDER / "alerts"
# In the order in which one reads them.
NAMES = ("overview", "cache-and-store", "dispatch")


@dataclass(frozen=True)
class Place:
    """Where a panel stands on the grid of 24 columns."""

    x: int
    y: int
    w: int
    h: int

    def overlaps(self, other: Place) -> bool:
        across = self.x < other.x + other.w and other.x < self.x + self.w
        return across and self.y < other.y + other.h and other.y < self.y + self.h


@dataclass(frozen=True)
class Query:
    """One query of a panel."""

    ref: str
    expr: str
    legend: str
    instant: bool


@dataclass(frozen=True)
class Panel:
    """One panel, or a row's title."""

    id: int
    kind: str
    title: str
    place: Place
    queries: tuple[Query, ...]
    raw: dict[str, Any]

    @property
    def is_row(self) -> bool:
        return self.kind == "row"

    @property
    def defaults(self) -> dict[str, Any]:
        return self.raw.get("fieldConfig", {}).get("defaults", {})

    @property
    def unit(self) -> str:
        return self.defaults.get("unit", "")

    def overridden(self, name: str, what: str) -> Any:
        """What an override by name says of a field, or None."""
        for override in self.raw["fieldConfig"]["overrides"]:
            if override["matcher"] == {"id": "byName", "options": name}:
                for entry in override["properties"]:
                    if entry["id"] == what:
                        return entry["value"]
        return None


@dataclass(frozen=True)
class Board:
    """One dashboard."""

    name: str
    raw: dict[str, Any]
    panels: tuple[Panel, ...]

    @property
    def title(self) -> str:
        return self.raw["title"]

    def variable(self, name: str) -> dict[str, Any] | None:
        return next((v for v in self.raw["templating"]["list"] if v["name"] == name), None)


@dataclass(frozen=True)
class Window:
    """The time that is shown, in seconds, and what Grafana makes of it."""

    seconds: int
    step: int
    scrape: int

    @property
    def rate_interval(self) -> int:
        return max(self.step + self.scrape, 4 * self.scrape)


def load(name: str) -> Board:
    raw = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return Board(name, raw, tuple(panel(entry) for entry in raw["panels"]))


def every() -> list[Board]:
    return [load(name) for name in NAMES]


def panel(raw: dict[str, Any]) -> Panel:
    grid = raw["gridPos"]
    place = Place(grid["x"], grid["y"], grid["w"], grid["h"])
    queries = tuple(query(target) for target in raw.get("targets", []))
    return Panel(raw["id"], raw["type"], raw["title"], place, queries, raw)


def query(raw: dict[str, Any]) -> Query:
    return Query(raw["refId"], raw["expr"], raw.get("legendFormat", ""), raw.get("instant", False))


def filled(expr: str, window: Window) -> str:
    """The query with a value for each variable: all instances, and the times of the window."""
    values = {
        "__rate_interval": f"{window.rate_interval}s",
        "__interval": f"{window.step}s",
        "__range": f"{window.seconds}s",
        "instance": ".*",
    }
    return re.sub(r"\$\{?(\w+)\}?", lambda found: values[found[1]], expr)
