"""Markdown: tables, headings and pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable


def picture(title: str, name: str) -> str:
    return f"![{title}](performance/{name}.svg)\n"


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def cell(text: str) -> str:
    """Names of types have brackets that are no HTML."""
    return text.replace("|", r"\|").replace("<", "&lt;")


def table_of(head: list[str], rows: Iterable[Iterable[str]], sides: str = "") -> str:
    """A table in Markdown; `sides` has a letter for each column, `r` for one of numbers."""
    rules = ["---:" if side == "r" else "---" for side in sides or "l" * len(head)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rules, *rows))
