"""Lines from a port, as they come, each with the time of its first byte.

The time is taken when a read returns, and counted back by as long as the bytes took on the line, so that lines which come in
one read (USB adapters deliver every 16 ms or so) still lie apart. On a TCP connection bytes take no time: lines of one read have
the same time, which says that they cannot be told apart.
"""

from __future__ import annotations

from typing import Callable, List, Optional, Protocol, Tuple

from ebbench.clock import monotonic_ns
from ebbench.energy.sampler_process.schedule import Schedule
from ebbench.errors import MeterError
from ebbench.units import NS_PER_S
from ebbench_devices.meter.gatherer import Gatherer

#: a longer line is garbage, and thrown away up to its end; it bounds memory, and what a pattern is tried on
MAX_LINE_BYTES = 4096
#: what a line does not begin with
_BLANK = b"\r\n\t \0"


class Port(Protocol):
    """A serial port or a TCP connection."""

    byte_s: float

    def read(self) -> bytes:
        """What came, after a short wait."""
        ...

    def write(self, command: bytes) -> None:
        """Send a command."""
        ...

    def close(self) -> None:
        """Give it back."""
        ...


class Splitter:
    """Makes lines of pieces. A half line waits for its other half; `end`, one byte, ends a line and is not part of it.

    Of the first line nobody knows whether it was caught from its beginning, so it is never taken: half a number is a number too.
    """

    def __init__(self, end: bytes, byte_s: float) -> None:
        self._end, self._byte_ns = end, byte_s * NS_PER_S
        self._half, self._half_ns = b"", 0
        self._read_ns = 0
        self._skips = self._is_first = True
        #: lines that were too long
        self.overlong = 0

    def add(self, piece: bytes, now_ns: int) -> List[Tuple[int, bytes]]:
        """The lines that `piece`, read at `now_ns`, completes: the time of the first byte (ns), and the line."""
        per_byte_ns = min(self._byte_ns, (now_ns - self._read_ns) / len(piece)) if piece else 0.0
        self._read_ns = now_ns
        lines, at = [], 0
        while at < len(piece):
            if not self._half:
                at += len(piece[at:]) - len(piece[at:].lstrip(_BLANK))  # the rest of the end of the line before
            stop = piece.find(self._end, at)
            if not self._half:
                self._half_ns = now_ns - round((len(piece) - at) * per_byte_ns)
            self._half += piece[at:] if stop < 0 else piece[at:stop]
            if len(self._half) > MAX_LINE_BYTES:
                self.overlong += not self._skips or self._is_first
                self._is_first = False
                self._half, self._skips = self._half[:1], True
            if stop < 0:
                break
            if not self._skips and self._half:
                lines.append((self._half_ns, self._half))
            self._half, at = b"", stop + len(self._end)
            self._skips = self._is_first = False
        return lines


class LineLink:
    """A link that reads lines, or asks for each: what `parse` makes of a line is a reading.

    `start` and `stop` are sent when it opens and closes; with `query` that is sent `rate_hz` times a second, and a reading then
    lies half way between the question and the first byte of its answer. Lines of which `parse` makes nothing are noted when
    nothing else comes. Raises MeterError when no reading comes for `timeout_s`: then it is closed and opened again, which also
    mends a meter that has forgotten that it was started.
    """

    def __init__(
        self,
        name: str,
        port: Port,
        parse: Callable[[bytes], Optional[List[Optional[float]]]],
        *,
        timeout_s: float,
        end: bytes = b"\n",
        start: bytes = b"",
        stop: bytes = b"",
        query: bytes = b"",
        rate_hz: float = 1.0,
        describe: Callable[[bytes], str] = repr,
    ) -> None:
        self._name, self._port, self._parse, self._describe = name, port, parse, describe
        self._timeout_ns, self._stop, self._query = round(timeout_s * NS_PER_S), stop, query
        self._splitter = Splitter(end, port.byte_s)
        self._heard_ns = monotonic_ns()
        self._odd: Optional[bytes] = None  # the last line since the last reading
        self._told = False
        self._asked_ns: Optional[int] = None
        #: the longest time between a question and the first byte of its answer so far (s)
        self.longest_trip_s = 0.0
        self._schedule = Schedule(self._heard_ns, rate_hz, jitter=True, seed=0)
        self._next_ns = self._heard_ns
        if start:
            port.write(start)

    def take(self, into: Gatherer) -> None:
        """Ask, if it is time to; read what came, and hand over the readings in it."""
        if self._query and monotonic_ns() >= self._next_ns:
            self._asked_ns = monotonic_ns()
            self._port.write(self._query)
            self._next_ns = self._schedule.next(monotonic_ns())
        piece = self._port.read()
        now_ns = monotonic_ns()
        if piece:
            for time_ns, line in self._splitter.add(piece, now_ns):
                self._hand_over(time_ns, line, into)
        self._watch(now_ns, into)

    def _hand_over(self, time_ns: int, line: bytes, into: Gatherer) -> None:
        values = self._parse(line)
        if values is None:
            self._odd = line
            return
        if self._asked_ns is not None:
            self.longest_trip_s = max(self.longest_trip_s, (time_ns - self._asked_ns) / NS_PER_S)
            time_ns = (self._asked_ns + time_ns) // 2
        self._odd, self._told, self._heard_ns = None, False, monotonic_ns()
        if into.reading(time_ns, values):
            into.note(f"{self._name}: several readings came at once; the newest has a time, and is kept", time_ns)

    def _watch(self, now_ns: int, into: Gatherer) -> None:
        """Say what comes in the place of readings, and that nothing comes."""
        silent_ns = now_ns - self._heard_ns
        if self._splitter.overlong:
            into.note(f"{self._name}: a line of over {MAX_LINE_BYTES} bytes was thrown away; check baud= and end=")
            self._splitter.overlong = 0
        if self._odd is not None and not self._told and silent_ns > NS_PER_S:
            into.note(f"{self._name}: {self._describe(self._odd)}")
            self._told = True
        if silent_ns > self._timeout_ns:
            why = "is it on, and does it send?" if self._odd is None else self._describe(self._odd)
            raise MeterError(f"{self._name}: no reading for {self._timeout_ns / NS_PER_S:g} s: {why}")

    def close(self) -> None:
        """Tell it to stop, and give the port back."""
        try:
            if self._stop:
                self._port.write(self._stop)
        except MeterError:
            pass  # it is gone, and has stopped
        finally:
            self._port.close()
