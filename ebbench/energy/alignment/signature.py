"""A pattern of work that a meter's power shows, and where in the meter's own time it lies.

The device works and rests by a maximum-length sequence, whose shifted copies resemble it least of all. The readings are compared
with what the meter would show of the stamped stretches of work, averaged as the meter averages, for every offset of its
clock: the one at which a straight line of power against work leaves the least is the offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Tuple

import numpy as np

from ebbench.energy.traces.batches import Floats, Ints
from ebbench.energy.traces.series import Series
from ebbench.errors import MeterError
from ebbench.units import NS_PER_S

#: the sequence's register (its period is 2**6 - 1 chips) and its feedback, x**6 + x**5 + 1
_DEGREE, _TAPS = 6, (6, 5)
CHIPS: int = 2**_DEGREE + 1
#: a chip is at least so long, and at least so many of the meter's own times (between readings, or averaged over)
SHORTEST_CHIP_S, CHIP_TIMES = 0.1, 1.5
#: the correlation at its peak, and over the next best peak, below which the pattern counts as not found
LEAST_CORRELATION, LEAST_PEAK_RATIO = 0.5, 1.5
#: what a fit may be wrong by whatever the readings say: stamps of milliseconds, and how fast work starts and ends
_FLOOR_S = 2e-3
#: more readings than this are thinned, fewer are not enough
_ENOUGH, _TOO_FEW = 20_000, CHIPS
_STEPS_PER_CHIP, _FINE_STEPS = 8, 100
#: offsets are searched at least so many chips to both sides, so that a peak has others to stand out from
_LEAST_CHIPS = 4.0
#: how many standard deviations of the fit its bound is
_DEVIATIONS = 4.0


def pattern() -> Tuple[int, ...]:
    """Work (1) and rest (0) of each chip: a maximum-length sequence of 63 between two chips of rest."""
    register, chips = [1] * _DEGREE, []
    for _ in range(2**_DEGREE - 1):
        chips.append(register[-1])
        register = [register[_TAPS[0] - 1] ^ register[_TAPS[1] - 1], *register[:-1]]
    return (0, *chips, 0)


def chip_s(looks_s: float) -> float:
    """How long a chip must be for a meter that looks at the power once in `looks_s`."""
    return max(SHORTEST_CHIP_S, CHIP_TIMES * looks_s)


@dataclass(frozen=True)
class Played:
    """What the device did from `start_ns` to `end_ns`, on the phases' clock: `busy_ns` int64 [n, 2], the stretches of work."""

    start_ns: int
    end_ns: int
    busy_ns: Ints
    chip_s: float

    @staticmethod
    def is_in(values: Mapping[str, Any]) -> bool:
        """Whether these values of a mark are a signature's; a user may mark anything by any name."""
        return {"start_ns", "end_ns", "chip_s"} <= set(values) and bool(values.get("busy_ns"))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Played:
        """From the values of a mark ``signature``."""
        busy_ns = np.array(values["busy_ns"], np.int64).reshape(-1, 2)
        return cls(int(values["start_ns"]), int(values["end_ns"]), busy_ns, float(values["chip_s"]))

    @property
    def middle_ns(self) -> int:
        """The time in the middle."""
        return (self.start_ns + self.end_ns) // 2


@dataclass(frozen=True)
class Looks:
    """What a meter read, on its own clock: the mean power (W) over [from_ns, to_ns] each (int64); equal times are instants."""

    from_ns: Ints
    to_ns: Ints
    power_w: Floats


@dataclass(frozen=True)
class Fit:
    """The meter's clock is ahead by `offset_s`, give or take `bound_s`.

    `correlation` of power and work there; `peak_ratio`: the same over that of the next best offset.
    """

    offset_s: float
    bound_s: float
    correlation: float
    peak_ratio: float


class NotFound(MeterError):
    """The pattern is not in the readings; says why."""

    def __init__(self, message: str, peak_ratio: float) -> None:
        super().__init__(message)
        self.peak_ratio = peak_ratio


def fit(looks: Looks, played: Played, within_s: float) -> Fit:
    """The offset of the meter's clock, searched up to `within_s` to both sides. Raises NotFound where no peak stands out."""
    within_s = max(within_s, _LEAST_CHIPS * played.chip_s)
    looks = _near(looks, played, within_s)
    if looks.power_w.size < _TOO_FEW:
        raise NotFound(
            f"{looks.power_w.size} readings are too few to find the signature; give it longer with --signature", 0.0
        )
    step_s = played.chip_s / _STEPS_PER_CHIP
    offsets_s = np.arange(-np.ceil(within_s / step_s), np.ceil(within_s / step_s) + 1) * step_s
    correlations = np.array([_correlation(*_inside(looks, played, o)) for o in offsets_s])
    best = int(np.argmax(correlations))
    ratio = _peak_ratio(offsets_s, correlations, best, played.chip_s + _width_s(looks))
    _check(float(correlations[best]), ratio, within_s)
    offset_s, bound_s = _refined(looks, played, float(offsets_s[best]), step_s)
    return Fit(offset_s, bound_s + _FLOOR_S, float(correlations[best]), ratio)


def _near(looks: Looks, played: Played, within_s: float) -> Looks:
    """The readings that any offset could place inside, thinned where there are very many."""
    margin_ns = round(within_s * NS_PER_S)
    rows = np.flatnonzero((looks.to_ns >= played.start_ns - margin_ns) & (looks.from_ns <= played.end_ns + margin_ns))
    rows = rows[:: max(1, rows.size // _ENOUGH)]
    return Looks(looks.from_ns[rows], looks.to_ns[rows], looks.power_w[rows])


def _inside(looks: Looks, played: Played, offset_s: float) -> Tuple[Floats, Floats, Floats]:
    """Power, work and time of the readings that this offset places wholly inside."""
    offset_ns = round(offset_s * NS_PER_S)
    first = int(np.searchsorted(looks.from_ns, played.start_ns + offset_ns))
    last = int(np.searchsorted(looks.to_ns, played.end_ns + offset_ns))
    rows = slice(first, max(first, last))
    from_ns, to_ns = looks.from_ns[rows] - offset_ns, looks.to_ns[rows] - offset_ns
    return looks.power_w[rows], _work(from_ns, to_ns, played), (to_ns - played.start_ns) / NS_PER_S


def _work(from_ns: Ints, to_ns: Ints, played: Played) -> Floats:
    """The part of each look (our clock) during which the device worked, 0..1."""
    edges_ns = played.busy_ns.ravel()
    worked_s = np.concatenate(([0.0], np.cumsum(np.diff(edges_ns)[::2]))).repeat(2)[1:-1] / NS_PER_S
    since_s, until_s = ((t - played.start_ns) / NS_PER_S for t in (from_ns, to_ns))
    edges_s = (edges_ns - played.start_ns) / NS_PER_S
    length_s = until_s - since_s
    mean = (np.interp(until_s, edges_s, worked_s) - np.interp(since_s, edges_s, worked_s)) / np.maximum(length_s, 1e-9)
    instant = np.searchsorted(edges_ns, to_ns, "right") % 2
    work: Floats = np.where(length_s > 0, mean, instant)
    return work


def _correlation(power_w: Floats, work: Floats, time_s: Floats) -> float:
    """Of power and work, once a straight line in time is taken off both; 0 where there is too little of either."""
    if power_w.size < _TOO_FEW // 2:
        return 0.0
    power_w, work = _flat(power_w, time_s), _flat(work, time_s)
    size = float(np.sqrt(np.dot(power_w, power_w) * np.dot(work, work)))
    return float(np.dot(power_w, work)) / size if size > 0 else 0.0


def _flat(values: Floats, time_s: Floats) -> Floats:
    """Values less their straight line in time."""
    values, time_s = values - values.mean(), time_s - time_s.mean()
    flat: Floats = values - time_s * (np.dot(values, time_s) / np.dot(time_s, time_s))
    return flat


def _width_s(looks: Looks) -> float:
    """How long one look lasts."""
    return float(np.median(looks.to_ns - looks.from_ns)) / NS_PER_S


def _peak_ratio(offsets_s: Floats, correlations: Floats, best: int, near_s: float) -> float:
    """The peak over the largest value that lies farther from it than `near_s`."""
    others = correlations[np.abs(offsets_s - offsets_s[best]) > near_s]
    next_best = float(others.max()) if others.size else 0.0
    return float(correlations[best]) / max(next_best, 1e-3)


def _check(correlation: float, ratio: float, within_s: float) -> None:
    if correlation < LEAST_CORRELATION or ratio < LEAST_PEAK_RATIO:
        raise NotFound(
            f"the power does not show the signature within {within_s:g} s: its best correlation is {correlation:.2f}, "
            f"{ratio:.2f} times the next best (at least {LEAST_CORRELATION:g} and {LEAST_PEAK_RATIO:g} are needed)",
            ratio,
        )


def _refined(looks: Looks, played: Played, coarse_s: float, step_s: float) -> Tuple[float, float]:
    """The offset near `coarse_s`, and half the width of the offsets that fit as well (four standard deviations).

    What the line of power against work leaves over is compared with the least that any offset leaves: noise makes it grow slowly,
    and readings that follow each other closely say less than their number.
    """
    power_w, _, time_s = _inside(looks, played, coarse_s)
    first = int(np.searchsorted(looks.from_ns, played.start_ns + round(coarse_s * NS_PER_S)))
    rows = slice(first, first + power_w.size)
    power_w = _flat(power_w, time_s)

    def left(offset_s: float) -> Floats:
        offset_ns = round(offset_s * NS_PER_S)
        work = _flat(_work(looks.from_ns[rows] - offset_ns, looks.to_ns[rows] - offset_ns, played), time_s)
        residual_w: Floats = power_w - work * (np.dot(power_w, work) / max(np.dot(work, work), 1e-12))
        return residual_w

    reach_s = _STEPS_PER_CHIP * step_s
    for _ in range(3):
        offsets_s = coarse_s + np.linspace(-reach_s, reach_s, 2 * _FINE_STEPS + 1)
        residuals = [left(o) for o in offsets_s]
        squares = np.array([np.dot(r, r) for r in residuals])
        best = residuals[int(np.argmin(squares))]
        limit = squares.min() * (1 + _DEVIATIONS**2 / _independent(best)) + 1e-9 * np.dot(power_w, power_w)
        good = offsets_s[squares <= limit]
        coarse_s, half_s = float(good[0] + good[-1]) / 2, float(good[-1] - good[0]) / 2 + reach_s / _FINE_STEPS
        if half_s > reach_s / 4:
            break
        reach_s = 4 * half_s
    return coarse_s, half_s


def _independent(residual_w: Floats) -> float:
    """How many independent values so many residuals are worth, by the correlation of neighbours."""
    size = max(float(np.dot(residual_w, residual_w)), 1e-30)
    alike = min(max(float(np.dot(residual_w[1:], residual_w[:-1])) / size, 0.0), 0.99)
    return max((residual_w.size - 4) * (1 - alike) / (1 + alike), 1.0)


def looks_of(total: Series, time_ns: Ints, value: Floats) -> Looks:
    """What the meter looked at: the averaging time about each shifted stamp; of a counter, the time between two readings."""
    if total.is_counter:
        power_w = np.diff(value) / np.maximum(np.diff(time_ns), 1) * NS_PER_S
        return Looks(time_ns[:-1] - total.shift_ns, time_ns[1:] - total.shift_ns, power_w)
    half_ns = round((total.rail.averaging_s or 0.0) / 2 * NS_PER_S)
    return Looks(time_ns - total.shift_ns - half_ns, time_ns - total.shift_ns + half_ns, value)
