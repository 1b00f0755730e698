"""Numbers as Grafana writes them: the units that the dashboards use, and no other."""

from __future__ import annotations

import math

PLAIN = {"none": "", "short": "", "cps": " c/s", "reqps": " req/s"}


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """A value with its unit."""
    if math.isnan(value):
        return "NaN"
    if unit.startswith("suffix:"):
        return rounded(value, decimals) + unit.removeprefix("suffix:")
    if unit == "percentunit":
        return rounded(100 * value, decimals) + " %"
    if unit == "bool_yes_no":
        return "Yes" if value else "No"
    if unit == "s":
        return duration(value)
    if unit == "bytes":
        return binary(value)
    return thousands(value, decimals) + PLAIN[unit]


def rounded(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:.{decimals}f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def thousands(value: float, decimals: int | None) -> str:
    for name, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{name}"
    return rounded(value, decimals)


def binary(value: float) -> str:
    for name, size in (("EiB", 60), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if abs(value) >= 2**size:
            return f"{value / 2**size:.3g} {name}"
    return f"{value:.0f} B"


def duration(value: float) -> str:
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value * 1e9:.3g} ns" if value else "0 s"
