"""Writes dashboards/README.md from the dashboards."""

from __future__ import annotations

from boards import FOLDER, Board, Panel, every

README = FOLDER / "README.md"

HEAD = """\
<!-- Made by `scripts/dashboards readme`. Edit the dashboards, or dashboards/tools/readme.py. -->
# Dashboards

Three Grafana dashboards, and the alerts beside them. [`deploy/`](../deploy/README.md) brings up all of it. To use them
with a Prometheus and a Grafana that you have:

1. Scrape `/metrics` as the job `trunkline`, every 15 seconds or more often. The alerts, and some panels, go by that name;
   the shortest window of an alert is a minute.
2. Give Prometheus, 2.42 or newer, [`alerts/recording.yml`](alerts/recording.yml) and
   [`alerts/alerts.yml`](alerts/alerts.yml) as rule files. The panel *Burn rate by window* reads what they record. Replace
   the two addresses that `alerts.yml` names at its head.
3. Import the JSON files into Grafana 11 or newer, or provision them, as
   [`deploy/`](../deploy/grafana/provisioning/dashboards/trunkline.yml) does. The data source is a variable. Tell it the
   scrape interval, since the windows of rates follow from it. The links of the panels begin with the hidden variable
   `repository`.

[`docs/runbooks.md`](../docs/runbooks.md) has a section for each alert, and panels link to it.

| command | |
| --- | --- |
| `scripts/dashboards lint` | ids, places, units, descriptions, links; metrics, alerts, runbooks and tests, both ways |
| `scripts/dashboards check --prometheus URL` | fails if a query of a panel returns no data |
| `scripts/dashboards pictures --prometheus URL` | draws the pictures below from a live Prometheus (needs matplotlib) |
| `scripts/dashboards readme` | writes this page; with `--check`, fails if it differs |
| `scripts/check-dashboards` | holds the JSON against Grafana's own types (needs npm) |
| `promtool check rules --lint=all dashboards/alerts/*.yml` | the rules |
| `promtool test rules dashboards/alerts/tests/*.yml` | a firing and a silent case for each alert |

The pictures are plots of the panels' own queries, laid out as in Grafana. They are no screenshots.
"""


def text() -> str:
    return HEAD + "".join(section(board) for board in every())


def section(board: Board) -> str:
    title = board.title.removeprefix("Trunkline: ").capitalize()
    lines = [
        f"\n## {title}\n",
        f"{board.raw['description']} [`{board.name}.json`]({board.name}.json)\n",
        f"![The panels of {board.name}](pictures/{board.name}.png)\n",
        "| panel | query | unit |",
        "| --- | --- | --- |",
        *(row(panel) for panel in board.panels),
    ]
    return "\n".join(lines) + "\n"


def row(panel: Panel) -> str:
    if panel.is_row:
        return f"| **{panel.title}** | | |"
    queries = "<br>".join(code(query.expr) for query in panel.queries)
    return f"| {panel.title} | {queries} | {code(panel.unit)} |"


def code(text: str) -> str:
    return "`" + text.replace("|", r"\|") + "`"
