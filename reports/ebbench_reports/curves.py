"""What the figures show, as numbers: energies by phase, mask distances, accuracies. Pure, without matplotlib."""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Tuple

from ebbench.records import OTHER_PHASES, TRAINING_PHASES
from ebbench_reports.collect import Run
from ebbench_reports.timeline import Timeline


def phase_energies(run: Run) -> Dict[str, float]:
    """Energy (J) of each top-level training phase, without what inside it is no training (evaluate, checkpoint)."""
    by_phase = run.record.energy.by_phase
    energies: Dict[str, float] = {}
    for path, phase in by_phase.items():
        if path not in TRAINING_PHASES or phase.energy_j is None:
            continue
        inside = sum(by_phase[p].energy_j or 0.0 for p in by_phase if p.startswith(f"{path}/") and _is_first_other(p))
        energies[path] = max(phase.energy_j - inside, 0.0)
    return energies


def _is_first_other(path: str) -> bool:
    """Whether the last part of the path is the first that is no training; what a method names itself is (``trial-2``)."""
    *before, last = path.split("/")
    return last in OTHER_PHASES and not any(part in OTHER_PHASES for part in before)


def ticket_distances(run: Run) -> List[Tuple[int, float]]:
    """(epoch, distance to the mask of the epoch before) of one run; empty without a search."""
    listed = (run.record.ticket or {}).get("distances") or []
    # the first epoch's mask has none before it: its distance is null, or the list begins with the second epoch
    first = 1 if listed and listed[0] is None else 2
    return [(epoch, float(value)) for epoch, value in enumerate(listed, first) if value is not None]


def accuracy_curve(timeline: Timeline) -> Tuple[List[float], List[float], List[float]]:
    """Epochs, accuracies, and the epochs at which another phase begins. Epochs done twice after a restore count once."""
    by_phase: Dict[Optional[str], Dict[float, float]] = {}
    for point in timeline.points:
        epoch = point.values.get("epoch")
        if point.name == "accuracy" and point.value is not None and epoch is not None:
            stage = point.values.get("stage") or point.phase
            by_phase.setdefault(stage, {})[float(epoch)] = point.value
    trained = _epochs_trained(timeline)
    epochs: List[float] = []
    values: List[float] = []
    changes: List[float] = []
    done = 0.0
    for stage in dict.fromkeys((*trained, *by_phase)):
        curve = by_phase.get(stage, {})
        numbers = trained.get(stage) or sorted(curve)
        offset = done if numbers[0] <= done else 0.0  # a stage may go on counting where the one before ended
        changes += [done + 0.5] if epochs and curve else []
        epochs += [offset + epoch for epoch in sorted(curve)]
        values += [curve[epoch] for epoch in sorted(curve)]
        done = offset + max(numbers[-1], *curve, 0.0)
    return epochs, values, changes


def _epochs_trained(timeline: Timeline) -> Dict[Optional[str], List[float]]:
    """The numbers of the epochs of each stage of training, as its phases show them, whether it was evaluated or not."""
    found: Dict[Optional[str], List[float]] = {}
    for band in timeline.bands:
        match = re.fullmatch(r"([^/]+)/epoch-(\d+)", band.path)
        if match:
            found.setdefault(match.group(1), []).append(float(match.group(2)))
    return {stage: sorted(numbers) for stage, numbers in found.items()}
