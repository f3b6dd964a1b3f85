"""Soft filter pruning against plain loops."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from ebbench.testing import FakeContext
from ebbench.training.data.batches import augmented_batches
from ebbench.training.loop import Trainer
from ebbench.training.models import build_model
from ebbench.training.pruning.physical import apply_mask
from ebbench.training.recipe_check import data_of
from ebbench_baselines import soft_filters
from ebbench_baselines.soft_filters import SoftFilterPipeline, zero_filters

WIDTHS = (4, 5, 6, 7, 8)


def zeroed_by_hand(weight, ratio):
    """The filters of smallest norm, by loops over plain numbers."""
    norms = []
    for index, filter_ in enumerate(weight.tolist()):
        total = 0.0
        for channel in filter_:
            for row in channel:
                for value in row:
                    total += value * value
        norms.append((math.sqrt(total), index))
    return {index for _, index in sorted(norms)[: int(len(norms) * ratio)]}


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5, 0.7])
def test_the_filters_at_zero_are_those_of_smallest_norm_in_each_layer(tiny, ratio):
    model = build_model("tiny", 10, seed=4)
    convs = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    before = [conv.weight.detach().clone() for conv in convs]
    mask = np.split(zero_filters(model, ratio), np.cumsum(WIDTHS)[:-1])
    for conv, old, kept in zip(convs, before, mask):
        by_hand = zeroed_by_hand(old, ratio)
        assert {int(i) for i in np.flatnonzero(~kept)} == by_hand
        for index in range(len(old)):
            expected = torch.zeros_like(old[index]) if index in by_hand else old[index]
            assert torch.equal(conv.weight[index], expected)


def test_filters_grow_again_between_the_epochs_and_are_zeroed_at_each_end(recipe_of, monkeypatch):
    at_start, at_end = [], []
    zero, train_steps = soft_filters.zero_filters, Trainer._train_steps

    def zeros_of(model):
        return sum(int((f == 0).all()) for m in model.modules() if isinstance(m, torch.nn.Conv2d) for f in m.weight)

    def spied(model, ratio):
        at_end.append(zeros_of(model))
        return zero(model, ratio)

    monkeypatch.setattr(soft_filters, "zero_filters", spied)
    monkeypatch.setattr(Trainer, "_train_steps", lambda t, *a: (at_start.append(zeros_of(t.model)), train_steps(t, *a)))
    context = FakeContext(due=False)
    outcome = SoftFilterPipeline(recipe_of("sfp", epochs=3)).run(context)
    zeroed = sum(int(width * 0.5) for width in WIDTHS)
    assert at_start == [0, zeroed, zeroed] and at_end == [0, 0, 0]
    assert context.masks[1] == [1, 2, 3] and outcome.ticket["kept_channels"] == 30 - zeroed
    assert np.array_equal(context.masks[0].sum(axis=1), [30 - zeroed] * 3)


@pytest.mark.parametrize(("every", "epochs"), [(2, [2, 4, 5]), (5, [5]), (9, [5])])
def test_filters_are_zeroed_every_so_many_epochs_and_at_the_end(recipe_of, every, epochs):
    context = FakeContext(due=False)
    SoftFilterPipeline(recipe_of("sfp", epochs=5, sfp_every=every)).run(context)
    assert context.masks[1] == epochs
    assert [p for p in context.paths if p.endswith("draw")] == [f"train/epoch-{n}/draw" for n in epochs]


def test_the_small_network_computes_what_the_trained_one_does_without_the_shifts_of_its_zeroed_filters(
    recipe_of, monkeypatch
):
    networks = []
    prune = soft_filters.prune
    monkeypatch.setattr(
        soft_filters, "prune", lambda model, mask: (networks.extend([model, mask, prune(model, mask)]), networks[-1])[1]
    )
    SoftFilterPipeline(recipe_of("sfp")).run(FakeContext(due=False))
    trained, mask, small = networks
    apply_mask(trained, mask)
    x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(small.eval()(x), trained.eval()(x), rtol=1e-5, atol=1e-6)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in trained.parameters())


def test_both_accuracies_of_the_last_epoch_are_told(recipe_of):
    context = FakeContext(due=False)
    outcome = SoftFilterPipeline(recipe_of("sfp")).run(context)
    soft, cut = [v for n, v, _ in context.metrics if n == "accuracy"][-2:]
    assert outcome.accuracy["final"] == cut
    assert any(f"{soft:.4f} with filters at zero, {cut:.4f} once" in note for note in outcome.notes)


def test_there_is_no_l1_and_the_training_is_charged_as_dense(recipe_of):
    outcome = SoftFilterPipeline(recipe_of("sfp", nesterov=True)).run(FakeContext(due=False))
    assert set(outcome.flops["by_phase"]) == {"train", "train/evaluate", "evaluate"}
    assert json.loads(json.dumps(outcome.ticket))["draw"] == "final"


def test_the_whole_training_is_plain_sgd_with_the_smallest_filters_set_to_zero_after_each_epoch(recipe_of):
    """Loops of our own over the same batches: what the method does to an accuracy is the method's, not this program's."""
    recipe = recipe_of("sfp", epochs=4)
    context = FakeContext(due=False)
    SoftFilterPipeline(recipe).run(context)
    trained = next(arrays for arrays, state in context.checkpoints if json.loads(state)["stage"] == "prune")
    data, model = data_of(recipe), build_model(recipe.model, 10, seed=recipe.seed)
    convs = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for epoch in range(4):
        rate = 0.1 / 10 ** sum(epoch >= fraction * 4 for fraction in recipe.milestones)
        batches = augmented_batches(
            data.train, recipe.batch_size, seed=recipe.seed, phase="train", epoch=epoch, mean=data.mean, std=data.std
        )
        for _, x, y in batches:
            model.zero_grad()
            torch.nn.functional.cross_entropy(model.train()(x), y).backward()
            with torch.no_grad():
                for name, p in model.named_parameters():
                    velocity[name].mul_(0.9).add_(p.grad + 1e-4 * p)
                    p.sub_(rate * velocity[name])
        with torch.no_grad():
            for conv in convs:
                for index in zeroed_by_hand(conv.weight, recipe.prune_ratio):
                    conv.weight[index] = 0.0
    for name, value in model.state_dict().items():
        found = torch.from_numpy(trained[f"model/{name}"])
        assert torch.allclose(found.double(), value.double(), rtol=1e-4, atol=1e-5), name
