"""The networks, by name: each file holds one family's topology. `network.py` is what they have in common, `channels.py` how
they say which tensors share their channels, `plan.py` what follows from that when channels go.

What every network offers::

    model.name, model.widths, model.num_classes, model.input_shape      what `build_model` was told, and (channels, height, width)
    model.prunable_norms() -> List[nn.BatchNorm2d]                      in module order; together they have N channels
    model.channels() -> List[Channels]                                  one entry for each width
    model.initialise(generator)                                         fresh weights, every one of them from the generator
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, Optional, Sequence, Tuple

import torch

from ebbench.errors import ConfigError, nearest
from ebbench.training.models.network import Network, Select
from ebbench.training.models.plan import KEEP, SELECT, SlicingPlan, slicing_plan
from ebbench.training.models.preresnet import PreResNet, preresnet_widths
from ebbench.training.models.resnet import BASIC, BOTTLENECK, ResNet, resnet_widths
from ebbench.training.models.vgg import VGG
from ebbench.training.models.vgg import WIDTHS as VGG16_WIDTHS

__all__ = [
    "KEEP",
    "MODELS",
    "SELECT",
    "Architecture",
    "Network",
    "SlicingPlan",
    "build_model",
    "empty_model",
    "input_shape_of",
    "slicing_plan",
]


@dataclass(frozen=True)
class Architecture:
    """One entry of the registry: the widths of the dense network, and what builds it from (name, num_classes, widths)."""

    widths: Tuple[int, ...]
    build: Callable[[str, int, Tuple[int, ...]], Network]


def _resnet(depths: Sequence[int], kernels: Tuple[int, ...], planes: int = 64, **image: int) -> Architecture:
    return Architecture(
        resnet_widths(depths, kernels, planes), partial(ResNet, depths=depths, kernels=kernels, **image)
    )


MODELS: Dict[str, Architecture] = {
    # with BatchNorm and one linear layer, as Liu et al. (2017) use it
    "vgg16": Architecture(VGG16_WIDTHS, VGG),
    "preresnet101": Architecture(preresnet_widths(blocks=11, planes=16), PreResNet),
    "resnet18": _resnet((2, 2, 2, 2), BASIC),
    "resnet50": _resnet((3, 4, 6, 3), BOTTLENECK),
    # the same topologies at an eighth of the widths, less deep, for 32x32 images: an epoch of 2,000 takes seconds on one core
    "vgg16-small": Architecture(tuple(width // 8 for width in VGG16_WIDTHS), VGG),
    "preresnet-small": Architecture(preresnet_widths(blocks=2, planes=4), PreResNet),
    "resnet18-small": _resnet((2, 2, 2, 2), BASIC, planes=8, side=32, stem_stride=1),
    "resnet50-small": _resnet((2, 2, 2, 2), BOTTLENECK, planes=8, side=32, stem_stride=1),
}


def build_model(name: str, num_classes: int, widths: Optional[Sequence[int]] = None, seed: int = 0) -> Network:
    """The network `name` on the CPU, in training mode: the same seed gives the same weights.

    `widths` replaces the dense widths (a pruned network has the widths of its ticket). The weights come from a
    generator of their own, so the state of torch's global one is neither used nor changed.
    """
    model = empty_model(name, num_classes, widths)
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def empty_model(name: str, num_classes: int, widths: Optional[Sequence[int]] = None) -> Network:
    """The network `name` with storage but without values: for whoever fills in every parameter and buffer next.

    What reads a part of a residual stream reads its first channels.
    """
    architecture = _architecture(name)
    widths = architecture.widths if widths is None else tuple(int(w) for w in widths)
    if num_classes < 2:
        raise ConfigError(f"model {name!r} with {num_classes} classes: at least 2 are needed")
    if len(widths) != len(architecture.widths) or min(widths) < 1:
        raise ConfigError(
            f"model {name!r} has {len(architecture.widths)} widths of 1 or more; {len(widths)} were given: {list(widths)}"
        )
    model = architecture.build(name, num_classes, widths)
    for number, entry in enumerate(model.channels(), start=1):
        if entry.width > entry.whole.width:
            raise ConfigError(
                f"model {name!r}: width {number} takes {entry.width} channels of a residual stream that has {entry.whole.width}"
            )
    model.to_empty(device="cpu")
    for layer in model.modules():
        if isinstance(layer, Select):
            layer.take_first()
    return model


def input_shape_of(name: str) -> Tuple[int, int, int]:
    """(channels, height, width) of the images that the network `name` takes."""
    architecture = _architecture(name)
    return architecture.build(name, 2, architecture.widths).input_shape


def refuse_unknown_model(name: str) -> None:
    """Raise ConfigError with the nearest name where no network is called `name`."""
    if name not in MODELS:
        raise ConfigError(f"unknown model {name!r}; {nearest(name, MODELS)}")


def _architecture(name: str) -> Architecture:
    refuse_unknown_model(name)
    return MODELS[name]
