"""Images from an .npz archive with the array names of Keras' own archives; every fault is one clear line."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Tuple

import numpy as np

from ebbench.errors import InputError

NAMES = ("x_train", "y_train", "x_test", "y_test")
WANTED = "images are uint8 [N, height, width, channels], labels integers [N]"


@dataclass(frozen=True)
class Arrays:
    """Images uint8 [N, H, W, C] and integer labels [N] of both parts."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def read_npz(path: Path) -> Tuple[Arrays, int]:
    """The images in `path`, and the number of classes: as many as ``class_names`` names, else the largest training label + 1.

    Raises InputError: file missing or damaged, an array missing or pickled, a wrong shape or dtype, no images, as many labels
    as images not, labels outside 0..classes - 1, a class without one training image.
    """
    stored = _load(path)
    missing = [name for name in NAMES if name not in stored]
    if missing:
        raise InputError(
            f"{path}: no array {', '.join(missing)} (it has {', '.join(sorted(stored)) or 'none'}); {WANTED}"
        )
    for part in ("train", "test"):
        _check_part(path, part, stored[f"x_{part}"], stored[f"y_{part}"])
    if stored["x_train"].shape[1:] != stored["x_test"].shape[1:]:
        shapes = [list(stored[name].shape[1:]) for name in ("x_train", "x_test")]
        raise InputError(f"{path}: x_train holds images of shape {shapes[0]} and x_test of {shapes[1]}")
    classes = _count_classes(path, stored)
    return Arrays(**{name: stored[name] for name in NAMES}), classes


def _load(path: Path) -> Dict[str, np.ndarray]:
    """The arrays that matter. Pickled ones are refused: a pickle can run any program."""
    try:
        # opened here, since np.load leaves a damaged file open
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise InputError(f"{path} is a single array, not an .npz archive; np.savez makes one")
            return {name: archive[name] for name in archive.files if name in (*NAMES, "class_names")}
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there; np.savez makes it from x_train, y_train, x_test, y_test") from error
    except ValueError as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error) or "pickled" in str(error):
            raise InputError(
                f"{path} is not an .npz of plain arrays (pickled objects are refused); {WANTED}"
            ) from error
        raise InputError(f"{path} is damaged: {error}") from error
    except (OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise InputError(f"{path} cannot be read or is damaged: {error}") from error


def _check_part(path: Path, part: str, images: np.ndarray, labels: np.ndarray) -> None:
    x, y = f"x_{part}", f"y_{part}"
    if images.dtype != np.uint8:
        raise InputError(f"{path}: {x} is {images.dtype}, uint8 (0..255) is needed")
    if images.ndim != 4:
        raise InputError(f"{path}: {x} has shape {list(images.shape)}; {WANTED}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{path}: {y} is {labels.dtype}, integers are needed")
    if labels.ndim != 1:
        raise InputError(f"{path}: {y} has shape {list(labels.shape)}, [N] is needed")
    if len(images) != len(labels):
        raise InputError(f"{path}: {x} holds {len(images)} images and {y} {len(labels)} labels")
    if images.size == 0:
        raise InputError(f"{path}: {x} is empty (shape {list(images.shape)})")


def _count_classes(path: Path, stored: Dict[str, np.ndarray]) -> int:
    train, test = stored["y_train"], stored["y_test"]
    names = stored.get("class_names")
    classes = int(train.max()) + 1 if names is None else len(np.atleast_1d(names))
    for name, labels in (("y_train", train), ("y_test", test)):
        if labels.min() < 0 or labels.max() >= classes:
            span = f"{labels.min()} to {labels.max()}"
            known = f", out of range 0..{classes - 1} of {classes} classes" if classes > 0 else ""
            raise InputError(f"{path}: {name} has labels from {span}{known}; number the classes from 0")
    present = len(np.unique(train))
    if names is None and present < classes:
        raise InputError(
            f"{path}: y_train has labels up to {classes - 1} but only {present} different ones; "
            f"number the classes 0..{present - 1}, or name all in class_names"
        )
    if classes < 2:
        raise InputError(f"{path}: y_train has one class only; at least 2 are needed")
    return classes
