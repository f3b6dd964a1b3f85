"""Images and labels by name: ``synthetic``, ``npz:FILE``, ``cifar10``, ``cifar100``; uint8, to live on the accelerator.

``imagefolder:DIR`` and ``imagenet`` stay on the disk and are read as they are needed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ebbench.errors import ConfigError, InputError, nearest
from ebbench.training.compat import import_torchvision_datasets
from ebbench.training.data import synthetic
from ebbench.training.data.npz import Arrays, read_npz
from ebbench.training.data.pictures.folder import refuse_too_many
from ebbench.training.data.pictures.picture_set import PictureSet
from ebbench.training.data.pictures.read import IMAGENET_CLASSES, IMAGENET_MEAN, IMAGENET_STD, read_pictures

#: of CIFAR-10's training images, as fractions of 255; the public code uses them for CIFAR-100 too
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2023, 0.1994, 0.2010)
#: classes without an image that are named one by one
NAMED = 5


@dataclass(frozen=True)
class ImageSet:
    """`images` uint8 [N, C, H, W], `labels` int64 [N], both on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: str) -> ImageSet:
        """The same images on `device`."""
        return ImageSet(self.images.to(device), self.labels.to(device))


Images = Union[ImageSet, PictureSet]


@dataclass(frozen=True)
class Dataset:
    """A training and a test part. `mean` and `std` per channel are fractions of 255; `image_shape` is (C, H, W).

    `fingerprint`: the first 16 hex digits of the SHA-256 of all images and labels, so that a resumed run and a reader can
    tell whether these are the same data. `decoder` names what makes pixels of files, where that is still to be
    done; `notes` say what was not taken, or not as it is.
    """

    name: str
    train: Images
    test: Images
    num_classes: int
    image_shape: Tuple[int, int, int]
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    fingerprint: str
    decoder: Optional[str] = None
    notes: Tuple[str, ...] = ()


def load_dataset(
    name: str,
    data_dir: str = "data",
    train_images: Optional[int] = None,
    test_images: Optional[int] = None,
    *,
    image_size: int = 224,
    workers: int = 4,
) -> Dataset:
    """The dataset `name` on the CPU, cut to the first `train_images` and `test_images` where these are given.

    Of folders of images as many of each class are taken, and `workers` processes read them into squares of `image_size`.
    Raises ConfigError for an unknown name or more images than there are, InputError for files that are missing or damaged.
    """
    refuse_unknown_dataset(name)
    load = _loaders[-1]
    return load(name, data_dir, train_images, test_images, image_size, workers)


def refuse_unknown_dataset(name: str) -> None:
    """Raise ConfigError with the nearest name where no data set is called `name`; whether it is there is not looked at."""
    kind, known = name.partition(":")[0], [*DATASETS, *FOLDERS]
    if kind not in known:
        raise ConfigError(
            f"unknown dataset {name!r}; {nearest(kind, known)}; files are named npz:FILE, folders imagefolder:DIR"
        )


@contextlib.contextmanager
def loaded_once() -> Iterator[None]:
    """Within the block a data set that is asked for again and again is loaded once; the last one is held in memory."""
    _loaders.append(functools.lru_cache(maxsize=1)(_load))
    try:
        yield
    finally:
        _loaders.pop()


def _load(
    name: str, data_dir: str, train_images: Optional[int], test_images: Optional[int], image_size: int, workers: int
) -> Dataset:
    kind, _, rest = name.partition(":")
    if kind in FOLDERS:
        found = read_pictures(
            _folder_of(name, Path(data_dir)), image_size, train_images, test_images, workers,
            classes=IMAGENET_CLASSES if name == "imagenet" else None,
        )  # fmt: skip
        return Dataset(
            name, found.train, found.val, len(found.classes), (3, image_size, image_size), IMAGENET_MEAN, IMAGENET_STD,
            found.fingerprint, found.decoder, (*found.notes, *_unseen(found.train.labels, len(found.classes))),
        )  # fmt: skip
    arrays, num_classes = DATASETS[kind](rest, Path(data_dir))
    train = _first(name, "train", arrays.x_train, arrays.y_train, train_images)
    test = _first(name, "test", arrays.x_test, arrays.y_test, test_images)
    mean, std = (CIFAR_MEAN, CIFAR_STD) if kind.startswith("cifar") else _moments(train.images.numpy())
    shape = (train.images.shape[1], train.images.shape[2], train.images.shape[3])
    unseen = tuple(_unseen(train.labels, num_classes))
    return Dataset(name, train, test, num_classes, shape, mean, std, _fingerprint(train, test), notes=unseen)


_loaders: List[Callable[..., Dataset]] = [_load]


def _first(name: str, part: str, images_NHWC: np.ndarray, labels: np.ndarray, count: Optional[int]) -> ImageSet:
    if count is not None:
        refuse_too_many(f"the {part} part of {name!r}", len(labels), f"{part}_images", count)
    images_NCHW = np.ascontiguousarray(images_NHWC[:count].transpose(0, 3, 1, 2))
    return ImageSet(torch.from_numpy(images_NCHW), torch.from_numpy(labels[:count].astype(np.int64)))


def _unseen(labels: Tensor, num_classes: int) -> Iterator[str]:
    """What is to be said where classes have no training image. No error: what a step costs does not hang on the labels."""
    counts = torch.bincount(labels.clamp(0), minlength=num_classes)  # labels below 0 are refused by whoever trains
    unseen = torch.nonzero(counts == 0).flatten().tolist()
    if unseen:
        named = ", ".join(map(str, unseen[:NAMED])) + (
            f" and {len(unseen) - NAMED} more" if len(unseen) > NAMED else ""
        )
        yield (
            f"{len(unseen)} of {num_classes} classes have no training image (numbers {named}, counted from 0): the network cannot "
            "learn them, and the accuracy counts their test images as wrong"
        )


def _moments(images_NCHW: np.ndarray) -> Tuple[Tuple[float, ...], Tuple[float, ...]]:
    """Mean and standard deviation of each channel as fractions of 255, to four digits; from integer sums, so exact."""
    counts = np.stack([np.bincount(images_NCHW[:, c].ravel(), minlength=256) for c in range(images_NCHW.shape[1])])
    levels = np.arange(256)
    n = counts[0].sum()
    mean = counts @ levels / n
    variance = counts @ levels**2 / n - mean**2
    # a channel of one grey value has no spread: leave it as it is
    std = np.where(variance > 0, np.sqrt(np.maximum(variance, 0)), 255.0)
    return tuple(round(float(m) / 255, 4) for m in mean), tuple(max(round(float(s) / 255, 4), 1e-4) for s in std)


def _fingerprint(*parts: ImageSet) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.images.numpy().data)
        digest.update(part.labels.numpy().data)
    return digest.hexdigest()[:16]


def _read_synthetic(rest: str, data_dir: Path) -> Tuple[Arrays, int]:
    if rest:
        raise ConfigError(f"dataset 'synthetic:{rest}': 'synthetic' takes nothing after it")
    return synthetic.images(), synthetic.CLASSES


def _read_npz(rest: str, data_dir: Path) -> Tuple[Arrays, int]:
    if not rest:
        raise ConfigError("dataset 'npz' needs a file: npz:FILE")
    return read_npz(Path(rest))


def _cifar(name: str, classes: int) -> Callable[[str, Path], Tuple[Arrays, int]]:
    """A reader of the torchvision dataset of that name, which is never downloaded unasked."""
    class_name = name.upper()

    def read(rest: str, data_dir: Path) -> Tuple[Arrays, int]:
        if rest:
            raise ConfigError(f"dataset '{name}:{rest}': the folder is given with --data-dir")
        load = getattr(import_torchvision_datasets(), class_name)
        try:
            parts = [load(str(data_dir), train=train, download=False) for train in (True, False)]
        except (RuntimeError, OSError, EOFError) as error:
            why = "" if isinstance(error, RuntimeError) else f" ({error})"  # torchvision's advice is for who calls it
            raise InputError(
                f"{name} is not whole in {data_dir}{why}; get it with: python -m ebbench.training.download {name} {data_dir}"
            ) from error
        images = [part.data for part in parts]
        labels = [np.asarray(part.targets, dtype=np.int64) for part in parts]
        return Arrays(images[0], labels[0], images[1], labels[1]), classes

    return read


def _folder_of(name: str, data_dir: Path) -> Path:
    kind, _, rest = name.partition(":")
    if kind == "imagenet" and rest:
        raise ConfigError(f"dataset {name!r}: the folder is given with --data-dir")
    if kind == "imagefolder" and not rest:
        raise ConfigError("dataset 'imagefolder' needs a folder: imagefolder:DIR")
    return Path(rest) if rest else data_dir


#: read as they are needed, because they do not fit into an accelerator's memory
FOLDERS = ("imagefolder", "imagenet")

DATASETS: Dict[str, Callable[[str, Path], Tuple[Arrays, int]]] = {
    "synthetic": _read_synthetic,
    "npz": _read_npz,
    "cifar10": _cifar("cifar10", 10),
    "cifar100": _cifar("cifar100", 100),
}
