"""What the uncertainty of an energy is made from where a sensor averages, keeps its value, or may be later than it is said to be.

All of it is computed from the power that the trace shows around both edges (`Edges.around_w`).
"""

from __future__ import annotations

import math
from typing import Optional, Tuple

import numpy as np

from ebbench.energy.integration.integrals import Bools, Edges, Integrals
from ebbench.energy.traces.batches import Floats
from ebbench.energy.traces.pace import memory_s

#: how much of a change of the mean from one place to the next near an edge may leak (over a), and of a dip at the edge itself
LEAK_OF_CHANGE, LEAK_OF_DIP = 0.15, 0.35

_ROOT3 = math.sqrt(3.0)


def smear_j(integrals: Integrals) -> Tuple[Floats, Floats]:
    """Standard uncertainty of a sensor that averages over a time a, and its signed part.

    A step D exactly at an edge is smeared evenly to both sides by a centred average: D a / 8 leaks out. Ripple faster than a
    shows as what is left in the average.
    """
    averaging_s = memory_s(integrals.series, integrals.pace)[0]
    zero = np.zeros_like(integrals.covered_s)
    if averaging_s == 0:
        return zero, zero
    higher = sharper(averaging_s, integrals.duration_s)
    is_long = integrals.duration_s >= 1.5 * averaging_s
    inwards_w = (_in_time_w(integrals.start), _in_time_w(integrals.end)[:, ::-1])
    leaks_j = [averaging_s * higher * _leaks_w(w, is_long) for w in inwards_w]
    by_dip_j = [averaging_s * np.where(is_long, _leaks_by_dip_w(w), 0.0) for w in inwards_w]
    leak_j = -(leaks_j[0] + leaks_j[1])
    largest_j2 = np.max([f for x, y in (leaks_j, by_dip_j) for f in ((x + y) ** 2, x**2 + y**2)], axis=0)
    ripple_j2 = (0.3 * averaging_s) ** 2 * (_ripple_w(integrals.start) ** 2 + _ripple_w(integrals.end) ** 2)
    return np.sqrt(largest_j2 / 3 + ripple_j2), leak_j


def pattern_j(integrals: Integrals) -> Optional[Floats]:
    """What of the power's own pattern near the edges a mean over a may let leak out of each phase, signed [m, parts].

    A step of a training has a pattern, and each has the same. How much of it leaks cannot be told from the means, but what they do
    near an edge is the same then, time after time, while noise and what differs from step to step goes either way. The parts: the
    changes of the mean from one place to the next around each edge, and the dips at both edges.
    """
    averaging_s = memory_s(integrals.series, integrals.pace)[0]
    if averaging_s == 0:
        return None
    around_w = [_in_time_w(edge) for edge in (integrals.start, integrals.end)]
    changes_w = np.concatenate([np.diff(w, axis=1) for w in around_w], axis=1)
    dips_w = sum(w[:, 4] - (w[:, 0] + w[:, 8]) / 2 for w in around_w)
    parts_w = np.column_stack((LEAK_OF_CHANGE * changes_w, LEAK_OF_DIP * dips_w))
    higher = sharper(averaging_s, integrals.duration_s)[:, None]
    parts_j: Floats = averaging_s * higher * parts_w
    return parts_j


def repeated_j2(parts_j: Floats) -> float:
    """By how much the square of the sum of signed parts [m, parts] is more than the sum of their squares."""
    return max(float(np.square(parts_j.sum(axis=0)).sum() - np.square(parts_j).sum()), 0.0)


def delay_changes_j(integrals: Integrals) -> Optional[Floats]:
    """What a delay that is off by its standard uncertainty u does to each energy [m, 5]: u (P_end - P_start).

    Where the power steps at an edge, P is that on either side of the step, or what is read between them.
    """
    delay_u_s = integrals.series.lateness.delay_u_s
    if delay_u_s == 0:
        return None
    rise_w: Floats = integrals.end.around_w[:, :5] - integrals.start.around_w[:, :5]
    averaging_s = memory_s(integrals.series, integrals.pace)[0]
    return delay_u_s * rise_w * sharper(averaging_s, integrals.duration_s)[:, None]


def delay_j(changes_j: Floats) -> Floats:
    """Standard uncertainty from changes [..., sides]: whichever side is worst."""
    worst_j: Floats = np.abs(changes_j).max(axis=-1)
    return worst_j


def hold_j(integrals: Integrals) -> Tuple[Floats, Floats]:
    """Standard uncertainty of a register that keeps its value for a time T, and its signed part.

    It shows a step up to T late, on average T / 2. That is known also where nobody knows over how long it averages.
    """
    update_s = memory_s(integrals.series, integrals.pace)[1]
    zero = np.zeros_like(integrals.covered_s)
    if update_s == 0:
        return zero, zero
    late_w = integrals.end.around_w[:, 0] - integrals.start.around_w[:, 0]
    late_j2 = update_s**2 * (late_w**2 + 0.25 * _step_w(integrals.end) ** 2)
    return np.sqrt(late_j2) / _ROOT3, -update_s / 2 * late_w


def sharper(averaging_s: float, duration_s: Floats) -> Floats:
    """How much higher than a mean over `averaging_s` shows it the power may have been in a phase that is shorter."""
    times: Floats = np.maximum(1.0, averaging_s / np.maximum(duration_s, 1e-9))
    return times


def _leaks_w(inwards_w: Floats, is_long: Bools) -> Floats:
    """How much of a second of a mean over a leaks out of a phase at an edge, over a (W): D/8 at a single step D.

    `inwards_w`: the means from a outside of the edge to a inside, every a/4. Where the power outside returns after r < a/2, they
    show D r/a, of which (1 - r/a) / 2 leaks: up to 1/2. Whether it does is seen in the means further out, unless the phase is so
    short (not `is_long`) that these hold what was before it.
    """
    far_w, outer_w, outside_w, inside_w, inner_w = (inwards_w[:, i] for i in (0, 2, 3, 6, 7))
    outside_w = np.where(np.abs(outside_w - inside_w) > np.abs(outer_w - inside_w), outside_w, outer_w)
    is_inner = is_long & (np.abs(inner_w - outside_w) > np.abs(inside_w - outside_w))
    step_w = np.where(is_inner, inner_w, inside_w) - outside_w
    returned = np.divide(
        np.abs(far_w - outside_w), np.abs(step_w), out=np.ones_like(step_w), where=is_long & (step_w != 0)
    )
    leaks_w: Floats = (1 / 8 + 3 / 8 * np.minimum(returned, 1.0) ** 2) * step_w
    return leaks_w


def _leaks_by_dip_w(inwards_w: Floats) -> Floats:
    """The same from the dip at the edge below the means on either side: where these differ, dip and step may hide each other."""
    far_w, edge_w, inner_w = (inwards_w[:, i] for i in (0, 4, 8))
    leaks_w: Floats = (inner_w - far_w) / 8 + ((inner_w + far_w) / 2 - edge_w) / 2
    return leaks_w


def _in_time_w(edge: Edges) -> Floats:
    """The power around an edge, in the order of time."""
    in_time_w: Floats = edge.around_w[:, [5, 6, 0, 1, 2, 3, 4, 7, 8]]
    return in_time_w


def _step_w(edge: Edges) -> Floats:
    """By how much the power around an edge changes over the time in which a step at the edge would show."""
    return edge.around_w[:, 4] - edge.around_w[:, 0]


def _ripple_w(edge: Edges) -> Floats:
    """What the power around an edge does beyond one step: its way up and down in time, less the step."""
    way_w: Floats = np.abs(np.diff(_in_time_w(edge), axis=1)).sum(axis=1)
    return way_w - np.abs(_step_w(edge))
