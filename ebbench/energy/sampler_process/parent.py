"""The sampler's end of the line to the process that started it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from types import FrameType
from typing import Any, Mapping, Optional

from ebbench.clock import monotonic_ns
from ebbench.units import NS_PER_S

#: the parent is looked for, and listened to, this often
LOOK_NS = NS_PER_S // 20


class Parent:
    """The process that started us: what it says, whether it lives, and how to tell it something."""

    def __init__(self, pid: int) -> None:
        self._ppid = os.getppid()
        self._gone = self._stop = False
        #: how long after the word to stop there is still something to read (ns)
        self.late_ns = 0
        self._said = b""
        self._look_ns = 0
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
            now_ns = monotonic_ns()
            if now_ns >= self._look_ns:
                self._look()
                self._look_ns = now_ns + LOOK_NS
            elif now_ns >= until_ns:
                return False
            else:
                time.sleep(min(until_ns - now_ns, LOOK_NS) / NS_PER_S)
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

    def _look(self) -> None:
        heard, _, _ = select.select([0], [], [], 0)
        if heard:
            said = os.read(0, 4096)
            self._gone = not said
            self._said += said
            if self._said.endswith(b"\n"):
                self.late_ns = int(self._said.split()[1])
                self._stop = True
        elif os.getppid() != self._ppid:  # a forked worker of the parent may hold the other end of stdin open
            self._gone = True

    def _terminate(self, number: int, frame: Optional[FrameType]) -> None:
        self._stop = True
