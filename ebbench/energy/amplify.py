"""What one draw costs, though it lasts far less than a sampling period: by repeating it (`blocks`).

Two estimates. Blocks of repeated draws between equal blocks of rest, in the order rest-draw-draw-rest so that a steady drift
falls out: the power of the blocks, gross, is that of a draw. And windows of equal length with 0, n, 2n and 4n draws and rest
for the remainder: the slope of energy over draws, plus what resting for as long as a draw would have cost, is the same quantity
again, from a regression. Where the two are further apart than their intervals explain, the interval is widened by it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.blocks import DRAW, IDLE, WINDOW
from ebbench.energy.traces.batches import Floats
from ebbench.energy.uncertainty import COVERAGE_FACTOR

#: two-sided 95.45 % quantiles of Student's t by degrees of freedom (GUM, table G.2)
_STUDENT = {
    1: 13.97,
    2: 4.53,
    3: 3.31,
    4: 2.87,
    5: 2.65,
    6: 2.52,
    7: 2.43,
    8: 2.37,
    9: 2.32,
    10: 2.28,
    15: 2.18,
    20: 2.13,
}


@dataclass(frozen=True)
class MeasuredBlock:
    """What a block took: when, how long, its energy and the half width of the k = 2 interval of that.

    `common_j` is the part of the half width that equal blocks have in common. `rested_s` of the time lie between draws.
    """

    kind: str
    repeats: int
    start_s: float
    duration_s: float
    energy_j: float
    uncertainty_j: float
    common_j: float
    rested_s: float = 0.0

    @property
    def own_j(self) -> float:
        """The part of the half width that is this block's alone."""
        return math.sqrt(max(self.uncertainty_j**2 - self.common_j**2, 0.0))

    @property
    def middle_s(self) -> float:
        """When half of its time was over."""
        return self.start_s + self.duration_s / 2

    def moved(self, at_s: float, slope_w_s: float) -> MeasuredBlock:
        """As if it had run around `at_s`, before or after so much of a drift."""
        drifted_j = slope_w_s * (self.middle_s - at_s) * self.duration_s
        return dataclasses.replace(self, energy_j=self.energy_j - drifted_j)


@dataclass(frozen=True)
class AmplifiedDraw:
    """Energy (J, gross, half width at k = 2), time and power of one draw; the regression's where there were windows.

    `drift_w`: by how much the resting power changed from the first block to the last. `apart`: how far the two estimates are from
    one another, in half widths of their difference (each before it was widened for that); None where there is one only, or
    neither has an interval.
    """

    energy_j: float
    uncertainty_j: float
    duration_s: float
    power_w: float
    regression_energy_j: Optional[float]
    regression_uncertainty_j: Optional[float]
    drift_w: Optional[float]
    blocks: int
    apart: Optional[float]

    @property
    def agree(self) -> Optional[bool]:
        """Whether the two estimates do, within their intervals; None where there is one only."""
        return None if self.apart is None else self.apart <= 1


def estimate(blocks: Sequence[MeasuredBlock]) -> Optional[AmplifiedDraw]:
    """Both estimates; None without a block of draws."""
    draws = [b for b in blocks if b.kind == DRAW and b.repeats > 0 and b.duration_s > b.rested_s]
    if not draws:
        return None
    idle = [b for b in blocks if b.kind == IDLE and b.duration_s > 0]
    slope_w_s, drift_w = _drift(idle)
    at_s = float(np.average([b.middle_s for b in draws], weights=[b.duration_s for b in draws]))
    power_w, half_width_w = _without_rests(draws, idle, *_power([b.moved(at_s, slope_w_s) for b in draws]))
    duration_s = sum(b.duration_s - b.rested_s for b in draws) / sum(b.repeats for b in draws)
    energy_j, own_j = power_w * duration_s, half_width_w * duration_s
    windows = [b.moved(at_s, slope_w_s) for b in blocks if b.kind == WINDOW]
    other_j, other_half_width_j = _regression(windows, duration_s) or (None, None)
    apart_j = 0.0 if other_j is None else abs(energy_j - other_j)
    return AmplifiedDraw(
        energy_j=energy_j,
        uncertainty_j=math.hypot(own_j, _between_j(apart_j, own_j, other_half_width_j or 0.0)),
        duration_s=duration_s,
        power_w=power_w,
        regression_energy_j=other_j,
        regression_uncertainty_j=other_half_width_j,
        drift_w=drift_w,
        blocks=len(blocks),
        apart=None if other_half_width_j is None else _ratio(apart_j, math.hypot(own_j, other_half_width_j)),
    )


def _ratio(apart_j: float, half_width_j: float) -> Optional[float]:
    return apart_j / half_width_j if half_width_j else None


def _drift(idle: Sequence[MeasuredBlock]) -> Tuple[float, Optional[float]]:
    """Slope of the resting power over time (W/s), and its change from the first resting block to the last (W)."""
    if len(idle) < 2:
        return 0.0, None
    middle_s, power_w = (np.array(x) for x in zip(*((b.middle_s, b.energy_j / b.duration_s) for b in idle)))
    since_s = middle_s - middle_s.mean()
    slope_w_s = float(np.dot(since_s, power_w) / np.dot(since_s, since_s))
    return slope_w_s, slope_w_s * float(middle_s.max() - middle_s.min())


def _power(draws: Sequence[MeasuredBlock]) -> Tuple[float, float]:
    """Mean power while drawing, and the half width of its interval: scatter of the blocks, and the meter's own.

    What is common to the blocks of the meter's part (gain, and the same error at every edge) does not average down.
    """
    weight_s = np.array([b.duration_s for b in draws])
    power_w = np.array([b.energy_j for b in draws]) / weight_s
    mean_w = float(np.average(power_w, weights=weight_s))
    meter_j = math.sqrt(sum(b.common_j for b in draws) ** 2 + sum(b.own_j**2 for b in draws))
    meter_w = meter_j / float(weight_s.sum())
    if len(draws) == 1:
        return mean_w, meter_w
    scatter_w = student(len(draws) - 1) * float(power_w.std(ddof=1)) / math.sqrt(len(draws))
    return mean_w, math.hypot(scatter_w, meter_w)


def _without_rests(
    draws: Sequence[MeasuredBlock], idle: Sequence[MeasuredBlock], power_w: float, half_width_w: float
) -> Tuple[float, float]:
    """The power of the draws alone, from that of blocks in which a share of the time was rested between them.

    So short a rest may cost anything from the resting power (0 where that was not measured) to that of a draw. The middle is
    taken, and what it may be off by has a rectangular distribution.
    """
    rested_s = sum(b.rested_s for b in draws)
    drawn_s = sum(b.duration_s for b in draws) - rested_s
    resting_w = sum(b.energy_j for b in idle) / sum(b.duration_s for b in idle) if idle else 0.0
    half_w = rested_s / drawn_s * (power_w - resting_w) / 2
    return power_w + half_w, math.hypot(half_width_w, COVERAGE_FACTOR * half_w / math.sqrt(3))


def _between_j(apart_j: float, first_j: float, second_j: float) -> float:
    """By how much two estimates with these half widths differ beyond them, as the half width of what is not in either.

    The variance between two methods after Paule and Mandel (J. Res. NBS 87, 377, 1982), which for two of them is
    ((x1 - x2)^2 - u1^2 - u2^2) / 2, and 0 at least.
    """
    return math.sqrt(max(apart_j**2 * COVERAGE_FACTOR**2 - first_j**2 - second_j**2, 0.0) / 2)


def _regression(windows: Sequence[MeasuredBlock], duration_s: float) -> Optional[Tuple[float, float]]:
    """Fit E = resting power * T + draws * (energy above rest); the energy of a draw, gross, and its half width.

    Windows with more draws scatter more, so each residual counts where it lies and enlarged by its leverage: the variance
    called HC3 (MacKinnon and White, J. Econometrics 29, 305, 1985). None with fewer than three windows or where all have the
    same number of draws.
    """
    repeats = np.array([w.repeats for w in windows], float)
    if len(windows) < 3 or np.ptp(repeats) == 0:
        return None
    design = np.stack((np.array([w.duration_s for w in windows]), repeats), axis=1)
    energy_j = np.array([w.energy_j for w in windows])
    solve = np.linalg.pinv(design)  # [2, windows]
    weights = np.array([duration_s, 1.0]) @ solve
    leverage = np.einsum("ij,ji->i", design, solve)
    rest_j = (energy_j - design @ (solve @ energy_j)) / np.maximum(1 - leverage, 1e-9)
    scatter_j = student(len(windows) - 2) * math.sqrt(float(np.sum((weights * rest_j) ** 2)))
    return float(weights @ energy_j), math.hypot(scatter_j, _meter_j(windows, weights))


def _meter_j(windows: Sequence[MeasuredBlock], weights: Floats) -> float:
    """The meter's part of a weighted sum of windows: what is common is the same share of every energy, the rest is its own."""
    share = max(w.common_j / abs(w.energy_j) if w.energy_j else math.inf for w in windows)
    common_j = abs(sum(float(weight) * w.energy_j for weight, w in zip(weights, windows))) * share
    common_j = min(common_j, sum(abs(float(weight)) * w.common_j for weight, w in zip(weights, windows)))
    own_j2 = sum((float(weight) * w.own_j) ** 2 for weight, w in zip(weights, windows))
    return math.sqrt(common_j**2 + own_j2)


def student(freedom: int) -> float:
    """Student's t for 95.45 %, of the next smaller number of degrees of freedom in the table."""
    return _STUDENT[max(n for n in _STUDENT if n <= freedom)]
