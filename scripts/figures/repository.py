"""Where things are, what other programs say, and what is told where something is wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FINDINGS = ROOT / "target" / "performance"


class Trouble(Exception):
    """What is wrong, and the command that helps."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"error: {what}\nhint: {hint}")


def shown(path: Path) -> str:
    """As it is called from the root of the repository."""
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def said(*command: str) -> str:
    """What a program writes."""
    try:
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise Trouble(f"{command[0]} did not answer: {error}", " ".join(command)) from error
