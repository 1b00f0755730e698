"""Whether each query of each panel returns data from a live Prometheus."""

from __future__ import annotations

from boards import Board, Panel, Query, every
from prometheus import Prometheus, Unanswered


def check(prometheus: Prometheus) -> list[str]:
    """A line for each query that returns no data."""
    found = []
    for board in every():
        for panel in board.panels:
            for query in panel.queries:
                trouble = trouble_of(prometheus, query)
                if trouble:
                    found.append(f"{where(board, panel)}: {trouble}: {query.expr}")
    return found


def trouble_of(prometheus: Prometheus, query: Query) -> str | None:
    try:
        series = prometheus.ask(query)
    except Unanswered as error:
        return str(error)
    if not series:
        return "no data"
    if not any(one.measured for one in series):
        return None if quantile(query) else "nothing but NaN"
    return None


def quantile(query: Query) -> bool:
    """A quantile of nothing is NaN: there is a series, and nothing has happened yet."""
    return query.expr.startswith("histogram_quantile(")


def where(board: Board, panel: Panel) -> str:
    return f"{board.name}: panel {panel.id} ({panel.title})"
