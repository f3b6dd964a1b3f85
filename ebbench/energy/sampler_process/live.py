"""The power of a meter's total now and its energy so far, for progress; the account is made from the trace alone."""

from __future__ import annotations

from typing import List, Optional, Tuple

import numpy as np

from ebbench.energy.traces.batches import Floats, Ints
from ebbench.protocols import MeterInfo
from ebbench.units import NS_PER_S


class LiveTotal:
    """Follows the rails that add up to the total, by trapezoids over intervals up to `max_gap_s`."""

    def __init__(self, info: MeterInfo, max_gap_s: float) -> None:
        self.power_w: Optional[float] = None
        self.energy_j: Optional[float] = None
        self._max_gap_ns = max_gap_s * NS_PER_S
        self._last_ns: Ints = np.zeros(0, np.int64)
        self._last: Floats = np.zeros(0)
        self._powers, self._counters = _terms(info)

    def extend(self, time_ns: Ints, values: Floats) -> None:
        """More readings: int64 [n], and stored values float64 [n, columns], NaN = not read."""
        if not time_ns.size:
            return
        if self._powers:
            products = [np.prod([values[:, i] * scale for i, scale in term], axis=0) for term in self._powers]
            self._add_power(time_ns, np.sum(products, axis=0))
        elif self._counters:
            self._add_counter(time_ns, np.sum([values[:, i] * scale for i, scale in self._counters], axis=0))

    def _add_power(self, time_ns: Ints, power_w: Floats) -> None:
        self.power_w = None if np.isnan(power_w[-1]) else float(power_w[-1])
        time_ns, power_w = np.append(self._last_ns, time_ns), np.append(self._last, power_w)
        self._last_ns, self._last = time_ns[-1:], power_w[-1:]
        step_ns = np.diff(time_ns)
        step_j = 0.5 * (power_w[1:] + power_w[:-1]) * step_ns / NS_PER_S
        self._add_energy(step_j[(step_ns <= self._max_gap_ns) & ~np.isnan(step_j)])

    def _add_counter(self, time_ns: Ints, counter_j: Floats) -> None:
        time_ns, counter_j = np.append(self._last_ns, time_ns), np.append(self._last, counter_j)
        new = np.flatnonzero(np.diff(counter_j[~np.isnan(counter_j)], prepend=np.nan) != 0)
        time_ns, counter_j = time_ns[~np.isnan(counter_j)][new], counter_j[~np.isnan(counter_j)][new]
        self._last_ns, self._last = time_ns[-1:], counter_j[-1:]
        step_j = np.diff(counter_j)
        if step_j.size and step_j[-1] > 0:
            self.power_w = float(step_j[-1] / (time_ns[-1] - time_ns[-2]) * NS_PER_S)
        self._add_energy(step_j[step_j > 0])  # a counter that fell began anew

    def _add_energy(self, step_j: Floats) -> None:
        if step_j.size:
            self.energy_j = (self.energy_j or 0.0) + float(step_j.sum())


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
