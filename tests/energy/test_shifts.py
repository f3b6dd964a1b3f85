"""A meter whose clock is off by up to a known bound: what that does to energies, against closed forms and by Monte Carlo."""

from __future__ import annotations

import numpy as np
import pytest
import waveforms
from coverage import Sample, together
from hypothesis import given
from hypothesis import strategies as st
from waveforms import chunk_of

from ebbench.energy.integration.integrals import Integrals
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.integration.shifts import shifts
from ebbench.energy.measured import _spread
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import Series
from ebbench.energy.uncertainty import budget, merged, of_sum
from ebbench.protocols import Rail

S = 1_000_000_000
ROOT3 = 3**0.5
SERIES = Series("X", (("X_w",),), Rail("X", "module"))
COUNTER = Series("X", (("X_j",),), Rail("X", "module"), is_counter=True)


def read(wave: waveforms.Waveform, rate_hz=1000.0, end_s=waveforms.LENGTH_S, is_counter=False):
    times_s = np.arange(0, round(end_s * rate_hz) + 1) / rate_hz
    values = wave.energy_j(times_s) if is_counter else wave.power_w(times_s)
    return chunk_of(np.rint(times_s * S), **{"X_j" if is_counter else "X_w": values})


def integrals(chunk, intervals_s, bound_s, series=SERIES, max_gap_s=None) -> Integrals:
    edges = np.rint(np.array(intervals_s) * S).astype(np.int64)
    paces = survey([chunk], [series])
    return integrate([chunk], [series], paces, edges[:, 0], edges[:, 1], max_gap_s, bound_s)[0]


def clock_j(*arguments, **more) -> np.ndarray:
    return budget(integrals(*arguments, **more)).components_j["clock"]


def burst() -> waveforms.Waveform:
    """20 W from 10 s to 15 s over 5 W."""
    return waveforms.steps(np.array([-10.0, 10.0, 15.0]), np.array([5.0, 20.0, 5.0]))


WHOLE = (1.0, 39.0)  # the run around it, so that a clock that wanders does so over all of it


def test_a_clock_that_is_the_phases_own_has_no_component_and_changes_no_number():
    chunk = read(burst())
    plain, zero, bounded = (budget(integrals(chunk, [(10, 15)], b)) for b in (0.0, 0.0, 0.1))
    assert "clock" not in zero.components_j and zero.clock_changes_j is None
    known = {k: v for k, v in plain.components_j.items() if v is not None}
    assert {k: bounded.components_j[k][0] for k in known} == pytest.approx({k: v[0] for k, v in known.items()})


def test_a_constant_power_is_the_same_wherever_one_looks():
    assert clock_j(read(waveforms.constant(10.0)), [(3, 9), WHOLE, (5, 5.01)], 0.5) == pytest.approx(0, abs=1e-7)


def test_a_burst_loses_its_step_times_the_bound():
    found = clock_j(read(burst()), [(10, 15), WHOLE], 0.1)[0]
    assert found == pytest.approx(15 * 0.1 / ROOT3, rel=0.02)


def test_a_ramp_gains_its_slope_times_bound_and_length():
    wave = waveforms.ramp(5.0, 0.25)
    found = clock_j(read(wave), [(10, 16), WHOLE], 0.4)[0]
    assert found == pytest.approx(0.25 * 0.4 * 6 / ROOT3, rel=1e-6)


def test_a_phase_as_long_as_the_run_may_begin_early_and_end_late():
    """A clock that runs from one end of its bound to the other loses the step at both edges; it shows 5 s as 5.2 s."""
    assert clock_j(read(burst()), [(10, 15)], 0.1)[0] == pytest.approx(2 * 15 * 0.1 / 1.04 / ROOT3, rel=0.01)


def test_power_that_goes_up_and_comes_back_within_the_bound_is_seen():
    spike = waveforms.steps(np.array([-10.0, 10.1, 10.3]), np.array([5.0, 20.0, 5.0]))
    assert clock_j(read(spike), [(8, 10), WHOLE], 0.4)[0] >= 15 * 0.1 / ROOT3


def test_an_energy_counter_is_shifted_as_well():
    found = clock_j(read(burst(), is_counter=True), [(10, 15), WHOLE], 0.1, series=COUNTER)[0]
    assert found == pytest.approx(15 * 0.1 / ROOT3, rel=0.02)


def test_neighbouring_phases_cancel_at_their_common_edge():
    one = budget(integrals(read(burst()), [(8, 12), (12, 15), (8, 15), WHOLE], 0.1))
    apart, whole = of_sum([(one, np.array([0, 1]))])["clock"], of_sum([(one, np.array([2]))])["clock"]
    assert apart == pytest.approx(whole, rel=1e-6)
    everything = budget(integrals(read(burst()), [(4, 10), (10, 15), (15, 20), WHOLE], 0.1))
    rate = 2 * 0.1 / 38  # what is left is a clock that shows the burst's 5 s as longer
    assert of_sum([(everything, np.arange(3))])["clock"] == pytest.approx(15 * 5 * rate / ROOT3, rel=0.02)


def test_equal_phases_err_to_the_same_side_and_add():
    times_s = np.concatenate(([-10.0], np.arange(2, 22)))
    wave = waveforms.steps(times_s, np.concatenate(([5.0], np.tile([20.0, 5.0], 10))))
    one = budget(integrals(read(wave), [*((k, k + 1) for k in range(2, 22, 2)), (-100, 200)], 0.1))
    assert of_sum([(one, np.arange(10))])["clock"] == pytest.approx(10 * 15 * 0.1 / ROOT3, rel=0.02)


def test_beyond_the_readings_the_power_may_be_anything_that_was_seen():
    chunk = read(burst(), end_s=20.0)  # the last phase ends with the readings, and may really have ended 0.1 s later
    last = clock_j(chunk, [(16, 20), (-500, 500)], 0.1)[0]
    assert last == pytest.approx(15 * 0.1 / ROOT3, rel=0.02)


def test_what_lies_in_no_reading_has_no_component():
    found = clock_j(read(burst(), end_s=20.0), [(30, 31), (20, 20), (5, 6)], 0.1)
    assert np.isfinite(found).all() and found[0] == found[1] == 0


def test_the_errors_of_two_traces_are_independent_and_their_worst_is_added():
    early = budget(integrals(read(burst()), [(8, 10), WHOLE], 0.1))
    late = budget(integrals(read(burst()), [(13, 15), WHOLE], 0.1))
    parts = [
        _spread(early, np.array([0, 2]), 3, np.ones(2, bool)),
        _spread(late, np.array([1, 2]), 3, np.ones(2, bool)),
    ]
    both = merged(parts)
    assert both.components_j["clock"][:2] == pytest.approx([15 * 0.1 / ROOT3] * 2, rel=0.02)
    total = of_sum([(both, np.array([0, 1]))])["clock"]
    assert total == pytest.approx(2 * 15 * 0.1 / ROOT3, rel=0.02)


@given(st.lists(st.integers(0, 10**13), min_size=2, max_size=20), st.floats(1e-6, 1e4))
def test_no_error_moves_an_edge_by_more_than_the_bound_and_none_turns_an_interval_round(times, bound_s):
    starts, ends = np.sort(np.array(times, np.int64))[:-1], np.sort(np.array(times, np.int64))[1:]
    found = shifts(starts, ends, bound_s)
    assert np.abs(found.starts_ns - starts).max() <= bound_s * S + 1
    assert np.abs(found.ends_ns - ends).max() <= bound_s * S + 1
    assert (found.ends_ns >= found.starts_ns).all() and (found.stretch > 0).all()


def late(kind: str, sensor: str, rate_hz: float, bound_s: float, rng: np.random.Generator) -> Sample:
    """Random phases of a random waveform, read by a clock that is off by a random part of the bound (and drifts within it)."""
    wave, of = waveforms.drawn(kind, rng), waveforms.SENSORS[sensor]
    series = of.series()
    times_s = waveforms.schedule_s(rate_hz, rng)
    from_s, to_s = (
        np.full(2, rng.uniform(-bound_s, bound_s)) if rng.random() < 0.5 else rng.uniform(-bound_s, bound_s, 2)
    )
    off_s = np.interp(times_s, [0, waveforms.LENGTH_S], [from_s, to_s])
    time_ns, kept = np.unique(np.rint((times_s + off_s) * S).astype(np.int64), return_index=True)
    chunk = chunk_of(time_ns, X_w=of.read(wave, times_s, rng)[kept])
    start_ns, end_ns = (np.rint(t * S).astype(np.int64) for t in waveforms.phases_s(wave, rng, 40))
    found = integrate([chunk], [series], survey([chunk], [series]), start_ns, end_ns, None, bound_s)[0]
    truth_j = wave.energy_j(end_ns / S) - wave.energy_j(start_ns / S)
    return Sample(found.energy_j - truth_j, budget(found, time_base=0.0).half_width_j, truth_j)


@pytest.mark.parametrize("bound_s", [0.005, 0.05, 0.5])
@pytest.mark.parametrize("kind", waveforms.CLASSES)
def test_stated_intervals_contain_the_truth_whatever_the_offset_within_the_bound(kind, bound_s):
    rng = np.random.default_rng([int(bound_s * 1000), sum(map(ord, kind))])
    found = together(
        [
            late(kind, sensor, rate_hz, bound_s, rng)
            for sensor in waveforms.SENSORS
            for rate_hz in (10.0, 100.0, 1000.0)
            for _ in range(2)
        ]
    )
    assert found.coverage >= 0.93 and found.width <= 3


@pytest.mark.parametrize("bound_s", [0.05, 0.5])
def test_without_the_component_they_would_not(bound_s):
    rng = np.random.default_rng(3)
    found = together([late("steps at edges", "instant", 100.0, bound_s, rng) for _ in range(4)])
    rng = np.random.default_rng(3)
    wave = waveforms.drawn("steps at edges", rng)
    chunk = chunk_of(np.rint((np.arange(0, 40, 0.01) + bound_s) * S), X_w=wave.power_w(np.arange(0, 40, 0.01)))
    start_ns, end_ns = (np.rint(t * S).astype(np.int64) for t in waveforms.phases_s(wave, rng, 40))
    plain = integrate([chunk], [SERIES], survey([chunk], [SERIES]), start_ns, end_ns)[0]
    truth_j = wave.energy_j(end_ns / S) - wave.energy_j(start_ns / S)
    missed = np.abs(plain.energy_j - truth_j) > budget(plain, 0.0).half_width_j
    assert missed.mean() > 0.3 and found.coverage >= 0.93
