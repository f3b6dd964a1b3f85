"""One step against the arithmetic on paper."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ebbench.config import Recipe
from ebbench.training.models import build_model
from ebbench.training.precision.full import FullPrecision
from ebbench.training.sgd import Sgd, add_l1


def test_l1_adds_its_sign_and_leaves_a_zero_alone():
    gamma = torch.tensor([2.0, -3.0, 0.0], requires_grad=True)
    gamma.grad = torch.ones(3)
    add_l1([gamma], 0.5)
    assert gamma.grad.tolist() == [1.5, 0.5, 1.0]
    add_l1([gamma], 0.0)
    assert gamma.grad.tolist() == [1.5, 0.5, 1.0]


def test_a_step_goes_down_the_gradient_at_the_rate_of_its_epoch_and_gives_the_loss_before_it():
    recipe = Recipe(model="vgg16-small", momentum=0.0, weight_decay=0.0, nesterov=False)
    model, twin = build_model(recipe.model, 10, seed=1), build_model(recipe.model, 10, seed=1)
    x, y = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(2)), torch.arange(4)
    loss = F.cross_entropy(twin.train()(x), y)
    gradients = torch.autograd.grad(loss, list(twin.parameters()))
    sgd = Sgd(model.eval(), FullPrecision(), recipe)
    sgd.begin_epoch(0.25)
    found = sgd.step(x, y, l1=0.0)
    assert not found.requires_grad and torch.equal(found, loss)
    for after, before, gradient in zip(model.parameters(), twin.parameters(), gradients):
        torch.testing.assert_close(after, before - 0.25 * gradient)


def test_a_new_descent_has_no_momentum_of_an_old_one():
    recipe = Recipe(model="vgg16-small")
    model = build_model(recipe.model, 10, seed=1)
    sgd = Sgd(model, FullPrecision(), recipe)
    sgd.step(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)), torch.arange(2), l1=0.0)
    assert sgd.optimizer.state and not Sgd(model, FullPrecision(), recipe).optimizer.state
