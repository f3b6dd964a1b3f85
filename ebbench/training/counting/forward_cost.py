"""Arithmetic by formula: of one forward pass, of one training step, and of one mask-distance check.

Two conventions. ``exact``: 2 FLOPs per multiply-add of convolutions and linear layers; training = forward + weight gradients
+ input gradients, the last not for the first layer. ``paper``: the counter behind Tables 2 and 3 (it adds biases, 2 per
BatchNorm element, 1 per ReLU element and k^2 per pooled element), rounded to 0.01 GFLOPs; training = 3 x forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import nn

from ebbench.errors import ConfigError, nearest

EXACT, PAPER = "exact", "paper"


@dataclass(frozen=True)
class LayerCost:
    """One layer's forward pass of one image: multiply-adds (0 for BatchNorm, ReLU, pooling), the paper counter's FLOPs, and the
    numbers that it reads, gives and has as weights."""

    name: str
    kind: str
    macs: int
    counter_flops: int
    inputs: int
    outputs: int
    weights: int


@dataclass(frozen=True)
class ForwardCost:
    """One image's forward pass, layer by layer in the order of execution."""

    layers: Tuple[LayerCost, ...]
    parameters: int

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions and linear layers."""
        return sum(layer.macs for layer in self.layers)

    @property
    def first_layer_macs(self) -> int:
        """Those of the layer that reads the image, and so passes no gradient on."""
        return next(layer.macs for layer in self.layers if layer.macs)

    @property
    def counter_flops(self) -> int:
        """What the paper's counter gives, not rounded."""
        return sum(layer.counter_flops for layer in self.layers)

    def forward_flops(self, convention: str = EXACT) -> int:
        """FLOPs of one image's forward pass."""
        return 2 * self.macs if convention == EXACT else paper_rounded(self.counter_flops)

    def training_flops(self, convention: str = EXACT) -> int:
        """FLOPs of one image's training step: forward and both kinds of gradients."""
        if convention == EXACT:
            return 6 * self.macs - 2 * self.first_layer_macs
        return 3 * self.forward_flops(PAPER)


def paper_rounded(flops: float) -> int:
    """To 0.01 GFLOPs, as the published totals were computed (ResNet18: 3.64, matching to six digits only so)."""
    return round(flops / 1e7) * 10_000_000


def forward_cost(model: nn.Module, input_shape: Optional[Sequence[int]] = None) -> ForwardCost:
    """Count one image's forward pass. The network is left as it was: mode, running statistics, no hook stays."""
    shape = tuple(model.input_shape if input_shape is None else input_shape)
    layers: List[LayerCost] = []
    watched = [(n, m) for n, m in model.named_modules() if type(m) in _COUNTERS]
    hooks = [module.register_forward_hook(_recorder(name, layers)) for name, module in watched]
    was_training = model.training
    weight = next(model.parameters())
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros((1, *shape), device=weight.device, dtype=weight.dtype))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return ForwardCost(tuple(layers), sum(p.numel() for p in model.parameters()))


def draw_cost(
    channels: int,
    parameters: Optional[int] = None,
    counter_forward_flops: Optional[int] = None,
    ratios: int = 1,
) -> Dict[str, Any]:
    """What one mask-distance check costs: ``flops`` and ``bytes``, and the paper's two fractions where they can be told.

    Counted per channel: 1 absolute value, 3.4 comparisons of the selection (expected for quickselect at the median, Knuth
    1972: 2 + 2 ln 2; `draw_mask`, which looks at a sample first where there are many, makes about one more and is the
    faster for it), 1 comparison with the threshold, 1 of the two masks, 1 addition. Bytes held at once: |gamma| and the
    selection's copy in float32 (no less than `draw_mask` takes), two masks of a byte per channel, the queue's distances.
    ``paper_convention``: the memory of a float32 mask over that of the parameters, and (3 N log2 N + 2 N) over ONE image's
    forward pass: .0287 % and .0257 % for VGG16, the "<= .029 %" and "<= .026 %" of section 4.2. A check at several `ratios`
    has the absolute values, |gamma| and the selection's copy once and the rest as many times; the paper's fractions are of
    one mask.
    """
    cost: Dict[str, Any] = {
        "flops": (1 + ratios * (3 + 2 + 2 * math.log(2))) * channels,
        "bytes": 8 * channels + ratios * (2 * channels + 5 * 8),
    }
    if parameters is not None:
        cost["parameters"] = parameters
    if parameters is not None and counter_forward_flops is not None:
        sort_flops = 3 * channels * math.log2(channels) + 2 * channels
        cost["paper_convention"] = {
            "memory_fraction": channels / parameters,
            "flops_fraction": sort_flops / counter_forward_flops,
        }
    return cost


def check_convention(convention: str) -> None:
    """Raise ConfigError for a convention that does not exist."""
    if convention not in (EXACT, PAPER):
        raise ConfigError(f"convention {convention!r}: {nearest(convention, (EXACT, PAPER))}")


def _recorder(name: str, layers: List[LayerCost]) -> Callable[..., None]:
    def record(module: nn.Module, inputs: Tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        macs, extra = _COUNTERS[type(module)](module, output.numel())
        weights = sum(p.numel() for p in module.parameters())
        kind = type(module).__name__
        layers.append(LayerCost(name, kind, macs, 2 * macs + extra, inputs[0].numel(), output.numel(), weights))

    return record


def _count_conv(layer: nn.Conv2d, outputs: int) -> Tuple[int, int]:
    per_output = layer.in_channels // layer.groups * layer.kernel_size[0] * layer.kernel_size[1]
    return outputs * per_output, outputs if layer.bias is not None else 0


def _count_linear(layer: nn.Linear, outputs: int) -> Tuple[int, int]:
    return outputs * layer.in_features, outputs if layer.bias is not None else 0


def _count_pool(layer: Any, outputs: int) -> Tuple[int, int]:
    size = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size, layer.kernel_size)
    return 0, outputs * size[0] * size[1]


#: (multiply-adds, further FLOPs of the paper's counter) from the layer and the number of its output elements
_COUNTERS: Dict[type, Callable[[Any, int], Tuple[int, int]]] = {
    nn.Conv2d: _count_conv,
    nn.Linear: _count_linear,
    nn.BatchNorm2d: lambda layer, outputs: (0, 2 * outputs),
    nn.ReLU: lambda layer, outputs: (0, outputs),
    nn.MaxPool2d: _count_pool,
    nn.AvgPool2d: _count_pool,
}
