"""A file that is replaced whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO, Callable

from ebbench.errors import DiskError


def write_whole(
    path: Path,
    write: Callable[[BinaryIO], object],
    *,
    make_folder: bool = False,
    what: str = "",
    advice: str = "make room or choose another folder with --out",
) -> None:
    """Replace `path` by what `write` writes; it is on the disk before this returns.

    Raises DiskError, which calls the file `what` and ends with `advice`. What a killed process leaves is called ``.*.tmp``.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if make_folder:
            path.parent.mkdir(exist_ok=True)
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise DiskError(f"cannot write {what}{' ' if what else ''}{path}: {error.strerror}; {advice}") from error


def _sync_folder(folder: Path) -> None:
    """A file's new name is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
