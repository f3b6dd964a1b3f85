"""Looks at all runs of an experiment before the first begins: the ninth of ten must not fail on the third day over a name."""

from __future__ import annotations

from pathlib import Path
from typing import List

from ebbench import plugins
from ebbench.config import Recipe, run_id
from ebbench.errors import Faults
from ebbench.experiment_file import Experiment
from ebbench.rundir import RunDir
from ebbench.session import find_setup
from ebbench.training.data import loaded_once


def check_all(experiment: Experiment, out: Path) -> None:
    """Check the recipes that are not sealed in `out` yet, their data, and the bench, as each run will.

    On another machine (`bench.on`) only the methods can be: the data and the meters are there. Raises ConfigError with all
    that the user has to fix, each fault once, and MeterError where the faults are none of his.
    """
    bench = experiment.bench
    faults = Faults()
    recipes = _unsealed(experiment, out)
    with loaded_once():
        for recipe in recipes:
            with faults.gathered():
                pipeline = plugins.load(plugins.PIPELINES, recipe.method)(recipe)
                if bench.on is None:
                    pipeline.check()
    if recipes and bench.on is None:
        with faults.gathered():
            find_setup(bench, experiment.may_simulate, say=lambda line: None)
    faults.refuse()


def _unsealed(experiment: Experiment, out: Path) -> List[Recipe]:
    """The recipes that are still to be run, those of one data set together."""
    left = [each for each in experiment.recipes if not RunDir(out / run_id(each, experiment.bench)).is_sealed]
    return sorted(left, key=lambda recipe: (recipe.dataset, recipe.model))
