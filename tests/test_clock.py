from __future__ import annotations

import re
import subprocess
import sys
import time

from ebbench import clock
from ebbench.clock import boot_id, monotonic_ns, read_clocks


def test_the_clock_is_clock_monotonic_and_never_goes_back():
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    readings = [monotonic_ns() for _ in range(1000)]
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert [before, *readings, after] == sorted([before, *readings, after])


def test_another_process_reads_the_same_clock():
    before = monotonic_ns()
    there = subprocess.run(
        [sys.executable, "-c", "from ebbench.clock import monotonic_ns; print(monotonic_ns())"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert before < int(there.stdout) < monotonic_ns()


def test_the_three_clocks_are_read_in_one_place_at_one_time():
    low, reading, high = monotonic_ns(), read_clocks(), monotonic_ns()
    assert low <= reading.monotonic_ns <= high
    # what BOOTTIME is ahead is the time slept, which is never negative; reading one after the other adds the difference
    assert reading.boottime_ns >= reading.monotonic_ns - (high - low)
    assert reading.realtime_ns > 1_600_000_000 * 10**9


def test_the_boot_has_a_name_that_stays():
    assert boot_id() == boot_id()
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|unknown", boot_id())


def test_clocks_between_which_the_process_did_not_run_are_read_anew(monkeypatch):
    """One clock for all three, each look of 1 us; another process runs for 20 ms between the first two looks."""
    now_ns, looks = [10**9], []

    def look(*_):
        looks.append(now_ns[0])
        now_ns[0] += 20_000_000 if len(looks) == 1 else 1_000
        return looks[-1]

    monkeypatch.setattr(clock, "monotonic_ns", look)
    monkeypatch.setattr(clock.time, "clock_gettime_ns", look)
    monkeypatch.setattr(clock.time, "time_ns", look)
    reading = read_clocks()
    assert reading.boottime_ns - reading.monotonic_ns == 1_000 and len(looks) == 8
