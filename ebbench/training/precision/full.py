"""In what arithmetic a network is trained: all that the loop asks of it, and plain float32.

Others: `block_precision` (SWALP), `wage` (WAGE's 8 bits), `mixed` (16 bits, really done by the hardware).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, ContextManager, Dict, Mapping

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Storage:
    """In how many bits a machine that did this arithmetic would multiply and keep what it trains with; for `counting.work`.

    `outputs`: what convolutions and linear layers give, and the errors there; `inputs`: what they read (so what BatchNorm,
    ReLU and pooling give), and the errors there. `factors`: the operands of their multiplications.
    """

    factors: int = 32
    weights: int = 32
    gradients: int = 32
    momentum: int = 32
    outputs: int = 32
    inputs: int = 32


class FullPrecision:
    """Float32 throughout. Another arithmetic overrides what it does otherwise.

    A trainer calls `attach` once for the network that it places, `begin` before everything that draws random numbers, and in
    every step `arithmetic`, `backward` and `step` in this order.
    """

    name = "float32"
    #: whether float32 stands in for an arithmetic that this machine does not do, so that its energy has to be estimated
    is_simulated = False
    storage = Storage()

    def attach(self, model: nn.Module) -> None:
        """Make ready a network that is trained from now on."""

    def begin(self, phase: str, epoch: int, step: int) -> None:
        """What comes is this step: random numbers depend on it and on the seed alone."""

    def arithmetic(self) -> ContextManager[Any]:
        """Around the forward pass of a training step."""
        return contextlib.nullcontext()

    def backward(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Put the gradient of `loss` into every parameter."""
        loss.backward()

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Move the parameters along their gradients."""
        optimizer.step()

    def state(self) -> Dict[str, Any]:
        """What a checkpoint must hold beside weights and momentum, as JSON values."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave."""
