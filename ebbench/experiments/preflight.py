"""Looks at all runs of an experiment before the first begins: the ninth of ten must not fail on the third day over a name."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, List, Sequence

from ebbench import plugins
from ebbench.config import Recipe, run_id
from ebbench.config.method_settings import BUILT_IN, is_one_of
from ebbench.energy.estimate import unit_energies
from ebbench.errors import Faults, MeterError
from ebbench.experiments.file import Experiment
from ebbench.rundir import RunDir
from ebbench.session import find_setup
from ebbench.training.data.datasets import loaded_once, refuse_unknown_dataset
from ebbench.training.models import refuse_unknown_model


def check_all(experiment: Experiment, out: Path) -> None:
    """Check the recipes that are not sealed in `out` yet, their data, and the bench, as each run will.

    On another machine (`bench.on`) only the methods can be: the data and the meters are there. Raises ConfigError with all
    that the user has to fix, each fault once, and MeterError where that is the only fault.
    """
    bench, faults = experiment.bench, Faults()
    recipes, pipelines = _unsealed(experiment, out), []
    with loaded_once():
        for recipe in recipes:
            with faults.gathered():
                pipelines.append(plugins.load(plugins.PIPELINES, recipe.method)(recipe))
                if bench.on is None:
                    pipelines[-1].check()
    if recipes and bench.on is None:
        _look_at_bench(experiment, pipelines, faults)
    faults.refuse()


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


def check_names(named: Experiment) -> None:
    """Raise ConfigError with every name that is not known; whether what it stands for is there is not looked at."""
    known = plugins.registered(plugins.PIPELINES)
    faults = Faults()
    for recipe in named.recipes:
        with faults.gathered():
            plugins.load(plugins.PIPELINES, recipe.method)
        if recipe.method in known and not is_one_of(recipe.method, BUILT_IN):
            continue  # it may know other networks and data
        for refuse_unknown, name in ((refuse_unknown_model, recipe.model), (refuse_unknown_dataset, recipe.dataset)):
            with faults.gathered():
                refuse_unknown(name)
    with faults.gathered(), contextlib.suppress(MeterError):
        find_setup(named.bench, may_simulate=True, say=lambda line: None)
    faults.refuse()


def _unsealed(experiment: Experiment, out: Path) -> List[Recipe]:
    """The recipes that are still to be run, those of one data set together."""
    left = [each for each in experiment.recipes if not RunDir(out / run_id(each, experiment.bench)).is_sealed]
    return sorted(left, key=lambda recipe: (recipe.dataset, recipe.model))
