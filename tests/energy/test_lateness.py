"""What a late, averaging or holding sensor does to an energy is known where its meter tells, and said to be left out where not."""

from __future__ import annotations

import itertools
from typing import Callable, Dict, List

import numpy as np
import pytest
import waveforms
from coverage import Sample, together
from waveforms import Counter, chunk_of, pieces

from ebbench.energy.integration.integrate import integrate
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import Series, series_of
from ebbench.energy.uncertainty import Budget, budget, half_width_j, merged, of_sum
from ebbench.protocols import AVERAGE, Column, MeterInfo, Rail

S = 1_000_000_000
EXACT = {"counter_averaging_s": 0.0, "counter_delay_s": 0.0}
#: a counter that is late by anything up to 0.1 s, and says so
WITHIN = {"counter_averaging_s": 0.0, "counter_delay_s": 0.05, "counter_delay_u_s": 0.1 / 12**0.5}
#: what a counter really does, by what it says of itself
COUNTERS: Dict[str, Callable[[np.random.Generator], Counter]] = {
    "exact": lambda rng: Counter(says=EXACT),
    "late by what it says": lambda rng: Counter(0.1, says={**EXACT, "counter_delay_s": 0.1}),
    "late within a bound": lambda rng: Counter(rng.uniform(0, 0.1), says=WITHIN),
    "as a GPU's, calibrated": lambda rng: Counter(
        rng.normal(0.101, 0.01), 0.05, 0.1, 1e-3,
        {"counter_averaging_s": 0.05, "counter_delay_s": 0.101, "counter_delay_u_s": 0.01},
    ),
    "as a processor's": lambda rng: Counter(
        rng.uniform(0, 1e-3), 0.0, 0.0, 61e-6,
        {"counter_averaging_s": 0.0, "counter_delay_s": 5e-4, "counter_delay_u_s": 1e-3 / 12**0.5},
    ),
}  # fmt: skip


def measured(wave, counter, rate_hz, rng, start_s, end_s):
    """Error, half width and truth of some phases."""
    time_ns = np.unique(np.rint(waveforms.schedule_s(rate_hz, rng) * S).astype(np.int64))
    chunk, series = chunk_of(time_ns, X_j=counter.read(wave, time_ns / S, rng)), counter.series()
    start_ns, end_ns = (np.rint(np.asarray(t) * S).astype(np.int64) for t in (start_s, end_s))
    found = integrate([chunk], [series], survey([chunk], [series]), start_ns, end_ns)[0]
    truth_j = wave.energy_j(end_ns / S) - wave.energy_j(start_ns / S)
    return Sample(found.energy_j - truth_j, budget(found, time_base=0.0).half_width_j, truth_j), found


def over(name: str, kind: str) -> Sample:
    """Random phases of random waves of one class, at three rates."""
    samples: List[Sample] = []
    for rate_hz in (10.0, 20.0, 100.0):
        rng = np.random.default_rng([3, len(name), sum(map(ord, kind)), int(rate_hz)])
        for _ in range(4):
            wave = waveforms.drawn(kind, rng)
            phases = waveforms.phases_s(wave, rng, 40)
            samples.append(measured(wave, COUNTERS[name](rng), rate_hz, rng, *phases)[0])
    return together(samples)


@pytest.mark.parametrize("name", COUNTERS)
def test_the_interval_of_a_counter_holds_the_truth_and_is_no_wider_than_three_times_the_error(name):
    by_kind = {kind: over(name, kind) for kind in waveforms.CLASSES}
    assert together(list(by_kind.values())).coverage >= 0.95
    assert min(one.coverage for one in by_kind.values()) >= 0.93
    assert together(list(by_kind.values())).width <= 3


@pytest.mark.parametrize("late_s", [0.0, 0.02, 0.05, 0.1])
def test_a_counter_late_by_d_errs_by_d_times_the_step_and_its_interval_says_so(late_s):
    """5 W, 20 W from 5 to 8 s, then 9 W: what the counter lacks of the 20 W it has of what is before, or after."""
    wave = waveforms.steps(np.array([-10.0, 5.0, 8.0]), np.array([5.0, 20.0, 9.0]))
    rng = np.random.default_rng(2)
    says = Counter(late_s, says=WITHIN)
    one, found = measured(wave, says, 1000.0, rng, [5.0, 2.0], [8.0, 4.0])
    assert one.error_j == pytest.approx([-abs(0.05 - late_s) * (15 if late_s > 0.05 else 11), 0], abs=0.05)
    half_width_j = one.half_width_j
    assert 0.05 * 15 <= half_width_j[0] <= 3 * 0.05 * 15 and half_width_j[1] < 0.01
    assert budget(found).components_j["lag"] == pytest.approx([15 * 0.1 / 12**0.5, 0], abs=1e-3)


def test_what_is_not_known_of_a_counter_leaves_its_energy_and_is_left_out_of_its_interval():
    wave = waveforms.steps(np.array([-10.0, 5.0, 8.0]), np.array([5.0, 20.0, 5.0]))
    one, found = measured(wave, Counter(0.101), 1000.0, np.random.default_rng(2), [5.0], [8.0])
    assert one.error_j == pytest.approx([-0.101 * 15], abs=0.05)
    stated = budget(found)
    assert stated.components_j["lag"] is None and of_sum([(stated, np.array([0]))])["lag"] is None
    assert 0 < stated.half_width_j[0] < 0.1


def test_a_power_says_nothing_of_the_counter_beside_it():
    info = MeterInfo("m", "gpu", False, (Rail("X", "gpu", kind=AVERAGE, averaging_s=1.0),),
                     (Column("X_w"), Column("X_j")), ("X",), 10.0)  # fmt: skip
    counter = series_of(info, ["X"])
    assert counter.is_counter and counter.shift_ns == 0 and counter.lateness.averaging_s is None


def test_how_a_trace_is_cut_into_pieces_changes_no_interval_of_a_counter():
    rng = np.random.default_rng(8)
    wave, counter = waveforms.drawn("noise", rng), Counter(says=WITHIN)
    time_ns = np.unique(np.rint(waveforms.schedule_s(20.0, rng) * S).astype(np.int64))
    chunk, series = chunk_of(time_ns, X_j=counter.read(wave, time_ns / S, rng)), [counter.series()]
    starts_ns = np.sort(rng.integers(2 * S, 30 * S, 200))
    whole, cut = (
        budget(integrate(chunks, series, survey(chunks, series), starts_ns, starts_ns + 2 * S)[0])
        for chunks in ([chunk], list(pieces(chunk, itertools.cycle((1, 2, 7)))))
    )
    assert cut.half_width_j == pytest.approx(whole.half_width_j, rel=1e-12)
    assert cut.bias_j == pytest.approx(whole.bias_j, rel=1e-12) and np.any(whole.bias_j)


# --- sums


def repeated(rng, counter, rate_hz):
    """200 phases of 20 W with 5 W between them, as one counter saw them: error of each, and their budget."""
    starts_s = 1 + np.arange(200) * 0.18 + rng.uniform(0, 0.02, 200)
    ends_s = starts_s + 0.1
    times_s = np.stack((starts_s, ends_s), 1).ravel()
    wave = waveforms.steps(np.concatenate(([-10.0], times_s)), np.concatenate(([5.0], np.tile([20.0, 5.0], 200))))
    one, found = measured(wave, counter, rate_hz, rng, starts_s, ends_s)
    return one.error_j, budget(found, time_base=0.0)


@pytest.mark.parametrize("late_s", [0.0, 0.01, 0.02])
def test_a_delay_that_is_off_is_off_for_all_phases_alike(late_s):
    """In squares alone 200 of them would be far off; a delay in the middle of its bound does not err at all."""
    says = {"counter_averaging_s": 0.0, "counter_delay_s": 0.01, "counter_delay_u_s": 0.02 / 12**0.5}
    error_j, stated = repeated(np.random.default_rng(4), Counter(late_s, says=says), 1000.0)
    together_j = half_width_j(of_sum([(stated, np.arange(200))]))
    assert abs(error_j.sum()) <= together_j <= 3 * 200 * 15 * 0.01
    if late_s != 0.01:
        assert abs(error_j.sum()) > np.sqrt(np.sum(stated.half_width_j**2))


def test_a_phase_and_the_rest_around_it_lose_to_each_other_and_not_in_their_sum():
    wave = waveforms.steps(np.array([-10.0, 5.0, 8.0]), np.array([5.0, 20.0, 5.0]))
    edges_s = np.array([2.0, 5.0, 8.0, 11.0])
    found = measured(wave, Counter(says=WITHIN), 1000.0, np.random.default_rng(5), edges_s[:-1], edges_s[1:])[1]
    stated = budget(found, time_base=0.0)
    assert np.all(stated.components_j["lag"] > 0.4)
    assert of_sum([(stated, np.arange(3))])["lag"] == pytest.approx(0, abs=1e-6)
    assert of_sum([(stated, np.array([0, 1])), (stated, np.array([2]))])["lag"] == pytest.approx(0, abs=1e-6)
    both = merged([stated, stated])
    assert both.components_j["lag"] == pytest.approx(np.sqrt(2) * stated.components_j["lag"])
    assert of_sum([(both, np.array([1]))])["lag"] == pytest.approx(2 * stated.components_j["lag"][1])


def test_the_sum_of_phases_whose_power_steps_at_their_edges_is_covered_where_a_counter_is_read_slowly():
    error_j, stated = repeated(np.random.default_rng(4), Counter(says=EXACT), 50.0)
    assert abs(error_j.sum()) <= half_width_j(of_sum([(stated, np.arange(200))]))
    assert abs(error_j.sum()) > np.sqrt(np.sum(stated.half_width_j**2))


def test_what_a_calibrated_power_moves_is_known_of_a_slow_rise_too():
    """No step is near an edge, and yet a power that is later than it is said to be lacks what it rose by meanwhile."""
    rail = Rail("X", "module", gain_ratio=0.0, offset_w=0.0, resolution_w=0.0, delay_s=0.1, delay_u_s=0.02)
    series = Series("X", (("X_w",),), rail)
    time_ns = np.arange(0, 20 * S, S // 100)
    chunk = chunk_of(time_ns, X_w=5 + 2 * (time_ns / S - 0.13))
    found = integrate([chunk], [series], survey([chunk], [series]), np.array([2 * S]), np.array([12 * S]))[0]
    stated: Budget = budget(found, time_base=0.0)
    assert found.energy_j - (50 + 140) == pytest.approx([-0.03 * 20]) and stated.half_width_j == pytest.approx([0.8])
