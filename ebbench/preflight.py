"""Looks at all runs of an experiment before the first begins: the ninth of ten must not fail on the third day over a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Sequence

from ebbench import plugins
from ebbench.config import Recipe, run_id
from ebbench.energy.estimate import unit_energies
from ebbench.errors import Faults, MeterError
from ebbench.experiment_file import Experiment
from ebbench.rundir import RunDir
from ebbench.session import find_setup
from ebbench.training.data import loaded_once


def check_all(experiment: Experiment, out: Path) -> None:
    """Check the recipes that are not sealed in `out` yet, their data, and the bench, as each run will.

    Raises ConfigError with all that the user has to fix, each fault once, and MeterError where the faults are none of his.
    """
    faults = Faults()
    look_at(_unsealed(experiment, out), experiment, faults)
    faults.refuse()


def look_at(recipes: Sequence[Recipe], experiment: Experiment, faults: Faults) -> None:
    """Add to `faults` what is wrong with these recipes, their data, and the experiment's bench.

    On another machine (`bench.on`) only the methods can be looked at: the data and the meters are there. Raises MeterError
    where that is the only fault.
    """
    bench = experiment.bench
    pipelines: List[Any] = []
    with loaded_once():
        for recipe in recipes:
            with faults.gathered():
                pipelines.append(plugins.load(plugins.PIPELINES, recipe.method)(recipe))
                if bench.on is None:
                    pipelines[-1].check()
    if recipes and bench.on is None:
        _look_at_bench(experiment, pipelines, faults)


def _look_at_bench(experiment: Experiment, pipelines: Sequence[Any], faults: Faults) -> None:
    """Board, meters and device, what the methods ask of the device, and the unit energies where a method is estimated."""
    bench = experiment.bench
    if any(getattr(pipeline, "is_simulated", False) for pipeline in pipelines):
        with faults.gathered():
            unit_energies(bench.unit_energies)
    with faults.gathered():
        try:
            setup = find_setup(bench, experiment.may_simulate, say=lambda line: None)
        except MeterError as error:
            if not faults.found:
                raise
            faults.found.append(str(error))
            return
        for pipeline in pipelines:
            if hasattr(pipeline, "check_device"):
                pipeline.check_device(setup.device.name)


def _unsealed(experiment: Experiment, out: Path) -> List[Recipe]:
    """The recipes that are still to be run, those of one data set together."""
    left = [each for each in experiment.recipes if not RunDir(out / run_id(each, experiment.bench)).is_sealed]
    return sorted(left, key=lambda recipe: (recipe.dataset, recipe.model))
