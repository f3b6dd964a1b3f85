"""What is said when runs are gone on with."""

from __future__ import annotations

import pytest

from ebbench.config import Bench, Recipe, run_id
from ebbench.experiments.conduct import conduct_all
from ebbench.experiments.file import Experiment
from ebbench.rundir import RunDir, write_json

BENCH = Bench(meters=("off",), idle_s=0.0, amplify_s=0.0, device="cpu")
RECIPE = Recipe(
    method="dense", model="vgg16-small", dataset="synthetic", train_images=32, test_images=16, epochs=1, batch_size=16
)


class Said(list):
    def update(self, path, fraction, live):
        pass

    def say(self, text):
        self.append(text)


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_did_not_end_is_named_where_resume_leaves_it_lying(tmp_path, resume):
    """Its settings are others, by an option that was not typed again: without a word the training would begin anew."""
    ours, others, measured, ended = (
        RunDir(tmp_path / name) for name in (run_id(RECIPE, BENCH), "dense-vgg16-x", "monitor-1", "dense-vgg16-y")
    )
    for folder, recipe in ((others, {"method": "dense"}), (measured, {}), (ended, {"method": "dense"})):
        folder.path.mkdir()
        write_json(folder.manifest, {"recipe": recipe})
    write_json(ended.record, {})
    said = Said()
    (record,), code = conduct_all(Experiment("x", "", (RECIPE,), BENCH), tmp_path, resume=resume, display=said)
    assert code == 0 and ours.is_sealed and record.run_id == ours.path.name
    left = [line for line in said if "NOT gone on with" in line]
    assert [line.split(" ")[0] for line in left] == ([str(others.path)] if resume else [])
