from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ebbench_devices.kernel.wrapping_counter import WrappingCounter

S = 1_000_000_000


@given(
    whole=st.integers(1_000, 10**12),
    start=st.integers(0, 10**12),
    steps=st.lists(st.tuples(st.floats(0.001, 1.0), st.floats(0.0, 1.0)), min_size=1, max_size=40),
)
def test_any_number_of_wraps_is_unrolled_exactly(whole, start, steps):
    limit_per_s = whole / 2.0  # half of it takes 1 s, the longest step
    counter = WrappingCounter(whole, limit_per_s)
    truth, now_ns = start, 0
    assert counter.since_start(truth % whole, now_ns) == 0
    for passed_s, load in steps:
        now_ns += round(passed_s * S)
        truth += int(load * passed_s * limit_per_s)
        assert counter.since_start(truth % whole, now_ns) == truth - start


@given(shown=st.integers(0, 999), passed_s=st.floats(1.001, 1e6))
def test_a_gap_in_which_it_may_have_wrapped_unseen_steps_back_whatever_it_shows(shown, passed_s):
    counter = WrappingCounter(1000, 500.0)
    counter.since_start(500, 0)
    before = counter.since_start(600, S // 2)
    assert counter.since_start(shown, S // 2 + round(passed_s * S)) == before - 1


def test_a_counter_that_was_reset_is_not_taken_for_one_that_wrapped():
    counter = WrappingCounter(262_143_328_850, 100e6)
    counter.since_start(100_000_000_000, 0)
    assert counter.since_start(5, S // 10) == -1
    assert counter.since_start(1_000_005, 2 * S // 10) == 999_999


def test_a_number_beyond_the_range_is_not_energy():
    counter = WrappingCounter(1000, 500.0)
    counter.since_start(5000, 0)
    assert counter.since_start(10, S // 10) == -1
