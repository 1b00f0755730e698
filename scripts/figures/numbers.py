"""Numbers as they are read."""

from __future__ import annotations

import math


def rounded(value: float, digits: int) -> float:
    """To this many significant digits."""
    return float(f"{value:.{digits - 1}e}")


def number(value: float, digits: int = 3) -> str:
    """As it is read: 0.00123, 26.1, 418, 4,180,000."""
    if math.isinf(value):
        return "∞"
    if value.is_integer() and abs(value) < 1000:
        return f"{value:.0f}"
    value = rounded(value, digits)
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def exact(value: float) -> str:
    """As somebody wrote it: 0.05, 1.5, 1,000,000."""
    return f"{value:,.9f}".rstrip("0").rstrip(".")


def number_beside(value: float, bound: float) -> str:
    """With as many digits as show on which side of the bound it lies."""
    sides = ((digits, rounded(value, digits)) for digits in range(3, 9))
    enough = (digits for digits, near in sides if (near < bound, near > bound) == (value < bound, value > bound))
    return number(value, next(enough, 3))
