"""What time it is: CLOCK_MONOTONIC in integer nanoseconds, everywhere.

On one Linux host all processes share this clock and nothing steps it. It stops while the machine sleeps;
CLOCK_BOOTTIME does not, so their difference grows by the time slept. Both start anew at every boot, so a time
means something only together with the boot's id.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

Clock = Callable[[], int]

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS has no CLOCK_BOOTTIME


#: clocks that are read within this time are read together
_TOGETHER_NS = 100_000
#: CLOCK_MONOTONIC (ns); without a Python function around it, because the sampler asks at every rail
monotonic_ns: Clock = time.monotonic_ns


@dataclass(frozen=True)
class ClockReading:
    """Three clocks read together, all in ns; they agree to within the microsecond that reading them takes."""

    monotonic_ns: int
    boottime_ns: int
    realtime_ns: int


def read_clocks() -> ClockReading:
    """Read CLOCK_MONOTONIC, CLOCK_BOOTTIME and CLOCK_REALTIME together.

    On a busy machine another process may run between two of them, which would look as if the machine had slept: then they are
    read anew, and of ten such readings the closest counts.
    """
    found = []
    for _ in range(10):
        reading = ClockReading(monotonic_ns(), time.clock_gettime_ns(_BOOTTIME), time.time_ns())
        found.append((monotonic_ns() - reading.monotonic_ns, reading))
        if found[-1][0] < _TOGETHER_NS:
            break
    return min(found, key=lambda pair: pair[0])[1]


def boot_id() -> str:
    """Identify this boot of this machine; times of two boots are not comparable."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
