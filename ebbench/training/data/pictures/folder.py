"""A folder with ``train/`` and ``val/``, and in each one folder of pictures per class: what is there, and what is not taken."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ebbench.errors import ConfigError, InputError

PARTS = ("train", "val")
ENDINGS = (".jpg", ".jpeg", ".png")
LAYOUT = "train/ and val/ hold one folder of JPEG or PNG files per class"


class File(NamedTuple):
    """A file by its name from the top folder, with what changes when it does."""

    name: str
    size: int
    changed_ns: int


@dataclass(frozen=True)
class Part:
    """The files of one part class by class, each class in the order of its names, and how many others were passed over."""

    files: List[File]
    labels: np.ndarray
    strays: int


def list_folder(root: Path) -> Tuple[Part, Part, Tuple[str, ...]]:
    """The training part, the test part and the classes: the names of their folders, in order.

    What is not a JPEG or PNG by its name, lies deeper, or is hidden, is a stray. Raises InputError: a folder is missing or
    cannot be read, the parts have different classes, a class has no file, there is one class only.
    """
    names = [_class_folders(root / part) for part in PARTS]
    train, val = (set(found) for found, _ in names)
    for part, lacks in ((PARTS[0], sorted(val - train)), (PARTS[1], sorted(train - val))):
        if lacks:
            raise InputError(
                f"{root / part} lacks {_few(lacks)}, which the other part has; both need the same class folders ({LAYOUT})"
            )
    classes = names[0][0]
    if len(classes) < 2:
        raise InputError(f"{root / PARTS[0]} has the class {_few(classes)} only; at least 2 are needed")
    parts = [_list_part(root, part, classes, strays) for part, (_, strays) in zip(PARTS, names)]
    return parts[0], parts[1], tuple(classes)


def refuse_too_many(where: str, have: int, setting: str, wanted: int) -> None:
    """Raise ConfigError where `wanted` images, the value of the recipe's `setting`, are more than there are."""
    if wanted > have:
        option = "--" + setting.replace("_", "-")
        raise ConfigError(
            f"{where} has {have} images, not the {wanted} of {setting}; give {option} {have}, or fewer"
            " (an experiment may set it)"
        )


def evenly(labels: np.ndarray, classes: int, count: int) -> np.ndarray:
    """Which `count` of the files to take, int64, rising: as many of each class as there are, spread over its files.

    There are that many. Classes that have fewer give all; the first ones give one more where it does not come out even.
    """
    have = np.bincount(labels, minlength=classes)
    take = np.zeros_like(have)
    while take.sum() < count:
        open_classes = np.flatnonzero(have > take)
        each = (count - take.sum()) // len(open_classes)
        if each:
            take[open_classes] = np.minimum(have, take + each)[open_classes]
        else:
            take[open_classes[: count - take.sum()]] += 1
    starts = np.cumsum(have) - have
    return np.concatenate([start + np.arange(k) * n // max(k, 1) for start, n, k in zip(starts, have, take)])


def _class_folders(folder: Path) -> Tuple[List[str], int]:
    """The class folders, sorted, and the number of strays beside them."""
    entries = _entries(folder)
    classes = sorted(entry.name for entry in entries if _leads_to(entry.is_dir) and not entry.name.startswith("."))
    pictures = sum(_is_picture(entry) for entry in entries)
    if not classes:
        loose = f", but {pictures} pictures that are in none" if pictures else ""
        raise InputError(f"{folder} has no class folders{loose}; {LAYOUT}")
    return classes, len(entries) - len(classes)


def _list_part(root: Path, part: str, classes: Sequence[str], strays: int) -> Part:
    files: List[File] = []
    counts: Dict[str, int] = {}
    for name in classes:
        entries = _entries(root / part / name)
        found = sorted((entry for entry in entries if _is_picture(entry)), key=lambda entry: entry.name)
        for entry in found:
            status = entry.stat()
            files.append(File(f"{part}/{name}/{entry.name}", status.st_size, status.st_mtime_ns))
        counts[name] = len(found)
        strays += len(entries) - len(found)
    empty = [name for name, count in counts.items() if not count]
    if empty:
        raise InputError(
            f"{root / part}: {_few(empty)} without a JPEG or PNG; put some there, or remove the class from both parts"
        )
    labels = np.repeat(np.arange(len(classes)), [counts[name] for name in classes])
    return Part(files, labels, strays)


def _entries(folder: Path) -> List[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError as error:
        raise InputError(f"{folder} is not there; {LAYOUT}") from error
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}; {LAYOUT}") from error


def _is_picture(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    return not name.startswith(".") and name.lower().endswith(ENDINGS) and _leads_to(entry.is_file)


def _leads_to(is_one: Callable[[], bool]) -> bool:
    """What a question about an entry answers; no, where it is a link that leads in a circle or where nobody may look."""
    try:
        return is_one()
    except OSError:
        return False


def _few(names: Sequence[str]) -> str:
    """Three of the names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(name) for name in names[:3]) + more
