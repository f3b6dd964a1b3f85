"""Looks after the samplers while somebody else's code runs, who never asks how they are."""

from __future__ import annotations

import logging
import threading

from ebbench.energy.recording import Recording
from ebbench.errors import DeviceError

LOOK_EVERY_S = 0.5


class Watch(threading.Thread):
    """Has samplers that died started again, from `start` to `end`; what it finds is said once, on the log ``ebbench``.

    It never stops the code that is measured: what has no readings is missing in the record, with its reason.
    """

    def __init__(self, recording: Recording) -> None:
        super().__init__(name="ebbench-watch", daemon=True)
        self._recording = recording
        self._ended = threading.Event()

    def run(self) -> None:
        """The thread's work."""
        log, said = logging.getLogger("ebbench"), ""
        for line in self._recording.slow_meters:
            log.warning("ebbench: %s", line)
        while not self._ended.wait(LOOK_EVERY_S):
            try:
                self._recording.check()
            except DeviceError as error:
                if str(error) != said:
                    log.warning("ebbench: %s", error)
                said = str(error)

    def end(self) -> None:
        """Look no more; returns when nothing is being started any more."""
        self._ended.set()
        self.join()
