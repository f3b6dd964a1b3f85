"""What one stage of a schedule takes in all its epochs, from the few of them that were measured; see `extrapolate`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ebbench.energy.steady import FEWEST, Steady, steady
from ebbench.protocols import Stage
from ebbench.records import OK, OTHER_PHASES, EnergyAccount

#: a drift that, going on as it began, changes a stage's energy by less than this is put into the interval; a larger one refused
NEGLIGIBLE_DRIFT = 0.01


@dataclass(frozen=True)
class StageEnergy:
    """One stage that was cut: energy (J) and time (s) of its training, measured and of all its epochs."""

    stage: Stage
    measured_j: float
    measured_s: float
    first_j: float
    between_j: float
    energy: Steady
    duration: Steady
    energy_j: float
    half_width_j: float
    duration_s: float
    duration_half_width_s: float

    @property
    def factor(self) -> float:
        """Energy of the training of all epochs over that of the measured ones."""
        return self.energy_j / self.measured_j if self.measured_j else 1.0


class NotForetold(Exception):
    """Why the measured epochs do not say what the others take."""


def stage_energy(account: EnergyAccount, stage: Stage) -> StageEnergy:
    """The energy and the time of all epochs of one stage."""
    epochs = _epochs(account, stage)
    first_path = f"{stage.path}/epoch-{stage.first + 1}"
    later = [values for path, values in epochs.items() if path != first_path]
    if len(later) < FEWEST:
        raise NotForetold(
            f"{len(later)} undisturbed epochs of {stage.path} after its first one were measured, and {FEWEST} are needed; "
            "measure again with a larger --measure-epochs"
        )
    others = stage.epochs - 1
    energy, duration = (steady([epoch[i] for epoch in later], others) for i in (0, 1))
    drift = _drift(stage, energy)
    measured_j, measured_s = training_of(account, stage.path)
    first_j, first_s = epochs.get(first_path, (energy.mean, duration.mean))
    # all that was trained, the disturbed epochs too, less its epochs: what lies between them
    between = [
        max(whole - all_epochs, 0.0) for whole, all_epochs in zip((measured_j, measured_s), _all_epochs(account, stage))
    ]
    more = stage.epochs / stage.trained
    between_j, between_s = between[0] * more, between[1] * more
    half_width_j = math.hypot(others * energy.half_width, between_j - between[0]) + drift * others * energy.mean
    return StageEnergy(
        stage=stage,
        measured_j=measured_j,
        measured_s=measured_s,
        first_j=first_j,
        between_j=between_j,
        energy=energy,
        duration=duration,
        energy_j=first_j + others * energy.mean + between_j,
        half_width_j=half_width_j,
        duration_s=first_s + others * duration.mean + between_s,
        duration_half_width_s=math.hypot(others * duration.half_width, between_s - between[1]),
    )  # fmt: skip


def _drift(stage: Stage, energy: Steady) -> float:
    """The relative change of the mean epoch if a significant drift goes on; raises where that is not negligible."""
    if not energy.drifts:
        return 0.0
    on = abs(energy.slope) * max(stage.epochs - 1 - energy.n, 0) / 2 / energy.mean if energy.mean > 0 else math.inf
    if on > NEGLIGIBLE_DRIFT:
        raise NotForetold(
            f"the epochs of {stage.path} drift by {100 * energy.slope / energy.mean:+.2g} % from one to the next "
            f"(interval {100 * energy.slope_half_width / energy.mean:.2g} %): they stand for none that follow; "
            "give --warmup or --cooldown, or a larger --measure-epochs"
        )
    return on


def _epochs(account: EnergyAccount, stage: Stage) -> Dict[str, Tuple[float, float]]:
    """Training energy (J) and time (s) of each epoch that was measured undisturbed, by path, in their order.

    Of one that was taken from another run, only draws are done here; the last time counts where they were done twice.
    """
    instances: Dict[str, List[Mapping[str, Any]]] = {}
    for phase in account.phases:
        if _is_epoch(phase["path"], stage.path):
            instances.setdefault(phase["path"], []).append(phase)
    taken = _taken_epochs(account, stage)
    own = {
        path: _without_others(account, last)
        for path, (*before, last) in instances.items()
        if (path in taken or not before) and last["status"] == OK and not last["interrupted"] and not last["failed"]
    }
    return {
        path: _plus(epoch, taken.get(path))
        for path, epoch in own.items()
        if path not in taken or taken[path]["is_undisturbed"]
    }


def _all_epochs(account: EnergyAccount, stage: Stage) -> Tuple[float, float]:
    """Training energy (J) and time (s) of all epochs of the stage, disturbed or not."""
    parts = [_without_others(account, p) for p in account.phases if _is_epoch(p["path"], stage.path)]
    parts += [_plus((0.0, 0.0), epoch) for epoch in _taken_epochs(account, stage).values()]
    return sum(energy_j for energy_j, _ in parts), sum(duration_s for _, duration_s in parts)


def _taken_epochs(account: EnergyAccount, stage: Stage) -> Dict[str, Mapping[str, Any]]:
    """What another run measured of each epoch of the stage, by path, where that is charged here (`energy.charge`)."""
    charge = account.charged
    if charge is None or charge["stage"] != stage.path:
        return {}
    return {f"{stage.path}/epoch-{number}": epoch for number, epoch in enumerate(charge["by_epoch"], 1)}


def _plus(own: Tuple[float, float], taken: Optional[Mapping[str, Any]]) -> Tuple[float, float]:
    """Energy and time of an epoch: what the run itself did in it, and what was taken."""
    return own if taken is None else (own[0] + taken["energy_j"], own[1] + taken["duration_s"])


def _is_epoch(path: str, stage: str) -> bool:
    return path.startswith(f"{stage}/epoch-") and path.count("/") == 1


def _without_others(account: EnergyAccount, phase: Mapping[str, Any]) -> Tuple[float, float]:
    """Energy and time of one instance of a phase less the evaluations, checkpoints and the like inside it."""
    energy_j, duration_s = phase["energy_j"] or 0.0, phase["duration_s"]
    for inner in account.phases:
        inside = inner["path"].startswith(phase["path"] + "/") and inner["segment"] == phase["segment"]
        if inside and phase["start_ns"] <= inner["start_ns"] < phase["end_ns"] and is_first_other(inner["path"]):
            energy_j -= inner["energy_j"] or 0.0
            duration_s -= inner["duration_s"]
    return energy_j, duration_s


def is_first_other(path: str) -> bool:
    """Whether the last name of the path is that of a phase that is no training, and no name before it is."""
    *before, last = path.split("/")
    return last in OTHER_PHASES and not any(name in OTHER_PHASES for name in before)


def training_of(account: EnergyAccount, path: str) -> Tuple[float, float]:
    """Training energy (J) and time (s) of a top-level phase: without what is no training in it."""
    whole = account.by_phase[path]
    others = [p for inner, p in account.by_phase.items() if inner.startswith(path + "/") and is_first_other(inner)]
    return (
        (whole.energy_j or 0.0) - sum(p.energy_j or 0.0 for p in others),
        whole.duration_s - sum(p.duration_s for p in others),
    )
