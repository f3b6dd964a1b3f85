"""How far an energy may be from the truth: a table of components in the manner of the GUM (JCGM 100:2008).

Each component is a standard uncertainty (k = 1, J). The stated half width is U = 2 * sqrt(sum of squares), k = 2. What the
meter does not tell (its gain, say) is None, "unknown", and U covers only what is known.

sampling    what the power did between readings (`_sampling_j`)
edges       where in the interval around an edge the power stepped (`_edges_j`, `_counter_edges_j`)
lag         what a sensor that averages smears over the edges, also of a pattern that phases share, and what its delay may be off
hold        what a register that keeps its value shows late (`lateness`)
gaps        what happened in intervals that were long but interpolated
unresolved  the power was hardly looked at: fewer than five readings or updates (`_unresolved_j`)
counter     one step of an energy counter at each edge
clock       what the readings' times may be off the phases' clock (`_clock_j`)
gain, offset, resolution, time_base    the meter's own, common to all readings of a rail

The constants were fitted by Monte Carlo over known waveforms and sensors; tests/energy/test_uncertainty.py holds the table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy import lateness
from ebbench.energy.integration.integrals import Bools, Integrals
from ebbench.energy.traces.batches import Floats, Ints
from ebbench.energy.traces.pace import look_s, memory_s

#: worst rate of CLOCK_MONOTONIC against true time (rectangular): what NTP may slew it by
TIME_BASE = 500e-6
#: a phase with fewer readings (or updates of a register) is unresolved
FEW = 5.0
#: components that are the same for all phases of a rail: in a sum they add, they never average down
COMMON = ("gain", "offset", "resolution", "unresolved", "time_base")
#: components about the power's course between readings: a whole is known better than many short parts of it
COURSE = ("sampling", "edges", "lag", "hold", "gaps", "unresolved")
COVERAGE_FACTOR = 2.0

_ROOT3, _ROOT12 = math.sqrt(3.0), math.sqrt(12.0)


@dataclass(frozen=True)
class Budget:
    """The uncertainties of m energies.

    `components_j`: standard uncertainties (J) by name, float64 [m], None = unknown. `bias_j`: by how much each energy errs
    if every step of power near its edges lies exactly at the edge; it grows with their number where phases repeat.
    `clock_changes_j` [m, traces, errors]: what each error of a clock does to each energy; None where no clock may be off.
    `delay_changes_j` [m, sides]: what a delay that is off by its standard uncertainty does to each, by the power on either side
    of the steps at its edges; None where no delay may be off. It is a part of the component `lag`.
    `pattern_j` [m, parts]: what may leak of the power's pattern near the edges, where it is the same in all phases of a sum; None
    where the sensor does not average.
    """

    components_j: Dict[str, Optional[Floats]]
    bias_j: Floats
    unresolved: Bools
    clock_changes_j: Optional[Floats] = None
    delay_changes_j: Optional[Floats] = None
    pattern_j: Optional[Floats] = None

    @property
    def half_width_j(self) -> Floats:
        """Half widths of the k = 2 intervals (J)."""
        known = [c for c in self.components_j.values() if c is not None]
        half_width_j: Floats = COVERAGE_FACTOR * np.sqrt(np.sum(np.square(known), axis=0))
        return half_width_j

    @property
    def unknown(self) -> List[str]:
        """The components that no half width holds."""
        return [name for name, component in self.components_j.items() if component is None]

    @property
    def common_half_width_j(self) -> Floats:
        """The part of the half widths (J) that equal phases share: it does not become smaller by taking more of them."""
        known = [c for name, c in self.components_j.items() if name in (*COMMON, "clock") and c is not None]
        known.append(self.bias_j)
        if self.delay_changes_j is not None:
            known.append(lateness.delay_j(self.delay_changes_j))
        if self.pattern_j is not None:
            known.append(np.sqrt(np.square(self.pattern_j).sum(axis=1)))
        shared_j: Floats = COVERAGE_FACTOR * np.sqrt(np.sum(np.square(known), axis=0))
        return np.minimum(shared_j, self.half_width_j)


def budget(integrals: Integrals, time_base: float = TIME_BASE) -> Budget:
    """The budget of every energy in `integrals`; `time_base` is 0 where the truth runs on the same clock (simulated)."""
    rail = integrals.series.rail
    energy_j = np.abs(np.nan_to_num(integrals.energy_j))
    covered_s = integrals.covered_s
    edges_j, edge_bias_j = _edges_j(integrals)
    lag_j, lag_bias_j = lateness.smear_j(integrals)
    delay_changes_j = lateness.delay_changes_j(integrals)
    if delay_changes_j is not None:
        lag_j = np.hypot(lag_j, lateness.delay_j(delay_changes_j))
    hold_j, hold_bias_j = lateness.hold_j(integrals)
    unresolved_j, unresolved = _unresolved_j(integrals)
    components: Dict[str, Optional[Floats]] = {
        "gain": None if rail.gain_ratio is None else rail.gain_ratio * energy_j,
        "offset": None if rail.offset_w is None else rail.offset_w * covered_s,
        "resolution": _resolution_j(integrals),
        "sampling": _sampling_j(integrals),
        "edges": edges_j,
        "lag": None if integrals.series.lateness.averaging_s is None else lag_j,
        "hold": hold_j,
        "gaps": _gaps_j(integrals),
        "unresolved": unresolved_j,
        "time_base": time_base / _ROOT3 * energy_j,
    }
    if integrals.series.is_counter:
        components["counter"] = _counter_j(integrals)
    clock_changes_j = integrals.clock_changes_j[:, None, :] if integrals.clock_changes_j.shape[1] else None
    if clock_changes_j is not None:
        components["clock"] = _clock_j(clock_changes_j)
    none = covered_s == 0  # nothing covered, or an interval without length: there is no energy to be wrong
    known = {name: None if c is None else np.where(none, 0.0, c) for name, c in components.items()}
    bias_j = np.where(none, 0.0, edge_bias_j + lag_bias_j + hold_bias_j)
    if delay_changes_j is not None:
        delay_changes_j[none] = 0.0
    pattern_j = lateness.pattern_j(integrals)
    if pattern_j is not None:
        pattern_j[none] = 0.0
    return Budget(known, bias_j, unresolved, clock_changes_j, delay_changes_j, pattern_j)


def of_sum(parts: Sequence[Tuple[Budget, Ints]]) -> Dict[str, Optional[float]]:
    """Components (k = 1, J) of the sum of energies; each part gives a budget and which of its energies are summed.

    What is common to the energies adds, the rest adds in squares. The errors at edges do both: repeated phases whose power
    steps exactly at their edges all err to the same side, so their signed bias is summed too. A clock, or a sensor's delay, is off
    for all energies at once: what each of its errors does is summed, with its sign, before the worst is taken.
    """
    names = list(dict.fromkeys(name for b, _ in parts for name in b.components_j))
    found: Dict[str, Optional[float]] = {}
    for name in names:
        values = [
            None if c is None else c[at] for b, at in parts for c in [b.components_j.get(name, np.zeros(0))] if at.size
        ]
        if any(v is None for v in values):
            found[name] = None
        elif name in COMMON:
            found[name] = float(sum(v.sum() for v in values if v is not None and v.size))
        else:
            found[name] = math.sqrt(sum(float(np.dot(v, v)) for v in values if v is not None))
    bias_j = [b.bias_j[at] for b, at in parts]
    together_j2 = sum(float(b.sum()) for b in bias_j) ** 2 - sum(float(np.dot(b, b)) for b in bias_j)
    if together_j2 > 0:
        found["edges"] = math.hypot(found.get("edges") or 0.0, math.sqrt(together_j2))
    if found.get("lag") is not None:
        found["lag"] = _lag_of_sum_j(parts, found["lag"] or 0.0)
    clock = [b.clock_changes_j[at].sum(axis=0) for b, at in parts if b.clock_changes_j is not None]
    if clock:
        found["clock"] = float(_clock_j(np.sum(clock, axis=0)))
    return found


def _lag_of_sum_j(parts: Sequence[Tuple[Budget, Ints]], in_squares_j: float) -> float:
    """`lag` of a sum: what a delay that is off does to each energy is in the sum of squares, but adds with its sign; and what leaks
    of a pattern that the phases have in common adds too."""
    changes_j = [b.delay_changes_j[at] for b, at in parts if b.delay_changes_j is not None]
    each_j2 = sum(float(np.square(lateness.delay_j(c)).sum()) for c in changes_j)
    together_j2 = float(lateness.delay_j(np.sum([c.sum(axis=0) for c in changes_j], axis=0))) ** 2 if changes_j else 0.0
    patterns_j = [b.pattern_j[at] for b, at in parts if b.pattern_j is not None]
    pattern_j2 = lateness.repeated_j2(np.concatenate(patterns_j)) if patterns_j else 0.0
    return math.sqrt(max(in_squares_j**2 - each_j2, 0.0) + together_j2 + pattern_j2)


def of_difference(
    sum_j: Dict[str, Optional[float]], hull_j: Dict[str, Optional[float]], holes_j: Dict[str, Optional[float]]
) -> Dict[str, Optional[float]]:
    """Components (k = 1, J) of a sum of energies that is also the difference between a hull's and that of the holes in it.

    What the power's course between readings leaves open is that of the hull and the holes, added, whatever their signs. All else
    (the gain, say) is the sum's.
    """
    course = {name: (hull_j.get(name, 0.0), holes_j.get(name, 0.0)) for name in COURSE if name in sum_j}
    return {**sum_j, **{n: None if h is None or o is None else h + o for n, (h, o) in course.items()}}


def merged(budgets: Sequence[Budget]) -> Budget:
    """The budget of m energies that are each the sum of what several traces gave (0 where a trace gave nothing)."""
    if len(budgets) == 1:
        return budgets[0]
    components: Dict[str, Optional[Floats]] = {}
    for name in dict.fromkeys(name for b in budgets for name in b.components_j):
        values = [b.components_j[name] for b in budgets if name in b.components_j]
        known = [v for v in values if v is not None]
        if len(known) < len(values):
            components[name] = None
        else:
            stacked = np.stack(known)
            components[name] = stacked.sum(axis=0) if name in COMMON else np.sqrt(np.square(stacked).sum(axis=0))
    bias_j: Floats = np.sum([b.bias_j for b in budgets], axis=0)
    clocks = [b.clock_changes_j for b in budgets if b.clock_changes_j is not None]
    clock_changes_j = np.concatenate(clocks, axis=1) if clocks else None
    if clock_changes_j is not None:
        components["clock"] = _clock_j(clock_changes_j)
    delays = [b.delay_changes_j for b in budgets if b.delay_changes_j is not None]
    delay_changes_j: Optional[Floats] = np.sum(delays, axis=0) if delays else None
    patterns = [b.pattern_j for b in budgets if b.pattern_j is not None]
    pattern_j: Optional[Floats] = np.sum(patterns, axis=0) if patterns else None
    unresolved = np.logical_and.reduce([b.unresolved for b in budgets])
    return Budget(components, bias_j, unresolved, clock_changes_j, delay_changes_j, pattern_j)


def half_width_j(components_j: Dict[str, Optional[float]]) -> float:
    """U = 2 * sqrt(sum of squares) over the components that are known (J)."""
    return COVERAGE_FACTOR * math.sqrt(sum(c * c for c in components_j.values() if c is not None))


def _sampling_j(integrals: Integrals) -> Floats:
    """Standard uncertainty of the interpolation between the readings inside.

    A step dP at a uniformly random place of its interval h has the variance (h dP)^2 / 12 about the line. A smooth curve
    has none: there neighbouring h dP agree, so that their products are taken off. Readings that scatter (noise, or a wave
    faster than the readings) show as neighbouring h dP of opposite sign, in excess of what those two apart have in common;
    for scatter sigma the sum becomes n * (h sigma)^2.
    What happens rarely may have happened here unseen: one event of the size met in the whole trace is added.
    """
    inside_j2 = _interpolation_j2(integrals.jump_j2, integrals.cross_j2, integrals.cross_2_j2)
    whole = (integrals.whole_jump_j2, integrals.whole_cross_j2, integrals.whole_cross_2_j2)
    whole_j2 = float(_interpolation_j2(*(np.array(sum_j2) for sum_j2 in whole)))
    if whole_j2 == 0 or integrals.first_ns is None or integrals.last_ns is None:
        return np.sqrt(inside_j2)
    event_j2 = 2 * whole_j2 / integrals.whole_jump_j2 * integrals.whole_jump_j4 / integrals.whole_jump_j2
    whole_s = (integrals.last_ns - integrals.first_ns) * 1e-9
    events = whole_j2 / event_j2 * integrals.covered_s / whole_s
    return np.sqrt(inside_j2 + event_j2 * np.minimum(2 * events, 2.0))


def _interpolation_j2(jump_j2: Floats, cross_j2: Floats, cross_2_j2: Floats) -> Floats:
    return np.maximum(jump_j2 - cross_j2, 0.0) / 12 + 0.75 * np.maximum(cross_2_j2 - cross_j2, 0.0)


def _edges_j(integrals: Integrals) -> Tuple[Floats, Floats]:
    """Standard uncertainty of cutting at both edges, and the error if both steps lie exactly at them.

    In the interval h that holds an edge at place u, a step dP may lie anywhere. The line errs by -dP h (1-u)^2 / 2 (step at
    or before the edge) to dP h (1-u^2) / 2 (step at the interval's end) on the part after the edge.
    """
    if integrals.series.is_counter:
        return _counter_edges_j(integrals)
    bounds, biases = [], []
    for edge, outside, sign in (
        (integrals.start, integrals.start.place, -1.0),
        (integrals.end, 1 - integrals.end.place, 1.0),
    ):
        jump_j = edge.interval_s * edge.step_w
        bounds.append(np.abs(jump_j) * (1 - outside**2) / 2)
        biases.append(sign * jump_j * (1 - outside) ** 2 / 2)
    largest_j = np.maximum(np.abs(integrals.start.step_w), np.abs(integrals.end.step_w)) * integrals.covered_s
    return np.minimum(np.sqrt(bounds[0] ** 2 + bounds[1] ** 2), largest_j) / _ROOT3, biases[0] + biases[1]


def _counter_edges_j(integrals: Integrals) -> Tuple[Floats, Floats]:
    """The same of a counter, which tells the energy of the interval h: a step dP errs by at most dP h u (1-u), at the edge itself.

    What the power does within h no counter shows: a power of many small steps whose means over h step by D differs from the line
    by D h sqrt(u (1-u) / 2). D is what is usual in the whole trace.
    """
    start, end = integrals.start, integrals.end
    biases = [
        sign * edge.step_w * edge.interval_s * edge.place * (1 - edge.place) for edge, sign in ((start, -1), (end, 1))
    ]
    both_j2 = biases[0] ** 2 + biases[1] ** 2
    bias_j = biases[0] + biases[1]
    largest_j = np.maximum(np.abs(start.step_w), np.abs(end.step_w)) * integrals.covered_s
    steps_j = np.minimum(np.sqrt(np.maximum(bias_j**2, both_j2)), largest_j) / _ROOT3
    within_j2 = sum((e.interval_s * integrals.usual_step_w) ** 2 * e.place * (1 - e.place) / 2 for e in (start, end))
    return np.sqrt(steps_j**2 + within_j2), bias_j


def _gaps_j(integrals: Integrals) -> Floats:
    """In what exceeds 1.5 median intervals the power may have been anywhere in the spread of this phase's readings."""
    return np.sqrt(integrals.long_s2 * integrals.variance_w2)


def _unresolved_j(integrals: Integrals) -> Tuple[Floats, Bools]:
    """Standard uncertainty of phases with fewer than five looks at them, or shorter than the sensor averages: the trace's range of
    power over the time that nobody looked.

    A phase that no reading saw, or that is shorter than a register keeps its value or than a mean is taken, is a line between
    its neighbours. Its power may have been anything from nothing to twice that, also where the trace, which did not look there,
    is flat.
    """
    averaging_s, update_s = memory_s(integrals.series, integrals.pace)
    is_smeared = integrals.covered_s < averaging_s
    few = ((_looks(integrals) < FEW) | is_smeared) & (integrals.covered_s > 0)
    if integrals.first_ns is None:
        return np.zeros_like(integrals.covered_s), few
    mean_w = np.nan_to_num(integrals.energy_j) / np.maximum(integrals.covered_s, 1e-12)
    away_w = np.maximum(integrals.high_w - mean_w, mean_w - integrals.low_w)
    is_unseen = (integrals.readings == 0) | (integrals.covered_s < update_s) | is_smeared
    away_w = np.maximum(away_w, np.where(is_unseen, np.abs(mean_w), 0.0))
    apart_s = max(look_s(integrals.series, integrals.pace), averaging_s)
    unseen_s = np.minimum(integrals.covered_s, apart_s) * lateness.sharper(averaging_s, integrals.duration_s)
    return np.where(few, away_w * unseen_s / _ROOT3, 0.0), few


def _looks(integrals: Integrals) -> Floats:
    """How many times the power was looked at in each interval: readings, or updates where a register is read more often."""
    return np.minimum(integrals.readings, integrals.covered_s / look_s(integrals.series, integrals.pace))


def _resolution_j(integrals: Integrals) -> Optional[Floats]:
    """One step q of the reading: a steady power is off by up to q/2 all the time, one that scatters over steps is not.

    Readings that toggle between two steps with the variance s^2 are off by sqrt(q^2/4 - s^2).
    """
    step_w = integrals.series.rail.resolution_w
    if integrals.series.is_counter:
        return np.zeros_like(integrals.covered_s)
    if step_w is None:
        return None
    scatter_w2 = integrals.changes / np.maximum(_looks(integrals), 1.0) * step_w**2 / 2
    return np.sqrt(np.maximum(step_w**2 / 4 - scatter_w2, 0.0) / 3) * integrals.covered_s


def _clock_j(changes_j: Floats) -> Floats:
    """Standard uncertainty (rectangular) from changes [..., traces, errors]: of each trace the worst, those of several added.

    Every trace has a bound of its own, and its clock may be off to the other side.
    """
    worst_j: Floats = np.abs(changes_j).max(axis=-1).sum(axis=-1) / _ROOT3
    return worst_j


def _counter_j(integrals: Integrals) -> Optional[Floats]:
    """Half a count at each edge, rectangular; None where the size of a count is unknown."""
    step_j = integrals.series.step_j
    return None if step_j is None else np.full_like(integrals.covered_s, math.sqrt(2) * step_j / _ROOT12)
