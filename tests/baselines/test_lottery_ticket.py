"""The lottery ticket against a sort by hand, and retraining against masked gradients."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ebbench.testing import FakeContext
from ebbench.training.data.batches import augmented_batches
from ebbench.training.loop import Trainer
from ebbench.training.models import build_model
from ebbench_baselines.lottery_ticket import LotteryTicketPipeline


def run(recipe):
    context = FakeContext(due=False)
    return LotteryTicketPipeline(recipe).run(context), context


def conv_names(arrays):
    return [n for n, v in arrays.items() if n.startswith("model/") and v.ndim == 4]


def mask_by_hand(arrays, names, ratio):
    """Sort (|w|, position) of all weights in plain Python and strike out the first int(N p), but no layer's largest."""
    layers = [[abs(float(w)) for w in arrays[name].ravel()] for name in names]
    values = [value for layer in layers for value in layer]
    largest, start = set(), 0
    for layer in layers:
        largest.add(start + max(range(len(layer)), key=lambda i: (layer[i], i)))
        start += len(layer)
    order = [i for i in sorted(range(len(values)), key=lambda i: (values[i], i)) if i not in largest]
    kept = np.ones(len(values), dtype=bool)
    kept[order[: int(len(values) * ratio)]] = False
    return kept


@pytest.mark.parametrize("layers", ["conv", "conv+linear"])
def test_the_mask_is_the_one_that_sorting_by_hand_gives(recipe_of, layers):
    outcome, context = run(recipe_of("lt", prune_ratio=0.7, lt_layers=layers))
    arrays = next(a for a, state in context.checkpoints if json.loads(state)["stage"] == "draw")
    names = conv_names(arrays) + (["model/classifier.weight"] if layers == "conv+linear" else [])
    kept = mask_by_hand(arrays, names, 0.7)
    assert np.array_equal(context.masks[0][0], kept)
    assert (outcome.ticket["kept_weights"], outcome.ticket["weights"]) == (kept.sum(), len(kept))
    assert outcome.ticket["kept_channels"] == outcome.ticket["channels"]  # none is removed


def test_the_kept_weights_begin_again_where_they_began_and_the_others_at_zero(recipe_of, monkeypatch):
    begun = {}
    train_until = Trainer.train_until

    def spied(trainer, *arguments, **settings):
        begun.update({n: v.detach().clone() for n, v in trainer.model.state_dict().items()})
        train_until(trainer, *arguments, **settings)

    monkeypatch.setattr(Trainer, "train_until", spied)  # only retraining goes by it
    recipe = recipe_of("lt", seed=5)
    _, context = run(recipe)
    parts = iter(np.split(context.masks[0][0], np.cumsum([108, 180, 270, 378])))
    for name, initial in build_model("tiny", 10, seed=5).state_dict().items():
        kept = torch.from_numpy(next(parts).reshape(initial.shape)) if initial.ndim == 4 else 1
        assert torch.equal(begun[name], initial * kept), name


def test_retraining_is_that_with_gradients_masked_by_hand(recipe_of):
    """Liu et al. multiply the gradients by the mask; holding weights and momentum at zero must come to the same."""
    recipe = recipe_of("lt", learning_rate=0.02, weight_decay=0.01)
    _, context = run(recipe)
    data = Trainer(recipe, FakeContext(), "train").dataset
    model = build_model("tiny", 10, seed=recipe.seed)
    convs = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    parts = np.split(context.masks[0][0], np.cumsum([c.weight.numel() for c in convs])[:-1])
    masks = [torch.from_numpy(part.reshape(c.weight.shape)).float() for part, c in zip(parts, convs)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=0.01)
    for conv, mask in zip(convs, masks):
        conv.weight.data *= mask
    for epoch, rate in enumerate((0.02, 0.002)):
        optimizer.param_groups[0]["lr"] = rate
        for _, x, y in augmented_batches(
            data.train, 12, seed=recipe.seed, phase="retrain", epoch=epoch, mean=data.mean, std=data.std
        ):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            for conv, mask in zip(convs, masks):
                conv.weight.grad *= mask
            optimizer.step()
    arrays = context.checkpoint[0]
    for name, value in model.state_dict().items():
        found = torch.from_numpy(arrays[f"model/{name}"])
        assert torch.allclose(found.double(), value.double(), rtol=1e-3, atol=1e-4), name
    for mask, name in zip(masks, conv_names(arrays)):
        assert not arrays[name][mask.numpy() == 0].any(), name
        assert not arrays[f"momentum/{name[len('model/') :]}"][mask.numpy() == 0].any(), name
