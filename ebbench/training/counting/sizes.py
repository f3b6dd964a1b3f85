"""How many images and classes the data sets have, without loading those that are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Mapping

from ebbench.errors import ConfigError, nearest
from ebbench.training.data import synthetic
from ebbench.training.data.npz import read_npz
from ebbench.training.data.pictures.folder import list_folder


@dataclass(frozen=True)
class Size:
    """Images of the training and the test part, classes, and the epochs of the paper's protocol."""

    train: int
    test: int
    classes: int
    epochs: int = 160


SIZES: Mapping[str, Size] = {
    "cifar10": Size(50_000, 10_000, 10),
    "cifar100": Size(50_000, 10_000, 100),
    "imagenet": Size(1_281_167, 50_000, 1000, epochs=90),
    "synthetic": Size(synthetic.TRAIN_IMAGES, synthetic.TEST_IMAGES, synthetic.CLASSES),
}


def size_of(dataset: str) -> Size:
    """The size of a data set by its name; files and folders are read. Raises ConfigError and InputError."""
    kind, _, rest = dataset.partition(":")
    if kind == "npz" and rest:
        arrays, classes = read_npz(Path(rest))
        return Size(len(arrays.y_train), len(arrays.y_test), classes)
    if kind == "imagefolder" and rest:
        train, val, classes = list_folder(Path(rest))
        return Size(len(train.files), len(val.files), len(classes))
    if dataset not in SIZES:
        raise ConfigError(
            f"unknown dataset {dataset!r}; {nearest(dataset, SIZES)}; files are named npz:FILE, folders imagefolder:DIR"
        )
    return SIZES[dataset]
