"""The line between two clocks from round trips: the truth is within its bound, whatever the network and the clocks do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbench.energy.alignment.line import MAX_DRIFT, ClockMap, RoundTrips, line_between
from ebbench.errors import MeterError

S = 1_000_000_000
BASE_NS = 1_700_000_000 * S  # the other clock counts from 1970


def trips_of(ahead_s, ask_s, there_s, back_s, **more):
    """Round trips begun at `ask_s` to a clock that is ahead by `ahead_s(our time)`; each way takes its own time (s)."""
    found = RoundTrips(**more)
    for sent_s, out_s, home_s in zip(ask_s, there_s, back_s):
        read_s = sent_s + out_s
        remote_ns = BASE_NS + round((read_s + float(ahead_s(read_s))) * S)
        found.add(round(sent_s * S), remote_ns, round((read_s + home_s) * S))
    return found


def worst_s(clock, ahead_s, times_s):
    """The largest error of the map over our times (s)."""
    theirs_ns = BASE_NS + np.rint((times_s + ahead_s(times_s)) * S).astype(np.int64)
    return float(np.abs(clock.to_monotonic_ns(theirs_ns) - np.rint(times_s * S)).max()) / S


def test_offset_and_drift_of_a_steady_clock_are_found_over_a_slow_network():
    rng = np.random.default_rng(1)
    ask_s = np.arange(0, 600, 1.0)

    def ahead_s(t):
        return 12.5 + 80e-6 * t

    found = trips_of(ahead_s, ask_s, rng.exponential(2e-3, 600) + 2e-4, rng.exponential(2e-3, 600) + 2e-4).clock_map()
    assert worst_s(found, ahead_s, np.linspace(0.01, 599, 500)) <= found.bound_s < 5e-3
    assert found.drift == pytest.approx(80e-6, abs=5e-6)


def test_a_way_out_much_slower_than_the_way_back_stays_within_the_bound():
    ask_s = np.arange(0, 60, 1.0)
    slow, fast = np.full(60, 0.1), np.full(60, 0.001)
    for there_s, back_s in ((slow, fast), (fast, slow)):
        found = trips_of(lambda t: 3.0 + 0 * t, ask_s, there_s, back_s).clock_map()
        error_s = worst_s(found, lambda t: 3.0 + 0 * t, np.linspace(0.2, 59, 100))
        assert 0.045 < error_s <= found.bound_s < 0.06  # nobody can tell the two ways apart


def test_one_trip_bounds_the_offset_by_half_its_length():
    found = trips_of(lambda t: 5.0 + 0 * t, [10.0], [0.03], [0.01]).clock_map()
    assert found.bound_s == pytest.approx(0.02, abs=1e-6) and found.drift == 0
    assert worst_s(found, lambda t: 5.0 + 0 * t, np.array([10.03])) <= found.bound_s


def test_a_clock_that_shows_whole_milliseconds_widens_the_bound_by_one():
    def ahead_s(t):
        return np.floor((t + 0.4567) * 1000) / 1000 - t

    ask_s, way_s = np.arange(0, 20, 0.5123), np.full(40, 1e-4)
    found = trips_of(ahead_s, ask_s, way_s, way_s, resolution_s=1e-3).clock_map()
    assert worst_s(found, lambda t: 0.4567 + 0 * t, np.linspace(0.1, 19, 200)) <= found.bound_s < 3e-3


@pytest.mark.parametrize("step_s", [0.05, -0.05, 3600.0])
def test_a_clock_that_was_stepped_is_refused_with_the_size_of_the_step(step_s):
    ask_s, way_s = np.arange(0, 20, 1.0), np.full(20, 1e-3)
    trips = trips_of(lambda t: 2.0 + step_s * (t > 10), ask_s, way_s, way_s)
    with pytest.raises(MeterError, match=r"was stepped, by [0-9.e+]+ s or more; .*run again"):
        trips.clock_map()


def test_without_a_trip_nothing_is_known_and_an_answer_before_its_question_is_refused():
    with pytest.raises(MeterError, match="no round trip"):
        RoundTrips().clock_map()
    with pytest.raises(MeterError, match="before it begins"):
        RoundTrips().add(2 * S, 0, S)


def test_of_very_many_trips_the_shortest_are_enough():
    rng = np.random.default_rng(2)
    ask_s = np.sort(rng.uniform(0, 3000, 20_000))
    found = trips_of(
        lambda t: -7.0 + 1e-5 * t, ask_s, rng.exponential(0.01, 20_000), rng.exponential(0.01, 20_000)
    ).clock_map()
    assert worst_s(found, lambda t: -7.0 + 1e-5 * t, np.linspace(1, 2999, 300)) <= found.bound_s < 0.015


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(0.01, 1000), st.floats(1e-6, 0.5))
def test_the_truth_is_within_the_bound(seed, count, span_s, way_s):
    """Both ways take any time; the offset wanders as fast as it is allowed to, either way."""
    rng = np.random.default_rng(seed)
    knots_s = np.linspace(-1, span_s + 2, 12)
    rates = rng.choice([-1, -0.3, 0, 0.7, 1], 11) * MAX_DRIFT
    offsets_s = rng.uniform(-100, 100) + np.concatenate(([0], np.cumsum(rates * np.diff(knots_s))))

    def ahead_s(t):
        return np.interp(t, knots_s, offsets_s)

    ask_s = np.sort(rng.uniform(0, span_s, count))
    there_s, back_s = (way_s * rng.exponential(1, count) * rng.choice([0.01, 1, 5], count) for _ in range(2))
    there_s = np.minimum(there_s, 1.0)
    found = trips_of(ahead_s, ask_s, there_s, back_s).clock_map()
    read_s = ask_s + there_s
    assert worst_s(found, ahead_s, np.linspace(read_s.min(), read_s.max(), 400)) <= found.bound_s + 2e-9


def test_a_line_through_one_offset_may_drift_and_one_through_two_is_nearly_bound():
    one = line_between([(100 * S, 0.8, 0.01)], 5e-6, 1e-4, 90 * S, 600 * S)
    assert one.drift == 0 and one.bound_s == pytest.approx(0.01 + 500e-4)
    two = line_between([(100 * S, 0.8, 0.01), (600 * S, 0.85, 0.02)], 5e-6, 1e-4, 100 * S, 600 * S)
    assert two.drift == pytest.approx(1e-4) and two.bound_s == pytest.approx(0.02 + 5e-6 * 250)
    assert list(two.to_monotonic_ns([100 * S, 600 * S])) == [100 * S - 800_000_000, 600 * S - 850_000_000]


@settings(max_examples=200, deadline=None)
@given(
    true_drift=st.floats(-5e-4, 5e-4),
    errors=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    bounds_s=st.tuples(st.floats(0.001, 0.05), st.floats(0.001, 0.05)),
    span_s=st.integers(2, 100),
)
def test_a_line_never_drifts_as_no_clock_does_and_its_bound_holds(true_drift, errors, bounds_s, span_s):
    """A short run with a slow meter: two offsets whose errors alone would make thousands of ppm."""
    at_ns = np.array([0, span_s * S])
    truth_s = 0.3 + true_drift * at_ns / S
    marks = [(int(t), o + e * b, b) for t, o, e, b in zip(at_ns, truth_s, errors, bounds_s)]
    found = line_between(marks, 0.0, 5e-4, *at_ns)
    assert abs(found.drift) <= 5e-4 * (1 + 1e-9)
    shown_s = (at_ns - found.to_monotonic_ns(at_ns)) / S
    assert np.abs(shown_s - truth_s).max() <= found.bound_s + 1e-8


def test_a_map_keeps_the_nanoseconds_of_times_since_1970():
    clock = ClockMap(BASE_NS, BASE_NS - 5 * S, 0.0, 0.0, BASE_NS, BASE_NS)
    assert list(clock.to_monotonic_ns([BASE_NS, BASE_NS + 1])) == [5 * S, 5 * S + 1]
