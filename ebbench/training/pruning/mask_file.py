"""``masks.npz``: every drawn mask, bit-packed, and |gamma| of every epoch. 85 kB of masks and 2.7 MB of scales for 160 epochs
of VGG16."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

import numpy as np

from ebbench.errors import InputError
from ebbench.whole_file import write_whole


@dataclass(frozen=True)
class MaskFile:
    """`masks` bool [m, N], True = kept; `epochs` int64 [m], completed epochs when each was drawn; `gamma` float32 [e, N]."""

    masks: np.ndarray
    epochs: np.ndarray
    gamma: np.ndarray


def save_masks(path: Path, masks: np.ndarray, epochs: Sequence[int], gamma: np.ndarray) -> None:
    """Replace `path`, whole or not at all. Eight channels to a byte; N is kept beside them."""
    masks = np.asarray(masks, dtype=bool)
    if masks.ndim != 2 or len(epochs) != len(masks):
        raise ValueError(f"masks [m, N] and m epochs are needed, not {masks.shape} and {len(epochs)}")
    arrays = {
        "packed": np.packbits(masks, axis=1),
        "channels": np.int64(masks.shape[1]),
        "epochs": np.asarray(epochs, dtype=np.int64),
        "gamma": np.asarray(gamma, dtype=np.float32),
    }
    write_whole(
        path, lambda file: np.savez(file, **arrays), what="the masks", advice="make room, then go on with --resume"
    )


def load_masks(path: Path) -> MaskFile:
    """Read what `save_masks` wrote. Raises InputError when the file is missing, damaged or something else."""
    try:
        # opened here, since np.load leaves a damaged file open
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            packed, channels = stored["packed"], int(stored["channels"])
            masks = np.unpackbits(packed, axis=1)[:, :channels].astype(bool)
            return MaskFile(masks, stored["epochs"], stored["gamma"])
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there: the run has drawn no mask") from error
    except (OSError, ValueError, KeyError, EOFError, IndexError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a file of masks: {error}") from error
