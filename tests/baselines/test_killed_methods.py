"""Every method through ``ebbench run``: killed, resumed to the bits of one that ran in memory, measured by phase, not repeated."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from conductor import record

from ebbench import plugins
from ebbench.experiments.file import load_experiment
from ebbench.testing import FakeContext

EXPERIMENT = """
[experiment]
description = "all methods in seconds"
may_simulate = true
[recipe]
model = "vgg16-small"
dataset = "synthetic"
train_images = 48
test_images = 16
epochs = 2
batch_size = 16
thinet_images = 48
thinet_positions = 14
checkpoint_s = 0.001
share_phases = false
[matrix]
method = ["lt", "snip", "ns", "thinet", "sfp"]
[bench]
meters = ["sim"]
idle_s = 0.0
device = "cpu"
"""

#: a moment in each of the methods, in the order in which they run; none of them comes again in the method before it
MOMENTS = [
    {"after": "begin rewind"},
    {"after": "begin train/epoch-2/checkpoint"},
    {"after": "begin finetune/epoch-2/checkpoint"},
    {"after": "begin finetune/epoch-1/checkpoint", "times": 2},
    {"after": "begin prune"},
]
PHASES = {
    "lt": {"train", "draw", "rewind", "retrain"},
    "snip": {"draw", "train"},
    "ns": {"train", "draw", "prune", "finetune"},
    "thinet": {"train", "draw", "prune", "finetune"},
    "sfp": {"train", "prune"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("methods")
    (folder / "all.toml").write_text(EXPERIMENT)
    return folder


@pytest.fixture(scope="module")
def killed(folder, nursery):
    """The folders of the runs, each killed once and resumed, by method."""
    for moment in [*MOMENTS, None]:
        code, _, printed = nursery.call("run", "all.toml", "--out", "runs", "--resume", cwd=folder, moment=moment)
        assert code == (0 if moment is None else -9), (moment, printed)
    assert printed.count("is measured already") == 4  # what was sealed was found, and not trained again
    return {path.name.split("-")[0]: path for path in (folder / "runs").iterdir()}


@pytest.mark.parametrize("method", list(PHASES))
def test_a_killed_run_ends_with_the_masks_weights_and_findings_of_one_in_memory(killed, folder, method):
    (recipe,) = load_experiment(folder / "all.toml", {"method": [method]}, {}).recipes
    context = FakeContext(due=False)
    outcome = plugins.load(plugins.PIPELINES, method)(recipe).run(context)
    with np.load(killed[method] / "checkpoint" / "state.npz") as stored:
        found = {name[len("array/") :]: stored[name].tobytes() for name in stored.files if name.startswith("array/")}
    assert found == {name: value.tobytes() for name, value in context.checkpoint[0].items()}
    run = record(killed[method])
    assert run["status"] == "success"
    for part in ("ticket", "accuracy", "flops", "notes"):
        assert run[part] == getattr(outcome, part), part


@pytest.mark.parametrize("method", list(PHASES))
def test_each_phase_of_a_method_has_its_energy(killed, method):
    energy = record(killed[method])["energy"]
    phases = {path: phase["energy_j"] for path, phase in energy["by_phase"].items() if "/" not in path}
    assert set(phases) - {"evaluate", "checkpoint"} == PHASES[method]
    assert all(value > 0 for value in phases.values())
    assert energy["redone_j"] > 0
