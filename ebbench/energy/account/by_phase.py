"""The energy of each phase, of the instances of it, and of every rail."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.account.run_meter import RunMeter
from ebbench.energy.account.timeline import Timeline
from ebbench.energy.measured import Measured, Rows
from ebbench.energy.phases import Interval
from ebbench.energy.reasons import together
from ebbench.energy.traces.batches import Ints
from ebbench.records import MISSING, OK, PARTIAL, PhaseEnergy


def energy_by_phase(
    timeline: Timeline, total: Measured, self_j: Sequence[Optional[float]], kind: str
) -> Dict[str, PhaseEnergy]:
    """The total rail's energy of all instances of a path together, by path; `self_j` as `self_energies_j` says."""
    statuses = np.array(total.statuses, dtype=object)
    found = {}
    for path, rows in timeline.by_path.items():
        at = rows.at
        energy_j, uncertainty_j, _ = total.total_of(rows)
        own = [self_j[i] for i in at]
        kinds = set(statuses[at])
        found[path] = PhaseEnergy(
            energy_j=energy_j,
            uncertainty_j=uncertainty_j,
            self_j=None if energy_j is None or None in own else sum(o for o in own if o is not None),
            duration_s=float(total.duration_s[at].sum()),
            covered_s=float(total.covered_s[at].sum()),
            count=at.size,
            kind=kind,
            status=OK if kinds == {OK} else MISSING if kinds == {MISSING} else PARTIAL,
            reason=together(total.reasons[i] for i in at),
            readings=int(total.readings[at].sum()),
            unresolved=_is_unresolved(total, rows),
        )
    return found


def _is_unresolved(total: Measured, rows: Rows) -> bool:
    """Whether `rows` were hardly looked at: each by itself, or what they fill most of, where they are known from that."""
    fill_most = total.duration_s[rows.at].sum() > total.duration_s[rows.holes].sum()
    seen = rows.hulls if fill_most and total.is_by_hulls(rows) else rows.at
    return bool(total.budget.unresolved[seen].all())


def instances(phases: Sequence[Interval], total: Measured) -> List[Dict[str, Any]]:
    """Every phase by itself, as it stands in the record; energies in J, half widths at k = 2."""
    none = np.full(len(total.reasons), np.nan)
    half_width_j = total.budget.half_width_j if total.budget.components_j else none
    common_j = total.budget.common_half_width_j if total.budget.components_j else none
    found = []
    for i, (phase, status) in enumerate(zip(phases, total.statuses)):
        is_missing = status == MISSING
        found.append(
            {
                "path": phase.path,
                "segment": phase.segment,
                "start_ns": phase.start_ns,
                "end_ns": phase.end_ns,
                "duration_s": float(total.duration_s[i]),
                "energy_j": None if is_missing else float(total.energy_j[i]),
                "uncertainty_j": None if is_missing else float(half_width_j[i]),
                "common_j": None if is_missing else float(common_j[i]),
                "status": status,
                "reason": total.reasons[i],
                "interrupted": phase.interrupted,
                "failed": phase.failed,
            }
        )
    return found


def rails_of(timeline: Timeline, meters: Sequence[RunMeter]) -> Dict[str, Dict[str, Any]]:
    """Every rail of every meter over the training and by phase, by ``meter/rail``."""
    found: Dict[str, Dict[str, Any]] = {}
    for meter in meters:
        for index in meter.rails:
            measured = meter.measured[index]
            total_j, uncertainty_j, _ = measured.total_of(timeline.training)
            status, reason = status_over(measured, timeline.training.at)
            by_phase = {path: measured.total(rows.at)[0] for path, rows in timeline.by_path.items()}
            rail = measured.series.rail
            found[f"{meter.info.name}/{rail.name}"] = {
                "meter": meter.info.name,
                "rail": rail.name,
                "scope": meter.info.scope if index == 0 and meter.info.total else rail.scope,
                "kind": meter.kind,
                "total_j": total_j,
                "uncertainty_j": uncertainty_j,
                "covered_s": float(measured.covered_s[timeline.training.at].sum()),
                "status": status,
                "reason": reason,
                "by_phase": by_phase,
            }
    return found


def self_energies_j(phases: Sequence[Interval], total: Measured) -> List[Optional[float]]:
    """Each phase's energy without its children's; None where one of them is missing."""
    place = {p.id: i for i, p in enumerate(phases)}
    rest = total.energy_j[: len(phases)].copy()
    for i, phase in enumerate(phases):
        if phase.parent is not None:
            rest[place[phase.parent]] -= total.energy_j[i]
    return [None if np.isnan(r) else float(r) for r in rest]


def status_over(measured: Measured, at: Ints) -> Tuple[str, Optional[str]]:
    """ok, partial or missing over the intervals `at` together, and the reasons."""
    if at.size == 0:
        return MISSING, "no phase was opened that counts as training"
    statuses = {measured.statuses[i] for i in at} if at.size < 100 else set(np.array(measured.statuses)[at])
    reasons = together(measured.reasons[i] for i in at)
    return (OK if statuses == {OK} else MISSING if statuses == {MISSING} else PARTIAL), reasons
