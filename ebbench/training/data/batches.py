"""Batches from uint8 images on the device, augmented there; every draw is a pure function of (seed, phase, epoch).

Shapes: B batch, C channels, H and W pixels.
"""

from __future__ import annotations

import zlib
from typing import Iterator, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ebbench.training.data.datasets import Images
from ebbench.training.data.pictures.picture_set import PictureSet
from ebbench.training.data.pictures.views import draw_key

#: black border in pixels that a random crop may take in (section 4.1's standard augmentation)
PAD = 4

Step = Tuple[int, Tensor, Tensor]
Batches = Iterator[Tuple[Tensor, Tensor]]


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Steps in one pass; the last batch may be short."""
    return -(-images // batch_size)


def augmented_batches(
    imageset: Images,
    batch_size: int,
    *,
    seed: int,
    phase: str,
    epoch: int,
    start_step: int = 0,
    mean: Sequence[float],
    std: Sequence[float],
    augment: bool = True,
) -> Iterator[Step]:
    """One epoch in random order: (step, x float32 [B, C, H, W] normalised, y int64 [B]), from `start_step` (0-based) on.

    With `augment`, each image is padded by 4 black pixels, cropped back at a random place and mirrored half of the time; one of
    a folder is cut and squeezed at random instead. Order, places and mirrorings depend on (seed, phase, epoch) alone, so an
    interrupted epoch goes on with what it would have seen. Steps do not wait for the device.
    """
    labels, plan_4N = imageset.labels, epoch_plan(len(imageset), seed=seed, phase=phase, epoch=epoch)
    normalise = Normaliser(mean, std, labels.device)
    if isinstance(imageset, PictureSet):
        order = plan_4N[0, start_step * batch_size :]
        key = draw_key(seed, phase, epoch) if augment else None
        for step, (x, y) in enumerate(imageset.batches(order, batch_size, key, normalise), start_step):
            yield step, x, y
        return
    images, plan = imageset.images, torch.from_numpy(plan_4N).to(labels.device)
    for step in range(start_step, steps_per_epoch(len(labels), batch_size)):
        order, top, left, mirrored = plan[:, step * batch_size : (step + 1) * batch_size]
        x = images.index_select(0, order)
        if augment:
            x = crop_and_mirror(x, top, left, mirrored)
        yield step, normalise(x), labels.index_select(0, order)


def plain_batches(imageset: Images, batch_size: int, *, mean: Sequence[float], std: Sequence[float]) -> Batches:
    """All images in their order, normalised: for evaluation. Yields (x, y) as in `augmented_batches`."""
    normalise = Normaliser(mean, std, imageset.labels.device)
    if isinstance(imageset, PictureSet):
        yield from imageset.batches(np.arange(len(imageset)), batch_size, None, normalise)
        return
    for step in range(steps_per_epoch(len(imageset.labels), batch_size)):
        part = slice(step * batch_size, (step + 1) * batch_size)
        yield normalise(imageset.images[part]), imageset.labels[part]


def epoch_plan(images: int, *, seed: int, phase: str, epoch: int) -> np.ndarray:
    """What happens to the images of one epoch, int64 [4, N] in the order of use: index, crop's top, crop's left, mirrored.

    Made from raw 64-bit words of Philox, whose stream (unlike that of numpy's distributions) never changes between versions.
    """
    words = np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(phase.encode()), epoch])).random_raw(2 * images)
    order = np.argsort(words[:images], kind="stable")
    chance = words[images:]
    span = 2 * PAD + 1
    # three independent draws from disjoint bits; 2^31 mod 9 = 2 makes a bias of 1e-9
    top, left, mirrored = (chance >> 33) % span, (chance >> 2 & 0x7FFFFFFF) % span, chance & 1
    return np.stack([order, top, left, mirrored]).astype(np.int64)


def crop_and_mirror(x_BCHW: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """Cut a window of the same size out of each zero-padded uint8 image, [B] offsets 0..8, and mirror where [B] says 1.

    The images and their mirror images lie in one padded block; every window of it, wherever it begins, is one row of a view,
    so that a single gather of rows does the work of the whole batch (8x faster than indexing along four axes).
    """
    count, channels, height, width = x_BCHW.shape
    padded_height, padded_width = height + 2 * PAD, width + 2 * PAD
    block = x_BCHW.new_zeros((2, count, channels, padded_height, padded_width))
    inner = block[:, :, :, PAD : PAD + height, PAD : PAD + width]
    inner[0] = x_BCHW
    inner[1] = x_BCHW.flip(3)
    plane = padded_height * padded_width
    last_start = (2 * count - 1) * channels * plane + 2 * PAD * padded_width + 2 * PAD
    windows = block.as_strided((last_start + 1, channels, height, width), (1, plane, padded_width, 1))
    # the window that begins `left` from the left of an image ends `left` from the right of its mirror image
    column = torch.where(mirrored.bool(), 2 * PAD - left, left)
    row = torch.arange(count, device=x_BCHW.device).add_(mirrored, alpha=count)
    return windows.index_select(0, row.mul_(channels * plane).add_(top, alpha=padded_width).add_(column))


class Normaliser:
    """uint8 images to float32 (x / 255 - mean) / std, per channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        mean_C = torch.tensor(mean, dtype=torch.float64)
        std_C = torch.tensor(std, dtype=torch.float64)
        self._scale = (1 / (255 * std_C)).float().view(1, -1, 1, 1).to(device)
        self._shift = (-mean_C / std_C).float().view(1, -1, 1, 1).to(device)

    def __call__(self, x_BCHW: Tensor) -> Tensor:
        """Float32 [B, C, H, W]."""
        return x_BCHW.float().mul_(self._scale).add_(self._shift)
