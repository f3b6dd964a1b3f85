"""From a folder of pictures to the two parts of a data set, with all that was not taken counted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import numpy as np
import PIL
import torch
from PIL import features

from ebbench.errors import InputError
from ebbench.training.data.pictures.folder import PARTS, File, Part, evenly, list_folder, refuse_too_many
from ebbench.training.data.pictures.picture_set import PictureSet
from ebbench.training.data.pictures.readers import Readers
from ebbench.training.data.pictures.survey import Survey, survey

#: of the ImageNet training images, as fractions of 255
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IMAGENET_CLASSES = 1000
#: of a part: with more damaged files than this it is no data set
MOST_DAMAGED = 0.1
#: damaged files that are named
NAMED = 3


@dataclass(frozen=True)
class Pictures:
    """Both parts of a folder. `decoder`: what the last bits of pixels depend on; `notes`: what was not taken, or not as it is."""

    train: PictureSet
    val: PictureSet
    classes: Tuple[str, ...]
    fingerprint: str
    decoder: str
    notes: Tuple[str, ...]


def read_pictures(
    root: Path,
    side: int,
    train_images: Optional[int] = None,
    test_images: Optional[int] = None,
    workers: int = 1,
    *,
    classes: Optional[int] = None,
) -> Pictures:
    """The pictures under `root`, each looked at once; see `list_folder` for the layout.

    The fingerprint is the first 16 hex digits of the SHA-256 of all labels and contents. Raises InputError for a folder that is
    not as it should be or has not as many `classes` as stated, ConfigError for more images than there are.
    """
    *parts, names = list_folder(root)
    if classes is not None and classes != len(names):
        raise InputError(
            f"{root} has {len(names)} classes, not {classes}; name a part of a data set imagefolder:{root}"
        )
    readers = Readers(workers)
    digest, notes, sets = hashlib.sha256(), [], []
    kinds: Dict[str, int] = {}
    for name, part, count in zip(PARTS, parts, (train_images, test_images)):
        files, labels = _chosen(root / name, part, len(names), count)
        found = survey(root, files, readers)
        good = np.array([n for n in range(len(files)) if n not in found.faults], dtype=np.int64)
        _refuse_ruins(root / name, files, labels, good, found, names)
        notes += _damage(name, files, found)
        for kind, number in found.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + number
        for n in good:
            digest.update(f"{labels[n]} {found.digests[n]}\n".encode())
        digest.update(b"\n")
        taken = [files[n].name for n in good]
        sets.append(PictureSet(root, taken, torch.from_numpy(labels[good]), side, readers))
    readers.close()
    notes += _remarks(sum(part.strays for part in parts), kinds)
    decoder = f"Pillow {PIL.__version__}, libjpeg {features.version('jpg')}"
    return Pictures(sets[0], sets[1], names, digest.hexdigest()[:16], decoder, tuple(notes))


def _chosen(folder: Path, part: Part, classes: int, count: Optional[int]) -> Tuple[List[File], np.ndarray]:
    if count is None:
        return part.files, part.labels
    setting = "train_images" if folder.name == PARTS[0] else "test_images"
    refuse_too_many(str(folder), len(part.files), setting, count)
    chosen = evenly(part.labels, classes, count)
    return [part.files[n] for n in chosen], part.labels[chosen]


def _refuse_ruins(
    folder: Path, files: List[File], labels: np.ndarray, good: np.ndarray, found: Survey, classes: Tuple[str, ...]
) -> None:
    if len(found.faults) > MOST_DAMAGED * len(files):
        raise InputError(
            f"{folder}: {len(found.faults)} of {len(files)} images cannot be taken ({_named(files, found)}); get the data anew"
        )
    lost = sorted(set(labels.tolist()) - set(labels[good].tolist()))
    if lost:
        raise InputError(
            f"{folder}: no image of class {classes[lost[0]]!r} can be taken ({_named(files, found)}); mend it or remove the class"
        )


def _damage(part: str, files: List[File], found: Survey) -> List[str]:
    if not found.faults:
        return []
    return [f"{len(found.faults)} of {len(files)} {part} images were left out: {_named(files, found)}"]


def _named(files: List[File], found: Survey) -> str:
    lines = [f"{files[n].name!r}: {reason}" for n, reason in list(found.faults.items())[:NAMED]]
    more = len(found.faults) - NAMED
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def _remarks(strays: int, kinds: Dict[str, int]) -> List[str]:
    """What was passed over, and what was not taken as it is."""
    words = {"turned": "turned upright as their EXIF says", "P": "with a palette made RGB"}
    said = [f"{count} {words.get(kind, f'{kind} made RGB')}" for kind, count in sorted(kinds.items())]
    remarks = [f"of the images, {', '.join(said)}"] if said else []
    if strays:
        remarks.append(f"{strays} files or folders that are no images of a class were passed over")
    return remarks
