"""When to read: slots on an absolute grid, so that a late reading delays none after it, and how late readings were."""

from __future__ import annotations

import math
import random
from typing import Dict, Sequence

import numpy as np

from ebbench.units import NS_PER_S


class Schedule:
    """One instant per slot of 1/`rate_hz`, counted from `start_ns`; with `jitter` a random one inside each slot.

    With jitter what would alias silently becomes a scatter that shows.
    """

    _DRAWN = 256  # slots whose random places are drawn together

    def __init__(self, start_ns: int, rate_hz: float, jitter: bool, seed: int) -> None:
        self._start_ns = start_ns
        self._period_ns = NS_PER_S / rate_hz
        self._seed = seed if jitter else None
        self._drawn, self._places = -1, [0.0] * self._DRAWN
        self._slot = -1
        #: slots in which nothing was read
        self.missed = 0

    def next(self, now_ns: int) -> int:
        """The instant (ns) of the next slot that is not over at `now_ns`; those that are over count as missed."""
        slot = max(self._slot + 1, self._at(now_ns))
        self.take([slot])
        return self.instant_ns(slot)

    def ahead(self, now_ns: int, until_ns: int) -> range:
        """The slots that follow, are not over at `now_ns` and begin before `until_ns`; none of them is taken."""
        return range(max(self._slot + 1, self._at(now_ns)), self._at(until_ns) + 1)

    def take(self, slots: Sequence[int]) -> None:
        """These slots, in their order, were read; those between them count as missed."""
        if slots:
            self.missed += slots[-1] - self._slot - len(slots)
            self._slot = slots[-1]

    def instant_ns(self, slot: int) -> int:
        """When to read in `slot`; the same however often it is asked."""
        return self._start_ns + round((slot + self._place(slot)) * self._period_ns)

    def end_ns(self, slot: int) -> int:
        """When `slot` is over."""
        return self._start_ns + math.ceil((slot + 1) * self._period_ns)

    def _at(self, now_ns: int) -> int:
        return int((now_ns - self._start_ns) / self._period_ns)

    def _place(self, slot: int) -> float:
        """Where in `slot` is read, as a fraction of it."""
        if self._seed is None:
            return 0.0
        drawn, index = divmod(slot, self._DRAWN)
        if drawn != self._drawn:
            draw = random.Random(f"{self._seed} {drawn}").random
            self._drawn, self._places = drawn, [draw() for _ in range(self._DRAWN)]
        return self._places[index]


class Lateness:
    """A histogram of delays in a fixed space, with bins 9 % wide, from a microsecond to an hour."""

    _PER_OCTAVE = 8

    def __init__(self) -> None:
        self._counts = np.zeros(32 * self._PER_OCTAVE, np.int64)
        self._max_ns = 0

    def extend(self, late_ns: Sequence[int]) -> None:
        """Count delays; early is not late."""
        if not late_ns:
            return
        late = np.maximum(np.array(late_ns, dtype=np.float64), 0.0)
        index = (self._PER_OCTAVE * np.log2(1 + late / 1000)).astype(np.int64)
        size = len(self._counts)
        self._counts += np.bincount(np.minimum(index, size - 1), minlength=size)
        self._max_ns = max(self._max_ns, int(late.max()))

    def percentiles_s(self) -> Dict[str, float]:
        """The delays (s) that 50, 95, 99 and 100 % of the readings stay within, to 9 %; empty without readings."""
        total = int(self._counts.sum())
        if not total:
            return {}
        found = {f"p{percent}": self._at(percent / 100 * total) for percent in (50, 95, 99)}
        return {**found, "max": self._max_ns / NS_PER_S}

    def _at(self, rank: float) -> float:
        index = int(np.searchsorted(np.cumsum(self._counts), rank))
        upper_ns = 1000 * (2.0 ** ((index + 1) / self._PER_OCTAVE) - 1)
        return float(min(upper_ns, self._max_ns) / NS_PER_S)
