from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ebbench_devices.instruments.device_time import WINDOW_NS, DeviceTime

MS = 1_000_000


@given(st.integers(10**9, 10**15), st.lists(st.integers(1, 50), min_size=1, max_size=100), st.integers(-50, 50))
def test_a_time_is_off_by_the_quickest_arrival_and_the_drift_of_one_window_at_most(offset_ns, delays_ms, drift_ppm):
    clock = DeviceTime(window_ns=1_000 * MS)
    quickest = []
    for number, delay_ms in enumerate(delays_ms):
        device_ns = number * 50 * MS
        true_ns = offset_ns + device_ns + device_ns * drift_ppm // 1_000_000
        found_ns = clock.ours_ns(device_ns, true_ns + delay_ms * MS)
        quickest = [*quickest, delay_ms][-20:]  # at least so many are in the window
        assert -50 * 1_050 <= found_ns - true_ns <= min(quickest) * MS + 50 * 1_050


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=2, max_size=50))
def test_times_grow_whatever_arrives(steps):
    clock, device_ns, arrival_ns, last_ns = DeviceTime(), 0, 10**12, -1
    for device_step, arrival_step in steps:
        device_ns, arrival_ns = device_ns + device_step, arrival_ns + arrival_step
        found_ns = clock.ours_ns(device_ns, arrival_ns)
        assert found_ns > last_ns
        last_ns = found_ns


def test_a_quick_arrival_of_long_ago_is_forgotten():
    clock = DeviceTime()
    assert clock.ours_ns(0, 1 * MS) == 1 * MS
    assert clock.ours_ns(1000 * MS, 1009 * MS) == 1001 * MS
    late_ns = 1000 * MS + WINDOW_NS + MS
    assert clock.ours_ns(late_ns, late_ns + 9 * MS) == late_ns + 9 * MS
