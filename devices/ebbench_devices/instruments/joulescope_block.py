"""A block of a Joulescope's statistics, as the dictionary that its package hands over has it; nothing else is taken for one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Mapping, Tuple

from ebbench_devices.meter.untrusted import believable

#: the columns of `Statistics.values`, and the signals of which three are the means
COLUMNS = ("w", "j", "v", "a")
SIGNALS = (("power", "W"), ("voltage", "V"), ("current", "A"))


@dataclass(frozen=True)
class Statistics:
    """The numbers of its first and last sample, its means and the energy counted so far, NaN for what is no reading.

    `arrival_ns`: when it came (CLOCK_MONOTONIC).
    """

    arrival_ns: int
    first: int
    last: int
    sample_hz: float
    values: Tuple[float, ...]

    @classmethod
    def of(cls, block: Mapping[str, Any], arrival_ns: int) -> Statistics:
        """From the dictionary. Raises KeyError, TypeError or ValueError for one of another form, or in other units."""
        signals, time = block["signals"], block["time"]
        power_w, volts, amperes = (_value(signals[name]["avg"], unit) for name, unit in SIGNALS)
        energy_j = _value(block["accumulators"]["energy"], "J")
        first, last = (int(number) for number in time["samples"]["value"])
        return cls(arrival_ns, first, last, float(time["sample_freq"]["value"]), (power_w, energy_j, volts, amperes))


def _value(quantity: Mapping[str, Any], unit: str) -> float:
    if quantity["units"] != unit:
        raise ValueError(f"in {quantity['units']} and not in {unit}")
    value = believable(unit.lower(), float(quantity["value"]))
    return math.nan if value is None else value
