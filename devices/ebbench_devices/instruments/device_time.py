"""The time of an instrument with a clock of its own, from when its messages arrive.

A message arrives when it was made plus the time it took, which is never negative; the quickest of the last ones took the least. So
the offset between the two clocks is the smallest difference among them. It is too large by what even the quickest took; and while
the clocks drift apart it is as old as the window. Both are in the bound that the meter states.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, Tuple

from ebbench.units import NS_PER_S

#: long enough to hold quick ones, short enough for crystals that differ by 50 ppm to drift by 1.5 ms only
WINDOW_NS = 30 * NS_PER_S


class DeviceTime:
    """Our time (CLOCK_MONOTONIC, ns) of the instrument's; ours always grows."""

    def __init__(self, window_ns: int = WINDOW_NS) -> None:
        self._window_ns = window_ns
        self._quickest: Deque[Tuple[int, int]] = deque()  # (arrival, difference), differences rising
        self._last_ns = -1

    def ours_ns(self, device_ns: int, arrival_ns: int) -> int:
        """When the instrument's clock showed `device_ns`, of which a message arrived at `arrival_ns`; call in their order."""
        difference_ns = arrival_ns - device_ns
        while self._quickest and self._quickest[-1][1] >= difference_ns:
            self._quickest.pop()
        self._quickest.append((arrival_ns, difference_ns))
        while self._quickest[0][0] < arrival_ns - self._window_ns:
            self._quickest.popleft()
        self._last_ns = max(self._last_ns + 1, device_ns + self._quickest[0][1])
        return self._last_ns
