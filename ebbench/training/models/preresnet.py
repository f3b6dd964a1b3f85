"""Pre-activation ResNet of bottlenecks for 32x32 images (He et al. 2016b, as Liu et al. 2017 prune it)."""

from __future__ import annotations

from typing import List, Optional, Tuple

from torch import Tensor, nn

from ebbench.training.models.channels import Channels
from ebbench.training.models.network import Network, Select, convolution, norm

STAGES = 3
EXPANSION = 4


def preresnet_widths(blocks: int, planes: int) -> Tuple[int, ...]:
    """The dense widths with `blocks` bottlenecks in each stage, the first of them `planes` wide inside.

    The stem's stream; for each stage its stream, then for each block what its first BatchNorm reads of the stream before
    it and the two inner widths; what the last BatchNorm reads.
    """
    widths = [planes]
    stream = planes
    for stage in range(STAGES):
        inner = planes * 2**stage
        widths.append(EXPANSION * inner)
        for _ in range(blocks):
            widths += [stream, inner, inner]
            stream = EXPANSION * inner
    return (*widths, stream)


class PreResNet(Network):
    """9 n + 2 layers: a 3x3 convolution, three stages of n bottlenecks, BatchNorm, ReLU, average, one linear layer.

    `widths`: see `preresnet_widths`; their number says how deep it is. The first block of a stage has a bare 1x1
    convolution as its shortcut; those of the second and the third halve the image.
    """

    norm_scale = 0.5

    def __init__(self, name: str, num_classes: int, widths: Tuple[int, ...]) -> None:
        super().__init__(name, num_classes, widths)
        blocks = (len(widths) - 5) // 9
        left = iter(widths)
        stream = next(left)
        self.stem = convolution(self.input_shape[0], stream, 3)
        self.stages = nn.Sequential()
        for stage in range(STAGES):
            outputs = next(left)
            built = []
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                built.append(Bottleneck(stream, (next(left), next(left), next(left)), outputs, stride, block == 0))
                stream = outputs
            self.stages.add_module(str(stage), nn.Sequential(*built))
        self.select = Select(next(left), stream)
        self.norm = norm(widths[-1])
        self.relu = nn.ReLU(inplace=True)
        self.classifier = nn.Linear(widths[-1], num_classes, device="meta")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits [B, classes]."""
        x_BCHW = self.stages(self.stem(x_BCHW))
        x_BCHW = self.relu(self.norm(self.select(x_BCHW)))
        return self.classifier(x_BCHW.mean((2, 3)))

    def channels(self) -> List[Channels]:
        """A stream for the stem and each stage, what each block reads of it, and the inner channels of each block."""
        left = iter(self.widths)
        stream = Channels(next(left), writers=["stem"])
        entries = [stream]
        for s, stage in enumerate(self.stages):
            before, stream = stream, Channels(next(left))
            entries.append(stream)
            for b, block in enumerate(stage):
                name = f"stages.{s}.{b}"
                entries += [
                    Channels(next(left), [], [f"{name}.norm1"], [f"{name}.conv1"], before, f"{name}.select.indices"),
                    Channels(next(left), [f"{name}.conv1"], [f"{name}.norm2"], [f"{name}.conv2"]),
                    Channels(next(left), [f"{name}.conv2"], [f"{name}.norm3"], [f"{name}.conv3"]),
                ]
                if block.shortcut is not None:
                    before.readers.append(f"{name}.shortcut")
                    stream.writers.append(f"{name}.shortcut")
                stream.writers.append(f"{name}.conv3")
                before = stream
        entries.append(Channels(next(left), [], ["norm"], ["classifier"], stream, "select.indices"))
        return entries


class Bottleneck(nn.Module):
    """Three times BatchNorm, ReLU and convolution (1x1, 3x3, 1x1), added to the block's input.

    `widths`: what the first BatchNorm reads of the `inputs` channels, and the two between the convolutions.
    """

    def __init__(
        self, inputs: int, widths: Tuple[int, int, int], outputs: int, stride: int, has_shortcut: bool
    ) -> None:
        super().__init__()
        read, first, second = widths
        self.select = Select(read, inputs)
        self.norm1 = norm(read)
        self.conv1 = convolution(read, first, 1)
        self.norm2 = norm(first)
        self.conv2 = convolution(first, second, 3, stride)
        self.norm3 = norm(second)
        self.conv3 = convolution(second, outputs, 1)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: Optional[nn.Conv2d] = convolution(inputs, outputs, 1, stride) if has_shortcut else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        y_BCHW = self.conv1(self.relu(self.norm1(self.select(x_BCHW))))
        y_BCHW = self.conv2(self.relu(self.norm2(y_BCHW)))
        y_BCHW = self.conv3(self.relu(self.norm3(y_BCHW)))
        return y_BCHW.add_(x_BCHW if self.shortcut is None else self.shortcut(x_BCHW))
