"""When to read: slots on an absolute grid, so that a late reading delays none after it, and how late readings were."""

from __future__ import annotations

import math
import random
from typing import Dict

from ebbench.units import NS_PER_S

#: at and below this rate each reading falls at a random instant of its slot: what would alias silently becomes noise
JITTER_UP_TO_HZ = 200.0


class Schedule:
    """One instant per slot of 1/`rate_hz`, counted from `start_ns`; with `jitter` a random one inside each slot."""

    def __init__(self, start_ns: int, rate_hz: float, jitter: bool, seed: int) -> None:
        self._start_ns = start_ns
        self._period_ns = NS_PER_S / rate_hz
        self._random = random.Random(seed).random if jitter else None
        self._slot = -1
        #: slots in which nothing was read
        self.missed = 0

    def next(self, now_ns: int) -> int:
        """The instant (ns) of the next slot that is not over at `now_ns`; those that are over count as missed."""
        current = math.floor((now_ns - self._start_ns) / self._period_ns)
        slot = max(self._slot + 1, current)
        self.missed += slot - self._slot - 1
        self._slot = slot
        inside = self._random() if self._random else 0.0
        return self._start_ns + round((slot + inside) * self._period_ns)


class Lateness:
    """A histogram of delays in a fixed space, with bins 9 % wide, from a microsecond to an hour."""

    _PER_OCTAVE = 8

    def __init__(self) -> None:
        self._counts = [0] * (32 * self._PER_OCTAVE)
        self._max_ns = 0

    def add(self, late_ns: int) -> None:
        """Count one delay; early is not late."""
        index = int(self._PER_OCTAVE * math.log2(1 + max(late_ns, 0) / 1000))
        self._counts[min(index, len(self._counts) - 1)] += 1
        self._max_ns = max(self._max_ns, late_ns)

    def percentiles_s(self) -> Dict[str, float]:
        """The delays (s) that 50, 95, 99 and 100 % of the readings stay within, to 9 %; empty without readings."""
        total = sum(self._counts)
        if not total:
            return {}
        found = {f"p{percent}": self._at(percent / 100 * total) for percent in (50, 95, 99)}
        return {**found, "max": self._max_ns / NS_PER_S}

    def _at(self, rank: float) -> float:
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                upper_s = (2 ** ((index + 1) / self._PER_OCTAVE) - 1) * 1e-6
                return min(upper_s, self._max_ns / NS_PER_S)
        raise AssertionError("unreachable: the rank is at most the total")
