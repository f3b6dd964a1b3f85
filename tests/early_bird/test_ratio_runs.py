"""``ebbench run --prune-ratio auto`` as a real process: killed in a trial, resumed, and charged for all of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conductor import record, write_experiment

from ebbench.early_bird.search import EarlyBirdInherit
from ebbench.experiments.file import load_experiment
from ebbench.testing import FakeContext

SETTINGS = """
[scale.auto]
prune_ratio = "auto"
auto_ratios = [0.3, 0.6]
auto_epochs = 1
auto_max_loss = 0.3
auto_images = 32
checkpoint_s = 0.001
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auto")
    write_experiment(folder, extra=SETTINGS)
    return folder


@pytest.fixture(scope="module")
def found(folder, nursery):
    """The folder of the run, killed with -9 in the first steps of a candidate's trial; and what the second process printed."""
    arguments = ("run", "small.toml", "--scale", "auto", "--out", "runs", "--resume")
    moment = {"after": "begin search/trial-1/retrain/epoch-4/checkpoint"}
    code, _, printed = nursery.call(*arguments, cwd=folder, moment=moment)
    assert code == -9, printed
    code, out, printed = nursery.call(*arguments, cwd=folder)
    assert code == 0, printed
    (path,) = (folder / "runs").iterdir()
    return path, out


def test_a_run_killed_in_a_trial_ends_with_the_bits_of_one_in_memory(found, folder):
    path, _ = found
    (recipe,) = load_experiment(folder / "small.toml", {}, {}, "auto").recipes
    context = FakeContext(due=False)
    outcome = EarlyBirdInherit(recipe).run(context)
    with np.load(path / "checkpoint" / "state.npz") as stored:
        arrays = {name[len("array/") :]: stored[name].tobytes() for name in stored.files if name.startswith("array/")}
    assert arrays == {name: value.tobytes() for name, value in context.checkpoint[0].items()}
    for part in ("ticket", "accuracy", "flops", "notes"):
        assert record(path)[part] == getattr(outcome, part), part


def test_every_trial_is_in_the_total_and_the_total_is_the_sum_of_its_phases(found):
    energy = record(found[0])["energy"]
    phases = {path: phase["energy_j"] for path, phase in energy["by_phase"].items()}
    trials = [path for path in phases if path.startswith("search/trial-") and path.count("/") == 1]
    assert len(trials) >= 2 and all(phases[path] > 0 for path in trials)
    top = sum(phases[name] for name in ("search", "prune", "retrain"))
    outside = sum(phases[path] for path in phases if path.count("/") and path.endswith(("/evaluate", "/checkpoint")))
    assert energy["total_j"] == pytest.approx(top - outside, rel=1e-6)
    assert phases["search"] > phases["search/epoch"] + sum(phases[path] for path in trials)
    assert energy["redone_j"] > 0


def test_the_end_of_the_run_says_how_it_was_decided(found):
    path, out = found
    auto = record(path)["ticket"]["auto"]
    assert f"{path.name}: {auto['how']}" in out and "-pauto-" in path.name
    assert record(path)["recipe"]["prune_ratio"] == "auto"
    assert record(path)["ticket"]["prune_ratio"] == auto["prune_ratio"] in (0.3, 0.6)
    (check,) = [c for c in record(path)["checks"] if c["name"] == "prune ratio acceptable"]
    assert (check["verdict"] == "PASS") == (check["advice"] == "")


def test_what_is_sealed_can_be_integrated_again_to_the_same_record(found, nursery):
    path, _ = found
    code, out, printed = nursery.call("integrate", path, "--json", cwd=path.parent)
    assert code == 0, printed
    again = json.loads(out)
    assert again["ticket"] == record(path)["ticket"] and again["energy"]["total_j"] == record(path)["energy"]["total_j"]
