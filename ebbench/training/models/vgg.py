"""VGG with BatchNorm for 32x32 images, as the CIFAR experiments of the paper use it (Liu et al. 2017's variant)."""

from __future__ import annotations

import math
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebbench.training.models.plan import SlicingPlan

#: max-pooling follows these convolutions (numbered from 1): 32 -> 16 -> 8 -> 4 -> 2 pixels
POOLED_AFTER = (2, 4, 7, 10)

BN_SCALE = 0.5  # initial gamma of Liu et al. (2017): halves the time until L1 separates the channels
LINEAR_STD = 0.01


class VGG(nn.Module):
    """13 x (3x3 convolution without bias, BatchNorm, ReLU) with four max-pools, a 2x2 average, one linear layer.

    `widths`: output channels of the 13 convolutions. Built without values on the meta device; see
    `ebbench.training.models.build_model`.
    """

    input_shape = (3, 32, 32)

    def __init__(self, name: str, num_classes: int, widths: Tuple[int, ...]) -> None:
        super().__init__()
        self.name = name
        self.num_classes = num_classes
        self.widths = widths
        self.features = nn.Sequential(*_features(widths))
        self._norms = [layer for layer in self.features if isinstance(layer, nn.BatchNorm2d)]
        self.classifier = nn.Linear(widths[-1], num_classes, device="meta")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits [B, classes]."""
        x_BC22 = self.features(x_BCHW)
        return self.classifier(F.avg_pool2d(x_BC22, 2).flatten(1))

    def prunable_norms(self) -> List[nn.BatchNorm2d]:
        """The BatchNorm after every convolution."""
        return list(self._norms)

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights: convolutions N(0, 2 / (k^2 C_out)), gamma 0.5, beta 0, linear N(0, 0.01^2) and bias 0."""
        with torch.no_grad():
            for layer in self.features:
                if isinstance(layer, nn.Conv2d):
                    fan_out = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
                    layer.weight.normal_(0.0, math.sqrt(2.0 / fan_out), generator=generator)
                elif isinstance(layer, nn.BatchNorm2d):
                    layer.reset_running_stats()
                    layer.weight.fill_(BN_SCALE)
                    layer.bias.zero_()
            self.classifier.weight.normal_(0.0, LINEAR_STD, generator=generator)
            self.classifier.bias.zero_()

    def slicing_plan(self, layer_masks: Sequence[np.ndarray]) -> SlicingPlan:
        """Cut both sides: a removed channel takes its filter, its BatchNorm entry and the next layer's inputs with it.

        Exact, because BatchNorm and ReLU turn gamma = beta = 0 into a zero plane, max-pooling keeps it zero, and a
        zero plane adds nothing to the convolution (or the linear layer) that reads it, nor to its gradient.
        """
        kept: Dict[str, Tuple[Optional[np.ndarray], ...]] = {}
        inputs: Optional[np.ndarray] = None  # the first convolution reads the image, whole
        outputs = iter([np.flatnonzero(mask) for mask in layer_masks])
        for index, layer in enumerate(self.features):
            if isinstance(layer, nn.Conv2d):
                rows = next(outputs)
                kept[f"features.{index}.weight"] = (rows, inputs)
                inputs = rows
            elif isinstance(layer, nn.BatchNorm2d):
                for name in ("weight", "bias", "running_mean", "running_var"):
                    kept[f"features.{index}.{name}"] = (inputs,)
        kept["classifier.weight"] = (None, inputs)
        return SlicingPlan(tuple(int(mask.sum()) for mask in layer_masks), kept)


def _features(widths: Sequence[int]) -> List[nn.Module]:
    layers: List[nn.Module] = []
    channels = VGG.input_shape[0]
    for number, width in enumerate(widths, start=1):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False, device="meta"),
            nn.BatchNorm2d(width, device="meta"),
            nn.ReLU(inplace=True),
        ]
        if number in POOLED_AFTER:
            layers.append(nn.MaxPool2d(2))
        channels = width
    return layers
