"""The sampler's end of the line to the process that started it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from types import FrameType
from typing import Any, Mapping, Optional

from ebbench.clock import monotonic_ns
from ebbench.units import NS_PER_S

#: the parent is looked for this often
LOOK_S = 0.1


class Parent:
    """The process that started us: what it says, whether it lives, and how to tell it something."""

    def __init__(self, pid: int) -> None:
        self._ppid = os.getppid()
        self._gone = False
        self._stop = False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            self._gone = True
        except PermissionError:
            pass  # it lives, as another user
        signal.signal(signal.SIGTERM, self._terminate)
        self._out = os.dup(1)
        os.dup2(2, 1)  # what a vendor's library prints must not reach the parent as an answer
        os.set_blocking(self._out, False)

    @property
    def gone(self) -> bool:
        """Whether nobody waits for us any more."""
        return self._gone

    def wait(self, until_ns: int) -> bool:
        """Sleep until `until_ns`, or until we are to stop; says whether we are to stop."""
        while not self._stop and not self._gone:
            left_s = (until_ns - monotonic_ns()) / NS_PER_S
            heard, _, _ = select.select([0], [], [], min(max(left_s, 0.0), LOOK_S))
            if heard:
                self._hear(os.read(0, 4096))
            elif os.getppid() != self._ppid:  # a forked worker of the parent may hold the other end of stdin open
                self._gone = True
            elif left_s <= LOOK_S:
                return self._stop
        return True

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send one line, waiting up to a second for a parent that does not listen."""
        line = json.dumps(message).encode() + b"\n"
        deadline_ns = monotonic_ns() + NS_PER_S
        while line and monotonic_ns() < deadline_ns:
            try:
                line = line[os.write(self._out, line) :]
            except BlockingIOError:
                select.select([], [self._out], [], 0.1)
            except BrokenPipeError:
                return

    def mention(self, message: Mapping[str, Any]) -> None:
        """Send one short line unless the pipe is full; a parent that does not look misses nothing that it needs."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._out, json.dumps(message).encode()[: select.PIPE_BUF - 1] + b"\n")  # whole or not at all

    def _hear(self, said: bytes) -> None:
        self._gone = self._gone or not said
        self._stop = self._stop or b"stop" in said

    def _terminate(self, number: int, frame: Optional[FrameType]) -> None:
        self._stop = True
