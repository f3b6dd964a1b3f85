"""The energy of a whole schedule from a few measured epochs of each of its stages.

A stage is a top-level phase that trains epoch after epoch (``search``, ``train``, ``retrain``, ``finetune``). Of one that was cut
short, the first epoch stands for itself alone (caches fill, clocks rise), and the others for all that follow:

    E(stage) = e_1 + (N - 1) mean(e_2 .. e_n) + N/n x (what lies between the epochs)

N epochs scheduled, n trained; e_i without what is no training in it. Stages that were trained whole, and phases that happen once,
stay as measured. Of a first training that was taken from another run an epoch is what that run measured of it and what this one did
in it (its draws). The interval holds what epochs scatter (`steady`) and, in proportion to the energy, what is common to all
readings of the meter: a gain that is 1 % off is 1 % off over a week too. It speaks of a schedule carried out under the same
conditions; what follows from the assumptions of the recipe is stated beside it and not in it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from ebbench.energy.stage_energy import NotForetold, StageEnergy, is_first_other, stage_energy, training_of
from ebbench.energy.uncertainty import half_width_j
from ebbench.protocols import Stage
from ebbench.records import (
    EXTRAPOLATED,
    MISSING,
    NOT_MEASURED,
    SIMULATED,
    TRAINING_PHASES,
    EnergyAccount,
    PhaseEnergy,
)

#: components of the budget that are in proportion to the energy, and to the time; the others are in the scatter of the epochs
_BY_ENERGY = ("gain", "time_base", "edges", "lag", "clock", "unresolved")
_BY_TIME = ("offset", "resolution")


def extrapolate(
    account: EnergyAccount, stages: Sequence[Stage], assumptions: Sequence[str] = (), redone_j: float = 0.0
) -> EnergyAccount:
    """The account of the whole schedule; `account` itself where no stage was cut, or nothing was to be measured.

    `redone_j`: what of the account's was done again in phases that were not cut. It is in the total, as ever. What was done again
    in the others stands for no epoch: it is in the interval, and not in the total.

    Where the measured epochs do not allow it (too few, or they drift) the total is missing with the reason. What was measured is
    kept in ``extrapolation`` either way.
    """
    cut = [stage for stage in stages if stage.is_cut]
    if not cut or account.kind == NOT_MEASURED or _is_charged_elsewhere(account):
        return account
    try:
        found = [stage_energy(account, stage) for stage in cut]
    except NotForetold as refusal:
        return _refused(account, stages, str(refusal), assumptions)
    return _extrapolated(account, stages, found, assumptions, redone_j)


def _is_charged_elsewhere(account: EnergyAccount) -> bool:
    """Whether a first training was taken whose energy is not known here: on a board that a laptop measures."""
    return account.charged is not None and account.charged["energy_j"] is None


def _extrapolated(
    account: EnergyAccount,
    stages: Sequence[Stage],
    found: Sequence[StageEnergy],
    assumptions: Sequence[str],
    redone_j: float,
) -> EnergyAccount:
    by_name = {one.stage.path: one for one in found}
    once = [training_of(account, path) for path in account.by_phase if path in TRAINING_PHASES and path not in by_name]
    total_j = sum(one.energy_j for one in found) + sum(energy_j for energy_j, _ in once)
    duration_s = sum(one.duration_s for one in found) + sum(time_s for _, time_s in once)
    redone_in_cut_j = (account.redone_j or 0.0) - redone_j
    scatter_j = math.sqrt(sum(one.half_width_j**2 for one in found) + redone_in_cut_j**2)
    components_j = _components_j(account, total_j, duration_s, scatter_j)
    by_phase = _by_phase(account, by_name)
    covered_s = duration_s * account.covered_s / account.duration_s if account.duration_s else 0.0
    other_j = _other_j(account, by_phase)
    net_j = None if account.idle_power_w is None else total_j - account.idle_power_w * covered_s
    return dataclasses.replace(
        account,
        kind=_kind(account.kind),
        total_j=total_j,
        uncertainty_j=half_width_j(components_j),
        redone_j=redone_j,
        other_j=other_j,
        net_j=net_j,
        duration_s=duration_s,
        covered_s=covered_s,
        by_phase=by_phase,
        rails=_rails(account, by_name, by_phase, half_width_j(components_j) / total_j if total_j else 0.0),
        components_j=components_j,
        extrapolation=_document(
            account, stages, by_name, assumptions, duration_s=duration_s,
            duration_uncertainty_s=math.sqrt(sum(one.duration_half_width_s**2 for one in found)),
        ),
    )  # fmt: skip


def _kind(kind: str) -> str:
    """What is made from a simulated meter stays simulated, however it was made; what is made from none is nothing."""
    return kind if kind in (SIMULATED, NOT_MEASURED) else EXTRAPOLATED


def _components_j(
    account: EnergyAccount, total_j: float, duration_s: float, scatter_j: float
) -> Dict[str, Optional[float]]:
    """The budget of the whole: the meter's part grows with energy or time, the rest of the measured part stays what it was."""
    by_energy = total_j / account.total_j if account.total_j else 1.0
    by_time = duration_s / account.duration_s if account.duration_s else 1.0
    found: Dict[str, Optional[float]] = {}
    for name, component_j in account.components_j.items():
        factor = by_energy if name in _BY_ENERGY else by_time if name in _BY_TIME else 1.0
        found[name] = None if component_j is None else component_j * factor
    found["extrapolation"] = scatter_j / 2
    return found


def _by_phase(account: EnergyAccount, by_name: Mapping[str, StageEnergy]) -> Dict[str, PhaseEnergy]:
    """Every path of a cut stage as its whole schedule has it; a parent still includes its children."""
    found = dict(account.by_phase)
    for path, phase in account.by_phase.items():
        one = by_name.get(path.split("/")[0])
        if one is not None and path != one.stage.path:
            found[path] = _scaled(phase, one, *_factors(path, phase, one))
    for name, one in by_name.items():
        others = [p for p in found if p.startswith(name + "/") and is_first_other(p)]
        energy_j = one.energy_j + sum(found[p].energy_j or 0.0 for p in others)
        duration_s = one.duration_s + sum(found[p].duration_s for p in others)
        phase = account.by_phase[name]
        by_energy = energy_j / phase.energy_j if phase.energy_j else 1.0
        by_time = duration_s / phase.duration_s if phase.duration_s else 1.0
        found[name] = _scaled(phase, one, by_energy, by_time, 1.0)
    return found


def _factors(path: str, phase: PhaseEnergy, one: StageEnergy) -> Tuple[float, float, float]:
    """By how much energy, time and count of a path inside a cut stage grow."""
    by_epochs = one.stage.epochs / one.stage.trained
    if path == f"{one.stage.path}/epoch":
        by_time = one.duration_s / one.measured_s if one.measured_s else 1.0
        return one.factor, by_time, by_epochs
    if path == f"{one.stage.path}/evaluate":
        factor = one.stage.evaluations / phase.count
        return factor, factor, factor
    return by_epochs, by_epochs, by_epochs


def _scaled(phase: PhaseEnergy, one: StageEnergy, by_energy: float, by_time: float, by_count: float) -> PhaseEnergy:
    """One entry of the whole schedule; its interval takes all that was uncertain as common to all epochs, and their scatter."""
    energy_j = None if phase.energy_j is None else phase.energy_j * by_energy
    uncertainty_j = phase.uncertainty_j
    if energy_j is not None and uncertainty_j is not None:
        scatter = one.half_width_j / one.energy_j if one.energy_j else 0.0
        uncertainty_j = math.hypot(uncertainty_j * by_energy, scatter * energy_j)
    return dataclasses.replace(
        phase,
        energy_j=energy_j,
        uncertainty_j=uncertainty_j,
        self_j=None if phase.self_j is None else phase.self_j * by_energy,
        duration_s=phase.duration_s * by_time,
        covered_s=phase.covered_s * by_time,
        count=round(phase.count * by_count),
        kind=_kind(phase.kind),
    )


def _other_j(account: EnergyAccount, by_phase: Mapping[str, PhaseEnergy]) -> Optional[float]:
    """What is no training, in the whole schedule: as often as that has it."""
    if account.other_j is None:
        return None
    inside = [path for path in by_phase if "/" in path and is_first_other(path)]
    return account.other_j + sum((by_phase[p].energy_j or 0.0) - (account.by_phase[p].energy_j or 0.0) for p in inside)


def _rails(
    account: EnergyAccount, by_name: Mapping[str, StageEnergy], by_phase: Mapping[str, PhaseEnergy], scatter: float
) -> Dict[str, Dict[str, Any]]:
    """Every rail's energies, grown as the reference's grew in each phase; `scatter`: relative half width of the total."""
    found = {}
    for name, rail in account.rails.items():
        grown = {}
        for path, energy_j in rail["by_phase"].items():
            before_j, after_j = account.by_phase[path].energy_j, by_phase[path].energy_j
            grown[path] = energy_j * after_j / before_j if energy_j is not None and before_j and after_j else energy_j
        total_j, uncertainty_j = rail["total_j"], rail["uncertainty_j"]
        if total_j:
            top = [path for path in grown if path in TRAINING_PHASES]
            others = [p for p in grown if p.split("/")[0] in top and "/" in p and is_first_other(p)]
            whole_j = sum(grown[p] or 0.0 for p in top) - sum(grown[p] or 0.0 for p in others)
            own = (uncertainty_j or 0.0) / total_j
            total_j, uncertainty_j = whole_j, uncertainty_j and abs(whole_j) * math.hypot(own, scatter)
        found[name] = {**rail, "total_j": total_j, "uncertainty_j": uncertainty_j, "by_phase": grown}
    return found


def _refused(account: EnergyAccount, stages: Sequence[Stage], reason: str, assumptions: Sequence[str]) -> EnergyAccount:
    """No total: an energy of a few epochs must not be taken for that of the schedule."""
    reason = f"not extrapolated: {reason}"
    return dataclasses.replace(
        account,
        kind=_kind(account.kind),
        total_j=None,
        uncertainty_j=None,
        net_j=None,
        components_j={},
        status=MISSING,
        reason=reason,
        extrapolation=_document(account, stages, {}, assumptions, refused=reason),
    )


def _document(
    account: EnergyAccount,
    stages: Sequence[Stage],
    by_name: Mapping[str, StageEnergy],
    assumptions: Sequence[str],
    *,
    duration_s: Optional[float] = None,
    duration_uncertainty_s: Optional[float] = None,
    refused: Optional[str] = None,
) -> Dict[str, Any]:
    """``energy.extrapolation``: what was measured, how it was carried on, and what was assumed."""
    return {
        "by_phase": {stage.path: _stage_document(account, stage, by_name.get(stage.path)) for stage in stages},
        "duration_s": duration_s,
        "duration_uncertainty_s": duration_uncertainty_s,
        "assumptions": list(assumptions),
        "refused": refused,
        "measured": {
            name: getattr(account, name)
            for name in ("kind", "total_j", "uncertainty_j", "redone_j", "other_j", "duration_s", "components_j")
        },
    }


def _stage_document(account: EnergyAccount, stage: Stage, one: Optional[StageEnergy]) -> Dict[str, Any]:
    energy_j, duration_s = training_of(account, stage.path) if stage.path in account.by_phase else (None, 0.0)
    document: Dict[str, Any] = {
        "kind": account.kind if one is None else _kind(account.kind),
        "scheduled_epochs": stage.epochs,
        "trained_epochs": stage.trained,
        "measured_epochs": stage.trained if one is None else one.energy.n,
        "evaluations": stage.evaluations,
        "measured_j": energy_j,
        "measured_s": duration_s,
    }
    names = (
        "energy_j", "uncertainty_j", "duration_s", "duration_uncertainty_s", "epoch_j", "epoch_sd_j", "n_eff", "widened", "drift_j",
        "drift_uncertainty_j", "first_epoch_j", "between_epochs_j", "epoch_s", "epoch_sd_s",
    )  # fmt: skip
    values: Tuple[Optional[float], ...] = (None,) * len(names)
    if one is not None:
        e, d = one.energy, one.duration
        values = (
            one.energy_j, one.half_width_j, one.duration_s, one.duration_half_width_s, e.mean, e.sd, e.n_eff, e.widened, e.slope,
            e.slope_half_width, one.first_j, one.between_j, d.mean, d.sd,
        )  # fmt: skip
    return {**document, **dict(zip(names, values))}
