"""The networks, by name. Each file holds its own topology, initial weights and slicing plan; `pruning.py` what is common.

What every network offers::

    model.name, model.widths, model.num_classes, model.input_shape      what `build_model` was told, and (channels, height, width)
    model.prunable_norms() -> List[nn.BatchNorm2d]                      in module order; together they have N channels
    model.initialise(generator)                                         fresh weights, every one of them from the generator
    model.slicing_plan(layer_masks) -> SlicingPlan                      what stays when the channels with False go
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, Optional, Sequence, Tuple

import torch
from torch import nn

from ebbench.errors import ConfigError, nearest
from ebbench.training.models.plan import SlicingPlan
from ebbench.training.models.vgg import VGG

__all__ = ["MODELS", "Architecture", "SlicingPlan", "build_model", "empty_model"]


@dataclass(frozen=True)
class Architecture:
    """One entry of the registry: the widths of the dense network, and the class that is built from
    (name, num_classes, widths)."""

    widths: Tuple[int, ...]
    build: Callable[[str, int, Tuple[int, ...]], nn.Module]


MODELS: Dict[str, Architecture] = {
    # Simonyan and Zisserman's configuration D with BatchNorm and one linear layer, as Liu et al. (2017) use it
    "vgg16": Architecture((64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512), VGG),
    # the same topology at an eighth of the widths: an epoch of 2,000 images takes about two seconds on one core
    "vgg16-small": Architecture((8, 8, 16, 16, 32, 32, 32, 64, 64, 64, 64, 64, 64), VGG),
}


def build_model(name: str, num_classes: int, widths: Optional[Sequence[int]] = None, seed: int = 0) -> nn.Module:
    """The network `name` on the CPU, in training mode: the same seed gives the same weights.

    `widths` replaces the dense widths (a pruned network has the widths of its ticket). The weights come from a
    generator of their own, so the state of torch's global one is neither used nor changed.
    """
    model = empty_model(name, num_classes, widths)
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def empty_model(name: str, num_classes: int, widths: Optional[Sequence[int]] = None) -> nn.Module:
    """The network `name` with storage but without values: for whoever fills in every parameter and buffer next."""
    architecture = _architecture(name)
    widths = architecture.widths if widths is None else tuple(int(w) for w in widths)
    if num_classes < 2:
        raise ConfigError(f"model {name!r} with {num_classes} classes: at least 2 are needed")
    if len(widths) != len(architecture.widths) or min(widths) < 1:
        raise ConfigError(
            f"model {name!r} has {len(architecture.widths)} widths of 1 or more; {len(widths)} were given: {list(widths)}"
        )
    return architecture.build(name, num_classes, widths).to_empty(device="cpu")


def _architecture(name: str) -> Architecture:
    if name not in MODELS:
        raise ConfigError(f"unknown model {name!r}; {nearest(name, MODELS)}")
    return MODELS[name]
