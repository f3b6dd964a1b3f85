"""A file that another program goes on writing, followed line by line as ``tail -F`` does."""

from __future__ import annotations

import os
from typing import BinaryIO, List, Optional, Tuple

#: bytes taken at once, and how much of what was there before is looked at
MOST_BYTES, TAIL_BYTES = 4 << 20, 64 << 10
#: no line is longer; what goes on without an end is no text
LONGEST_LINE = 64 << 10


class GrowingFile:
    """Hands over whole lines as they come; begins anew where the file was cut or another took its place.

    Raises OSError from the start where the file is not there; later that is only said.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: BinaryIO = _open(path)
        self._rest = b""  # of a line whose end is still to come
        self._is_fresh = False  # begun anew, and nothing handed over yet

    def first_and_last_lines(self) -> Tuple[Optional[str], List[str]]:
        """The first line, and the last ones of what is there now; what comes later is given by `take`."""
        first = self._file.readline(LONGEST_LINE)
        if not first.endswith(b"\n"):
            self._file.seek(0)
            return None, []
        start = max(len(first), os.fstat(self._file.fileno()).st_size - TAIL_BYTES)
        self._file.seek(start)
        *whole, self._rest = self._file.read().split(b"\n")
        if start > len(first):
            whole = whole[1:]  # it begins somewhere in the middle
        return _text(first), [_text(line) for line in whole]

    def take(self) -> Tuple[List[str], List[str], Optional[str]]:
        """``(lines, fresh, fault)``: whole lines since the last call, or those that another file begins with, and what is wrong.

        Nothing is asked of the program that writes, and nothing raised.
        """
        lines: List[str] = []
        fault: Optional[str] = None
        was_fresh = self._is_fresh
        try:
            lines += self._whole_lines(MOST_BYTES)
            self._is_fresh = was_fresh and not lines
            there, mine = os.stat(self._path), os.fstat(self._file.fileno())
            if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
                lines += self._whole_lines()  # what was written to the old one in between
                following = _open(self._path)
                self._file.close()
                self._file = following
                fault = self._begin_anew(None)
            elif mine.st_size < self._file.tell():
                self._file.seek(0)
                fault = self._begin_anew(f"{self._path} was cut; it is read from its start")
        except OSError as error:
            fault = f"{self._path}: {error.strerror}; is it still written, and may you read it?"
        return ([], lines, fault) if was_fresh else (lines, [], fault)

    def _begin_anew(self, fault: Optional[str]) -> Optional[str]:
        """The next lines come from the start of another file; says what was lost of this one."""
        if self._rest:
            fault = f"{self._path} ended in the middle of a line; that line is left out"
        self._rest, self._is_fresh = b"", True
        return fault

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _whole_lines(self, most_bytes: int = -1) -> List[str]:
        *whole, self._rest = (self._rest + self._file.read(most_bytes)).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            self._rest = self._rest[-LONGEST_LINE:]
        return [_text(line) for line in whole]


def _open(path: str) -> BinaryIO:
    return open(path, "rb")


def _text(line: bytes) -> str:
    return line.decode("utf-8-sig", "replace").strip("\r\n\0")
