"""Ten classes of noise as a file of arrays: reading it takes no time, and nothing can be learnt from it but by heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_noise(folder: Path, *, train: int = 20, test: int = 10, side: int = 32, seed: int = 7) -> str:
    """Write ``noise.npz`` into `folder`, `train` and `test` images of `side` pixels; what a recipe calls the data set."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for part, count in (("train", train), ("test", test)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % 10
    np.savez(folder / "noise.npz", **arrays)
    return f"npz:{folder / 'noise.npz'}"
