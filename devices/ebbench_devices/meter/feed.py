"""What comes from a connection that gathers by itself and is made anew after it was lost; and how long one may be silent.

For an other end that does its own waiting, in a thread or a process of its own. One that has to be asked, or waited for, is
gathered in a thread of ours: `gatherer`.
"""

from __future__ import annotations

from typing import Any, Callable, List, Protocol, Sequence

from ebbench.clock import Clock, monotonic_ns
from ebbench.energy.sampler_process.source import RETRY_NS
from ebbench.errors import EbbenchError

#: an other end that samples by itself is lost when it gives nothing new for so long, or for so many intervals
SILENCE_S, SILENCE_INTERVALS = 5.0, 5


def patience_s(interval_s: float) -> float:
    """How long one that samples every `interval_s` may be silent."""
    return max(SILENCE_S, SILENCE_INTERVALS * interval_s)


class Connection(Protocol):
    """One that is up, or about to be. It is never used again once it was closed."""

    #: whether it is still to come up: then what it raises is no loss, and it is waited for
    is_pending: bool

    def take(self) -> List[Any]:
        """What came since the last call, oldest first. Raises MeterError where it is lost."""
        ...

    def close(self) -> None:
        """Let go of the other end."""
        ...


class Feed:
    """Connects with `connect`, hands over what comes, and connects again a second after a loss."""

    def __init__(self, connect: Callable[[], Connection], clock: Clock = monotonic_ns) -> None:
        self._connect, self._clock = connect, clock
        #: what `connect` made; None before it is opened, and between a loss and the next attempt
        self.connection: Any = None
        self._kept: List[Any] = []
        self._retry_ns = 0

    def open(self) -> None:
        """Connect. Raises what `connect` raises."""
        self.connection = self._connect()

    def keep(self, samples: Sequence[Any]) -> None:
        """Put back what was taken from the connection to look at it: it is what `take` hands over next."""
        self._kept = list(samples)

    def take(self) -> List[Any]:
        """What came since the last call. Raises EbbenchError once for a loss, and once for each attempt that fails."""
        kept, self._kept = self._kept, []
        if kept or (self.connection is None and self._clock() < self._retry_ns):
            return kept
        try:
            if self.connection is not None:
                return self.connection.take()
            self.open()
            return []
        except EbbenchError:
            if self.connection is None or not self.connection.is_pending:
                self.close()
                self._retry_ns = self._clock() + RETRY_NS
            raise

    def close(self) -> None:
        """Let the connection go; a second time does nothing."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()
