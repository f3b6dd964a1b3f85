"""Network slimming against a threshold found by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ebbench.testing import FakeContext
from ebbench.training import loop, sgd
from ebbench.training.models import build_model
from ebbench_baselines.network_slimming import NetworkSlimmingPipeline


def run(recipe):
    context = FakeContext(due=False)
    return NetworkSlimmingPipeline(recipe).run(context), context


def at_draw(context):
    return next(a for a, state in context.checkpoints if json.loads(state)["stage"] == "draw")


def test_the_channels_that_go_are_those_below_one_threshold_over_all_layers(recipe_of):
    outcome, context = run(recipe_of("ns", prune_ratio=0.5))
    arrays = at_draw(context)
    scales = [
        np.abs(v) for n, v in arrays.items() if n.startswith("model/features") and v.ndim == 1 and n.endswith("weight")
    ]
    threshold = sorted(np.concatenate(scales))[int(30 * 0.5)]
    by_hand = [int((layer >= threshold).sum()) for layer in scales]
    assert outcome.ticket["layer_kept"] == by_hand and sum(by_hand) == 15
    assert np.array_equal(context.masks[2][0], np.concatenate(scales))


def test_the_small_network_inherits_the_kept_channels(recipe_of, monkeypatch):
    seen = {}
    train_until = loop.Trainer.train_until
    monkeypatch.setattr(
        loop.Trainer,
        "train_until",
        lambda t, *a, **k: (
            seen.update({n: v.clone() for n, v in t.model.state_dict().items()}),
            train_until(t, *a, **k),
        ),
    )
    _, context = run(recipe_of("ns"))
    arrays, kept = at_draw(context), context.masks[0][0][:4]
    assert np.array_equal(seen["features.0.weight"].numpy(), arrays["model/features.0.weight"][kept])
    assert np.array_equal(seen["features.1.running_var"].numpy(), arrays["model/features.1.running_var"][kept])


def test_l1_is_on_while_training_and_while_fine_tuning(recipe_of, monkeypatch):
    penalties = []
    monkeypatch.setattr(sgd, "add_l1", lambda gammas, l1: penalties.append((len(gammas), l1)))
    run(recipe_of("ns", l1=3e-4))
    assert penalties == [(5, 3e-4)] * 8


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, [0.1, 0.01, 0.001, 0.001, 0.1, 0.01, 0.001, 0.001]),
        ({"finetune_epochs": 2, "finetune_rate": 0.004}, [0.1, 0.01, 0.001, 0.001, 0.004, 0.00004]),
    ],
)
def test_fine_tuning_has_a_schedule_of_its_own(recipe_of, monkeypatch, settings, rates):
    seen = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD, "step", lambda self, *a, **k: (seen.append(self.param_groups[0]["lr"]), step(self, *a, **k))[1]
    )
    run(recipe_of("ns", epochs=4, milestones=(0.25, 0.5), **settings))
    assert seen[::2] == pytest.approx(rates)


def test_the_finetuned_network_has_the_widths_of_the_mask(recipe_of):
    outcome, context = run(recipe_of("ns"))
    assert json.loads(context.checkpoint[1])["widths"] == outcome.ticket["layer_kept"]
    assert build_model("tiny", 10).widths != tuple(outcome.ticket["layer_kept"])


def test_what_each_layer_keeps_can_be_rounded_up(recipe_of):
    plain, rounded = (run(recipe_of("ns", width_multiple=multiple))[0].ticket for multiple in (1, 2))
    least = [min(-(-kept // 2) * 2, of) for kept, of in zip(plain["layer_kept"], plain["layer_channels"])]
    assert rounded["layer_kept"] == least != plain["layer_kept"]
