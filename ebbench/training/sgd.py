"""Stochastic gradient descent with momentum, weight decay and L1 on the BatchNorm scales, one step at a time."""

from __future__ import annotations

from typing import Sequence

import torch
import torch.nn.functional as F

from ebbench.config import Recipe
from ebbench.training import compat
from ebbench.training.models import Network
from ebbench.training.precision.full import FullPrecision


class Sgd:
    """The descent of one network in the arithmetic `precision`; its momentum is in `optimizer`, so a new one begins without."""

    def __init__(self, model: Network, precision: FullPrecision, recipe: Recipe) -> None:
        self.model, self.precision = model, precision
        self._gammas = [norm.weight for norm in model.prunable_norms()]
        self.optimizer = compat.sgd(
            model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )

    def begin_epoch(self, rate: float) -> None:
        """Set the learning rate of the steps to come, and the network to training."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def step(self, x_BCHW: torch.Tensor, y_B: torch.Tensor, l1: float) -> torch.Tensor:
        """One step on a batch; its mean cross-entropy, a scalar that stays on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.arithmetic():
            loss = F.cross_entropy(self.model(x_BCHW), y_B)
        self.precision.backward(loss, self.optimizer)
        add_l1(self._gammas, l1)
        self.precision.step(self.optimizer)
        return loss.detach()


def add_l1(gammas: Sequence[torch.Tensor], l1: float) -> None:
    """Add the subgradient of l1 |gamma|, with sign(0) = 0, to each gradient (Liu et al. 2017, equation 1)."""
    if l1:
        with torch.no_grad():
            torch._foreach_add_([gamma.grad for gamma in gammas], compat.foreach_sign(gammas), alpha=l1)
