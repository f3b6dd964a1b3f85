"""Accuracy per image, in a network that is left as it was."""

from __future__ import annotations

from typing import Tuple

import pytest
import torch
from torch import nn

from ebbench.training.accuracy import evaluate
from ebbench.training.data.datasets import ImageSet


class Planted(nn.Module):
    """Ranks the classes by the image's own first pixels: what is right is known beforehand."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.norm = nn.BatchNorm2d(3)
        self.seen_modes = set()

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        self.seen_modes.add(self.training)
        assert not torch.is_grad_enabled()
        self.norm(x_BCHW)
        return x_BCHW[:, 0, 0, : self.num_classes]


def planted_images(count: int, classes: int) -> Tuple[ImageSet, torch.Tensor]:
    """Images whose pixel k is the score of class k; labels drawn apart from them. Also the rank of each label."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    images[:, 0, 0, :classes] = torch.stack(
        [torch.randperm(classes, generator=generator) * 20 for _ in range(count)]
    ).byte()
    labels = torch.randint(0, classes, (count,), generator=generator)
    scores = images[:, 0, 0, :classes].long()
    rank = (scores > scores.gather(1, labels[:, None])).sum(1)
    return ImageSet(images, labels), rank


@pytest.mark.parametrize("batch_size", [1, 7, 10, 64])
def test_every_image_counts_once_however_the_batches_fall(batch_size: int):
    images, rank = planted_images(31, 10)
    found = evaluate(Planted(10), images, batch_size=batch_size, mean=(0.5,) * 3, std=(0.2,) * 3)
    assert found.top1 == int((rank == 0).sum()) / 31
    assert found.top5 == int((rank < 5).sum()) / 31
    assert found.images == 31


@pytest.mark.parametrize(("classes", "has_top5"), [(3, False), (5, False), (6, True)])
def test_there_is_a_top_five_only_above_five_classes(classes: int, has_top5: bool):
    images, _ = planted_images(12, classes)
    found = evaluate(Planted(classes), images, batch_size=5, mean=(0.5,) * 3, std=(0.2,) * 3)
    assert (found.top5 is not None) == has_top5


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_and_the_running_statistics_stay_as_they_are(training: bool):
    images, _ = planted_images(12, 10)
    model = Planted(10).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, images, batch_size=5, mean=(0.5,) * 3, std=(0.2,) * 3)
    assert model.training == training and model.seen_modes == {False}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_network_that_died_is_right_by_chance_only():
    """Equal scores for all classes must not count as right."""

    class Dead(Planted):
        def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(x_BCHW), 10)

    images, _ = planted_images(200, 10)
    assert evaluate(Dead(10), images, batch_size=50, mean=(0.5,) * 3, std=(0.2,) * 3).top1 < 0.3
