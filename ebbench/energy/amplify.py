"""What one draw costs, though it lasts far less than a sampling period: by repeating it.

Two estimates from one plan. Blocks of repeated draws between equal blocks of rest, in the order rest-draw-draw-rest so that
a steady drift falls out: the energy of a block over its draws, gross, is the energy of a draw. And windows of equal length
with 0, n, 2n and 4n draws and rest for the remainder: the slope of energy over draws, plus what resting for as long as a
draw would have cost, is the same quantity again, from a regression.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.batches import Floats

DRAW, IDLE, WINDOW = "draw", "idle", "window"
#: share of the time that goes to blocks; the rest goes to windows
BLOCK_SHARE = 0.6
ABBA = (IDLE, DRAW, DRAW, IDLE)
#: a window this long, in seconds; shorter where there is no time for two rounds
WINDOW_S = 1.0
WINDOW_DRAWS = (0, 1, 4, 2)
#: share of a window that 4n draws fill
WINDOW_FILL = 0.8
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
class Block:
    """What to do: `repeats` draws back to back (``draw``), nothing for `seconds` (``idle``), or both in `seconds` (``window``)."""

    kind: str
    repeats: int
    seconds: float


@dataclass(frozen=True)
class MeasuredBlock:
    """What a block took: its time, its energy and the half width of the k = 2 interval of that."""

    kind: str
    repeats: int
    duration_s: float
    energy_j: float
    uncertainty_j: float


@dataclass(frozen=True)
class AmplifiedDraw:
    """Energy (J, gross, half width at k = 2), time and power of one draw; the regression's where there were windows.

    `drift_w`: by how much the resting power changed from the first block to the last. `agree`: the two estimates do, within
    their intervals; None where there is one only.
    """

    energy_j: float
    uncertainty_j: float
    duration_s: float
    power_w: float
    regression_energy_j: Optional[float]
    regression_uncertainty_j: Optional[float]
    drift_w: Optional[float]
    blocks: int
    agree: Optional[bool]


def time_once(draw: Callable[[], None]) -> float:
    """How long one draw takes (s): the shorter of two, since the first may still be warming up."""
    taken_s = []
    for _ in range(2):
        start_s = time.monotonic()
        draw()
        taken_s.append(time.monotonic() - start_s)
    return min(taken_s)


def plan(draw_s: float, seconds: float) -> List[Block]:
    """Blocks and windows that take about `seconds` together, for draws of `draw_s`; at least one draw in each that has any."""
    draw_s = max(draw_s, 1e-7)
    block_s = BLOCK_SHARE * seconds / (2 * len(ABBA))
    window_s = min(WINDOW_S, (1 - BLOCK_SHARE) * seconds / (2 * len(WINDOW_DRAWS)))
    rounds = max(2, round((1 - BLOCK_SHARE) * seconds / (len(WINDOW_DRAWS) * window_s)))
    unit = max(1, int(WINDOW_FILL * window_s / draw_s / max(WINDOW_DRAWS)))
    window_s = max(window_s, 1.1 * unit * max(WINDOW_DRAWS) * draw_s)
    repeats = max(1, round(block_s / draw_s))
    blocks = [Block(kind, repeats if kind == DRAW else 0, max(block_s, repeats * draw_s)) for kind in ABBA * 2]
    return blocks + [Block(WINDOW, unit * n, window_s) for n in WINDOW_DRAWS * rounds]


def estimate(blocks: Sequence[MeasuredBlock]) -> Optional[AmplifiedDraw]:
    """Both estimates from blocks in the order in which they ran; None without a block of draws."""
    middle_s = np.cumsum([b.duration_s for b in blocks]) - np.array([b.duration_s for b in blocks]) / 2
    draws = [i for i, b in enumerate(blocks) if b.kind == DRAW and b.repeats > 0 and b.duration_s > 0]
    if not draws:
        return None
    slope_w_s, drift_w = _drift(blocks, middle_s)
    power_w, power_u_w = _power(blocks, draws, middle_s, slope_w_s)
    duration_s = sum(blocks[i].duration_s for i in draws) / sum(blocks[i].repeats for i in draws)
    energy_j, uncertainty_j = power_w * duration_s, power_u_w * duration_s
    regression = _regression([b for b in blocks if b.kind == WINDOW], duration_s)
    return AmplifiedDraw(
        energy_j=energy_j,
        uncertainty_j=uncertainty_j,
        duration_s=duration_s,
        power_w=power_w,
        regression_energy_j=regression[0] if regression else None,
        regression_uncertainty_j=regression[1] if regression else None,
        drift_w=drift_w,
        blocks=len(blocks),
        agree=abs(energy_j - regression[0]) <= math.hypot(uncertainty_j, regression[1]) if regression else None,
    )


def _drift(blocks: Sequence[MeasuredBlock], middle_s: Floats) -> Tuple[float, Optional[float]]:
    """Slope of the resting power over time (W/s), and its change from the first resting block to the last (W)."""
    at = [i for i, b in enumerate(blocks) if b.kind == IDLE and b.duration_s > 0]
    if len(at) < 2:
        return 0.0, None
    power_w = np.array([blocks[i].energy_j / blocks[i].duration_s for i in at])
    since_s = middle_s[at] - middle_s[at].mean()
    slope_w_s = float(np.dot(since_s, power_w) / np.dot(since_s, since_s))
    return slope_w_s, slope_w_s * float(middle_s[at[-1]] - middle_s[at[0]])


def _power(
    blocks: Sequence[MeasuredBlock], draws: Sequence[int], middle_s: Floats, slope_w_s: float
) -> Tuple[float, float]:
    """Mean power while drawing, and the half width of its interval: scatter of the blocks, and the meter's own.

    The meter's part is common to the blocks (gain, and the same error at every edge), so it does not average down.
    """
    weight_s = np.array([blocks[i].duration_s for i in draws])
    power_w = np.array([blocks[i].energy_j for i in draws]) / weight_s
    power_w = power_w - slope_w_s * (middle_s[draws] - np.average(middle_s[draws], weights=weight_s))
    mean_w = float(np.average(power_w, weights=weight_s))
    meter_w = sum(blocks[i].uncertainty_j for i in draws) / float(weight_s.sum())
    if len(draws) == 1:
        return mean_w, meter_w
    scatter_w = student(len(draws) - 1) * float(power_w.std(ddof=1)) / math.sqrt(len(draws))
    return mean_w, math.hypot(scatter_w, meter_w)


def _regression(windows: Sequence[MeasuredBlock], duration_s: float) -> Optional[Tuple[float, float]]:
    """Fit E = resting power * T + draws * (energy above rest); the energy of a draw, gross, and its half width.

    None with fewer than three windows or where all have the same number of draws.
    """
    repeats = np.array([w.repeats for w in windows], float)
    if len(windows) < 3 or np.ptp(repeats) == 0:
        return None
    design = np.stack((np.array([w.duration_s for w in windows]), repeats), axis=1)
    energy_j = np.array([w.energy_j for w in windows])
    inverse = np.linalg.inv(design.T @ design)
    solve = inverse @ design.T  # [2, windows]
    fitted = solve @ energy_j
    gross = np.array([duration_s, 1.0])
    freedom = len(windows) - 2
    scatter_j = float(np.sqrt(np.sum((energy_j - design @ fitted) ** 2) / freedom))
    scatter_j *= math.sqrt(float(gross @ inverse @ gross)) * student(freedom)
    meter_j = _meter_j(windows, gross @ solve)
    return float(gross @ fitted), math.hypot(scatter_j, meter_j)


def _meter_j(windows: Sequence[MeasuredBlock], weights: Floats) -> float:
    """The meter's part of a weighted sum of windows: the same share of every energy, since it is common to them."""
    share = max(w.uncertainty_j / abs(w.energy_j) if w.energy_j else math.inf for w in windows)
    common_j = abs(sum(float(weight) * w.energy_j for weight, w in zip(weights, windows))) * share
    return min(common_j, sum(abs(float(weight)) * w.uncertainty_j for weight, w in zip(weights, windows)))


def student(freedom: int) -> float:
    """Student's t for 95.45 %, of the next smaller number of degrees of freedom in the table."""
    return _STUDENT[max(n for n in _STUDENT if n <= freedom)]
