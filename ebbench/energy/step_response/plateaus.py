"""Stretches of steady load, and what a meter shows in them: its level, its noise, its steps, how often it is renewed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.traces.batches import Floats, Ints
from ebbench.units import NS_PER_S

#: the last part of a plateau, in which the meter has settled
TAIL = 0.4
#: of the readings in a tail, this part at either end of their order is left out of the level: what else ran for a moment
TRIM = 0.1
#: so many changes of the value per plateau, on average, tell how often a register is renewed
ENOUGH_CHANGES = 3
#: so many values, at least, show the step between them
ENOUGH_VALUES = 8
#: a counter that turns less often than every so many readings is read more often than it turns
STAIRCASE = 1.5
#: the phases of a load pattern: nothing, half of the time, all of the time
IDLE, HALF, BUSY = "idle", "evaluate", "train"


@dataclass(frozen=True)
class Plateau:
    """The load `name` (`IDLE`, `HALF`, `BUSY`) from `start_ns` to `end_ns` (CLOCK_MONOTONIC)."""

    name: str
    start_ns: int
    end_ns: int

    @property
    def tail(self) -> Tuple[int, int]:
        """The part in which the meter has settled: [start, end) in ns."""
        return self.end_ns - int(TAIL * (self.end_ns - self.start_ns)), self.end_ns


@dataclass(frozen=True)
class Level:
    """What a meter shows in the tail of a plateau: mean and standard deviation of `readings` readings (W)."""

    plateau: Plateau
    power_w: float
    noise_w: float
    readings: int


def levels(time_ns: Ints, power_w: Floats, plateaus: Sequence[Plateau]) -> List[Optional[Level]]:
    """The level of each plateau; None where fewer than two readings lie in its tail."""
    found: List[Optional[Level]] = []
    for plateau in plateaus:
        first, last = np.searchsorted(time_ns, plateau.tail)
        inside = np.sort(power_w[first:last])
        if inside.size < 2:
            found.append(None)
            continue
        cut = int(TRIM * inside.size)
        kept = inside[cut : inside.size - cut]
        found.append(Level(plateau, float(kept.mean()), _scatter(power_w[first:last]), int(inside.size)))
    return found


def noise_w(found: Sequence[Optional[Level]], name: str) -> Optional[float]:
    """Standard deviation (W) of the readings under the load `name`: the median of its plateaus."""
    each = [level.noise_w for level in found if level is not None and level.plateau.name == name]
    return float(np.median(each)) if each else None


def _scatter(power_w: Floats) -> float:
    """Standard deviation about a straight line (W): a board that warms up is no noise."""
    n = power_w.size
    if n < 4:
        return float(power_w.std(ddof=1))
    t = np.arange(n) - (n - 1) / 2
    rest = power_w - power_w.mean() - t * (t @ power_w) / (t @ t)
    return math.sqrt(float(rest @ rest) / (n - 2))


def step_w(power_w: Floats) -> Optional[float]:
    """The smallest step (W) between values that recur, of a meter that counts in steps; None where none shows."""
    values = np.unique(power_w)
    if not ENOUGH_VALUES <= values.size <= power_w.size / 4:
        return None
    return float(np.diff(values).min())


def update_period_s(time_ns: Ints, power_w: Floats, plateaus: int) -> Optional[Tuple[float, float]]:
    """How often a register is renewed (s), with its standard uncertainty; None where it changes as often as it is read.

    `plateaus`: how many loads followed each other meanwhile.
    Changes of the value lie whole numbers of periods apart (a new value may equal the old one), so the shortest distances are
    one period. Where the value hardly ever changes, as that of a silent simulation, the period does not show.
    """
    changed_ns = time_ns[1:][np.diff(power_w) != 0]
    if changed_ns.size < ENOUGH_CHANGES * plateaus:
        return None
    apart_s = np.diff(changed_ns) / NS_PER_S
    interval_s = float(np.median(np.diff(time_ns))) / NS_PER_S
    shortest_s = float(np.quantile(apart_s, 0.1))
    single_s = apart_s[np.abs(apart_s - shortest_s) <= max(0.5 * shortest_s, interval_s)]
    if shortest_s <= 1.5 * interval_s or single_s.size < plateaus:
        return None
    # each distance is known to one interval between readings
    scatter_s = max(float(single_s.std()), interval_s / math.sqrt(6))
    return float(single_s.mean()), scatter_s / math.sqrt(single_s.size)


def renewals(time_ns: Ints, power_w: Floats) -> Tuple[Ints, Floats]:
    """The values of a register as they are renewed: each new value, half way between the reading before it and its first."""
    new = np.flatnonzero(np.diff(power_w) != 0) + 1
    return (time_ns[new] + time_ns[new - 1]) // 2, power_w[new]


def mean_powers(time_ns: Ints, energy_j: Floats) -> Tuple[Ints, Floats]:
    """The mean powers (W) between the moments at which a counter was seen to turn, each in the middle of its interval.

    One that is read more often than it turns did so between the reading before and the one that shows it, half way at best
    knowledge. Where it goes backwards nothing is known.
    """
    turned = np.flatnonzero(np.diff(energy_j) != 0) + 1
    if turned.size < 2:
        return np.zeros(0, np.int64), np.zeros(0)
    at_ns = time_ns[turned]
    if np.median(np.diff(at_ns)) > STAIRCASE * np.median(np.diff(time_ns)):
        at_ns = (time_ns[turned] + time_ns[turned - 1]) // 2
    power_w = np.diff(energy_j[turned]) / np.diff(at_ns) * NS_PER_S
    rises = power_w > 0
    return ((at_ns[1:] + at_ns[:-1]) // 2)[rises], power_w[rises]


def usual_interval_s(time_ns: Ints) -> float:
    """Over how long mean powers are means (s): root mean square; much longer intervals than usual count as three usual ones."""
    apart_s = np.diff(time_ns) / NS_PER_S
    return math.sqrt(float(np.mean(np.square(np.minimum(apart_s, 3 * np.median(apart_s))))))
