"""The embedded dataset: ten classes of coloured textures, the size of CIFAR's images, hard enough to be worth training on."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np

from ebbench.training.npz import Arrays

CLASSES = 10
TRAIN_IMAGES, TEST_IMAGES = 2000, 500
SIDE = 32
SEED = 2020


def images() -> Arrays:
    """2,000 training and 500 test images, the same on every machine.

    Each class has two coloured 8x8 patterns. An image shows one of its class at a random place (wrapped around), mixed with a
    pattern of another class at lower strength, a random brightness and noise. Only raw Philox words, integer and
    elementwise float arithmetic are used, so the bytes do not depend on numpy's version or the processor.
    """
    source = np.random.Philox(np.random.SeedSequence(SEED))
    patterns = _smooth(_uniform(source, (CLASSES, 2, SIDE // 4, SIDE // 4, 3)))
    labels, pixels = _mix(source, patterns, TRAIN_IMAGES + TEST_IMAGES)
    n = TRAIN_IMAGES
    return Arrays(pixels[:n], labels[:n], pixels[n:], labels[n:])


def _mix(source: np.random.Philox, patterns: np.ndarray, count: int) -> Tuple[np.ndarray, np.ndarray]:
    labels = np.arange(count) % CLASSES
    others = (labels + 1 + _integers(source, count, CLASSES - 1)) % CLASSES
    mine = _placed(source, patterns, labels)
    theirs = _placed(source, patterns, others)
    strength = 0.35 + 0.45 * _uniform(source, (count, 1, 1, 1))
    clutter = 0.7 * _uniform(source, (count, 1, 1, 1))
    light = 0.35 * (_uniform(source, (count, 1, 1, 3)) - 0.5)
    noise = 0.9 * (_uniform(source, (count, SIDE, SIDE, 3)) - 0.5)
    bright = 0.5 + strength * mine * 0.5 + clutter * theirs * 0.35 + light + noise * 0.5
    return labels.astype(np.int64), np.clip(np.rint(bright * 255), 0, 255).astype(np.uint8)


def _placed(source: np.random.Philox, patterns: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One of the two patterns of each label, shifted by a random number of pixels both ways: [n, 32, 32, 3]."""
    count = len(labels)
    variant = _integers(source, count, 2)
    rows = (np.arange(SIDE) + _integers(source, count, SIDE)[:, None]) % SIDE
    columns = (np.arange(SIDE) + _integers(source, count, SIDE)[:, None]) % SIDE
    return patterns[labels[:, None, None], variant[:, None, None], rows[:, :, None], columns[:, None, :]]


def _smooth(coarse: np.ndarray) -> np.ndarray:
    """Blow [..., 8, 8, 3] up to [..., 32, 32, 3], linearly and wrapped around, with values about -1..1."""
    fine = 2 * coarse - 1
    for axis in (-3, -2):
        following = np.roll(fine, -1, axis)
        steps = [fine * ((4 - k) / 4) + following * (k / 4) for k in range(4)]
        shape = list(fine.shape)
        shape[axis] *= 4
        fine = _interleave(steps, axis, shape)
    return fine


def _interleave(steps: List[np.ndarray], axis: int, shape: List[int]) -> np.ndarray:
    return np.stack(steps, axis=axis + len(shape) + 1).reshape(shape)


def _uniform(source: np.random.Philox, shape: Tuple[int, ...]) -> np.ndarray:
    """Uniform in [0, 1) with 53 bits, exact."""
    words = source.random_raw(int(np.prod(shape)))
    return ((words >> np.uint64(11)) * (1.0 / 9007199254740992.0)).reshape(shape)


def _integers(source: np.random.Philox, count: int, below: int) -> np.ndarray:
    return (source.random_raw(count) >> np.uint64(32)).astype(np.int64) % below
