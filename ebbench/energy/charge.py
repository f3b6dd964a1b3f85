"""The energy of a first training that another run did, charged to a run that took it.

What is charged is what the lender measured: its training up to the end of the last epoch that is taken, without evaluations and
checkpoints, without its mask-distance checks (whoever takes a search draws its own masks) and without work that it did twice. Of a
training that is cut short, to be extrapolated, it is charged epoch by epoch too.

The two energies add. What their meter gets wrong in both alike (its gain, say) adds too, the rest in squares. The energies of
two runs that took the same training are not independent: what they have in common cancels in part in their ratio, whose interval
the report makes accordingly (docs/measuring.md, section 14).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ebbench.energy.account import StretchesOf, measured_over
from ebbench.energy.integration.stretches import Stretch, overlap, union, without
from ebbench.energy.measured import Measured, Rows
from ebbench.energy.phases import Interval, Span
from ebbench.energy.uncertainty import COMMON, half_width_j
from ebbench.records import MEASURED, MISSING, NOT_MEASURED, OK, OTHER_PHASES, SIMULATED, EnergyAccount, PhaseEnergy
from ebbench.rundir import RunDir

#: what is not charged of what lies inside a training
_OWN = (*OTHER_PHASES, "draw")
#: why an account has no total
_ELSEWHERE = "its first training was measured by another run, whose energy is not known here"
_NOT_OF_RAIL = "it does not wholly cover the first training, which another run did"


def part_of(rundir: RunDir, stage: str, epochs: int, each: bool = False) -> Dict[str, Any]:
    """What the training of the first `epochs` epochs of the phase `stage` cost, as JSON values.

    With `each` also of every epoch by itself (``by_epoch``), and whether it went through without a disturbance.
    """

    def training(phases: Sequence[Interval], again: Sequence[Span], segment: int) -> List[Stretch]:
        return stretches_of(phases, again, segment, stage, epochs)

    def epoch(path: str) -> StretchesOf:
        return lambda phases, again, segment: overlap(
            training(phases, again, segment),
            union((p.start_ns, p.end_ns) for p in phases if p.path == path and p.segment == segment),
        )

    paths = [f"{stage}/epoch-{number}" for number in range(1, epochs + 1)] if each else []
    found = measured_over(rundir, [training, *(epoch(path) for path in paths)])
    (name, total), *_ = found.rails
    rows, *rows_of_epochs = found.rows
    energy_j, uncertainty_j, components_j = total.total_of(rows)
    totals = {rail: one.total_of(rows)[:2] if _is_whole(one, rows) else (None, None) for rail, one in found.rails}
    return {
        "stage": stage,
        "epochs": epochs,
        "rail": name,
        "energy_j": energy_j,
        "uncertainty_j": uncertainty_j,
        "components_j": components_j,
        "duration_s": float(total.duration_s[rows.at].sum()),
        "covered_s": float(total.covered_s[rows.at].sum()),
        "readings": int(total.readings[rows.at].sum()),
        "is_whole": _is_whole(total, rows),
        "by_epoch": [
            {
                "energy_j": float(total.energy_j[of_epoch.at].sum()),
                "duration_s": float(total.duration_s[of_epoch.at].sum()),
                "is_undisturbed": _is_whole(total, of_epoch) and went_through(found.phases, path),
            }
            for path, of_epoch in zip(paths, rows_of_epochs)
        ],
        "rails": {rail: {"energy_j": values[0], "uncertainty_j": values[1]} for rail, values in totals.items()},
    }


def _is_whole(measured: Measured, rows: Rows) -> bool:
    """Whether there is a training, and readings of all of it."""
    statuses = measured.statuses
    return bool(rows.at.size) and all(statuses[i] == OK for i in rows.at)


def went_through(phases: Sequence[Interval], path: str) -> bool:
    """Whether the phase was begun once, and came to its end."""
    found = [p for p in phases if p.path == path]
    return len(found) == 1 and not found[0].interrupted and not found[0].failed


def stretches_of(
    phases: Sequence[Interval], again: Sequence[Span], segment: int, stage: str, epochs: int
) -> List[Stretch]:
    """The training of one segment up to where the epoch after the last one begins."""
    after = [p for p in phases if p.path == f"{stage}/epoch-{epochs + 1}"]
    last = [p for p in phases if p.path == f"{stage}/epoch-{epochs}"]
    if not last:
        return []
    # what a later instance begins with was done again before it
    end = next((p for p in after if (p.segment, p.start_ns) > (last[-1].segment, last[-1].start_ns)), None)
    here = [p for p in phases if p.segment == segment]
    if end is not None and segment > end.segment:
        return []
    limit_ns = end.start_ns if end is not None and segment == end.segment else None
    top = union(
        (p.start_ns, p.end_ns if limit_ns is None else min(p.end_ns, limit_ns)) for p in here if p.path == stage
    )
    own = union((p.start_ns, p.end_ns) for p in here if p.path.rsplit("/", 1)[-1] in _OWN)
    redone = union((s.start_ns, s.end_ns) for s in again if s.segment == segment)
    return without(without(top, own), redone)


def without_energy(charge: Mapping[str, Any]) -> Dict[str, Any]:
    """The same charge where its energy is not known (on a board that a laptop measures): an account that gets it has no total."""
    unknown: Dict[str, Any] = {
        "energy_j": None,
        "uncertainty_j": None,
        "net_j": None,
        "components_j": {},
        "rails": {},
        "by_epoch": [],
    }
    return {**charge, **unknown, "covered_s": 0.0, "readings": 0}


def charged(account: EnergyAccount, charge: Mapping[str, Any]) -> EnergyAccount:
    """The account with what was measured elsewhere in its totals, and said so; no total where either is not known."""
    energy_j = charge["energy_j"]
    total_j = None if account.total_j is None or energy_j is None else account.total_j + energy_j
    components_j = _added(account.components_j, charge["components_j"])
    net_j, charge_net_j = account.net_j, charge["net_j"]
    return dataclasses.replace(
        account,
        kind=next((kind for kind in (NOT_MEASURED, SIMULATED) if kind in (account.kind, charge["kind"])), MEASURED),
        total_j=total_j,
        uncertainty_j=None if total_j is None else half_width_j(components_j),
        components_j=components_j,
        net_j=None if net_j is None or charge_net_j is None else net_j + charge_net_j,
        duration_s=account.duration_s + charge["duration_s"],
        covered_s=account.covered_s + charge["covered_s"],
        by_phase={path: _phase(path, phase, charge) for path, phase in account.by_phase.items()},
        rails={name: _rail(rail, charge["rails"].get(name), charge["stage"]) for name, rail in account.rails.items()},
        status=account.status if energy_j is not None else MISSING,
        reason=account.reason if energy_j is not None else _ELSEWHERE,
        charged=dict(charge),
    )


def _added(own: Mapping[str, Optional[float]], charge: Mapping[str, Optional[float]]) -> Dict[str, Optional[float]]:
    """Components (k = 1, J) of the sum of the two energies."""
    found: Dict[str, Optional[float]] = {}
    for name in dict.fromkeys((*own, *charge)):
        one, other = own.get(name, 0.0), charge.get(name, 0.0)
        if one is None or other is None:
            found[name] = None
        else:
            found[name] = one + other if name in COMMON else math.hypot(one, other)
    return found


def _phase(path: str, phase: PhaseEnergy, charge: Mapping[str, Any]) -> PhaseEnergy:
    """The stage, and its epochs, with the training that was taken; their intervals are added."""
    if path not in (charge["stage"], f"{charge['stage']}/epoch"):
        return phase
    is_known = phase.energy_j is not None and charge["energy_j"] is not None
    own_j = phase.self_j if path == charge["stage"] else _sum(phase.self_j, charge["energy_j"])
    return dataclasses.replace(
        phase,
        energy_j=_sum(phase.energy_j, charge["energy_j"]),
        uncertainty_j=_sum(phase.uncertainty_j, charge["uncertainty_j"]) if is_known else None,
        self_j=own_j,
        duration_s=phase.duration_s + charge["duration_s"],
        covered_s=phase.covered_s + charge["covered_s"],
        readings=phase.readings + charge["readings"],
        unresolved=False,
        status=phase.status if charge["energy_j"] is not None else MISSING,
        reason=phase.reason if charge["energy_j"] is not None else _ELSEWHERE,
        measured_by=charge["from"],
    )


def _rail(rail: Mapping[str, Any], charge: Optional[Mapping[str, Any]], stage: str) -> Dict[str, Any]:
    energy_j, uncertainty_j = (charge["energy_j"], charge["uncertainty_j"]) if charge else (None, None)
    by_phase = {
        path: _sum(own_j, energy_j) if path in (stage, f"{stage}/epoch") else own_j
        for path, own_j in rail["by_phase"].items()
    }
    return {
        **rail,
        "total_j": _sum(rail["total_j"], energy_j),
        "uncertainty_j": _sum(rail["uncertainty_j"], uncertainty_j),
        "by_phase": by_phase,
        **({} if energy_j is not None else {"status": MISSING, "reason": _NOT_OF_RAIL}),
    }


def _sum(one: Optional[float], other: Optional[float]) -> Optional[float]:
    """Missing is missing."""
    return None if one is None or other is None else one + other
