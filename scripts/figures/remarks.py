"""What people have to say about targets and figures."""

from __future__ import annotations

import re
from pathlib import Path

from figures.repository import Trouble, shown
from figures.targets import NUMBERS


def remarks_file(docs: Path) -> Path:
    return docs / "performance" / "remarks.md"


def read_remarks(docs: Path) -> dict[str, str]:
    """What people wrote, by the number of its target. `after` comes last and may have headings of its own."""
    path = remarks_file(docs)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    text, *after = re.split(r"^## +after *$", text, maxsplit=1, flags=re.MULTILINE)
    parts = re.split(r"^## +(.+)$", text, flags=re.MULTILINE)
    names = [name.strip() for name in parts[1::2]]
    for name in names:
        if name not in map(str, NUMBERS) or names.count(name) > 1:
            hint = f"the sections are ## 1 to ## {NUMBERS[-1]}, each once, and ## after as the last"
            raise Trouble(f"{shown(path)} should not have this section: ## {name}", hint)
    remarks = dict(zip([*names, "after"], [*parts[2::2], *after], strict=False))
    return {name: text.strip() for name, text in remarks.items() if text.strip()}
