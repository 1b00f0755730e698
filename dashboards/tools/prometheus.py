"""Asks a Prometheus what a panel asks."""

from __future__ import annotations

import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from boards import Query, Window, filled


@dataclass(frozen=True)
class Series:
    """One series of an answer: its labels, and its values by time."""

    labels: dict[str, str]
    points: list[tuple[float, float]]

    @property
    def last(self) -> float:
        return self.points[-1][1]

    @property
    def measured(self) -> bool:
        """Whether there is any number; a quantile of nothing is none."""
        return any(not math.isnan(value) for _, value in self.points)

    def name(self, legend: str) -> str:
        return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: self.labels.get(found[1], ""), legend)


class Unanswered(Exception):
    """Prometheus could not be asked, or refused the query."""


class Prometheus:
    """A live Prometheus, and the window of time that is asked for."""

    def __init__(self, url: str, minutes: int) -> None:
        self.url = url.rstrip("/")
        self.end = time.time()
        seconds = minutes * 60
        self.window = Window(seconds, max(1, seconds // 240), self.scrape_interval())

    def ask(self, query: Query) -> list[Series]:
        expr = filled(query.expr, self.window)
        if query.instant:
            return self.call("query", query=expr, time=self.end)
        start = self.end - self.window.seconds
        return self.call("query_range", query=expr, start=start, end=self.end, step=self.window.step)

    def call(self, path: str, **values: Any) -> list[Series]:
        return [series(entry) for entry in self.get(path, **values)["result"]]

    def get(self, path: str, **values: Any) -> dict[str, Any]:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(values)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise Unanswered(json.load(error).get("error", str(error))) from error
        except OSError as error:
            raise Unanswered(f"{self.url}: {error}") from error

    def scrape_interval(self) -> int:
        """How often Trunkline is scraped; Grafana learns it from its data source."""
        targets = self.get("targets", state="active")["activeTargets"]
        ours = [target for target in targets if target["labels"].get("job") == "trunkline"]
        return seconds(ours[0]["scrapeInterval"]) if ours else 15


def series(entry: dict[str, Any]) -> Series:
    points = entry.get("values") or [entry["value"]]
    return Series(entry["metric"], [(float(at), float(value)) for at, value in points])


def seconds(duration: str) -> int:
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    parts = re.findall(r"(\d+)(ms|s|m|h)", duration)
    return max(1, round(sum(int(number) * units[unit] for number, unit in parts)))
