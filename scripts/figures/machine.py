"""The machine that benches run on, as far as figures depend on it."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from figures.repository import said

FACTS = ("processor", "cores", "memory", "kernel", "compiler")


def machine() -> dict[str, str]:
    """What the figures depend on, and no name of a host."""
    memory = first(r"^MemTotal:\s*(\d+) kB", Path("/proc/meminfo"))
    facts = (
        first(r"^model name\s*:\s*(.+)", Path("/proc/cpuinfo")) or platform.machine(),
        str(os.cpu_count()),
        f"{int(memory) / 2**20:.1f} GiB" if memory else "unknown",
        f"{platform.system()} {platform.release()}",
        said("rustc", "--version"),
    )
    return dict(zip(FACTS, facts, strict=True))


def first(pattern: str, file: Path) -> str:
    """What the first group matches, or nothing."""
    found = re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE) if file.exists() else None
    return found[1].strip() if found else ""
