from __future__ import annotations

import pytest

from ebbench.clock import ClockReading
from ebbench.protocols import MONOTONIC, REMOTE, MeterRequest
from ebbench_devices.logs.clock import OPTIONS, LogClock
from ebbench_devices.meter.options import Options

S = 1_000_000_000
#: CLOCK_MONOTONIC 50 s, BOOTTIME 150 s, REALTIME 1000 s
NOW = ClockReading(50 * S, 150 * S, 1000 * S)


def clock(**options):
    return LogClock(Options("csv", MeterRequest(options=options), OPTIONS))


@pytest.mark.parametrize("name, stamp_s", [("monotonic", 40), ("boottime", 140), ("realtime", 990)])
def test_the_same_moment_by_any_clock_is_the_same_time(name, stamp_s):
    assert (
        clock(clock=name).monotonic_ns(stamp_s * S, NOW) == 40 * S and clock(clock=name).age_s(stamp_s * S, NOW) == 10
    )


def test_what_is_added_to_a_stamp_makes_it_ours():
    assert clock(offset_s="-3600").monotonic_ns((990 + 3600) * S, NOW) == 40 * S


@pytest.mark.parametrize(
    "options, kind, bound_s, ahead_s",
    [
        ({}, REMOTE, 0.0, 5.1),
        ({"offset_bound_s": 0.5}, MONOTONIC, 0.5, 0.6),
        ({"offset_bound_s": 0}, MONOTONIC, 0.0, 0.1),
        ({"clock": "boottime"}, MONOTONIC, 0.0, 0.1),
    ],
)
def test_only_a_wall_clock_without_a_bound_is_another_one_and_may_be_far_ahead(options, kind, bound_s, ahead_s):
    found = clock(**options)
    assert (found.kind, found.bound_s) == (kind, bound_s)
    assert found.may_be(0.01 - ahead_s) and not found.may_be(-0.01 - ahead_s)


def test_that_it_was_set_is_said_once():
    found, later = clock(), ClockReading(51 * S, 151 * S, 971 * S)
    assert found.set_by(NOW) is None
    assert found.set_by(later) == "this machine's realtime clock was set by -30 s" and found.set_by(later) is None
