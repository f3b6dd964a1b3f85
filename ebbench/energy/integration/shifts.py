"""By how much energies change where a meter's clock is off: the same intervals, moved within the bound on its error.

Where readings are stamped d(t) too late, the energy of [a, b) lies in the readings stamped [a + d(a), b + d(b)). Nobody knows
d, only its bound, so the energy is taken for a family of errors that the bound allows: the same at all times (a quarter to the
whole of the bound, to both sides), and one that runs from one end of the bound to the other between the first and the last edge.
Each of them moves all intervals together: what one interval loses at a common edge its neighbour gains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ebbench.energy.traces.batches import Floats, Ints
from ebbench.units import NS_PER_S

#: errors that are the same at all times, as fractions of the bound; power may go up and down within it, so not only its ends
CONSTANT = (-1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0)
#: a clock that runs from one end of its bound to the other never runs faster or slower by more than this
_STEEPEST = 0.5


@dataclass(frozen=True)
class Shifts:
    """Where k errors of a clock move m intervals (int64 [k, m]), and how much longer than the interval the moved one is [k, 1]."""

    starts_ns: Ints
    ends_ns: Ints
    stretch: Floats


def shifts(starts_ns: Ints, ends_ns: Ints, bound_s: float) -> Shifts:
    """Move the intervals within the bound; no errors (k = 0) where the bound is 0."""
    if bound_s <= 0 or not starts_ns.size:
        return Shifts(
            np.zeros((0, starts_ns.size), np.int64), np.zeros((0, starts_ns.size), np.int64), np.zeros((0, 1))
        )
    bound_ns = bound_s * NS_PER_S
    first_ns, span_ns = int(starts_ns.min()), max(int(ends_ns.max() - starts_ns.min()), 1)
    slope = min(2 * bound_ns / span_ns, _STEEPEST)

    def moved(times_ns: Ints) -> Ints:
        along = slope * ((times_ns - first_ns) - span_ns / 2)
        constant = np.multiply.outer(np.array(CONSTANT) * bound_ns, np.ones(times_ns.size))
        by_ns = np.concatenate((constant, along[None], -along[None]))
        moved_ns: Ints = times_ns + np.rint(by_ns).astype(np.int64)
        return moved_ns

    stretch = np.array([1.0] * len(CONSTANT) + [1 + slope, 1 - slope])
    return Shifts(moved(starts_ns), moved(ends_ns), stretch[:, None])


def changes_j(
    energy_j: Floats, covered_s: Floats, moved_j: Floats, moved_s: Floats, low_w: float, high_w: float
) -> Floats:
    """By how much (J) each error changes each energy, [m, k]; `moved_j` and `moved_s` [k, m] are of the moved intervals, at their
    true length.

    Where a moved interval reaches beyond the readings, the power there may be anything that the trace has shown (`low_w` to
    `high_w`), whichever makes the change larger.
    """
    mean_w = np.nan_to_num(energy_j) / np.maximum(covered_s, 1e-12)
    away_w = np.maximum(np.maximum(high_w - mean_w, mean_w - low_w), 0.0)
    unseen_s = covered_s - moved_s
    change_j = moved_j - np.nan_to_num(energy_j) + mean_w * unseen_s
    change_j += np.where(change_j < 0, -1.0, 1.0) * away_w * np.abs(unseen_s)
    found: Floats = np.where(covered_s > 0, change_j, 0.0).T
    return found
