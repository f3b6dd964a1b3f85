"""The clock that a log's rows are stamped by, against CLOCK_MONOTONIC, as far as the user states what it is."""

from __future__ import annotations

from typing import Any, Dict, Optional

from ebbench.clock import ClockReading
from ebbench.energy.alignment.clocks import UNKNOWN_BOUND_S
from ebbench.protocols import MONOTONIC, REMOTE
from ebbench.units import NS_PER_S
from ebbench_devices.meter.options import Options

OPTIONS = ("clock", "offset_s", "offset_bound_s")
REALTIME = "realtime"
CLOCKS = (REALTIME, "monotonic", "boottime")
#: a row may be this much ahead of us beyond its bound before that is a fault of the clocks (s)
AHEAD_S = 0.1


class LogClock:
    """One of this machine's clocks, or one of another machine that is brought near ours by adding `offset_s`."""

    def __init__(self, options: Options) -> None:
        self._name = str(options.choice("clock", CLOCKS, REALTIME))
        self._offset_s = options.number("offset_s", 0.0) or 0.0
        self._bound_s = options.number("offset_bound_s", at_least=0.0)
        self._before_ns: Optional[int] = None

    @property
    def kind(self) -> str:
        """As `MeterInfo.clock`: a wall clock that nobody vouches for is still to be aligned."""
        return REMOTE if self._name == REALTIME and self._bound_s is None else MONOTONIC

    @property
    def bound_s(self) -> float:
        """As `MeterInfo.time_bound_s`."""
        return self._bound_s or 0.0

    def monotonic_ns(self, stamp_ns: int, clocks: ClockReading) -> int:
        """The time of a stamp."""
        return stamp_ns + round(self._offset_s * NS_PER_S) - self._ahead_ns(clocks)

    def age_s(self, stamp_ns: int, clocks: ClockReading) -> float:
        """How long ago a stamp was."""
        return (clocks.monotonic_ns - self.monotonic_ns(stamp_ns, clocks)) / NS_PER_S

    def may_be(self, age_s: float) -> bool:
        """Whether a row of this age is not of the future."""
        return age_s >= -AHEAD_S - (UNKNOWN_BOUND_S if self.kind == REMOTE else self.bound_s)

    def set_by(self, clocks: ClockReading) -> Optional[str]:
        """That this machine's clock was set since the last call: rows around that are off by as much."""
        ahead_ns, before_ns = self._ahead_ns(clocks), self._before_ns
        self._before_ns = ahead_ns
        if before_ns is None or abs(ahead_ns - before_ns) <= NS_PER_S // 100:
            return None
        return f"this machine's {self._name} clock was set by {(ahead_ns - before_ns) / NS_PER_S:+.3g} s"

    def to_json(self) -> Dict[str, Any]:
        """As the options that it was told."""
        return {"clock": self._name, "offset_s": self._offset_s, "offset_bound_s": self._bound_s}

    def __str__(self) -> str:
        return f"clock={self._name}, offset_s={self._offset_s:g}"

    def _ahead_ns(self, clocks: ClockReading) -> int:
        now: Dict[str, int] = {REALTIME: clocks.realtime_ns, "boottime": clocks.boottime_ns}
        return now.get(self._name, clocks.monotonic_ns) - clocks.monotonic_ns
