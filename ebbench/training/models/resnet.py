"""ResNet for ImageNet (He et al. 2016a): basic blocks or bottlenecks, BatchNorm after each convolution."""

from __future__ import annotations

from typing import Iterator, List, Optional, Sequence, Tuple

from torch import Tensor, nn

from ebbench.training.models.channels import Channels
from ebbench.training.models.network import Network, convolution, norm

#: sizes of a block's convolutions; its stride is that of the first 3x3
BASIC, BOTTLENECK = (3, 3), (1, 3, 1)


def resnet_widths(depths: Sequence[int], kernels: Tuple[int, ...], planes: int = 64) -> Tuple[int, ...]:
    """The dense widths with `depths` blocks in the stages: the stem; for each stage its stream, unless it goes on with the
    stem's, and the inner widths of each block."""
    widths = [planes]
    expansion = 4 if kernels == BOTTLENECK else 1
    for stage, depth in enumerate(depths):
        inner = planes * 2**stage
        if _has_own_stream(stage, kernels):
            widths.append(expansion * inner)
        widths += [inner] * (depth * (len(kernels) - 1))
    return tuple(widths)


class ResNet(Network):
    """A 7x7 convolution and a max-pool, each halving the image, stages of blocks, the average, one linear layer.

    `widths`: see `resnet_widths`; `side` of the image in pixels, `stem_stride` 2 or, for images too small to be halved so
    often, 1. The convolution in the shortcut of a stage of bottlenecks has a bias, which the
    BatchNorm behind it takes away again: the paper's network has it, and its parameters are counted with it.
    """

    def __init__(
        self,
        name: str,
        num_classes: int,
        widths: Tuple[int, ...],
        depths: Sequence[int],
        kernels: Tuple[int, ...],
        side: int = 224,
        stem_stride: int = 2,
    ) -> None:
        super().__init__(name, num_classes, widths)
        self.input_shape = (3, side, side)
        left = iter(widths)
        stream = next(left)
        self.stem = nn.Sequential(
            convolution(3, stream, 7, stem_stride), norm(stream), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)
        )
        self.stages = nn.Sequential()
        for stage, depth in enumerate(depths):
            outputs = next(left) if _has_own_stream(stage, kernels) else stream
            built = []
            for block in range(depth):
                inner = [next(left) for _ in kernels[1:]]
                has_shortcut = block == 0 and _has_own_stream(stage, kernels)
                stride = 2 if block == 0 and stage > 0 else 1
                built.append(Block(kernels, [stream, *inner, outputs], stride, has_shortcut))
                stream = outputs
            self.stages.add_module(str(stage), nn.Sequential(*built))
        # of all pixels that are left; adaptive pooling has no deterministic gradient on a GPU
        self.average = nn.AvgPool2d(side // (16 * stem_stride))
        self.classifier = nn.Linear(stream, num_classes, device="meta")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits [B, classes]."""
        x_BCHW = self.stages(self.stem(x_BCHW))
        return self.classifier(self.average(x_BCHW).flatten(1))

    def channels(self) -> List[Channels]:
        """The stem, the stream of each stage and the inner channels of each block.

        All BatchNorms that add to a stream are over its channels, since only what all of them mask is zero in it.
        """
        left = iter(self.widths)
        stream = Channels(next(left), ["stem.0"], ["stem.1"])
        entries = [stream]
        for s, stage in enumerate(self.stages):
            for b, block in enumerate(stage):
                name = f"stages.{s}.{b}"
                before = stream
                if block.shortcut is not None:
                    stream = Channels(next(left), [f"{name}.shortcut.0"], [f"{name}.shortcut.1"])
                    entries.append(stream)
                    before.readers.append(f"{name}.shortcut.0")
                entries += _inside(block, name, before, stream, left)
        stream.readers.append("classifier")
        return entries


class Block(nn.Module):
    """Convolutions, each with BatchNorm and ReLU, but for the last ReLU, which follows the sum with the block's input.

    `widths`: of the input, between the convolutions, and of the output.
    """

    def __init__(self, kernels: Tuple[int, ...], widths: Sequence[int], stride: int, has_shortcut: bool) -> None:
        super().__init__()
        layers: List[nn.Module] = []
        for number, kernel in enumerate(kernels):
            strided = stride if number == kernels.index(3) else 1
            layers += [convolution(widths[number], widths[number + 1], kernel, strided), norm(widths[number + 1])]
            layers.append(nn.ReLU(inplace=True))
        self.relu = layers.pop()
        self.layers = nn.Sequential(*layers)
        self.shortcut: Optional[nn.Sequential] = None
        if has_shortcut:
            reader = convolution(widths[0], widths[-1], 1, stride, bias=kernels == BOTTLENECK)
            self.shortcut = nn.Sequential(reader, norm(widths[-1]))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        shortcut_BCHW = x_BCHW if self.shortcut is None else self.shortcut(x_BCHW)
        return self.relu(self.layers(x_BCHW).add_(shortcut_BCHW))


def _has_own_stream(stage: int, kernels: Tuple[int, ...]) -> bool:
    """The first stage of basic blocks goes on with the stem's channels."""
    return stage > 0 or kernels == BOTTLENECK


def _inside(block: Block, name: str, before: Channels, stream: Channels, left: Iterator[int]) -> List[Channels]:
    """The channels between the convolutions of a block; its first and last one are noted in the streams."""
    convolutions = [f"{name}.layers.{i}" for i, layer in enumerate(block.layers) if isinstance(layer, nn.Conv2d)]
    norms = [f"{name}.layers.{i}" for i, layer in enumerate(block.layers) if isinstance(layer, nn.BatchNorm2d)]
    before.readers.append(convolutions[0])
    stream.writers.append(convolutions[-1])
    stream.norms.append(norms[-1])
    return [
        Channels(next(left), [writer], [norm_name], [reader])
        for writer, norm_name, reader in zip(convolutions, norms, convolutions[1:])
    ]
