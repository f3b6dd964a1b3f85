"""Training images that are kept from a training, to see what it is worth without looking at the test part."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Tuple

import numpy as np
import torch

from ebbench.config import FEWEST_HELD_OUT
from ebbench.errors import ConfigError
from ebbench.training.data.batches import epoch_plan
from ebbench.training.data.datasets import Images, ImageSet

#: of the training images, where nobody says how many: the 5,000 of 50,000 that work on CIFAR commonly holds out
SHARE = 10


def hold_out(images: Images, count: int, seed: int) -> Tuple[Images, Images]:
    """`images` without `count` of them, and those; which ones depends on the seed and the number of images alone."""
    order = epoch_plan(len(images), seed=seed, phase="hold-out", epoch=0)[0]
    return _part(images, np.sort(order[count:])), _part(images, np.sort(order[:count]))


def held_out_count(images: int, wanted: Optional[int]) -> int:
    """How many of so many training images to hold out. Raises ConfigError where too few or too many would be."""
    count = images // SHARE if wanted is None else wanted
    if count < FEWEST_HELD_OUT:
        raise ConfigError(
            f"prune_ratio = 'auto': a tenth of the {images} training images are {count}, and {FEWEST_HELD_OUT} or more must be "
            "held out; give --auto-images"
        )
    if count > images // 2:
        raise ConfigError(f"auto_images = {count} is more than half of the {images} training images; hold out fewer")
    return count


def _part(images: Images, at: np.ndarray) -> Images:
    """The images at these places."""
    index = torch.from_numpy(at).to(images.labels.device)
    labels = images.labels.index_select(0, index)
    if isinstance(images, ImageSet):
        return ImageSet(images.images.index_select(0, index), labels)
    return replace(images, names=[images.names[i] for i in at], labels=labels)
