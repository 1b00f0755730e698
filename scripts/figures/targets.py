"""The targets, and whether they are met."""

from __future__ import annotations

import math
from dataclasses import dataclass

from figures.numbers import exact, number_beside

TITLES = (
    "A warm answer beside a flat table",
    "From text, beside caches as people use them",
    "Two threads",
    "What observability costs",
    "Cold, beside one raw query",
    "Beside the original design",
    "Opening secrets, minting tokens",
    "From commit to use",
    "Memory",
    "A million numbers",
    "What a node costs Postgres",
    "A fleet with the relay",
)
NUMBERS = range(1, len(TITLES) + 1)


@dataclass(frozen=True)
class Figure:
    """A value, and whose it is."""

    name: str
    value: float


def is_ours(name: str) -> bool:
    return name.lower().startswith(("ours", "trunkline"))


@dataclass(frozen=True)
class Verdict:
    """A figure of ours, held against what is asked of it."""

    target: int
    what: str
    unit: str
    ours: Figure
    rival: Figure | None
    measured: float
    is_at_most: bool
    bound: float
    met: bool

    @property
    def reach(self) -> float:
        """How much of what is allowed is used; above 1 it is missed."""
        part, whole = (self.measured, self.bound) if self.is_at_most else (self.bound, self.measured)
        if whole == 0:
            return 0.0 if self.met else math.inf
        return part / whole

    @property
    def written(self) -> str:
        """What was measured, to be read beside what was asked."""
        return number_beside(self.measured, self.bound) + self.suffix

    @property
    def asked(self) -> str:
        return f"at {'most' if self.is_at_most else 'least'} {exact(self.bound)}{self.suffix}"

    @property
    def suffix(self) -> str:
        return "×" if self.rival else f" {self.unit}".rstrip()


@dataclass(frozen=True)
class Target:
    """One of them, and everything that was measured for it."""

    number: int
    verdicts: list[Verdict]

    @property
    def title(self) -> str:
        return TITLES[self.number - 1]

    @property
    def worst(self) -> Verdict:
        return max(self.verdicts, key=lambda verdict: (not verdict.met, verdict.reach))

    @property
    def holding(self) -> int:
        return sum(verdict.met for verdict in self.verdicts)

    @property
    def is_met(self) -> bool:
        return self.holding == len(self.verdicts)
