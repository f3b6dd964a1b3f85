"""A meter that samples by itself, drained as the sampler does it."""

from __future__ import annotations

import time


def drained(meter, until, timeout_s=10.0):
    """Drain until `until(readings, notes)`. Returns the readings, each its time and values, and the notes."""
    readings, notes = [], []
    deadline_s = time.monotonic() + timeout_s
    while not until(readings, notes):
        assert time.monotonic() < deadline_s, f"{len(readings)} readings, notes {notes}"
        block = meter.drain(10.0)
        readings += list(zip(block.time_ns.tolist(), block.values.tolist()))
        notes += [reason for _, reason in block.notes]
        time.sleep(0.01)
    return readings, notes


def has_readings(count):
    return lambda readings, notes: len(readings) >= count
