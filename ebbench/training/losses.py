"""The losses of an epoch's steps: kept on the device, and looked at seldom."""

from __future__ import annotations

import torch

from ebbench.errors import RunFailed
from ebbench.training.state import TrainState


def mean_loss(losses: torch.Tensor, state: TrainState, steps: int) -> float:
    """The mean over the open epoch so far; `losses`: float32, one for each of its `steps` steps, on the device.

    Raises RunFailed, naming the first step whose loss is not finite.
    """
    done = losses[: state.step].cpu()  # the one wait for the device
    broken = (~torch.isfinite(done)).nonzero()
    if len(broken):
        raise RunFailed(
            f"the loss is {done[broken[0, 0]].item()} at {state.stage} epoch {state.epoch + 1}, "
            f"step {broken[0, 0].item() + 1} of {steps}: the training diverged; lower learning_rate"
        )
    return float(done.double().mean())
