"""Brings what was written to the disk, in a thread: a sync may take seconds, and readings must not wait for it."""

from __future__ import annotations

import os
import threading
from typing import Optional, Sequence


class Sync(threading.Thread):
    """Brings files to the disk without making the readings wait for it."""

    def __init__(self, fds: Sequence[int], paths: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self.error: Optional[str] = None
        self._fds = list(fds) + [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]
        self._wanted = threading.Event()
        self._finished = False
        self.start()

    def request(self) -> None:
        """Sync soon."""
        self._wanted.set()

    def finish(self) -> None:
        """Sync once more, and wait for it."""
        self._finished = True
        self._wanted.set()
        self.join(timeout=5.0)

    def run(self) -> None:
        """The thread's work."""
        finished = False
        while not finished:
            self._wanted.wait()
            self._wanted.clear()
            finished = self._finished
            try:
                for fd in self._fds:
                    os.fdatasync(fd)
                self.error = None
            except OSError as error:
                self.error = f"cannot bring the trace to the disk: {error.strerror}; check the disk"
