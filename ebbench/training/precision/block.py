"""SWALP's low precision (Yang et al. 2019) as the public code of EB Train uses it: what is rounded to 8-bit block floating point.

Rounded: what every convolution and every linear layer but the last gives, and the error that comes back there; every
gradient before the step; momentum and parameters after it. So the 8-bit weight is the accumulator too: there is
no float32 copy. Not rounded: the image, BatchNorm, ReLU, pooling, the loss, and the average of the weights.
"""

from __future__ import annotations

from typing import Any, Iterator, List

import torch
from torch import Tensor, nn

from ebbench.training.precision.full import FullPrecision, Storage
from ebbench.training.precision.noise import Noise
from ebbench.training.precision.quantize import WORD_BITS, BlockRounding, RoundedBothWays


class BlockPrecision(FullPrecision):
    """8-bit block floating point, simulated in float32; rounded at random by `noise`, or without any to the nearest."""

    name = "8-bit block floating point"
    is_simulated = True
    storage = Storage(
        factors=WORD_BITS, weights=WORD_BITS, gradients=WORD_BITS, momentum=WORD_BITS, outputs=WORD_BITS, inputs=32
    )

    def __init__(self, noise: Noise, rounding: str) -> None:
        self._noise = noise
        self._rounding = BlockRounding(noise if rounding == "stochastic" else None)

    def attach(self, model: nn.Module) -> None:
        """Round what the layers give; the parameters are rounded from the first step on."""
        layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
        last_linear = [layer for layer in layers if isinstance(layer, nn.Linear)][-1:]
        for layer in layers:
            if layer not in last_linear:
                layer.register_forward_hook(self._round_output)

    def begin(self, phase: str, epoch: int, step: int) -> None:
        """Begin the noise of this step."""
        self._noise.begin(phase, epoch, step)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Round the gradients, step, round momentum and parameters."""
        with torch.no_grad():
            for parameter in parameters_of(optimizer):
                self._rounding.round_(parameter.grad)
            optimizer.step()
            for parameter in parameters_of(optimizer):
                momentum = optimizer.state[parameter].get("momentum_buffer")
                if momentum is not None:  # there is none at momentum = 0
                    self._rounding.round_(momentum)
                self._rounding.round_(parameter)

    def _round_output(self, layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return RoundedBothWays.apply(output, self._rounding)


def parameters_of(optimizer: torch.optim.Optimizer) -> Iterator[Any]:
    """Those that have a gradient, in the order of the network."""
    for group in optimizer.param_groups:
        trained: List[Any] = [p for p in group["params"] if p.grad is not None]
        yield from trained
