"""Which convolution makes the channels of a BatchNorm, and which layer reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Mapping, Optional

from torch import nn

from ebbench.training.models.channels import Channels
from ebbench.training.models.network import Network


@dataclass(frozen=True)
class Route:
    """The way of the channels of one prunable BatchNorm: the convolution that makes them, and the layer that reads them.

    None where no layer does so alone, as in a residual stream. A channel can be removed with its filter where there is a
    `producer`. The reader sees the channels in the order of the BatchNorm, one input each.
    """

    producer: Optional[nn.Conv2d]
    reader: Optional[nn.Module]


def routes_of(model: Network) -> List[Route]:
    """One for each of the network's prunable BatchNorms, in their order."""
    modules = dict(model.named_modules())
    entry_of = {name: entry for entry in model.channels() for name in entry.norms}
    return [_route(entry_of[name], modules) for name in model.norm_names()]


def _route(entry: Channels, modules: Mapping[str, nn.Module]) -> Route:
    if entry.stream is not None or len(entry.norms) != 1 or len(entry.writers) != 1:
        return Route(None, None)
    producer = modules[entry.writers[0]]
    assert isinstance(producer, nn.Conv2d), "channels are made by convolutions"
    return Route(producer, modules[entry.readers[0]] if len(entry.readers) == 1 else None)
