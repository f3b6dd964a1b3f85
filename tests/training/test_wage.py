"""WAGE's integers: what lies on the grid, what a step may do, what an error looks like."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ebbench.training import compat
from ebbench.training.models import build_model
from ebbench.training.precision.noise import Noise
from ebbench.training.precision.wage import LARGEST, STEP, RoundedActivation, WagePrecision, scale_of

STEPS = 4


def on_grid(x):
    return bool((x / STEP == (x / STEP).round()).all()) and bool(x.abs().max() <= LARGEST)


@pytest.fixture
def trained():
    """A network after some steps: (model, precision, the parameters before the last step, their momenta)."""
    torch.manual_seed(0)
    model, precision = build_model("vgg16-small", 10, seed=3), WagePrecision(Noise(1, "cpu"))
    optimizer = compat.sgd(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    precision.attach(model)
    for step in range(STEPS):
        before = [p.detach().clone() for p in model.parameters()]
        precision.begin("search", 0, step)
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(torch.randn(8, 3, 32, 32)), torch.arange(8)).backward()
        precision.step(optimizer)
    return model, before, [optimizer.state[p]["momentum_buffer"] for p in model.parameters()]


def test_parameters_are_multiples_of_the_step_below_one_from_the_beginning_and_after_every_step(trained):
    model, before, _ = trained
    assert all(on_grid(value) for value in before) and all(on_grid(p.detach()) for p in model.parameters())


def test_an_update_is_one_step_against_the_momentum_or_none_and_seldom_one(trained):
    model, before, momenta = trained
    moved = [((p.detach() - old) / STEP, v) for p, old, v in zip(model.parameters(), before, momenta)]
    for change, momentum in moved:
        assert set(change.unique().tolist()) <= {-1.0, 0.0, 1.0}
        assert (change * momentum <= 0).all()
    share = torch.cat([change.abs().flatten() for change, _ in moved]).mean()
    assert 0 < share < 0.1 * math.sqrt(2)  # the largest probability is the learning rate times the root of two


def test_updates_are_right_on_average():
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    gradient = torch.tensor([1.0, -0.5, 0.001])
    precision, total, n = WagePrecision(Noise(1, "cpu")), torch.zeros(3, dtype=torch.float64), 3_000
    for step in range(n):
        precision.begin("search", 0, step)
        parameter.grad = gradient.clone()
        optimizer.state.clear()
        precision.step(optimizer)
        total += parameter.detach()
        parameter.data.zero_()
    expected = -0.1 * gradient.double() * STEP  # the largest is 1 = 2^0
    standard = STEP * (0.1 * gradient.double().abs() / n).sqrt()
    assert ((total / n - expected).abs() <= 5 * standard).all()


def test_activations_are_rounded_and_clipped_and_errors_pass_where_nothing_was_clipped():
    x = torch.tensor([0.0, 0.3, 0.996, 1.7], requires_grad=True)
    out = RoundedActivation.apply(x)
    assert torch.equal(out, torch.tensor([0.0, 38 * STEP, LARGEST, LARGEST]))
    out.backward(torch.tensor([0.5, -0.25, 0.1, 4.0]))
    # the largest error that passes is 0.5, to the scale of which 0.1 is not a multiple of the step
    assert torch.equal(x.grad, torch.tensor([LARGEST, -0.5, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("largest", "scale"),
    [(1.0, 1.0), (1.41, 1.0), (1.42, 2.0), (0.71, 1.0), (0.70, 0.5), (3e-30, 2.0**-98), (0.0, 1.0)],
)
def test_the_scale_is_the_nearest_power_of_two_in_logarithm(largest, scale):
    assert scale_of(torch.tensor([0.0, -largest])).item() == scale


def test_an_error_of_zeros_stays():
    x = torch.tensor([0.5], requires_grad=True)
    RoundedActivation.apply(x).backward(torch.zeros(1))
    assert x.grad.item() == 0.0
