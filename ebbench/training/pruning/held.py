"""Parameters that are held at zero in some places while the rest trains."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor


class Held:
    """Holds each parameter, and its momentum, at zero where its mask (same shape, or one that spreads to it) is zero.

    `hold` is called after every step of the optimiser. Left alone, momentum, L1, weight decay and the gradient would move them.
    """

    def __init__(self, parameters: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
        self._parameters = list(parameters)
        self._masks = list(masks)

    def hold(self, optimizer: Optional[torch.optim.Optimizer] = None) -> None:
        """Zero what is pruned: in the network, and in the momentum buffers of `optimizer`."""
        if not self._parameters:
            return
        with torch.no_grad():
            torch._foreach_mul_(self._parameters, self._masks)
            buffers = [] if optimizer is None else self._momentum_of(optimizer)
            if buffers:
                torch._foreach_mul_([b for b, _ in buffers], [m for _, m in buffers])

    def _momentum_of(self, optimizer: torch.optim.Optimizer) -> List[Tuple[Tensor, Tensor]]:
        pairs = []
        for parameter, mask in zip(self._parameters, self._masks):
            buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
            if buffer is not None:
                pairs.append((buffer, mask))
        return pairs
