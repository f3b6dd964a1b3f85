"""Where the clock of another machine stands against ours, from when its stamps could be seen and when not yet."""

from __future__ import annotations

from typing import Optional

from ebbench.units import NS_PER_S

#: two clocks run apart by no more than this (quartz: 50 ppm each)
DRIFT = 1e-4


class OtherClock:
    """Something stamped there happened here between two times: each such fact bounds the offset, and together they narrow it.

    `offset_ns` is added to a stamp to get CLOCK_MONOTONIC; it is the middle of what is possible, and `bound_ns` half of that.
    """

    def __init__(self) -> None:
        self._low_ns: Optional[int] = None
        self._high_ns = self._seen_ns = 0

    @property
    def offset_ns(self) -> int:
        """Ours less theirs. Needs one `saw`."""
        assert self._low_ns is not None
        return (self._low_ns + self._high_ns) // 2

    @property
    def bound_ns(self) -> int:
        """By how much `offset_ns` may be wrong, either way."""
        assert self._low_ns is not None
        return (self._high_ns - self._low_ns) // 2

    def saw(self, stamp_ns: int, earliest_ns: int, latest_ns: int) -> int:
        """What is stamped `stamp_ns` happened here between the two times. Returns by how much (ns) their clock was set, else 0."""
        low_ns, high_ns = earliest_ns - stamp_ns, latest_ns - stamp_ns
        if self._low_ns is not None:
            apart_ns = round(DRIFT * (latest_ns - self._seen_ns))
            both_low_ns, both_high_ns = max(low_ns, self._low_ns - apart_ns), min(high_ns, self._high_ns + apart_ns)
            if both_low_ns > both_high_ns:
                set_by_ns = self.offset_ns - (low_ns + high_ns) // 2
                self._low_ns, self._high_ns, self._seen_ns = low_ns, high_ns, latest_ns
                return set_by_ns
            low_ns, high_ns = both_low_ns, both_high_ns
        self._low_ns, self._high_ns, self._seen_ns = low_ns, high_ns, latest_ns
        return 0


def said_s(ns: int) -> str:
    """A time for a message."""
    return f"{ns / NS_PER_S:+.3f} s"
