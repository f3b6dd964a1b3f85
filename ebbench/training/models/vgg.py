"""VGG with BatchNorm for 32x32 images, as the CIFAR experiments of the paper use it (Liu et al. 2017's variant)."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebbench.training.models.channels import Channels
from ebbench.training.models.network import Network, convolution, norm

#: of Simonyan and Zisserman's configuration D
WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
#: max-pooling follows these convolutions (numbered from 1): 32 -> 16 -> 8 -> 4 -> 2 pixels
POOLED_AFTER = (2, 4, 7, 10)

LINEAR_STD = 0.01


class VGG(Network):
    """13 x (3x3 convolution without bias, BatchNorm, ReLU) with four max-pools, a 2x2 average, one linear layer.

    `widths`: output channels of the 13 convolutions.
    """

    norm_scale = 0.5  # of Liu et al. (2017): halves the time until L1 separates the channels

    def __init__(self, name: str, num_classes: int, widths: Tuple[int, ...]) -> None:
        super().__init__(name, num_classes, widths)
        self.features = nn.Sequential(*_features(widths))
        self.classifier = nn.Linear(widths[-1], num_classes, device="meta")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits [B, classes]."""
        x_BC22 = self.features(x_BCHW)
        return self.classifier(F.avg_pool2d(x_BC22, 2).flatten(1))

    def channels(self) -> List[Channels]:
        """Between each convolution and the next, or the linear layer."""
        convolutions = [f"features.{i}" for i, layer in enumerate(self.features) if isinstance(layer, nn.Conv2d)]
        readers = [*convolutions[1:], "classifier"]
        return [
            Channels(width, [writer], [norm_name], [reader])
            for width, writer, norm_name, reader in zip(self.widths, convolutions, self.norm_names(), readers)
        ]

    def initialise_linear(self, layer: nn.Linear, generator: torch.Generator) -> None:
        """N(0, 0.01^2), bias 0."""
        layer.weight.normal_(0.0, LINEAR_STD, generator=generator)
        layer.bias.zero_()


def _features(widths: Sequence[int]) -> List[nn.Module]:
    layers: List[nn.Module] = []
    channels = VGG.input_shape[0]
    for number, width in enumerate(widths, start=1):
        layers += [convolution(channels, width, 3), norm(width), nn.ReLU(inplace=True)]
        if number in POOLED_AFTER:
            layers.append(nn.MaxPool2d(2))
        channels = width
    return layers
