"""What holds for every dashboard and rule, whatever they show.

Ids and places, descriptions, units, links and data sources; the names of metrics against the list of
them, both ways; alerts against runbooks and tests, both ways. Asks nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from boards import ALERTS, FOLDER, NAMES, ROOT, Board, Panel, every
from check import where

RUNBOOKS = ROOT / "docs" / "runbooks.md"
# Made by Prometheus itself.
OF_PROMETHEUS = {"up", "ALERTS"}
HISTOGRAM = re.compile(r"_(bucket|sum|count)$")
NO_NAME = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


def lint(list_of_metrics: Path) -> list[str]:
    """A line for each thing that is wrong, once."""
    boards = every()
    found = list(of_files(boards))
    for board in boards:
        found += of_board(board)
        for panel in board.panels:
            found += [f"{where(board, panel)}: {trouble}" for trouble in of_panel(panel)]
    found += of_metrics(boards, metrics_of(list_of_metrics), list_of_metrics)
    found += of_alerts(boards)
    return list(dict.fromkeys(found))


def of_files(boards: list[Board]) -> Iterator[str]:
    files = {path.stem for path in FOLDER.glob("*.json")}
    for name in sorted(files ^ set(NAMES)):
        yield f"{name}.json: is not in the list of dashboards, or is in it and not here"
    uids = [board.raw["uid"] for board in boards]
    if len(set(uids)) < len(uids):
        yield "two dashboards have the same uid"


def of_board(board: Board) -> Iterator[str]:
    if board.raw["uid"] != f"trunkline-{board.name}":
        yield f"{board.name}: the uid is not trunkline-{board.name}"
    if board.raw["schemaVersion"] < 39:
        yield f"{board.name}: schemaVersion is below 39"
    for name in ("datasource", "instance", "repository"):
        if board.variable(name) is None:
            yield f"{board.name}: there is no variable {name}"
    for source in data_sources(board.raw):
        if source != {"type": "prometheus", "uid": "${datasource}"}:
            yield f"{board.name}: a data source is not the variable: {json.dumps(source)}"
    for one, other in combinations(board.panels, 2):
        if one.id == other.id:
            yield f"{where(board, other)}: has the id of {one.title}"
        if one.place.overlaps(other.place):
            yield f"{where(board, other)}: lies over {one.title}"


def data_sources(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "datasource":
                yield inner
            else:
                yield from data_sources(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from data_sources(inner)


def of_panel(panel: Panel) -> Iterator[str]:
    if panel.place.x + panel.place.w > 24:
        yield "reaches beyond the grid"
    if panel.is_row:
        return
    description = panel.raw.get("description", "")
    if not description.endswith(".") or re.search(r"\.\s", description):
        yield "the description is not one sentence"
    if not panel.unit:
        yield "has no unit"
    if "datasource" not in panel.raw:
        yield "names no data source"
    if not panel.queries:
        yield "asks nothing"
    for query in panel.queries:
        for window in re.findall(r"\[([^\]]+)\]", query.expr):
            if window not in ("$__rate_interval", "$__range"):
                yield f"a window is fixed: [{window}]"
    yield from of_links(panel.raw.get("links", []))


def of_links(links: list[dict[str, Any]]) -> Iterator[str]:
    if not links:
        yield "has no link"
    for link in links:
        begin, _, path = link["url"].partition("}/")
        if begin != "${repository":
            yield f"a link does not begin with ${{repository}}/: {link['url']}"
            continue
        file, _, anchor = path.partition("#")
        if not (ROOT / file).is_file() or (anchor and anchor not in anchors(ROOT / file)):
            yield f"a link leads nowhere: {path}"


def anchors(markdown: Path) -> list[str]:
    headings = re.findall(r"^#+ (.+)$", markdown.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def metrics_of(markdown: Path) -> set[str]:
    """The names in the first column of the tables of a page."""
    text = markdown.read_text(encoding="utf-8")
    cells = re.findall(r"^\| *([^|]+?) *\|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"\b(?:trunkline|process)_\w+", cell)}


def of_metrics(boards: list[Board], known: set[str], source: Path) -> Iterator[str]:
    used: set[str] = set()
    recorded = set(re.findall(r"- record: (\S+)", (ALERTS / "recording.yml").read_text()))
    for place, expr in expressions(boards):
        for name in sorted(names(expr)):
            plain = name if name in known else HISTOGRAM.sub("", name)
            if place != "runbooks.md":
                used.add(plain)
            if plain not in known | recorded | OF_PROMETHEUS:
                yield f"{place}: there is no metric {name} in {source.name}"
    for name in sorted(known - used):
        yield f"{name} of {source.name} is in no panel and in no rule"
    for name in sorted(recorded - used):
        yield f"{name} is recorded and not used"


def expressions(boards: list[Board]) -> Iterator[tuple[str, str]]:
    for board in boards:
        for panel in board.panels:
            for query in panel.queries:
                yield where(board, panel), query.expr
    for file in ("recording.yml", "alerts.yml"):
        for expr in rule_expressions((ALERTS / file).read_text(encoding="utf-8")):
            yield f"alerts/{file}", expr
    for block in re.findall(r"```promql\n(.*?)```", RUNBOOKS.read_text(encoding="utf-8"), re.DOTALL):
        yield from (("runbooks.md", line) for line in block.splitlines())


def rule_expressions(text: str) -> list[str]:
    """What stands behind each `expr:`, on its line or in the deeper lines below it."""
    found = re.findall(r"^( +)expr: (.*(?:\n\1 +.*)*)", text, re.MULTILINE)
    return [expr.removeprefix(">-") for _, expr in found]


def names(expr: str) -> set[str]:
    """The names of metrics in a query: identifiers that are no function, label or keyword."""
    expr = re.sub(r'"(?:[^"\\]|\\.)*"', "", expr)
    expr = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", expr)
    grouping = r"\b(by|without|on|ignoring|group_left|group_right) *\([^)]*\)"
    expr = re.sub(grouping, "", expr)
    found = re.findall(r"[a-zA-Z_:][\w:]*\b(?! *\()", expr)
    return {name for name in found if name.lower() not in NO_NAME}


def of_alerts(boards: list[Board]) -> Iterator[str]:
    text = (ALERTS / "alerts.yml").read_text(encoding="utf-8")
    rules = re.split(r"^ +- alert: ", text, flags=re.MULTILINE)[1:]
    uids = {board.raw["uid"] for board in boards}
    for rule in rules:
        name = rule.split("\n", 1)[0]
        yield from (f"alert {name}: {trouble}" for trouble in of_alert(name, rule, uids))
    alerts = {rule.split("\n", 1)[0] for rule in rules}
    sections = re.findall(r"^## (.+)$", RUNBOOKS.read_text(encoding="utf-8"), re.MULTILINE)
    for section in sections:
        if section.lower().replace(" ", "-") not in map(anchor_of, alerts):
            yield f"runbooks.md: no alert is called for by the section {section}"
    yield from of_tests(alerts)


def of_alert(name: str, rule: str, uids: set[str]) -> Iterator[str]:
    for part in ("severity", "summary", "description", "dashboard_url", "runbook_url"):
        if not re.search(rf"^ +{part}: \S", rule, re.MULTILINE):
            yield f"has no {part}"
    if not re.search(r"^ +severity: (page|ticket)$", rule, re.MULTILINE):
        yield "the severity is neither page nor ticket"
    if not re.search(rf"/docs/runbooks\.md#{anchor_of(name)}$", rule, re.MULTILINE):
        yield f"the runbook is not #{anchor_of(name)}"
    if anchor_of(name) not in anchors(RUNBOOKS):
        yield "has no section in runbooks.md"
    linked = re.findall(r"^ +dashboard_url: \S+/d/(\S+)$", rule, re.MULTILINE)
    if not set(linked) <= uids:
        yield "leads to a dashboard that is not there"


def of_tests(alerts: set[str]) -> Iterator[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(ALERTS.glob("tests/*.yml")))
    cases = re.findall(r"^ +alertname: (\S+)\n +exp_alerts:( \[\])?", text, re.MULTILINE)
    for alert in sorted(alerts):
        if (alert, "") not in cases:
            yield f"alert {alert}: no test in which it fires"
        if (alert, " []") not in cases:
            yield f"alert {alert}: no test in which it is silent"
    for alert in sorted({alert for alert, _ in cases} - alerts):
        yield f"alerts/tests: there is no alert {alert}"


def anchor_of(alert: str) -> str:
    """TrunklineHighFallbackRate is high-fallback-rate."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", alert.removeprefix("Trunkline")).lower()
