"""Where values lie on an axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

from figures.numbers import exact
from figures.svg import widest


@dataclass(frozen=True)
class Scale:
    """Where values lie on an axis of so many pixels."""

    low: float
    high: float
    is_logarithmic: bool
    width: float

    @classmethod
    def over(cls, values: list[float], width: float) -> Scale:
        """Logarithmic where the small ones could not be seen otherwise."""
        least, most = min(values), max(values)
        if least > 0 and most / least > 30:
            # Below the least, since it shall have a bar, too.
            return cls(10 ** math.floor(math.log10(least) - 0.1), most, True, width)
        low, high = min(0.0, least), max(0.0, most)
        return cls(low, high if high > low else 1.0, False, width)

    def at(self, value: float) -> float:
        if self.is_logarithmic:
            return self.width * math.log(value / self.low) / math.log(self.high / self.low)
        return self.width * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        return self.powers() if self.is_logarithmic else self.steps()

    def powers(self) -> list[float]:
        """Powers of ten, as many as have room."""
        lowest, highest = round(math.log10(self.low)), math.floor(math.log10(self.high))
        room = widest(exact(10.0**power) for power in (lowest, highest))
        stride = math.ceil(room / self.at(self.low * 10))
        return [10.0**power for power in range(lowest, highest + 1, stride)]

    def steps(self) -> list[float]:
        """Round numbers, about ninety pixels apart."""
        wanted = (self.high - self.low) * 90 / self.width
        power = 10.0 ** math.floor(math.log10(wanted))
        step = next(times * power for times in (1, 2, 5, 10) if times * power >= wanted)
        return [at * step for at in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
