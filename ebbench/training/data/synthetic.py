"""The embedded dataset: ten classes of coloured textures, the size of CIFAR's images, hard enough to be worth training on."""

from __future__ import annotations

from typing import Tuple

import numpy as np

from ebbench.training.data.npz import Arrays

CLASSES = 10
TRAIN_IMAGES, TEST_IMAGES = 2000, 500
SIDE = 32
SEED = 2020

#: chosen so that twelve epochs of ``vgg16-small`` climb from chance to about 0.9 and neither start nor end there
VARIANTS = 2
MAX_SHIFT = 12  # pixels
STRENGTH = (0.5, 0.95)  # of the image's own pattern
CLUTTER = 0.4  # up to, of another class's pattern
LIGHT = 0.2  # up to, either way, per colour
NOISE = 0.3  # up to, either way, per pixel and colour


def images() -> Arrays:
    """2,000 training and 500 test images, classes in turn; the same bytes on every machine.

    Each class has two coloured patterns. An image shows one of its own, shifted at random (wrapped around), at random strength,
    with a weaker pattern of another class on it, a random tint and noise. Only raw Philox words, integer and elementwise
    float32 arithmetic are used, so the bytes depend neither on numpy's version nor on the processor.
    """
    source = np.random.Philox(np.random.SeedSequence(SEED))
    patterns = _patterns(source)
    labels, pixels = _mix(source, patterns, TRAIN_IMAGES + TEST_IMAGES)
    n = TRAIN_IMAGES
    return Arrays(pixels[:n], labels[:n], pixels[n:], labels[n:])


def _mix(source: np.random.Philox, patterns: np.ndarray, count: int) -> Tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count, dtype=np.int64) % CLASSES
    others = (labels + 1 + _integers(source, count, CLASSES - 1)) % CLASSES
    low, high = STRENGTH
    strength = low + (high - low) * _uniform(source, (count, 1, 1, 1))
    clutter = CLUTTER * _uniform(source, (count, 1, 1, 1))
    light = 2 * LIGHT * (_uniform(source, (count, 1, 1, 3)) - 0.5)
    # float32 throughout: 1 is full contrast, 127.5 grey levels
    level = _placed(source, patterns, labels) * (127.5 * strength).astype(np.float32)
    level += _placed(source, patterns, others) * (127.5 * clutter).astype(np.float32)
    level += (127.5 + 127.5 * light).astype(np.float32)
    level += _noise_bytes(source, level.shape) * np.float32(NOISE)
    return labels, np.clip(np.rint(level), 0, 255).astype(np.uint8)


def _patterns(source: np.random.Philox) -> np.ndarray:
    """Float32 [classes, variants, 32, 32, 3] in -1..1: random 8x8 grids, blown up linearly and wrapped around."""
    fine = 2 * _uniform(source, (CLASSES, VARIANTS, SIDE // 4, SIDE // 4, 3)) - 1
    for axis in (2, 3):
        following = np.roll(fine, -1, axis)
        shape = tuple(size * (4 if i == axis else 1) for i, size in enumerate(fine.shape))
        steps = [fine * ((4 - k) / 4) + following * (k / 4) for k in range(4)]
        fine = np.stack(steps, axis=axis + 1).reshape(shape)
    return fine.astype(np.float32)


def _placed(source: np.random.Philox, patterns: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One of the patterns of each label, shifted by up to MAX_SHIFT pixels both ways: float32 [n, 32, 32, 3]."""
    variants = _integers(source, len(labels), VARIANTS)
    down, right = (_integers(source, len(labels), MAX_SHIFT) for _ in range(2))
    tiled = np.concatenate([patterns, patterns[:, :, :MAX_SHIFT]], axis=2)
    tiled = np.concatenate([tiled, tiled[:, :, :, :MAX_SHIFT]], axis=3)
    placed = np.empty((len(labels), SIDE, SIDE, 3), dtype=np.float32)
    for i, (label, variant, y, x) in enumerate(zip(labels, variants, down, right)):
        placed[i] = tiled[label, variant, y : y + SIDE, x : x + SIDE]
    return placed


def _uniform(source: np.random.Philox, shape: Tuple[int, ...]) -> np.ndarray:
    """Float64 in [0, 1) with 53 bits, exact."""
    words = source.random_raw(int(np.prod(shape)))
    return ((words >> np.uint64(11)) * (1.0 / 9007199254740992.0)).reshape(shape)


def _integers(source: np.random.Philox, count: int, below: int) -> np.ndarray:
    """Int64 [count] in 0..below - 1."""
    return (source.random_raw(count) >> np.uint64(32)).astype(np.int64) % below


def _noise_bytes(source: np.random.Philox, shape: Tuple[int, ...]) -> np.ndarray:
    """Float32 in -127.5..127.5, 256 steps; eight to a word."""
    count = int(np.prod(shape))
    octets = source.random_raw(-(-count // 8)).astype("<u8").view(np.uint8)[:count]
    return octets.reshape(shape).astype(np.float32) - np.float32(127.5)
