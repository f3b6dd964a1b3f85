"""The 8-bit training of the paper's Figure 2, after WAGE (Wu et al. 2018, "Training and Inference with Integers in DNNs").

With s = 2^-7 and Q(x) = s round(x / s):

* weights (every parameter): multiples of s within 1 - s of zero; there is no finer copy of them;
* activations: Q(min(x, 1 - s)) after each ReLU;
* errors there: Q(clip(e / 2^round(log2 max|e|))), the scale is not put back;
* update: the momentum v over 2^round(log2 max|v|), times the learning rate, to a neighbouring integer at random, times s.

BatchNorm and the cross-entropy stay float32, which WAGE itself does not have.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ebbench.training.precision.full import FullPrecision, Storage
from ebbench.training.precision.noise import Noise
from ebbench.training.precision.quantize import power_of

STEP = 2.0**-7
LARGEST = 1 - STEP


class WagePrecision(FullPrecision):
    """8-bit integers, simulated in float32."""

    name = "8-bit integers (WAGE)"
    is_simulated = True
    storage = Storage(factors=8, weights=8, inputs=8)

    def __init__(self, noise: Noise) -> None:
        self._noise = noise

    def attach(self, model: nn.Module) -> None:
        """Round the parameters, and what every ReLU gives from now on."""
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.div_(STEP).round_().mul_(STEP).clamp_(-LARGEST, LARGEST)
        for layer in model.modules():
            if isinstance(layer, nn.ReLU):
                layer.register_forward_hook(lambda layer, inputs, output: RoundedActivation.apply(output))

    def begin(self, phase: str, epoch: int, step: int) -> None:
        """Begin the noise of this step."""
        self._noise.begin(phase, epoch, step)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """SGD with momentum and decay whose parameters move by multiples of 2^-7 only."""
        with torch.no_grad():
            for group in optimizer.param_groups:
                for parameter in (p for p in group["params"] if p.grad is not None):
                    momentum = _momentum(optimizer, parameter, group["momentum"], group["weight_decay"])
                    steps = momentum * (group["lr"] / scale_of(momentum))
                    parameter.sub_(self._to_integers(steps), alpha=STEP).clamp_(-LARGEST, LARGEST)

    def _to_integers(self, steps: Tensor) -> Tensor:
        """Each to the integer below or above it, right on average; a whole number stays."""
        noise = self._noise.integers(steps.numel()).view_as(steps).float().add_(0.5)
        return noise.mul_(2.0**-16).add_(steps).round_()


def _momentum(optimizer: torch.optim.Optimizer, parameter: Any, momentum: float, weight_decay: float) -> Tensor:
    """v = momentum v + (gradient + weight_decay w), kept where torch's SGD keeps it."""
    gradient = parameter.grad.add(parameter, alpha=weight_decay)
    state = optimizer.state[parameter]
    if state.get("momentum_buffer") is None:
        state["momentum_buffer"] = gradient.clone()
    else:
        state["momentum_buffer"].mul_(momentum).add_(gradient)
    return state["momentum_buffer"]


class RoundedActivation(torch.autograd.Function):
    """Clips and rounds what a ReLU gives; the error passes where nothing was clipped, scaled and rounded too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """A new tensor: ReLU's own output is what its gradient is taken from."""
        ctx.save_for_backward(x <= LARGEST)
        return (x / STEP).round_().mul_(STEP).clamp_(max=LARGEST)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> Tensor:  # type: ignore[override]
        """The error over the power of two nearest to its largest magnitude."""
        (passes,) = ctx.saved_tensors
        error = error * passes
        return (error / scale_of(error)).div_(STEP).round_().mul_(STEP).clamp_(-LARGEST, LARGEST)


def scale_of(x: Tensor) -> Tensor:
    """2^round(log2 max|x|), a scalar on the device of `x`; 1 where all are below 2^-126."""
    largest = x.abs().max()
    power = power_of(largest)  # 2^floor(log2 max|x|)
    power = torch.where(largest >= power * 2**0.5, 2 * power, power)
    return torch.where(power > 0, power, torch.ones_like(power))
