"""Energy counters as their meters really turn them: in steps, now and then started anew."""

from __future__ import annotations

from typing import Optional, Tuple

import numpy as np
import numpy.typing as npt

from ebbench.energy.traces.batches import Floats, Ints
from ebbench.units import NS_PER_S

Codes = npt.NDArray[np.int8]

#: what lies between two readings: the straight line, or one of three kinds of gap
JOINED, NO_READING, SLEPT, BACKWARDS = range(4)
REASONS = {SLEPT: "the machine slept", BACKWARDS: "the counter went backwards (it was reset, or wrapped)"}


def joints(step_ns: Ints, rise: Floats, max_gap_s: float, slept: bool, is_counter: bool) -> Codes:
    """What lies between neighbouring readings `step_ns` apart whose values differ by `rise`, int8 [n - 1]."""
    codes = np.where(step_ns > max_gap_s * NS_PER_S, NO_READING, JOINED).astype(np.int8)
    if is_counter:
        codes[rise < 0] = BACKWARDS
    if slept and codes.size:
        codes[0] = SLEPT
    return codes


class Knots:
    """Picks from a counter's readings those between which it is interpolated: where it changed, and both sides of a gap.

    With `is_staircase` the counter turns less often than it is read; it turned somewhere between the reading before and
    the one that shows it, half way at best knowledge.
    """

    def __init__(self, max_gap_s: float, is_staircase: bool) -> None:
        self._max_gap_s, self._is_staircase = max_gap_s, is_staircase
        self._last: Optional[Tuple[int, float]] = None
        self._last_is_knot = True

    def pick(self, time_ns: Ints, value: Floats, slept: bool) -> Tuple[Ints, Floats, Codes]:
        """The knots among further readings: times (ns), values (J), and what lies before each."""
        if self._last is not None:
            time_ns = np.concatenate((np.array([self._last[0]]), time_ns))
            value = np.concatenate((np.array([self._last[1]]), value))
        step_ns, rise = np.diff(time_ns), np.diff(value)
        before = np.zeros(time_ns.size, np.int8)
        before[1:] = joints(step_ns, rise, self._max_gap_s, slept and self._last is not None, is_counter=True)
        changed = np.concatenate(([False], rise != 0))
        keep = changed | (before != JOINED)
        keep[:-1] |= before[1:] != JOINED
        keep[0] = self._last is None or (keep[0] and not self._last_is_knot)
        at_ns = time_ns.copy()
        if self._is_staircase:
            middle = np.flatnonzero(changed & (before == JOINED))
            at_ns[middle] -= (time_ns[middle] - time_ns[middle - 1]) // 2
        only_carried = time_ns.size == 1 and self._last is not None
        self._last = int(time_ns[-1]), float(value[-1])
        self._last_is_knot = self._last_is_knot if only_carried else bool(keep[-1])
        return at_ns[keep], value[keep], before[keep]

    def rest(self) -> Tuple[Ints, Floats, Codes]:
        """The last reading, where it is not a knot already."""
        if self._last is None or self._last_is_knot:
            return np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int8)
        self._last_is_knot = True
        return np.array([self._last[0]]), np.array([self._last[1]]), np.zeros(1, np.int8)


class Turns:
    """The mean powers between a counter's knots: how they step from one to the next, and what is around each of m edges.

    Where a neighbour is a gap, or there is none, the power of the edge's own interval stands for it.
    """

    def __init__(self, m: int) -> None:
        self._earlier_w, self._own_w, self._later_w = np.zeros((3, m))
        self._waiting = slice(0, 0)  # edges in the last interval so far: what is after it comes with the next block
        self._last_w = np.nan
        self._steps_w2, self._steps = 0.0, 0

    def add(self, power_w: Floats, where: slice, at: Ints) -> None:
        """Take the powers (W) of the next block's intervals, NaN in gaps; the edges `where` lie in the intervals `at`."""
        around_w = np.concatenate(([self._last_w], power_w, [np.nan]))
        step_w = np.diff(around_w)[:-1]
        step_w = step_w[np.isfinite(step_w)]
        self._steps_w2 += float(np.einsum("i,i", step_w, step_w))
        self._steps += step_w.size
        if np.isfinite(power_w[0]):
            self._later_w[self._waiting] = power_w[0]
        own_w = np.nan_to_num(around_w[at + 1])
        self._own_w[where] = own_w
        for side_w, neighbour_w in ((self._earlier_w, around_w[at]), (self._later_w, around_w[at + 2])):
            side_w[where] = np.where(np.isfinite(neighbour_w) & np.isfinite(around_w[at + 1]), neighbour_w, own_w)
        is_last = (at == power_w.size - 1) & np.isfinite(around_w[at + 1])
        self._waiting = slice(where.stop - int(np.count_nonzero(is_last)), where.stop)
        self._last_w = float(power_w[-1])

    @property
    def step_w(self) -> Floats:
        """By how much the power changes on its way over each edge's interval [m]: up and down together, signed as the whole way."""
        way_w = np.abs(self._own_w - self._earlier_w) + np.abs(self._later_w - self._own_w)
        signed_w: Floats = np.where(self._later_w < self._earlier_w, -way_w, way_w)
        return signed_w

    @property
    def usual_step_w(self) -> float:
        """Root mean square of the steps from one mean power to the next."""
        return float(np.sqrt(self._steps_w2 / self._steps)) if self._steps else 0.0
