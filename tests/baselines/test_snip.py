"""SNIP's sensitivities against finite differences of the loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ebbench.errors import ConfigError
from ebbench.testing import FakeContext
from ebbench.training.loop import Trainer
from ebbench.training.models import build_model
from ebbench.training.pruning.weight_masks import ranked_weights
from ebbench_baselines.snip import SnipPipeline, sensitivities


def test_a_sensitivity_is_what_the_loss_does_when_the_connection_is_scaled(tiny):
    """(L(c = 1 + h) - L(c = 1 - h)) / 2h for one connection after the other, in float64."""
    model = build_model("tiny", 10, seed=2).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, 32, 32, generator=generator, dtype=torch.float64)
    y = torch.arange(6)
    found = sensitivities(model, "conv+linear", x, y)
    weights = ranked_weights(model, "conv+linear")
    h, rng = 1e-6, np.random.default_rng(1)
    largest = max(float(f.max()) for f in found)
    with torch.no_grad():
        for weight, sensitivity in zip(weights, found):
            flat = weight.view(-1)
            for i in rng.choice(len(flat), 12, replace=False):
                value, losses = float(flat[i]), []
                for c in (1 + h, 1 - h):
                    flat[i] = value * c
                    losses.append(float(F.cross_entropy(model.train()(x), y)))
                flat[i] = value
                assert float(sensitivity.view(-1)[i]) == pytest.approx(
                    abs(losses[0] - losses[1]) / (2 * h), rel=1e-4, abs=1e-6 * largest
                )


def test_looking_leaves_the_network_as_it_was(tiny):
    model = build_model("tiny", 10, seed=2).eval()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    sensitivities(model, "conv", torch.randn(4, 3, 32, 32), torch.arange(4))
    assert not model.training and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


def test_the_weights_of_least_sensitivity_go_and_stay_at_zero(recipe_of):
    recipe = recipe_of("snip", prune_ratio=0.6)
    context = FakeContext(due=False)
    outcome = SnipPipeline(recipe).run(context)
    trainer = Trainer(recipe, FakeContext(), "draw")
    ((x, y),) = trainer.looks(12, phase="snip", number=0, batch_size=12, augment=True)
    scores = sensitivities(build_model("tiny", 10, seed=recipe.seed), "conv+linear", x, y)
    values = [float(s) for score in scores for s in score.reshape(-1)]
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    pruned = set(order[: int(len(values) * 0.6)])
    mask = context.masks[0][0]
    assert {i for i, kept in enumerate(mask) if not kept} == pruned
    arrays = context.checkpoint[0]
    weights = [v for n, v in arrays.items() if n.startswith("model/") and n.endswith("weight") and v.ndim > 1]
    flat = np.concatenate([w.ravel() for w in weights])
    assert not flat[~mask].any() and flat[mask].all()
    assert outcome.ticket["epoch"] == 0


def test_the_training_starts_from_the_weights_that_were_ranked_with_fresh_statistics(recipe_of, monkeypatch):
    begun = {}
    train_until = Trainer.train_until

    def spied(trainer, *arguments, **settings):
        begun.update({n: v.detach().clone() for n, v in trainer.model.state_dict().items()})
        train_until(trainer, *arguments, **settings)

    monkeypatch.setattr(Trainer, "train_until", spied)
    SnipPipeline(recipe_of("snip")).run(FakeContext(due=False))
    for name, initial in build_model("tiny", 10, seed=1).state_dict().items():
        kept = begun[name] != 0 if initial.ndim > 1 else torch.ones_like(initial, dtype=torch.bool)
        assert torch.equal(begun[name], initial * kept), name


def test_the_batch_is_as_large_as_the_recipe_says_and_no_larger_than_the_data(recipe_of):
    outcome = SnipPipeline(recipe_of("snip", snip_images=17)).run(FakeContext(due=False))
    assert outcome.flops["by_phase"]["draw"]["images"] == 17
    with pytest.raises(ConfigError, match="snip_images = 21, but there are 20 training images"):
        SnipPipeline(recipe_of("snip", snip_images=21)).check()
