"""A counter that begins anew after its range, unrolled into one that only rises; where it cannot be, it steps back.

The core takes a counter that steps back for a gap (`ebbench.energy.integration.counter`), so one count backwards is how "what was
counted here is not known" is said.
"""

from __future__ import annotations

from typing import Optional

from ebbench.units import NS_PER_S

#: a counter is updated in steps: what it shows may have been counted in so much more time than passed (s)
SLACK_S = 0.1


class WrappingCounter:
    """Counts up to `whole` and begins anew, at `limit_per_s` at the most (in counts)."""

    def __init__(self, whole: int, limit_per_s: float) -> None:
        self._whole, self._limit_per_s = whole, limit_per_s
        self._last: Optional[int] = None
        self._last_ns = 0
        self._count = 0

    def since_start(self, shown: int, now_ns: int) -> int:
        """What was counted since the first call, where `shown` is what the counter shows now."""
        if self._last is not None:
            passed_s = (now_ns - self._last_ns) / NS_PER_S
            self._count += self._rise(shown - self._last, passed_s)
        self._last, self._last_ns = shown, now_ns
        return self._count

    def _rise(self, rise: int, passed_s: float) -> int:
        """By how much it rose; -1 where that is not known: it may have wrapped unseen, or it was reset."""
        if passed_s * self._limit_per_s > self._whole / 2:
            return -1
        if rise >= 0:
            return rise
        rise += self._whole
        believable = 2 * (passed_s + SLACK_S) * self._limit_per_s
        return rise if 0 <= rise <= believable else -1
