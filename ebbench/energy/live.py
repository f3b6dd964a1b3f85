"""The power of a meter's total now and its energy so far, for progress; the account is made from the trace alone."""

from __future__ import annotations

import math
from typing import List, Optional, Sequence, Tuple

from ebbench.protocols import MeterInfo
from ebbench.units import NS_PER_S


class LiveTotal:
    """Follows the rails that add up to the total, by trapezoids over intervals up to `max_gap_s`."""

    def __init__(self, info: MeterInfo, max_gap_s: float) -> None:
        self.power_w: Optional[float] = None
        self.energy_j: Optional[float] = None
        self._max_gap_ns = max_gap_s * NS_PER_S
        self._last_ns = 0
        self._last_j: Optional[float] = None
        self._powers, self._counters = _terms(info)

    def add(self, time_ns: int, values: Sequence[float]) -> None:
        """One reading: a stored value per column, NaN = not read."""
        if self._powers:
            self._add_power(time_ns, sum(math.prod(values[i] * s for i, s in term) for term in self._powers))
        elif self._counters:
            self._add_counter(time_ns, sum(values[i] * s for i, s in self._counters))

    def _add_power(self, time_ns: int, power_w: float) -> None:
        if math.isnan(power_w):
            self.power_w = None
            return
        if self.power_w is not None and 0 < time_ns - self._last_ns <= self._max_gap_ns:
            step_j = 0.5 * (self.power_w + power_w) * (time_ns - self._last_ns) / NS_PER_S
            self.energy_j = (self.energy_j or 0.0) + step_j
        self.power_w, self._last_ns = power_w, time_ns

    def _add_counter(self, time_ns: int, counter_j: float) -> None:
        if math.isnan(counter_j):
            return
        if self._last_j is not None and time_ns > self._last_ns and counter_j > self._last_j:
            self.energy_j = (self.energy_j or 0.0) + counter_j - self._last_j
            self.power_w = (counter_j - self._last_j) / (time_ns - self._last_ns) * NS_PER_S
        if self._last_j is None or counter_j != self._last_j:  # a counter that is not yet updated says nothing
            self._last_j, self._last_ns = counter_j, time_ns


def _terms(info: MeterInfo) -> Tuple[List[List[Tuple[int, float]]], List[Tuple[int, float]]]:
    """Columns (index, scale) whose products add up to the total's power, or whose sum is its energy counter."""
    index = {c.name: (i, c.scale) for i, c in enumerate(info.columns)}
    powers, counters = [], []
    for rail in info.total:
        if f"{rail}_w" in index:
            powers.append([index[f"{rail}_w"]])
        elif f"{rail}_v" in index and f"{rail}_a" in index:
            powers.append([index[f"{rail}_v"], index[f"{rail}_a"]])
        if f"{rail}_j" in index:
            counters.append(index[f"{rail}_j"])
    complete = len(info.total)
    return (powers if len(powers) == complete else []), (counters if len(counters) == complete else [])
