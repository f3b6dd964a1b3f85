"""The dense baseline: every epoch, no L1, no ticket."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from noise import write_noise

from ebbench.config import Recipe
from ebbench.testing import FakeContext
from ebbench.training import sgd
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.models import build_model
from ebbench_baselines.dense import DensePipeline


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    dataset = write_noise(tmp_path_factory.mktemp("data"), test=20, seed=3)
    return Recipe(method="dense", model="vgg16-small", dataset=dataset, epochs=3, batch_size=8)


def test_from_every_checkpoint_the_end_is_the_same_bit_for_bit(recipe: Recipe):
    whole_context = FakeContext()
    whole = DensePipeline(recipe).run(whole_context)
    assert len(whole_context.checkpoints) == 3 * (3 + 1) + 1  # after every step, after every epoch, and at the end
    for checkpoint in whole_context.checkpoints:
        context = FakeContext(checkpoint=checkpoint)
        outcome = DensePipeline(recipe).run(context)
        assert (outcome.accuracy, outcome.flops) == (whole.accuracy, whole.flops)
        for name, value in whole_context.checkpoint[0].items():
            assert context.checkpoint[0][name].tobytes() == value.tobytes(), name


def test_the_phases_are_the_epochs_and_the_evaluations_between(recipe: Recipe):
    context = FakeContext(due=False)
    DensePipeline(dataclasses.replace(recipe, evaluate_every=2)).run(context)
    assert context.paths == [
        "train",
        "train/epoch-1",
        "train/epoch-2",
        "train/evaluate",
        "train/epoch-3",
        "checkpoint",
        "evaluate",
    ]


def test_flops_are_of_all_epochs_and_there_is_no_ticket(recipe: Recipe):
    outcome = DensePipeline(recipe).run(FakeContext(due=False))
    cost = forward_cost(build_model(recipe.model, 10))
    assert outcome.flops["total"] == 3 * 20 * cost.training_flops()
    assert outcome.flops["by_phase"]["train/evaluate"]["images"] == 2 * 20
    assert outcome.flops["forward_pruned"] is None
    assert outcome.ticket is None and outcome.repeat_draw is None and outcome.draw_cost is None


def test_there_is_no_l1_in_dense_training(recipe: Recipe, monkeypatch: pytest.MonkeyPatch):
    penalties: Any = []
    monkeypatch.setattr(sgd, "add_l1", lambda gammas, l1: penalties.append(l1))
    DensePipeline(recipe).run(FakeContext(due=False))
    assert set(penalties) == {0.0}
