"""One clock expressed in another: a straight line between them, and by how much it may be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np

from ebbench.energy.traces.batches import Floats, Ints
from ebbench.errors import MeterError
from ebbench.units import NS_PER_S

#: by how much the rates of two clocks may differ: what NTP may slew one of them by, over what quartz gets wrong by itself
MAX_DRIFT = 500e-6
#: round trips are thinned to the shortest of so many stretches of time
_KEPT = 400

#: (sent, remote, received): our clock, the other's reading, our clock again (ns)
Trip = Tuple[int, int, int]


@dataclass(frozen=True)
class ClockMap:
    """The other clock's times in ours (CLOCK_MONOTONIC).

    At its time `at_ns` the other clock is ahead by `offset_ns`, and gains `drift` seconds per second of its own. What
    `to_monotonic_ns` gives is right to within `bound_s` for times of the other clock from `first_ns` to `last_ns`.
    """

    at_ns: int
    offset_ns: int
    drift: float
    bound_s: float
    first_ns: int
    last_ns: int

    def to_monotonic_ns(self, times_ns: Ints) -> Ints:
        """Times of the other clock (int64) as ours."""
        times_ns = np.asarray(times_ns, np.int64)
        gained_ns = np.rint(self.drift * (times_ns - self.at_ns)).astype(np.int64)
        mapped_ns: Ints = times_ns - self.offset_ns - gained_ns
        return mapped_ns

    def inverse(self) -> ClockMap:
        """Our times in the other clock's: the same line, read from its other side."""
        first_ns, last_ns = self.to_monotonic_ns(np.array([self.first_ns, self.last_ns])).tolist()
        rate = 1 - self.drift
        return ClockMap(
            at_ns=self.at_ns - self.offset_ns,
            offset_ns=-self.offset_ns,
            drift=-self.drift / rate,
            bound_s=self.bound_s / rate + 1e-9,  # and what rounding to nanoseconds takes
            first_ns=first_ns,
            last_ns=last_ns,
        )

    def then(self, onto: ClockMap) -> ClockMap:
        """Onto a third clock, where `onto` takes ours to it; the bounds add."""
        at_ns = int(onto.to_monotonic_ns(self.to_monotonic_ns(np.array([self.at_ns])))[0])
        return ClockMap(
            at_ns=self.at_ns,
            offset_ns=self.at_ns - at_ns,
            drift=1 - (1 - self.drift) * (1 - onto.drift),
            bound_s=self.bound_s * (1 - onto.drift) + onto.bound_s + 1e-9,
            first_ns=self.first_ns,
            last_ns=self.last_ns,
        )


class RoundTrips:
    """Readings of another clock, each between two of ours, and the line through them.

    The other clock was read at some moment between sending and receiving (Cristian, *Probabilistic clock synchronization*,
    1989), so each trip bounds the offset by its own length, whichever way was the slower. Between trips the offset moves by at
    most `max_drift` seconds per second; the intersection of all that (Marzullo, as in NTP) bounds the offset at every moment.
    `resolution_s` is one step of the other clock's reading, whether it is cut off or rounded.

    Example::

        trips = RoundTrips()
        for _ in range(8):
            sent_ns = monotonic_ns()
            remote_ns = ask()
            trips.add(sent_ns, remote_ns, monotonic_ns())
        clock = trips.clock_map()
    """

    def __init__(self, max_drift: float = MAX_DRIFT, resolution_s: float = 0.0) -> None:
        self.trips: List[Trip] = []
        self._max_drift = max_drift / (1 - max_drift)  # per second of the other clock, which may be the slower one
        self._resolution_ns = round(resolution_s * NS_PER_S) + 1  # and what rounding to nanoseconds takes

    def add(self, sent_ns: int, remote_ns: int, received_ns: int) -> None:
        """Add one trip. Raises MeterError where the answer came before the question."""
        if received_ns < sent_ns:
            raise MeterError(
                f"a round trip ends {(sent_ns - received_ns) / NS_PER_S:g} s before it begins; take it out"
            )
        self.trips.append((int(sent_ns), int(remote_ns), int(received_ns)))

    def clock_map(self) -> ClockMap:
        """The line through the trips, with its bound. Raises MeterError where there is no trip, or where a clock was stepped."""
        if not self.trips:
            raise MeterError("no round trip was made, so nothing is known of the other clock; ask it for its time")
        trips = self._thinned()
        base_ns = int(
            trips[0, 1] - trips[0, 0]
        )  # differences of nanoseconds since 1970 would lose their last digits as floats
        at_s: Floats = (trips[:, 1] - trips[0, 1]) / NS_PER_S
        low_s: Floats = (trips[:, 1] - trips[:, 2] - base_ns - self._resolution_ns) / NS_PER_S
        high_s: Floats = (trips[:, 1] - trips[:, 0] - base_ns + self._resolution_ns) / NS_PER_S
        low_s, high_s = self._narrowed(at_s, low_s, high_s)
        _check_steps(low_s, high_s)
        offset_s, drift = _line(at_s, low_s, high_s)
        bound_s, middle_s = _bound(
            at_s, low_s - offset_s - drift * at_s, high_s - offset_s - drift * at_s, self._rate(drift)
        )
        whole = np.array(self.trips, np.int64)
        return ClockMap(
            at_ns=int(trips[0, 1]),
            offset_ns=base_ns + round((offset_s + middle_s) * NS_PER_S),
            drift=drift,
            bound_s=bound_s + 1e-9,
            first_ns=int(whole[:, 1].min()),
            last_ns=int(whole[:, 1].max()),
        )

    def _rate(self, drift: float) -> float:
        """How fast the offset may leave a line of this drift."""
        return self._max_drift + abs(drift)

    def _thinned(self) -> Ints:
        """The shortest trips of `_KEPT` equal stretches of time, int64 [n, 3], in the order in which they were sent."""
        trips: Ints = np.array(sorted(self.trips), np.int64)
        if len(trips) <= _KEPT:
            return trips
        span_ns = max(int(trips[-1, 0] - trips[0, 0]), 1)
        stretch = (trips[:, 0] - trips[0, 0]) * _KEPT // (span_ns + 1)
        shortest = np.lexsort((trips[:, 2] - trips[:, 0], stretch))
        first = np.unique(stretch[shortest], return_index=True)[1]
        thinned: Ints = trips[shortest[first]]
        return thinned

    def _narrowed(self, at_s: Floats, low_s: Floats, high_s: Floats) -> Tuple[Floats, Floats]:
        """Each trip's interval of the offset, cut by what every other trip allows at that moment."""
        apart_s = self._max_drift * np.abs(at_s[:, None] - at_s)
        return (low_s - apart_s).max(axis=1), (high_s + apart_s).min(axis=1)


def _check_steps(low_s: Floats, high_s: Floats) -> None:
    """Raise MeterError where no clock passes through all intervals."""
    short_s = float((low_s - high_s).max())
    if short_s > 0:
        raise MeterError(
            f"one of the two clocks was stepped, by {short_s:.3g} s or more; stop what sets it, then run again"
        )


def _line(at_s: Floats, low_s: Floats, high_s: Floats) -> Tuple[float, float]:
    """Offset and drift of the line through the middles of the intervals, the narrow ones counting more."""
    middle_s, weight = (low_s + high_s) / 2, 1 / np.maximum(high_s - low_s, 1e-9)
    if at_s[-1] <= 0 or at_s.size < 2:
        return float(middle_s[0]), 0.0
    slope, start_s = np.polyfit(at_s, middle_s, 1, w=weight)
    return float(start_s), float(slope)


def _bound(at_s: Floats, low_s: Floats, high_s: Floats, rate: float) -> Tuple[float, float]:
    """How far the offset may be from a line, and by how much to raise the line so that it is as far to both sides.

    `low_s` and `high_s` are the intervals less the line. Between two neighbours the offset may leave both by `rate`, and is
    farthest where the two ways meet.
    """
    apart_s = np.diff(at_s)
    peaks_s = (high_s[1:] + high_s[:-1] + rate * apart_s) / 2
    troughs_s = (low_s[1:] + low_s[:-1] - rate * apart_s) / 2
    high, low = max([*high_s, *peaks_s]), min([*low_s, *troughs_s])
    return float(high - low) / 2, float(high + low) / 2


def line_between(
    marks: Sequence[Tuple[int, float, float]], wander: float, max_drift: float, first_ns: int, last_ns: int
) -> ClockMap:
    """The line through known offsets, the first and the last of `marks`: (other clock's time (ns), offset (s), its bound (s)).

    Through one offset alone the clock may drift by `max_drift` either way; between and beyond two its rate may change by `wander`.
    Of two that lie further apart than any clock drifts, the line goes through the middles of what such a clock can have shown.
    """
    (at_ns, offset_s, bound_s), (end_ns, end_s, end_bound_s) = marks[0], marks[-1]
    away_s = max(at_ns - first_ns, last_ns - end_ns, 0) / NS_PER_S
    if at_ns == end_ns:
        drift, bound_s = 0.0, bound_s + max_drift * away_s
    else:
        apart_s = (end_ns - at_ns) / NS_PER_S
        most_s = max_drift * apart_s
        if abs(end_s - offset_s) > most_s:
            offset_s, end_s = (
                _middle_of_both(offset_s, bound_s, end_s, end_bound_s + most_s),
                _middle_of_both(end_s, end_bound_s, offset_s, bound_s + most_s),
            )
        drift = (end_s - offset_s) / apart_s
        beyond_s = away_s * (bound_s + end_bound_s) / apart_s
        bound_s = max(bound_s, end_bound_s) + beyond_s + wander * max(apart_s / 2, away_s)
    return ClockMap(at_ns, round(offset_s * NS_PER_S), drift, bound_s, first_ns, last_ns)


def _middle_of_both(one_s: float, bound_s: float, other_s: float, other_bound_s: float) -> float:
    """The middle of what lies within the bounds of both."""
    return (max(one_s - bound_s, other_s - other_bound_s) + min(one_s + bound_s, other_s + other_bound_s)) / 2
