"""A step in block floating point against the textbook's step, rounded where SWALP rounds."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ebbench.training import compat
from ebbench.training.models import build_model
from ebbench.training.precision.block import BlockPrecision
from ebbench.training.precision.noise import Noise
from ebbench.training.precision.quantize import BlockRounding

RATE, MOMENTUM, DECAY = 0.1, 0.9, 0.01
q = BlockRounding(None).rounded


class Both(torch.autograd.Function):
    """Rounds forward and backward, number by number as it reads."""

    @staticmethod
    def forward(ctx, x):
        return q(x)

    @staticmethod
    def backward(ctx, error):
        return q(error)


def batch():
    generator = torch.Generator().manual_seed(4)
    return torch.randn(6, 3, 32, 32, generator=generator), torch.arange(6)


def textbook(model, steps):
    """The network layer by layer, as it is written, and SGD parameter by parameter."""
    x, y = batch()
    velocity = {}
    for _ in range(steps):
        out = x
        for layer in model.features:
            out = layer(out)
            if isinstance(layer, torch.nn.Conv2d):
                out = Both.apply(out)
        loss = F.cross_entropy(model.classifier(F.avg_pool2d(out, 2).flatten(1)), y)
        parameters = list(model.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for number, (p, gradient) in enumerate(zip(parameters, gradients)):
                direction = q(gradient).add(p, alpha=DECAY)
                velocity[number] = velocity[number] * MOMENTUM + direction if number in velocity else direction
                p.add_(velocity[number], alpha=-RATE)
                velocity[number] = q(velocity[number])
                p.copy_(q(p))
    return velocity


def ours(model, steps, precision):
    x, y = batch()
    optimizer = compat.sgd(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    precision.attach(model)
    for step in range(steps):
        precision.begin("search", 0, step)
        optimizer.zero_grad(set_to_none=True)
        with precision.arithmetic():
            loss = F.cross_entropy(model(x), y)
        precision.backward(loss, optimizer)
        precision.step(optimizer)
    return [optimizer.state[p]["momentum_buffer"] for p in model.parameters()]


@pytest.fixture
def model():
    return build_model("vgg16-small", 10, seed=3)


def test_three_steps_are_the_textbooks_rounded_where_swalp_rounds(model):
    expected = build_model("vgg16-small", 10, seed=3)
    velocity = textbook(expected, 3)
    momenta = ours(model, 3, BlockPrecision(Noise(1, "cpu"), "nearest"))
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert all(torch.equal(momentum, velocity[number]) for number, momentum in enumerate(momenta))


def test_after_a_step_every_parameter_and_every_momentum_is_a_block_of_eight_bits(model):
    momenta = ours(model, 2, BlockPrecision(Noise(1, "cpu"), "stochastic"))
    for value in (*(p.detach() for p in model.parameters()), *momenta):
        assert torch.equal(q(value), value)


def test_what_convolutions_give_is_rounded_and_what_norms_and_the_last_layer_give_is_not(model):
    BlockPrecision(Noise(1, "cpu"), "stochastic").attach(model)
    seen = []
    for layer in model.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear, torch.nn.BatchNorm2d)):
            layer.register_forward_hook(
                lambda layer, inputs, out: seen.append((type(layer).__name__, out.detach().clone()))
            )
    model(batch()[0])
    assert len(seen) == 27
    for kind, value in seen:
        assert torch.equal(q(value), value) == (kind == "Conv2d"), kind


def test_without_momentum_there_is_none_to_round(model):
    optimizer = compat.sgd(model.parameters(), lr=RATE)
    precision = BlockPrecision(Noise(1, "cpu"), "stochastic")
    F.cross_entropy(model(batch()[0]), batch()[1]).backward()
    precision.step(optimizer)
    assert all(torch.equal(q(p.detach()), p.detach()) for p in model.parameters())
