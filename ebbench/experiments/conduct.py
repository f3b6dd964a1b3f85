"""Experiments by name or file, and the conduct of all their runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ebbench import plugins
from ebbench.config import Recipe, ratio_text, run_id, told_apart
from ebbench.config.method_settings import reads
from ebbench.context import Display
from ebbench.errors import EXIT_OK, ConfigError, DeviceError, Faults, RunFailed, nearest
from ebbench.experiments.file import Experiment, load_experiment, load_names
from ebbench.experiments.preflight import check_all, check_names
from ebbench.records import RunRecord
from ebbench.remote.line import LineLost
from ebbench.remote.session import conductor
from ebbench.rundir import read_json, runs_in
from ebbench.sharing.first_training import lender_first

_BY_SEVERITY = (0, 1, 2, 3, 70)


def find_experiment(
    name: str, recipe: Mapping[str, List[Any]], bench: Mapping[str, Any], scale: Optional[str] = None
) -> Experiment:
    """The experiment of a TOML file or a built-in name, scaled, with what was typed on top.

    Raises ConfigError with all its faults; those of the names that it names are among them.
    """
    path = _path_of(name)
    try:
        return load_experiment(path, recipe, bench, scale)
    except ConfigError as error:
        faults = Faults()
        faults.found += error.faults
        with faults.gathered():
            check_names(load_names(path, recipe, bench, scale))
        raise ConfigError(*dict.fromkeys(faults.found)) from error


def refuse_unknown_names(
    name: str, recipe: Mapping[str, List[Any]], bench: Mapping[str, Any], scale: Optional[str] = None
) -> None:
    """Raise ConfigError with every name that is not known, whatever is wrong with the rest of the experiment."""
    check_names(load_names(_path_of(name), recipe, bench, scale))


def _path_of(name: str) -> Path:
    known = plugins.experiments()
    path = Path(name) if name.endswith(".toml") else known.get(name)
    if path is None:
        raise ConfigError(f"unknown experiment {name!r}; {nearest(name, known)}, or give a TOML file")
    return path


def conduct_all(
    experiment: Experiment, out: Path, *, resume: bool, display: Display, offered: Optional[Path] = None
) -> Tuple[List[RunRecord], int]:
    """Conduct the runs one after the other; a run or a meter that fails does not stop the runs after it.

    Returns the records, and the exit code of the worst run. What is the user's to fix is said of all runs before the first; a
    fault that shows later stops at once, and what was sealed by then is found again next time. `offered`: see
    `remote.session.conductor`.
    """
    check_all(experiment, out)
    if resume:
        for path in _left_over(experiment, out):
            display.say(
                f"{path} did not end and is NOT gone on with: its settings are not those of the runs asked for; "
                "type all that it began with"
            )
    records: List[RunRecord] = []
    code = EXIT_OK
    with conductor(experiment.bench, display, offered) as conduct:
        recipes = lender_first(experiment.recipes)
        for number, (recipe, title) in enumerate(zip(recipes, titles(recipes)), 1):
            display.say(f"run {number} of {len(experiment.recipes)}: {title}")
            try:
                record = conduct(
                    recipe,
                    experiment.bench,
                    out,
                    may_simulate=experiment.may_simulate,
                    resume=resume,
                    display=display,
                    among=recipes,
                )
            except DeviceError as error:
                if len(experiment.recipes) == 1 or isinstance(error, LineLost):
                    raise
                display.say(str(error))
                code = max(code, error.exit_code, key=_BY_SEVERITY.index)
                continue
            records.append(record)
            if record.status != "success":
                code = max(code, RunFailed.exit_code, key=_BY_SEVERITY.index)
    return records, code


def _left_over(experiment: Experiment, out: Path) -> List[Path]:
    """The runs in `out` that can be resumed, and are none of the experiment's."""
    asked = {run_id(recipe, experiment.bench) for recipe in experiment.recipes}
    there = [run for run in runs_in(out) if out.is_dir() and run.manifest.exists() and not run.is_sealed]
    return [run.path for run in there if run.path.name not in asked and read_json(run.manifest).get("recipe")]


def titles(recipes: Sequence[Recipe]) -> List[str]:
    """Each recipe in a few words, no two alike."""
    differences = told_apart([recipe.settings() for recipe in recipes])
    return [", ".join(filter(None, (_title(recipe), own))) for recipe, own in zip(recipes, differences)]


def _title(recipe: Recipe) -> str:
    ratio = f", p = {ratio_text(recipe.prune_ratio)}" if reads(recipe.method, "prune_ratio") else ""
    epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
    measured = "" if recipe.measure_epochs is None else f" ({_measured(recipe)})"
    return f"{recipe.method} on {recipe.model}, {recipe.dataset}{ratio}, {epochs}{measured}, seed {recipe.seed}"


def _measured(recipe: Recipe) -> str:
    """How much of a run is trained of which only some epochs of each phase, after one that settles, are to be measured."""
    few = recipe.measure_epochs or 0
    if few + 1 < recipe.epochs:
        return f"{few} of each phase measured"
    return f"all of them: measure_epochs = {few} leaves none out, and nothing is extrapolated"


def list_experiments() -> List[Dict[str, Any]]:
    """Name, number of runs, scales and description of every built-in experiment."""
    loaded = [load_experiment(path, {}, {}) for _, path in sorted(plugins.experiments().items())]
    return [
        {"name": e.name, "runs": len(e.recipes), "scales": list(e.scales), "description": e.description} for e in loaded
    ]
