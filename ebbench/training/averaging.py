"""The average of the weights of a training's last epochs (SWALP, Yang et al. 2019): float32, every epoch's end counts the same."""

from __future__ import annotations

from typing import Dict, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from ebbench.training.state import TrainState, to_numpy

_PREFIX = "average/"


def add_to_average(state: TrainState, model: nn.Module) -> None:
    """Add the parameters as they are now; sum and count are kept in `state`, so that every checkpoint holds them."""
    for name, parameter in model.named_parameters():
        value = to_numpy(parameter)
        key = _PREFIX + name
        state.arrays[key] = state.arrays[key] + value if key in state.arrays else value
    state.facts["averaged"] = averaged(state) + 1


def averaged(state: TrainState) -> int:
    """How many epochs the average is of."""
    return int(state.facts.get("averaged", 0))


def take_average(state: TrainState, model: nn.Module) -> None:
    """Put the average in the place of the parameters. The running statistics are still those of the old ones."""
    count = np.float32(averaged(state))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(state.arrays[_PREFIX + name] / count))


def estimate_norms(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Running statistics of every BatchNorm anew: their mean over all images of one pass. Returns the number of images."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta: Dict[nn.BatchNorm2d, float] = {norm: norm.momentum for norm in norms}
    was_training, seen = model.training, 0
    model.train()
    for norm in norms:
        norm.reset_running_stats()
    try:
        with torch.no_grad():
            for x_BCHW in batches:
                seen += len(x_BCHW)
                for norm in norms:
                    norm.momentum = len(x_BCHW) / seen  # a short last batch weighs less
                model(x_BCHW)
    finally:
        for norm in norms:
            norm.momentum = momenta[norm]
        model.train(was_training)
    return seen
