"""The energies of many intervals from all traces of one meter: several files, several boots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from ebbench.energy.integration.integrals import Gap, Integrals
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.lateness import sharper
from ebbench.energy.reasons import Hole, reason_of
from ebbench.energy.trace_file import TraceFile
from ebbench.energy.traces.batches import Floats, Ints
from ebbench.energy.traces.series import Series
from ebbench.energy.traces.trace import TraceReader
from ebbench.energy.uncertainty import (
    COVERAGE_FACTOR,
    TIME_BASE,
    Budget,
    budget,
    half_width_j,
    merged,
    of_difference,
    of_sum,
)
from ebbench.records import MISSING, OK, PARTIAL

#: of what no reading resolves in a hole that is shorter than the averaging time: up to three times what is read there, not twice
BURST = math.sqrt(3.0)
#: what of an interval may be uncovered by rounding alone
HALF_NS_S = 5e-10


@dataclass(frozen=True)
class Rows:
    """Which intervals are wanted together. Where single ones are too short to be seen, their time again as hulls less holes."""

    at: Ints
    hulls: Ints
    holes: Ints


@dataclass(frozen=True)
class Measured:
    """Energies of m intervals of one series; arrays [m]. `energy_j` is NaN where nothing is covered."""

    series: Series
    energy_j: Floats
    duration_s: Floats
    covered_s: Floats
    readings: Ints
    longest_s: Floats
    budget: Budget
    reasons: List[Optional[str]]

    @property
    def statuses(self) -> List[str]:
        """ok, partial or missing."""
        missing = np.isnan(self.energy_j)
        return [MISSING if m else OK if r is None else PARTIAL for m, r in zip(missing, self.reasons)]

    def total(self, at: Ints) -> Tuple[Optional[float], Optional[float], Dict[str, Optional[float]]]:
        """Energy (J), its half width (k = 2) and its components over the intervals `at` together; None where nothing is covered."""
        at = np.asarray(at, np.int64)
        at = at[~np.isnan(self.energy_j[at])]
        if at.size == 0:
            return None, None, {}
        components_j = self._of_sum(at)
        return float(np.sum(self.energy_j[at])), half_width_j(components_j), components_j

    def total_of(self, rows: Rows) -> Tuple[Optional[float], Optional[float], Dict[str, Optional[float]]]:
        """The same of `rows`, in the way that knows it better: interval by interval, or from its hulls less the holes in them.

        The energy is the same in both ways, also where a part is not covered by readings: it is missing in both.
        """
        energy_j, width_j, components_j = self.total(rows.at)
        if width_j is None or not self.is_by_hulls(rows):
            return energy_j, width_j, components_j
        components_j = self._by_hulls_j(rows)
        return energy_j, half_width_j(components_j), components_j

    def is_by_hulls(self, rows: Rows) -> bool:
        """Whether `rows` are known better from their hulls."""
        if not rows.hulls.size or np.isnan(self.energy_j[rows.at]).all():
            return False
        return half_width_j(self._by_hulls_j(rows)) < half_width_j(self._of_sum(rows.at))

    def _by_hulls_j(self, rows: Rows) -> Dict[str, Optional[float]]:
        """Of holes shorter than the averaging time all but what is unresolved is in the hull: the mean shows what they hold."""
        averaging_s, duration_s = self.series.lateness.averaging_s or 0.0, self.duration_s[rows.holes]
        is_smeared, unresolved_j = duration_s < averaging_s, self.budget.components_j["unresolved"]
        holes_j = self._of_sum(rows.holes[~is_smeared])
        if rows.holes.size and unresolved_j is not None:
            times = np.where(is_smeared, BURST / sharper(averaging_s, duration_s), 1.0)
            within_j = float(np.sum(times * unresolved_j[rows.holes]))
            holes_j["unresolved"] = min(within_j, self._most_j(rows) / COVERAGE_FACTOR)
        return of_difference(self._of_sum(rows.at), self._of_sum(rows.hulls), holes_j)

    def _most_j(self, rows: Rows) -> float:
        """By how much the holes in hulls that are known may be off: no power is negative, so that the one side has at most all."""
        return max(abs(float(np.nansum(self.energy_j[at]))) for at in (rows.holes, rows.at))

    def _of_sum(self, at: Ints) -> Dict[str, Optional[float]]:
        return of_sum([(self.budget, at[~np.isnan(self.energy_j[at])])])


def measure(
    traces: Sequence[TraceFile],
    series: Sequence[Series],
    starts_ns: Ints,
    ends_ns: Ints,
    boots: npt.NDArray[Any],
    *,
    max_gap_s: Optional[float],
    is_simulated: bool,
    holes: Sequence[Hole] = (),
) -> List[Measured]:
    """Integrate each series over all intervals, each over the traces of its own boot; every trace is read once.

    Where one trace goes on into the next (the sampler of a run that was ended in haste still reads when it is resumed), it counts
    until the next one begins: nothing is counted twice.
    """
    parts: List[List[Tuple[Integrals, Ints]]] = [[] for _ in series]
    for number, trace in enumerate(traces):
        if not trace.paces:
            continue
        until_ns = _until_ns(trace, traces[number + 1 :], max(one.shift_ns for one in series))
        at = np.flatnonzero((boots == trace.boot_id) & (starts_ns < until_ns))
        columns = sorted({c for s in series for group in s.columns for c in group})
        chunks = trace.clock.applied(TraceReader(trace.path, columns=columns))
        trace.integrals = integrate(
            chunks,
            series,
            trace.paces,
            starts_ns[at],
            np.minimum(ends_ns[at], until_ns),
            max_gap_s,
            trace.clock.bound_s,
        )
        for found, integrals in zip(parts, trace.integrals):
            found.append((integrals, at))
    duration_s: Floats = (ends_ns - starts_ns) / 1e9
    time_base = 0.0 if is_simulated else TIME_BASE
    return [_joined(one, found, duration_s, time_base, holes) for one, found in zip(series, parts)]


def _until_ns(trace: TraceFile, later: Sequence[TraceFile], shift_ns: int) -> int:
    """From when on (ns) a later trace of the same boot, begun before this one ended, tells the power; else the end of all time."""
    last_ns, begun_ns = trace.last_ns or 0, [t.first_ns for t in later if t.boot_id == trace.boot_id and t.paces]
    within_ns = [first_ns for first_ns in begun_ns if first_ns is not None and first_ns < last_ns]
    return min(within_ns) - shift_ns if within_ns else int(np.iinfo(np.int64).max)


def _joined(
    series: Series, parts: Sequence[Tuple[Integrals, Ints]], duration_s: Floats, time_base: float, holes: Sequence[Hole]
) -> Measured:
    """What several traces say about the same m intervals, added: nothing is interpolated from one to the next."""
    m = duration_s.size
    energy_j, covered_s, longest_s = np.zeros(m), np.zeros(m), np.zeros(m)
    readings, has_energy = np.zeros(m, np.int64), np.zeros(m, bool)
    budgets = []
    for integrals, at in parts:
        known = ~integrals.is_missing
        energy_j[at] += np.where(known, integrals.energy_j, 0.0)
        covered_s[at] += integrals.covered_s
        readings[at] += integrals.readings
        longest_s[at] = np.maximum(longest_s[at], integrals.longest_s)
        has_energy[at] |= known
        budgets.append(_spread(budget(integrals, time_base), at, m, known))
    together = merged(budgets) if budgets else Budget({}, np.zeros(m), np.ones(m, bool))
    reasons = _reasons(parts, ~has_energy | (covered_s < duration_s - HALF_NS_S), holes)
    return Measured(
        series, np.where(has_energy, energy_j, np.nan), duration_s, covered_s, readings, longest_s, together, reasons
    )


def _spread(one: Budget, at: Ints, m: int, known: npt.NDArray[np.bool_]) -> Budget:
    """The budget of the intervals `at` among m, 0 elsewhere."""
    if at.size == m:
        return one

    def wide(values: Floats) -> Floats:
        spread = np.zeros((m, *values.shape[1:]))
        spread[at] = values
        return spread

    unresolved = np.ones(m, bool)
    unresolved[at] = one.unresolved | ~known
    components = {name: None if c is None else wide(c) for name, c in one.components_j.items()}
    clock_changes_j = None if one.clock_changes_j is None else wide(one.clock_changes_j)
    delay_changes_j = None if one.delay_changes_j is None else wide(one.delay_changes_j)
    pattern_j = None if one.pattern_j is None else wide(one.pattern_j)
    return Budget(components, wide(one.bias_j), unresolved, clock_changes_j, delay_changes_j, pattern_j)


def _reasons(
    parts: Sequence[Tuple[Integrals, Ints]], is_short: npt.NDArray[np.bool_], holes: Sequence[Hole]
) -> List[Optional[str]]:
    """Why each interval that `is_short` of readings is not wholly covered."""
    reasons: List[Optional[str]] = [None] * is_short.size
    for i in np.flatnonzero(is_short):
        places = [(integrals, at, int(np.searchsorted(at, i))) for integrals, at in parts]
        reasons[i] = reason_of([(one, k) for one, at, k in places if k < at.size and at[k] == i], holes)
    return reasons


def gaps_of(traces: Sequence[TraceFile], index: int) -> List[Gap]:
    """The gaps of one series in all traces."""
    return [gap for trace in traces if trace.integrals for gap in trace.integrals[index].gaps]
