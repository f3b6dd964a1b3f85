"""A few epochs that are alike stand for many: are they alike, and within what interval do many of them lie?

Measured are n values in a row (the energies of epochs, or their durations); wanted is the mean of m others of the same kind.

drift       a straight line through the values; its slope is significant where its interval (Student's t) leaves out zero
scatter     the values' standard deviation, their mean's and the others' own: s sqrt(1/n + 1/m), by Student's t
neighbours  values in a row resemble each other, so that n of them tell less than n strangers would. With an autocorrelation r
            (AR(1)) they count as n (1-r)/(1+r). Few values hardly show r, so what they show is weighed against a stated
            expectation; s is enlarged by what such values seem to scatter too little
hold-out    each beginning of the row foretells the rest of it; where one misses by more than its interval, all is widened
            until it would not have

The constants were chosen by simulation (tests/energy/test_steady.py): the intervals of rows that pass the test for drift contain
the mean of others in 93 % or more, for independent values and for AR(1) with r up to 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence, Tuple

import numpy as np

from ebbench.energy.amplify import student
from ebbench.energy.traces.batches import Floats

#: fewer values cannot tell a drift from scatter
FEWEST = 3
#: the autocorrelation that is expected before a value is seen, and how many values that expectation is worth
EXPECTED_R, EXPECTED_WEIGHT = 0.6, 20
LARGEST_R = 0.95
#: by how much at most the variance of values in a row is enlarged for being in a row
MOST_ENLARGED = 1.5


@dataclass(frozen=True)
class Steady:
    """What n values in a row say about the mean of others like them.

    `half_width` is of the mean of the others (95 %); `n_eff` is what the n are worth; `widened` (1 or more) is the factor by
    which the hold-out widened it. `slope` is the change from one value to the next, with its half width.
    """

    mean: float
    sd: float
    n: int
    n_eff: float
    half_width: float
    widened: float
    slope: float
    slope_half_width: float

    @property
    def drifts(self) -> bool:
        """Whether the slope is significant."""
        return abs(self.slope) > self.slope_half_width


def steady(values: Sequence[float], others: int) -> Steady:
    """What `values`, in the order in which they were measured, say about the mean of `others` more (at least one)."""
    x = np.asarray(values, np.float64)
    if x.size < FEWEST or others < 1:
        raise ValueError(f"{FEWEST} values are needed, and others to foretell: {x.size} and {others}")
    half_width, n_eff = _interval(x, others)
    widened = _hold_out(x)
    slope, slope_half_width = _slope(x)
    return Steady(
        mean=float(x.mean()),
        sd=float(x.std(ddof=1)),
        n=x.size,
        n_eff=n_eff,
        half_width=half_width * widened,
        widened=widened,
        slope=slope,
        slope_half_width=slope_half_width,
    )


def _interval(x: Floats, others: int) -> Tuple[float, float]:
    """Half width for the mean of `others`, and n_eff."""
    n = x.size
    r = _autocorrelation(x)
    n_eff = max(n * (1 - r) / (1 + r), 1.0)
    # values that resemble their neighbours scatter less around their own mean than around the true one
    enlarged = min((n - 1) / max(n - n / n_eff, (n - 1) / (2 * n)), MOST_ENLARGED) if n_eff > 1 else MOST_ENLARGED
    sd = float(x.std(ddof=1)) * math.sqrt(enlarged)
    return student(n - 1) * sd * math.sqrt((1 / n + 1 / others) * n / n_eff), n_eff


def _autocorrelation(x: Floats) -> float:
    """Of neighbours: the estimate without its bias (Kendall 1954), weighed against what is expected; 0 at least."""
    n, away = x.size, x - x.mean()
    squares = float(np.einsum("i,i", away, away))
    if squares == 0:
        return 0.0
    seen = float(np.einsum("i,i", away[1:], away[:-1])) / squares
    seen = (seen + 1 / n) / (1 - 3 / n) if n > 4 else seen + 2 / n
    r = (n * seen + EXPECTED_WEIGHT * EXPECTED_R) / (n + EXPECTED_WEIGHT)
    return min(max(r, 0.0), LARGEST_R)


def _hold_out(x: Floats) -> float:
    """The largest miss of a beginning of the row that foretells its rest, in half widths of its interval; 1 at least."""
    worst = 1.0
    for begun in range(2, x.size):
        half_width, _ = _interval(x[:begun], x.size - begun)
        if half_width > 0:
            worst = max(worst, abs(float(x[begun:].mean() - x[:begun].mean())) / half_width)
    return worst


def _slope(x: Floats) -> Tuple[float, float]:
    """Least-squares slope per value, and the half width of its interval."""
    n = x.size
    place = np.arange(n) - (n - 1) / 2
    spread = float(np.einsum("i,i", place, place))
    slope = float(np.einsum("i,i", place, x)) / spread
    rest = x - x.mean() - slope * place
    variance = float(np.einsum("i,i", rest, rest)) / (n - 2) / spread
    return slope, student(n - 2) * math.sqrt(variance)
