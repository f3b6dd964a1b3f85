"""A meter against a reference that measured the same power at the same time: gain and offset, with their uncertainties (GUM).

Over all plateaus the meter's level is fitted as A x reference + B by least squares; the residuals hold the noise of both and
what of the meter is not a straight line. A power is then reading / A - B / A. The reference's own gain and offset are common to all
its levels, so that they do not show in the residuals; they are added, and no meter can come out better than its reference.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.step_response.plateaus import Level
from ebbench.errors import ResultError
from ebbench.protocols import Rail

#: fewer pairs of levels than this say nothing about how well they lie on a line
FEWEST_LEVELS = 5
#: the levels must be apart by this many times what they scatter about the line
APART = 10.0


@dataclass(frozen=True)
class Comparison:
    """Power = reading x `gain_correction` + `offset_correction_w`, true within the standard uncertainties (k = 1).

    `gain_u` and `offset_u_w` hold the fit's own part (`fit_...`) and the reference's. `residual_w`: how far the levels lie off the
    line, root mean square; `low_w`, `high_w`: the range of power in which the two were compared.
    """

    gain_correction: float
    offset_correction_w: float
    gain_u: float
    offset_u_w: float
    fit_gain_u: float
    fit_offset_u_w: float
    reference_gain_u: float
    reference_offset_u_w: float
    residual_w: float
    levels: int
    low_w: float
    high_w: float

    def to_json(self) -> Dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


def compare(
    meter: Sequence[Optional[Level]], reference: Sequence[Optional[Level]], meter_step_w: float, rail: Rail
) -> Comparison:
    """Fit the meter's levels to the reference's, plateau by plateau; `rail` is the reference's, `meter_step_w` a step of the meter.

    Raises ResultError where the levels are too few, or too close to each other for a line.
    """
    pairs = [(m, r) for m, r in zip(meter, reference) if m is not None and r is not None]
    if len(pairs) < FEWEST_LEVELS:
        raise ResultError(f"only {len(pairs)} plateaus were seen by both meters; give more --seconds")
    if rail.gain_ratio is None or rail.offset_w is None:
        raise ResultError(f"the reference does not say how well it knows its own gain and offset ({rail.name})")
    low_w, high_w = (float(f(r.power_w for _, r in pairs)) for f in (min, max))
    slope, intercept_w, covariance, residual_w = _line([(r.power_w, m.power_w) for m, r in pairs])
    if not high_w - low_w > APART * residual_w or not slope > 0:
        raise ResultError(
            f"the levels ({low_w:.4g} to {high_w:.4g} W) scatter by {residual_w:.2g} W about a line: too close to each other "
            "for a gain; do both meters measure the same power?"
        )
    rounding_w = math.hypot(
        _rounding_w(meter_step_w, [m for m, _ in pairs]), _rounding_w(rail.resolution_w or 0.0, [r for _, r in pairs])
    )
    fit_gain_u = math.hypot(math.sqrt(covariance[1][1]) / slope, math.sqrt(2) * rounding_w / (high_w - low_w))
    fit_offset_u_w = math.hypot(
        math.sqrt(covariance[0][0]) / slope, rounding_w * math.hypot(high_w, low_w) / (high_w - low_w)
    )
    return Comparison(
        gain_correction=1 / slope,
        offset_correction_w=-intercept_w / slope,
        gain_u=math.hypot(fit_gain_u, rail.gain_ratio),
        offset_u_w=math.hypot(fit_offset_u_w, rail.offset_w),
        fit_gain_u=fit_gain_u,
        fit_offset_u_w=fit_offset_u_w,
        reference_gain_u=rail.gain_ratio,
        reference_offset_u_w=rail.offset_w,
        residual_w=residual_w,
        levels=len(pairs),
        low_w=low_w,
        high_w=high_w,
    )  # fmt: skip


def _line(points: Sequence[Tuple[float, float]]) -> Tuple[float, float, List[List[float]], float]:
    """Slope and intercept of the least-squares line, the covariance of (intercept, slope), and the residuals' scatter."""
    x, y = np.array(points).T
    design = np.stack((np.ones_like(x), x), axis=1)
    (intercept, slope), *_ = np.linalg.lstsq(design, y, rcond=None)
    rest = y - design @ (intercept, slope)
    freedom = x.size - 2
    variance = float(rest @ rest) / freedom
    # few degrees of freedom: Student's t has this variance, and not 1
    widened = variance * (freedom / (freedom - 2) if freedom > 2 else 3.0)
    covariance = widened * np.linalg.pinv(design.T @ design)
    return float(slope), float(intercept), covariance.tolist(), math.sqrt(variance)


def _rounding_w(step_w: float, found: Sequence[Level]) -> float:
    """Standard uncertainty of a level that does not scatter over the steps of its meter (W)."""
    noise_w = float(np.median([level.noise_w for level in found]))
    return math.sqrt(max(step_w**2 / 4 - noise_w**2, 0.0) / 3)
