"""The energies of many intervals from all traces of one meter: several files, several boots."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from ebbench.energy.batches import Chunk, Floats, Ints
from ebbench.energy.integrals import Gap, Integrals
from ebbench.energy.integrate import integrate
from ebbench.energy.pace import Pace, survey
from ebbench.energy.series import Series
from ebbench.energy.trace import TraceReader
from ebbench.energy.uncertainty import TIME_BASE, Budget, budget, half_width_j, merged, of_sum
from ebbench.records import MISSING, OK, PARTIAL


@dataclass
class TraceFile:
    """One trace, looked through once: how each series was read, and what the checks want to know."""

    path: Path
    boot_id: str
    paces: List[Pace]
    first_ns: Optional[int] = None
    last_ns: Optional[int] = None
    readings: int = 0
    missed: int = 0
    damage: Optional[str] = None
    bytes_lost: int = 0
    integrals: List[Integrals] = field(default_factory=list)


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
        components_j = of_sum([(self.budget, at)])
        return float(np.sum(self.energy_j[at])), half_width_j(components_j), components_j


def look_through(path: Path, series: Sequence[Series]) -> TraceFile:
    """Survey one trace; a damaged one as far as it is whole."""
    reader = TraceReader(path, columns=sorted({c for s in series for group in s.columns for c in group}))
    found = TraceFile(path, str(reader.metadata.get("boot_id", "unknown")), [])
    last_seq: Optional[int] = None

    def watched() -> Any:
        nonlocal last_seq
        for chunk in reader:
            if chunk.time_ns.size:
                last_seq = _watch(found, chunk, last_seq)
            yield chunk

    found.paces = survey(watched(), series)
    found.damage, found.bytes_lost = reader.damage, reader.bytes_lost
    return found


def _watch(found: TraceFile, chunk: Chunk, last_seq: Optional[int]) -> int:
    found.first_ns = int(chunk.time_ns[0]) if found.first_ns is None else found.first_ns
    found.last_ns = int(chunk.time_ns[-1])
    found.readings += chunk.time_ns.size
    first_seq, seq = int(chunk.seq[0]), int(chunk.seq[-1])
    expected = first_seq if last_seq is None else last_seq + 1
    found.missed += max(seq - expected + 1 - chunk.time_ns.size, 0)
    return seq


def measure(
    traces: Sequence[TraceFile],
    series: Sequence[Series],
    starts_ns: Ints,
    ends_ns: Ints,
    boots: npt.NDArray[Any],
    *,
    max_gap_s: Optional[float],
    is_simulated: bool,
) -> List[Measured]:
    """Integrate each series over all intervals, each over the traces of its own boot; every trace is read once."""
    parts: List[List[Tuple[Integrals, Ints]]] = [[] for _ in series]
    for trace in traces:
        at = np.flatnonzero(boots == trace.boot_id)
        columns = sorted({c for s in series for group in s.columns for c in group})
        reader = TraceReader(trace.path, columns=columns)
        trace.integrals = integrate(reader, series, trace.paces, starts_ns[at], ends_ns[at], max_gap_s)
        for found, integrals in zip(parts, trace.integrals):
            found.append((integrals, at))
    duration_s: Floats = (ends_ns - starts_ns) / 1e9
    time_base = 0.0 if is_simulated else TIME_BASE
    return [_joined(one, found, duration_s, time_base) for one, found in zip(series, parts)]


def _joined(series: Series, parts: Sequence[Tuple[Integrals, Ints]], duration_s: Floats, time_base: float) -> Measured:
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
    reasons = _reasons(parts, has_energy, covered_s, duration_s)
    return Measured(
        series, np.where(has_energy, energy_j, np.nan), duration_s, covered_s, readings, longest_s, together, reasons
    )


def _spread(one: Budget, at: Ints, m: int, known: npt.NDArray[np.bool_]) -> Budget:
    """The budget of the intervals `at` among m, 0 elsewhere."""
    if at.size == m:
        return one

    def wide(values: Floats) -> Floats:
        spread = np.zeros(m)
        spread[at] = values
        return spread

    unresolved = np.ones(m, bool)
    unresolved[at] = one.unresolved | ~known
    components = {name: None if c is None else wide(c) for name, c in one.components_j.items()}
    return Budget(components, wide(one.bias_j), unresolved)


def _reasons(
    parts: Sequence[Tuple[Integrals, Ints]],
    has_energy: npt.NDArray[np.bool_],
    covered_s: Floats,
    duration_s: Floats,
) -> List[Optional[str]]:
    """Why each interval is not wholly covered. Half a nanosecond is rounding."""
    reasons: List[Optional[str]] = [None] * duration_s.size
    for i in np.flatnonzero(~has_energy | (covered_s < duration_s - 5e-10)):
        said = []
        for integrals, at in parts:
            k = int(np.searchsorted(at, i))
            if k < at.size and at[k] == i and (has_energy[i] <= (not integrals.is_missing[k])):
                said.append(integrals.reason(k))
        reasons[i] = "; ".join(dict.fromkeys(s for s in said if s)) or "no trace of this boot of the machine"
    return reasons


def gaps_of(traces: Sequence[TraceFile], index: int) -> List[Gap]:
    """The gaps of one series in all traces."""
    return [gap for trace in traces if trace.integrals for gap in trace.integrals[index].gaps]
