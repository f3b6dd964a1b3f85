"""The stated intervals contain the truth, and are not wide for nothing."""

from __future__ import annotations

import dataclasses
from typing import Dict, List

import numpy as np
import periodic_loads
import pytest
import waveforms
from coverage import Sample, table, together
from waveforms import chunk_of

from ebbench.energy.integration.integrals import Integrals
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import Series, series_of
from ebbench.energy.uncertainty import TIME_BASE, Budget, budget, half_width_j, merged, of_sum
from ebbench.protocols import AVERAGE, HOLD, INSTANT, Column, MeterInfo, Rail

S = 1_000_000_000


@pytest.fixture(scope="module")
def samples() -> Dict[str, List[Sample]]:
    by_class: Dict[str, List[Sample]] = {}
    for (kind, _, _), one in table(traces=4, phases=40, seed=7).items():
        by_class.setdefault(kind, []).append(one)
    return by_class


@pytest.mark.parametrize("kind", waveforms.CLASSES)
def test_stated_intervals_contain_the_truth_and_are_no_wider_than_three_times_the_error(kind, samples):
    whole = together(samples[kind])
    assert whole.coverage >= 0.93
    assert whole.width <= 3


@pytest.mark.parametrize("kind", waveforms.CLASSES)
def test_no_sensor_and_rate_falls_far_below(kind, samples):
    assert (
        min(one.coverage for one in samples[kind]) >= 0.8
    )  # bursts that no reading met in a whole trace cannot be known


@pytest.mark.parametrize("rate_hz", [10.0, 20.0, 50.0, 100.0])
@pytest.mark.parametrize("kind", ["near", "exact"])
def test_a_load_in_step_with_the_slots_is_covered_where_readings_fall_at_random_moments_of_them(kind, rate_hz):
    """Square waves of 5 to 200 ms at a harmonic of the sampling rate, phases of 50 ms to 2 s."""
    rng = np.random.default_rng([8, int(rate_hz), len(kind)])
    whole = together([periodic_loads.sample(kind, waveforms.Sensor(), rate_hz, 1.0, rng) for _ in range(12)])
    assert whole.coverage >= 0.93
    assert whole.width <= 3


def integrals(power_w, intervals_s, rail=None, interval_s=0.01) -> Integrals:
    series = Series("X", (("X_w",),), rail or Rail("X", "module"))
    chunk = chunk_of(np.rint(np.arange(len(power_w)) * interval_s * S).astype(np.int64), X_w=np.array(power_w))
    edges = np.rint(np.array(intervals_s) * S).astype(np.int64)
    return integrate([chunk], [series], survey([chunk], [series]), edges[:, 0], edges[:, 1])[0]


def test_a_steady_power_is_known_as_well_as_its_meter():
    rail = Rail("X", "module", gain_ratio=0.01, offset_w=0.02, resolution_w=0.0)
    found = budget(integrals(np.full(1001, 10.0), [(1, 6)], rail))
    known = {name: float(c[0]) for name, c in found.components_j.items()}
    assert known["gain"] == pytest.approx(0.5) and known["offset"] == pytest.approx(0.1)
    assert known["time_base"] == pytest.approx(50 * TIME_BASE / 3**0.5)
    assert all(known[name] == 0 for name in ("sampling", "edges", "lag", "hold", "gaps", "unresolved", "resolution"))
    assert found.half_width_j[0] == pytest.approx(2 * np.sqrt(sum(c * c for c in known.values())))


def test_what_the_meter_does_not_say_is_unknown_and_not_zero():
    found = budget(integrals(np.full(1001, 10.0), [(1, 6)]))
    assert [found.components_j[n] for n in ("gain", "offset", "resolution")] == [None] * 3
    assert of_sum([(found, np.array([0]))])["gain"] is None
    assert found.half_width_j[0] > 0  # the time base


def test_what_an_average_over_a_time_that_nobody_knows_smears_is_unknown_and_not_zero():
    power_w = np.full(1001, 5.0)
    power_w[500:600] = 20.0
    unknown = budget(integrals(power_w, [(5, 6)], Rail("X", "module", averaging_s=None)))
    assert unknown.components_j["lag"] is None and of_sum([(unknown, np.array([0]))])["lag"] is None
    assert unknown.half_width_j == budget(integrals(power_w, [(5, 6)])).half_width_j  # of what is known
    whole = series_of(MeterInfo("m", "module", False, (Rail("A", "rail"), Rail("B", "rail", averaging_s=None)),
                                (Column("A_w"), Column("B_w")), ("A", "B"), 1.0), ["A", "B"])  # fmt: skip
    assert whole.rail.averaging_s is None and whole.shift_ns == 0


def test_a_phase_hardly_looked_at_is_unresolved_and_its_interval_holds_what_the_trace_has_seen():
    power_w = np.full(1001, 5.0)
    power_w[500:600] = 20.0
    found = integrals(power_w, [(2.001, 2.004), (2, 3)])
    stated = budget(found)
    assert list(stated.unresolved) == [True, False]
    assert found.energy_j[0] + stated.half_width_j[0] >= 20 * 0.003
    assert stated.components_j["unresolved"][1] == 0


@pytest.mark.parametrize("burst_w", [0.0, 9.9])
@pytest.mark.parametrize(("kind", "update_s", "end_s"), [(INSTANT, None, 2.004), (HOLD, 0.1, 2.035)])
def test_a_phase_that_no_reading_saw_is_not_known_for_certain_however_flat_the_trace(burst_w, kind, update_s, end_s):
    """The readings are those of a steady 5 W either way: what happened between two of them, or between two updates of a register
    that was read three times meanwhile, is in the interval."""
    exact = Rail("X", "module", gain_ratio=0.0, offset_w=0.0, resolution_w=0.0, kind=kind, update_period_s=update_s)
    found = integrals(np.full(1001, 5.0), [(2.001, end_s), (2, 3)], exact)
    assert found.readings[0] == (3 if kind == HOLD else 0)
    stated = budget(found, time_base=0.0)
    assert list(stated.unresolved) == [True, False]
    assert abs(found.energy_j[0] - burst_w * (end_s - 2.001)) <= stated.half_width_j[0]
    assert stated.half_width_j[1] == 0


def test_what_no_phase_by_itself_resolves_is_known_by_the_phase_around_it():
    """200 steps of 50 ms, read five times a second, with 0.1 ms between them."""
    power_w = 10 + np.random.default_rng(5).normal(0, 0.5, 61)
    steps = [(1 + k * 0.0501, 1.05 + k * 0.0501) for k in range(200)]
    one = budget(integrals(power_w, [*steps, (steps[0][0], steps[-1][1])], interval_s=0.2))
    apart_j, around_j = half_width_j(of_sum([(one, np.arange(200))])), one.half_width_j[200]
    assert one.unresolved[:200].all() and not one.unresolved[200]
    assert around_j < 3 < 80 < apart_j


def test_an_average_over_longer_than_the_phase_widens_it_further():
    power_w = np.full(1001, 5.0)
    power_w[500:600] = 20.0
    rail = Rail("X", "module", kind=AVERAGE, averaging_s=0.1)
    short = [(2.001, 2.011)]
    plain, averaged = (budget(integrals(power_w, short, r)).half_width_j[0] for r in (None, rail))
    assert averaged > 5 * plain


@pytest.mark.parametrize("rest_s", [0.01, 0.02, 0.04, 0.05, 0.2, 0.5])
def test_what_an_average_mixes_into_a_phase_from_a_rest_before_it_is_in_its_bias(rest_s):
    """A mean over a takes D r/2 (1 - r/a) out of a phase after a rest of r < a/2, a/8 of D where the rest is longer than 1.5 a."""
    averaging_s, high_w, low_w = 0.1, 20.0, 5.0
    rail = Rail("X", "module", gain_ratio=0.0, kind=AVERAGE, averaging_s=averaging_s)
    wave = waveforms.steps(np.array([-10.0, 4.0, 4 + rest_s]), np.array([high_w, low_w, high_w]))
    time_s = np.arange(0, 8, 0.001)
    power_w = waveforms.Sensor(averaging_s=averaging_s).read(wave, time_s, np.random.default_rng(1))
    found = integrals(power_w, [(4 + rest_s, 7)], rail, interval_s=0.001)
    is_short = rest_s <= averaging_s / 2
    lost_j = (high_w - low_w) * (rest_s / 2 * (1 - rest_s / averaging_s) if is_short else averaging_s / 8)
    assert high_w * (3 - rest_s) - found.energy_j[0] == pytest.approx(lost_j, rel=0.02)
    assert lost_j * 0.99 <= -budget(found).bias_j[0] <= lost_j * (2.1 if is_short else 1.02)


@pytest.mark.parametrize("rest_s", [0.002, 0.005])
@pytest.mark.parametrize("before_w", [9.0, 9.8, 10.0, 10.2, 11.0])
@pytest.mark.parametrize("after_w", [9.0, 9.8, 10.0, 10.2, 11.0])
def test_a_short_rest_and_another_power_behind_it_do_not_hide_each_other(rest_s, before_w, after_w):
    """Of a rest of a/20 at half of the power a mean over a shows as much as of 2.5 % more power behind it."""
    rail = Rail("X", "module", gain_ratio=0.0, offset_w=0.0, resolution_w=0.0, kind=AVERAGE, averaging_s=0.1)
    edges_s = np.array([4.0, 4 + rest_s, 4.25 + rest_s, 4.25 + 2 * rest_s])
    wave = waveforms.steps(np.array([-10.0, *edges_s]), np.array([before_w, 5.0, 10.0, 5.0, after_w]))
    power_w = waveforms.Sensor(averaging_s=0.1).read(wave, np.arange(0, 8, 0.001), np.random.default_rng(1))
    found = integrals(power_w, [tuple(edges_s[1:3])], rail, interval_s=0.001)
    assert abs(found.energy_j[0] - 2.5) <= budget(found, time_base=0.0).half_width_j[0] < 0.1


def test_a_phase_shorter_than_its_sensor_averages_may_have_held_nothing_or_twice_as_much():
    """Steps of 60 ms with rests of 40 ms under a mean over 100 ms: the readings are those of a steady power."""
    rail = Rail("X", "module", gain_ratio=0.0, offset_w=0.0, kind=AVERAGE, averaging_s=0.1)
    found = budget(integrals(np.full(1001, 5.0), [(2, 2.06), (3, 3.5)], rail), time_base=0.0)
    assert list(found.unresolved) == [True, False]
    assert found.half_width_j[0] >= 5 * 0.06 and found.half_width_j[1] == 0


def test_a_register_shows_a_step_late_and_the_interval_says_so():
    rail = Rail("X", "module", kind=HOLD, update_period_s=0.5)
    power_w = np.where(np.arange(2000) * 0.01 < 5.3, 5.0, 15.0)
    found = integrals(power_w, [(1, 4), (5.0, 9)], rail)
    known = budget(found).components_j
    assert known["hold"][0] == 0 and 2 * known["hold"][1] >= 10 * 0.3  # a step at 5.0 was seen at 5.3
    assert not known["lag"].any()


def test_what_a_register_shows_late_is_known_also_where_its_averaging_is_not():
    rail = Rail("X", "module", kind=HOLD, update_period_s=0.5)
    power_w = np.where(np.arange(2000) * 0.01 < 5.3, 5.0, 15.0)
    sharp, unknown = (
        budget(integrals(power_w, [(5.0, 9)], dataclasses.replace(rail, averaging_s=a))) for a in (0.0, None)
    )
    assert unknown.components_j["lag"] is None
    assert unknown.components_j["hold"] == sharp.components_j["hold"] > 0
    assert unknown.half_width_j == sharp.half_width_j and unknown.bias_j == sharp.bias_j != 0


@pytest.mark.parametrize("kind", [k for k in waveforms.CLASSES if k != "bursts"])  # of which 2 readings/s miss too many
@pytest.mark.parametrize("rate_hz", [2.0, 5.0])
def test_a_register_read_less_often_than_it_is_renewed_has_its_lateness_in_the_time_between_readings(kind, rate_hz):
    """Where nobody sees that it holds its value, `hold` is 0, and `edges` and `sampling` are wide enough."""
    rng, parts = np.random.default_rng([9, int(rate_hz), len(kind)]), []
    for _ in range(6):
        sensor, wave = waveforms.Sensor(update_s=0.1), waveforms.drawn(kind, rng)
        series = sensor.series()
        series = dataclasses.replace(series, rail=dataclasses.replace(series.rail, kind=INSTANT))
        time_ns = np.unique(np.rint(waveforms.schedule_s(rate_hz, rng) * S).astype(np.int64))
        chunk = chunk_of(time_ns, X_w=sensor.read(wave, time_ns * 1e-9, rng))
        start_ns, end_ns = (np.rint(t * S).astype(np.int64) for t in waveforms.phases_s(wave, rng, 40))
        found = integrate([chunk], [series], survey([chunk], [series]), start_ns, end_ns)[0]
        stated, truth_j = budget(found, time_base=0.0), wave.energy_j(end_ns / S) - wave.energy_j(start_ns / S)
        parts.append(Sample(found.energy_j - truth_j, stated.half_width_j, truth_j))
    assert together(parts).coverage >= 0.93


def test_readings_that_toggle_between_two_steps_are_known_better_than_steady_ones():
    rail = Rail("X", "module", resolution_w=0.1)
    steady = budget(integrals(np.full(1001, 5.0), [(1, 9)], rail)).components_j["resolution"][0]
    rng = np.random.default_rng(0)
    toggling = 5.0 + 0.1 * rng.integers(0, 2, 1001)
    assert steady == pytest.approx(0.1 / 12**0.5 * 8)
    assert budget(integrals(toggling, [(1, 9)], rail)).components_j["resolution"][0] < 0.3 * steady


def test_gains_add_over_phases_and_never_average_down():
    rail = Rail("X", "module", gain_ratio=0.01, offset_w=0.0, resolution_w=0.0)
    one = budget(integrals(np.full(2001, 10.0), [(k, k + 1) for k in range(16)], rail))
    total = of_sum([(one, np.arange(16))])
    assert total["gain"] == pytest.approx(16 * 0.1)
    assert total == pytest.approx(of_sum([(one, np.arange(9)), (one, np.arange(9, 16))]))


def test_scatter_averages_down_over_phases():
    power_w = 10 + np.random.default_rng(3).normal(0, 1, 2001)
    one = budget(integrals(power_w, [(k, k + 1) for k in range(16)]))
    total = of_sum([(one, np.arange(16))])
    assert total["sampling"] == pytest.approx(np.sqrt(np.sum(one.components_j["sampling"] ** 2)))


def test_the_sum_of_phases_whose_power_steps_at_their_edges_is_covered():
    """Each phase loses dP h / 6 at both edges, on the same side: in squares alone 200 of them would be far off."""
    rng = np.random.default_rng(4)
    starts_s = np.arange(200) * 0.2 + rng.uniform(0, 0.05, 200)
    ends_s = starts_s + 0.1
    times_s = np.stack((starts_s, ends_s), 1).ravel()
    wave = waveforms.steps(np.concatenate(([-10.0], times_s)), np.concatenate(([5.0], np.tile([20.0, 5.0], 200))))
    found = integrals(wave.power_w(np.arange(0, 41, 0.01)), np.stack((starts_s, ends_s), 1))
    error_j = found.energy_j.sum() - np.sum(20 * (ends_s - starts_s))
    stated = budget(found, time_base=0.0)
    assert abs(error_j) <= half_width_j(of_sum([(stated, np.arange(200))]))
    assert abs(error_j) > np.sqrt(np.sum(stated.half_width_j**2))


def test_what_equal_phases_share_is_what_does_not_average_down_in_their_sum():
    """The half width of n phases, squared: n^2 of what they share, and n of the rest."""
    rail = Rail("X", "module", gain_ratio=0.01, offset_w=0.02, resolution_w=0.1)
    power_w = np.where(np.arange(2000) // 50 % 2 == 0, 5.0, 20.0)
    one = budget(integrals(power_w, [(k + 0.497, k + 0.997) for k in range(1, 17)], rail))
    own_j2 = one.half_width_j**2 - one.common_half_width_j**2
    expected_j = np.sqrt(one.common_half_width_j.sum() ** 2 + own_j2.sum())
    assert half_width_j(of_sum([(one, np.arange(16))])) == pytest.approx(expected_j, rel=1e-9)
    assert 0 < one.common_half_width_j[0] < one.half_width_j[0]


def test_energies_from_two_traces_merge_into_one_budget():
    rail = Rail("X", "module", gain_ratio=0.01, offset_w=None, resolution_w=0.0)
    one = budget(integrals(np.full(1001, 10.0) + np.random.default_rng(1).normal(0, 1, 1001), [(1, 2), (3, 4)], rail))
    both = merged([one, one])
    assert both.components_j["gain"] == pytest.approx(2 * one.components_j["gain"])
    assert both.components_j["sampling"] == pytest.approx(np.sqrt(2) * one.components_j["sampling"])
    assert both.components_j["offset"] is None
    assert merged([one]) is one


def test_a_budget_can_be_replaced_only_as_a_whole():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Budget({}, np.zeros(0), np.zeros(0, bool)).bias_j = np.ones(1)
