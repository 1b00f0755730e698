"""What benches have found, read from the files that they leave."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from figures.machine import machine
from figures.repository import Trouble, shown
from figures.targets import NUMBERS, TITLES, Figure, Target, Verdict


@dataclass(frozen=True)
class Cell:
    """One figure of a table."""

    table: str
    row: str
    column: str
    value: float


@dataclass(frozen=True)
class Report:
    """What one bench has found, and how it came about. A bench that was run by hand notes no commit."""

    bench: str
    command: str
    commit: str
    machine: dict[str, str]
    finished: datetime
    verdicts: list[Verdict]
    cells: list[Cell]


def read_json(path: Path, bench: str) -> dict[str, Any]:
    again = f"scripts/performance run {bench}"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Trouble(f"{shown(path)} is missing", again) from error
    except (OSError, ValueError) as error:
        raise Trouble(f"{shown(path)} cannot be read: {error}", again) from error
    if not isinstance(found, dict):
        raise Trouble(f"{shown(path)} is no report of a bench", again)
    return found


def read_report(path: Path, bench: str) -> Report:
    raw = read_json(path, bench)
    try:
        return Report(
            bench=bench,
            command=raw["command"],
            commit=raw.get("commit", "not noted"),
            machine=raw.get("machine") or machine(),
            finished=datetime.fromtimestamp(raw["finished_at"], UTC),
            verdicts=[read_verdict(verdict) for verdict in raw["verdicts"]],
            cells=[read_cell(cell) for cell in raw["figures"]],
        )
    except KeyError as error:
        raise Trouble(f"{shown(path)} is broken: it lacks {error}", f"scripts/performance run {bench}") from error
    except (TypeError, ValueError) as error:
        raise Trouble(f"{shown(path)} is broken: {error}", f"scripts/performance run {bench}") from error


def read_verdict(raw: dict[str, Any]) -> Verdict:
    what = raw["what"]
    if raw["target"] not in NUMBERS:
        raise ValueError(f"“{what}” is of a target {raw['target']}, and there are {len(TITLES)}")
    if raw["relation"] not in ("at_most", "at_least"):
        raise ValueError(f"“{what}” has the relation {raw['relation']}")
    ours, rival = read_figure(raw["ours"], what), read_figure(raw["rival"], what) if raw["rival"] else None
    return Verdict(
        target=raw["target"],
        what=what,
        unit=raw["unit"],
        ours=ours,
        rival=rival,
        measured=read_ratio(raw) if rival else ours.value,
        is_at_most=raw["relation"] == "at_most",
        bound=real(raw["bound"], what),
        met=raw["met"],
    )


def read_figure(raw: dict[str, Any], what: str) -> Figure:
    return Figure(raw["name"], real(raw["value"], what))


def read_ratio(raw: dict[str, Any]) -> float:
    """JSON has no infinity: what was divided by zero is null."""
    return math.inf if raw["ratio"] is None else real(raw["ratio"], raw["what"])


def read_cell(raw: dict[str, Any]) -> Cell:
    table, row, column = raw["table"], raw["row"], raw["column"]
    return Cell(table, row, column, real(raw["value"], f"{table}: {row}, {column}"))


def real(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"“{what}” has {json.dumps(value)} where a number should be")
    return float(value)


def targets_of(reports: list[Report]) -> list[Target]:
    verdicts = [verdict for report in reports for verdict in report.verdicts]
    targets = [Target(at, [verdict for verdict in verdicts if verdict.target == at]) for at in NUMBERS]
    unmeasured = [f"{target.number} ({target.title})" for target in targets if not target.verdicts]
    if unmeasured:
        raise Trouble(f"no bench measures for: {', '.join(unmeasured)}", "scripts/performance run")
    return targets
