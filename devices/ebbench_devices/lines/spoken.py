"""The lines that a program of its own says, each with the time of its arrival; the program never outlives us.

It is killed when it is closed, and by the kernel when the thread that started it ends, be that by ``kill -9``
(PR_SET_PDEATHSIG, see prctl(2)). It gets no input and no signals of a terminal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Deque, List, Sequence

from ebbench.clock import monotonic_ns
from ebbench.errors import MeterError
from ebbench.units import NS_PER_S
from ebbench_devices.meter.untrusted import quoted

#: becomes the program once the kernel knows to kill it with us; Python between fork and exec may hang where there are threads
_BECOME = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"it cannot be started: {error.strerror}")
"""
#: of a program that says more than it is read, so many lines are kept, and so many bytes of a line
_MOST_LINES, _LONGEST = 10_000, 4096


@dataclass(frozen=True)
class Line:
    """What was said, without its end, and when it had arrived (CLOCK_MONOTONIC)."""

    time_ns: int
    text: str


class SpokenLines:
    """Runs `command` and gathers its lines, standard error among them; silent for `patience_s` it counts as hung."""

    is_pending = False

    def __init__(self, command: Sequence[str], patience_s: float) -> None:
        self._name, self._patience_s = os.path.basename(command[0]), patience_s
        #: set whenever there is a line, or the end
        self.news = threading.Event()
        self._lines: Deque[Line] = deque(maxlen=_MOST_LINES)
        self._last = ""
        self._ended = False
        self._heard_ns = monotonic_ns()
        self._process = _start(command)
        self._thread = threading.Thread(target=self._listen, name=f"{self._name}-lines", daemon=True)
        self._thread.start()

    def take(self) -> List[Line]:
        """The lines since the last call, oldest first. Raises MeterError where the program ended, or hangs."""
        self.news.clear()
        ended = self._ended  # before the lines: what it said last comes first
        taken = [self._lines.popleft() for _ in range(len(self._lines))]
        if ended:
            self.news.set()  # for whoever takes these lines and waits for more
        if taken:
            return taken
        if ended:
            last = f" after {quoted(self._last)}" if self._last else ""
            raise MeterError(f"{self._name} ended ({_how(self._process.wait())}){last}; run it by hand to see why")
        if monotonic_ns() > self._heard_ns + self._patience_s * NS_PER_S:
            raise MeterError(f"{self._name} has said nothing for {self._patience_s:g} s: it hangs; it is started again")
        return []

    def close(self) -> None:
        """Kill the program and what it started, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._thread.join(1.0)
        if not self._thread.is_alive():  # else another process holds the other end, and the thread is inside a read
            self._process.stdout.close()

    def _listen(self) -> None:
        said: Any = self._process.stdout
        while True:
            raw = said.readline(_LONGEST)
            now_ns = monotonic_ns()
            if not raw:
                self._ended = True
                self.news.set()
                return
            text = raw.decode("utf-8", "replace").strip()
            if text:
                self._heard_ns, self._last = now_ns, text
                self._lines.append(Line(now_ns, text))
                self.news.set()


def _start(command: Sequence[str]) -> subprocess.Popen:
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise MeterError(f"{command[0]} cannot be started: {error.strerror}") from error


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
