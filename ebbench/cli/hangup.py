"""A terminal that goes away, as a window that is closed or an ssh connection that is cut, does not end a run.

What the terminal would have shown goes on in a file then (docs/decisions/0019-a-run-outlives-its-terminal.md).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence, TextIO

#: beside the folder of the runs: what was said after the terminal had gone
SAID = "-terminal.txt"


@contextlib.contextmanager
def outlived_terminal(folder: Path, quiet: Callable[[], None]) -> Iterator[None]:
    """While this lasts, SIGHUP moves what is on a terminal to ``folder-terminal.txt``; `quiet` is called in between.

    Where nothing is on a terminal and SIGHUP is ignored already (nohup) it stays ignored.
    """
    in_main = threading.current_thread() is threading.main_thread()  # the only one that may ask for signals
    shown = [one for one in (0, 1, 2) if os.isatty(one)]  # asked now: a terminal that has gone is none any more
    if not in_main or (not shown and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN):
        yield
        return
    folder = folder.absolute()
    said = folder.with_name(folder.name + SAID)

    def move_away(*_: object) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _point(shown, os.open(os.devnull, os.O_RDWR))
        quiet()
        with contextlib.suppress(OSError):  # no room for it: then nothing is said
            _point(shown, os.open(said, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666))
        if 2 in shown:
            os.write(2, _farewell().encode())

    before = signal.signal(signal.SIGHUP, move_away)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _point(descriptors: Sequence[int], at: int) -> None:
    for descriptor in descriptors:
        os.dup2(at, descriptor)
    os.close(at)


def _farewell() -> str:
    now, pid = time.strftime("%Y-%m-%d %H:%M:%S"), os.getpid()
    return f"{now}: the terminal has gone; the run goes on as process {pid} (kill {pid} ends it, and --resume goes on with it)\n"


class Outliving:
    """A stream on a terminal that may go away: what is written between that and its signal is shown to nobody, and no error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, as far as anybody can see it."""
        with _nobody_looking():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, as far as anybody can see it."""
        with _nobody_looking():
            self._stream.flush()


@contextlib.contextmanager
def _nobody_looking() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:  # what the kernel answers where the terminal has gone
            raise
