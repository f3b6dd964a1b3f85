"""How the prune ratios of runs were found that had none (`prune_ratio = "auto"`): every candidate of every run."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ebbench.early_bird.ratio_choice import points
from ebbench.quantity import MISSING_TEXT, Quantity, with_unit
from ebbench_reports.collect import Run, method_title
from ebbench_reports.markup import Cell, Column, Section, Table
from ebbench_reports.tables import banner, write_csv

NAME = "prune-ratios"
_CSV = (
    "run_id", "kind", "trial", "prune_ratio", "stable", "distance", "accuracy", "loss", "loss_half_width", "accepted",
    "kept_channels", "energy_j",
)  # fmt: skip


def ratio_table(runs: Sequence[Run]) -> Optional[Table]:
    """A section for each run that found its ratio; None where there is none."""
    runs = [run for run in runs if _auto(run)]
    if not runs:
        return None
    return Table(
        name=NAME,
        title="How the prune ratios were found",
        caption=(
            "Candidates from the largest down; the first that loses no more than allowed, after a short retraining and on held-out "
            "training images, is taken. Energies are part of the runs' totals, what was done twice included. Intervals of "
            "the losses: k = 2, of the choice of the images alone."
        ),
        columns=(
            Column("p", "p", number=True), Column("distance", "Last mask distance", number=True),
            Column("accuracy", "Held-out accuracy (%)", number=True), Column("loss", "Loss", number=True),
            Column("verdict", "Decision"), Column("energy", "Energy of the trial", number=True), Column("runs", "Runs"),
        ),
        sections=tuple(Section(_title(run), tuple(_rows(run))) for run in runs),
        banner=banner(runs),
        notes=tuple(f"Run {run.number}: {_auto(run)['how']}." for run in runs),
        sources=tuple((run.number, run.record.run_id) for run in runs),
    )  # fmt: skip


def ratio_csv(runs: Sequence[Run]) -> str:
    """The candidates as they are in the records, in SI units and fractions; the dense short run has the ratio 0."""
    lines: List[Dict[str, Any]] = []
    for run in runs:
        for each in _trials(run) if _auto(run) else ():
            line = {"run_id": run.record.run_id, "kind": run.record.kind, **each}
            line["energy_j"], _ = _energy_j(run, each["trial"])
            lines.append({name: line.get(name) for name in _CSV})
    return write_csv(lines, _CSV)


def _auto(run: Run) -> Mapping[str, Any]:
    return (run.record.ticket or {}).get("auto") or {}


def _trials(run: Run) -> Iterator[Mapping[str, Any]]:
    """The dense short run, where there was one, and the candidates."""
    auto = _auto(run)
    if auto["dense_accuracy"] is not None:
        yield {"trial": 0, "prune_ratio": 0.0, "accuracy": auto["dense_accuracy"]}
    yield from auto["candidates"]


def _title(run: Run) -> str:
    recipe, auto = run.record.recipe, _auto(run)
    allowed = f"{100 * auto['max_loss']:.3g} points allowed, {auto['epochs']} epochs, {auto['images']} images"
    return f"Run {run.number} · {method_title(recipe.get('method'))}, {recipe.get('model')} on {recipe.get('dataset')} · {allowed}"


def _rows(run: Run) -> Iterator[Mapping[str, Cell]]:
    auto = _auto(run)
    for each in _trials(run):
        is_dense, distance = each["trial"] == 0, each.get("distance")
        energy_j, half_width_j = _energy_j(run, each["trial"])
        yield {
            "p": Cell("dense" if is_dense else f"{each['prune_ratio']:g}"),
            "distance": Cell(MISSING_TEXT if distance is None else f"{distance:.4f}"),
            "accuracy": Cell(MISSING_TEXT if each["accuracy"] is None else f"{100 * each['accuracy']:.2f}"),
            "loss": Cell(MISSING_TEXT if each.get("loss") is None else points(each["loss"], each["loss_half_width"])),
            "verdict": Cell("the measure" if is_dense else _decision(each, auto)),
            "energy": Cell(with_unit(None if energy_j is None else Quantity(energy_j, half_width_j), "J")),
            "runs": Cell("", runs=(run.number,)),
        }


def _decision(each: Mapping[str, Any], auto: Mapping[str, Any]) -> str:
    word = "taken" if each["accepted"] else "refused"
    if not each["stable"]:
        word = "not settled"
    elif each["trial"] is None:
        word = "not tried"
    if each["prune_ratio"] == auto["prune_ratio"] and not auto["accepted"]:
        word += ", taken for want of a better"
    return word


def _energy_j(run: Run, trial: Optional[int]) -> Tuple[Optional[float], Optional[float]]:
    """Energy of a trial (J), what was done twice included, and its half width; None where there was none, or none was read."""
    phase = run.record.energy.by_phase.get(f"search/trial-{trial}")
    return (None, None) if phase is None else (phase.energy_j, phase.uncertainty_j)
