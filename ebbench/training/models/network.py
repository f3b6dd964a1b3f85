"""What all networks have in common."""

from __future__ import annotations

import math
from typing import List, Tuple

import torch
from torch import Tensor, nn

from ebbench.training.models.channels import Channels


class Select(nn.Module):
    """The channels of a residual stream that the BatchNorm behind it has kept.

    Where it has all there is no copy, and no entry in the state dict.
    """

    def __init__(self, width: int, stream: int) -> None:
        super().__init__()
        indices = None if width == stream else torch.empty(width, dtype=torch.int64, device="meta")
        self.register_buffer("indices", indices)

    def take_first(self) -> None:
        """Be the first channels of the stream."""
        if self.indices is not None:
            self.indices.copy_(torch.arange(len(self.indices)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, stream, H, W] to [B, width, H, W], in the same memory layout."""
        if self.indices is None:
            return x_BCHW
        if x_BCHW.is_contiguous():
            return x_BCHW.index_select(1, self.indices)
        # channels-last, as rows of pixels: 8x faster than along the second of four axes
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        chosen = x_BHWC.reshape(-1, x_BHWC.shape[3]).index_select(1, self.indices)
        return chosen.view(*x_BHWC.shape[:3], -1).permute(0, 3, 1, 2)


class Network(nn.Module):
    """A network that can be pruned: it knows its widths, its BatchNorms and which tensors share their channels.

    Built without values on the meta device; see `ebbench.training.models.build_model`.
    """

    #: (channels, height, width) of an image
    input_shape: Tuple[int, int, int] = (3, 32, 32)
    #: gamma of a fresh BatchNorm
    norm_scale = 1.0

    def __init__(self, name: str, num_classes: int, widths: Tuple[int, ...]) -> None:
        super().__init__()
        self.name = name
        self.num_classes = num_classes
        self.widths = widths
        self._norms: List[nn.BatchNorm2d] = []

    def prunable_norms(self) -> List[nn.BatchNorm2d]:
        """Every BatchNorm, in module order."""
        if not self._norms:
            self._norms = [layer for layer in self.modules() if isinstance(layer, nn.BatchNorm2d)]
        return list(self._norms)

    def norm_names(self) -> List[str]:
        """Their names in the state dict, in the same order."""
        return [name for name, layer in self.named_modules() if isinstance(layer, nn.BatchNorm2d)]

    def channels(self) -> List[Channels]:
        """One entry for each of `widths`, in their order."""
        raise NotImplementedError

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights: convolutions N(0, 2 / (k^2 C_out)) with bias 0, gamma `norm_scale`, beta 0."""
        with torch.no_grad():
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d):
                    fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
                    layer.weight.normal_(0.0, math.sqrt(2.0 / fan_out), generator=generator)
                    if layer.bias is not None:
                        layer.bias.zero_()
                elif isinstance(layer, nn.BatchNorm2d):
                    layer.reset_running_stats()
                    layer.weight.fill_(self.norm_scale)
                    layer.bias.zero_()
                elif isinstance(layer, nn.Linear):
                    self.initialise_linear(layer, generator)

    def initialise_linear(self, layer: nn.Linear, generator: torch.Generator) -> None:
        """As torch does it: weights and biases uniform within 1 / sqrt(inputs)."""
        bound = 1.0 / math.sqrt(layer.in_features)
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)


def convolution(inputs: int, outputs: int, size: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A square convolution that keeps the image's size but for its stride, on the meta device."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=bias, device="meta")


def norm(channels: int) -> nn.BatchNorm2d:
    """A BatchNorm on the meta device."""
    return nn.BatchNorm2d(channels, device="meta")
