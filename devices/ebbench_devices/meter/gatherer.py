"""Takes a slow or talkative meter's readings in a thread of its own, so that one that hangs does not hold up the sampler.

The other end is a `Link`: it is made by connecting, gives readings, and is made anew after a loss. What went wrong is a note
with its time; readings are only what was read. Both wait, bounded, until the sampler drains them.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Callable, Deque, List, Optional, Protocol, Sequence, Tuple

import numpy as np

from ebbench.clock import monotonic_ns
from ebbench.energy.sampler_process.source import reason_of
from ebbench.errors import EbbenchError, MeterError
from ebbench.protocols import Block

#: after a loss it is connected again this often
RETRY_S = 1.0
#: readings, and notes, that may wait; more are lost, and said to be
MAX_WAITING = 100_000
#: how long `close` waits for a link that hangs; its thread ends with it, or with the process
CLOSE_S = 0.5


class Link(Protocol):
    """A connection that is up."""

    def take(self, into: Gatherer) -> None:
        """Wait a moment (under half a second) and hand over what came. Raises MeterError or OSError where it is lost."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Gatherer:
    """Connects, gathers readings of `columns` values each, and connects again after a loss, until it is closed."""

    def __init__(self, name: str, connect: Callable[[], Link], columns: int) -> None:
        #: set when it is to end; a link that waits, waits on it
        self.closed = threading.Event()
        self._name, self._connect, self._columns = name, connect, columns
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._times: Deque[int] = deque()
        self._rows: Deque[List[float]] = deque()
        self._notes: Deque[Tuple[int, str]] = deque(maxlen=MAX_WAITING)
        self._last_ns = 0
        self._thread: Optional[threading.Thread] = None

    def start(self, patience_s: float) -> None:
        """Connect, and wait for a first reading. Raises MeterError where that fails, with the reason that was noted last."""
        link = self._connect()
        self._thread = threading.Thread(target=self._run, args=(link,), name=f"{self._name}-gatherer", daemon=True)
        self._thread.start()
        if not self._news.wait(patience_s):
            reason = (
                self._notes[-1][1] if self._notes else f"{self._name}: no reading within {patience_s:g} s; is it on?"
            )
            self.close()
            raise MeterError(reason)

    def reading(self, time_ns: int, values: Sequence[Optional[float]]) -> bool:
        """Take one reading, None or not finite = not read. Whether it replaced something.

        A reading of the same time as the last is one with it: it fills in what that lacks and replaces what it repeats.
        """
        replaces = False
        row = [math.nan if v is None or not math.isfinite(v) else float(v) for v in values]
        with self._lock:
            if self._times and time_ns == self._last_ns:
                before = self._rows[-1]
                replaces = any(not math.isnan(old) and not math.isnan(new) for old, new in zip(before, row))
                self._rows[-1] = [old if math.isnan(new) else new for old, new in zip(before, row)]
            elif len(self._times) >= MAX_WAITING:
                self._notes.append((time_ns, f"{self._name}: readings were lost, nobody took them"))
            else:
                self._last_ns = max(time_ns, self._last_ns + 1)
                self._times.append(self._last_ns)
                self._rows.append(row)
        self._news.set()
        return replaces

    def note(self, reason: str, time_ns: Optional[int] = None) -> None:
        """Keep why something was not read."""
        self._notes.append((monotonic_ns() if time_ns is None else time_ns, reason))

    def drain(self) -> Block:
        """What was gathered since the last call."""
        with self._lock:
            times, rows = np.array(self._times, dtype=np.int64), list(self._rows)
            self._times.clear()
            self._rows.clear()
        notes = [self._notes.popleft() for _ in range(len(self._notes))]
        values = np.array(rows, dtype=np.float64).reshape(len(rows), self._columns)
        return Block(times, values, tuple(notes))

    def close(self) -> None:
        """End the thread, which lets go of the link; a second time does nothing."""
        self.closed.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _run(self, link: Optional[Link]) -> None:
        while not self.closed.is_set():
            try:
                link = link or self._connect()
                link.take(self)
            except Exception as error:  # noqa: BLE001 - whatever a driver raises is a loss, and none of it may end a run
                self.note(reason_of(error) if isinstance(error, EbbenchError) else f"{self._name}: {reason_of(error)}")
                _close(link)
                link = None
                self.closed.wait(RETRY_S)
        _close(link)


class Gathered:
    """What the meters that have a gatherer share: they hand over what it took, and end it."""

    _gatherer: Optional[Gatherer] = None

    def gather(self, name: str, connect: Callable[[], Link], columns: int, patience_s: float) -> None:
        """Connect, and begin to gather. Raises MeterError where no reading comes for `patience_s`."""
        self._gatherer = Gatherer(name, connect, columns)
        self._gatherer.start(patience_s)

    def drain(self, rate_hz: float) -> Block:
        """The readings since the last call; what was not read is in the notes."""
        assert self._gatherer is not None, "read before open"
        return self._gatherer.drain()

    def close(self) -> None:
        """End the gatherer, which lets go of the other end."""
        if self._gatherer is not None:
            self._gatherer.close()
        self._gatherer = None


def _close(link: Optional[Link]) -> None:
    """Let go of a link, whatever state it is in."""
    if link is not None:
        try:
            link.close()
        except OSError:
            pass  # it is lost already
