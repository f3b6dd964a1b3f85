"""One file of the kernel that holds one number, opened once and read many times."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from ebbench.environment import is_simulated_root
from ebbench.errors import MeterError
from ebbench.protocols import NumberFile

_LONGEST = 64  # bytes; a number and its unit ("32760 ma") are shorter


class FileReader:
    """Reads a number from `path` with one system call. Below a replaced root, a file put in the old one's place is followed.

    The kernel never replaces its own files, so on a real board the descriptor is simply kept.
    """

    def __init__(self, path: os.PathLike) -> None:
        self.path = Path(path)
        self._follow = is_simulated_root()
        self._handle: Optional[int] = None
        self._open()

    def _open(self) -> None:
        try:
            self._handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError as error:
            raise MeterError(
                f"{self.path}: permission denied; run as root or give your user read access to it"
            ) from error
        except OSError as error:
            raise MeterError(f"{self.path}: {error.strerror}; check that the sensor's driver is loaded") from error

    def read_text(self) -> str:
        """What the file holds now, stripped. Raises MeterError when it cannot be read or is empty."""
        if self._handle is None:
            raise MeterError(f"{self.path}: already closed")
        try:
            if self._follow:
                self._follow_replaced()
            text = os.pread(self._handle, _LONGEST, 0).decode("ascii", "replace").strip("\0 \t\r\n")  # type: ignore[arg-type]
        except OSError as error:
            raise MeterError(f"{self.path}: {error.strerror}; the sensor did not answer") from error
        if not text:
            raise MeterError(f"{self.path}: empty; the sensor did not answer")
        return text

    def _follow_replaced(self) -> None:
        if os.fstat(self._handle).st_nlink == 0:  # type: ignore[arg-type]
            old = self._handle
            self._open()  # where there is no new file yet, the old one stays and the next read looks again
            os.close(old)  # type: ignore[arg-type]

    def read_int(self) -> int:
        """The file's whole number; a unit behind it is allowed (``32760 ma``)."""
        try:
            if self._follow:
                self._follow_replaced()
            return int(os.pread(self._handle, _LONGEST, 0))  # type: ignore[arg-type]
        except (OSError, ValueError, TypeError):  # closed, failed, or more than a bare number: say it well, or read on
            return self._read_int_with_care()

    def _read_int_with_care(self) -> int:
        text = self.read_text()
        try:
            return int(text.split()[0])
        except ValueError as error:
            raise MeterError(f"{self.path}: {text!r} is not a whole number; check the driver") from error

    def read_float(self) -> float:
        """The file's number."""
        text = self.read_text()
        try:
            return float(text.split()[0])
        except ValueError as error:
            raise MeterError(f"{self.path}: {text!r} is not a number; check the driver") from error

    def as_number(self, every: int = 1, next_in: int = 0) -> NumberFile:
        """This file for sweeps that compiled code makes. Raises MeterError when it is closed."""
        if self._handle is None:
            raise MeterError(f"{self.path}: already closed")
        return NumberFile(self._handle, every, next_in, self._follow)

    def close(self) -> None:
        """Give the descriptor back; a second time does nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def read_number(path: os.PathLike) -> float:
    """The number in `path`, read once; MeterError as `FileReader`."""
    reader = FileReader(path)
    try:
        return reader.read_float()
    finally:
        reader.close()
