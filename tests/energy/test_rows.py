"""Sums of many phases: the same energy interval by interval and from hulls less holes, and how well each way knows it."""

from __future__ import annotations

import dataclasses

import numpy as np
import patterned
import pytest
import short_rows
import waveforms

from ebbench.energy.account.rows import RowTable, Together

S = 1_000_000_000
SENSORS = {
    "instant": waveforms.Sensor(),
    "averages over 0.1 s": waveforms.Sensor(averaging_s=0.1),
    "keeps for 0.1 s": waveforms.Sensor(update_s=0.1),
    "averages over 0.1 s, keeps for 0.1 s": waveforms.Sensor(averaging_s=0.1, update_s=0.1),
}


def rows_of(*segments, look_s):
    """The rows of one path, given as its (start, end) in seconds in each segment; the table they are in too."""
    table = RowTable()
    together = Together(table, look_s)
    for number, stretches in enumerate(segments):
        together.add(table.add((round(s * S), round(e * S), f"boot {number}") for s, e in stretches))
    return together.rows(), table


def times_of(table, at):
    return [(table[i][0] / S, table[i][1] / S, table[i][2]) for i in at]


def test_short_phases_are_also_a_hull_around_them_less_the_holes_between_them():
    rows, table = rows_of([(1, 1.05), (1.06, 1.11), (1.11, 1.15)], look_s=0.2)
    assert times_of(table, rows.hulls) == [(1, 1.15, "boot 0")]
    assert times_of(table, rows.holes) == [(1.05, 1.06, "boot 0")]


def test_a_segment_that_needs_no_hull_is_its_own():
    rows, table = rows_of([(1, 1.05), (1.06, 1.11)], [(7, 9)], look_s=0.2)
    assert times_of(table, rows.hulls) == [(1, 1.11, "boot 0"), (7, 9, "boot 1")]
    assert times_of(table, rows.holes) == [(1.05, 1.06, "boot 0")]


@pytest.mark.parametrize(
    "stretches",
    [
        pytest.param([(1, 3), (4, 6)], id="each is looked at often"),
        pytest.param([(1, 1.05), (1.04, 1.1)], id="what lies in two counts twice"),
        pytest.param([(1, 1.05)], id="one is its own hull"),
        pytest.param([(1, 1), (1, 1)], id="no time at all"),
        pytest.param([], id="none"),
    ],
)
def test_no_hull_where_it_would_not_help_or_not_be_true(stretches):
    rows, table = rows_of(stretches, look_s=0.1)
    assert times_of(table, rows.at) == [(*s, "boot 0") for s in stretches]
    assert rows.hulls.size == rows.holes.size == 0


@pytest.mark.parametrize("name", SENSORS)
def test_the_energy_is_the_same_in_both_ways(name):
    rng = np.random.default_rng(3)
    load = short_rows.Load(100, 0.05, 0.005, 15.0, 4.0)
    found, rows, _ = short_rows.measured(load, SENSORS[name], 20.0, rng)
    singly, hulls, holes = (found.energy_j[at].sum() for at in (rows.at, rows.hulls, rows.holes))
    assert rows.hulls.size == 1 and rows.holes.size == 99
    assert singly == pytest.approx(hulls - holes, rel=1e-12) and found.total_of(rows)[0] == singly


@pytest.mark.parametrize("name", SENSORS)
def test_a_sum_of_many_phases_is_as_far_from_the_truth_as_it_says(name):
    """Phases from far shorter than the sensor's memory to far longer, rests likewise, all in step with the phases."""
    rng = np.random.default_rng([11, len(name)])
    holds, errors, widths, widths_singly = [], [], [], []
    for rate_hz in (10.0, 100.0):
        for shortest_s, longest_s in ((0.004, 0.1), (0.1, 0.4), (0.4, 3.0)):
            for _ in range(20):
                load = short_rows.drawn(rng, shortest_s, longest_s)
                found, rows, truth_j = short_rows.measured(load, SENSORS[name], rate_hz, rng)
                energy_j, width_j, _ = found.total_of(rows)
                holds.append(abs(energy_j - truth_j) <= width_j)
                errors.append(abs(energy_j - truth_j) / truth_j)
                widths.append(width_j / truth_j)
                widths_singly.append(found.total(rows.at)[1] / truth_j)
    assert np.mean(holds) >= 0.95
    assert np.median(widths) < 3 * np.quantile(errors, 0.95)
    assert np.median(widths) < 0.75 * np.median(widths_singly)


#: a mean, the rates (Hz) that show it coarsely and finely, and the lengths of phases (s) that are the hardest for it
MEANS = {
    "0.01 s": (waveforms.Sensor(averaging_s=0.01), (100.0, 1000.0)),
    "0.1 s": (waveforms.Sensor(averaging_s=0.1), (20.0, 100.0)),
    "1 s, kept for 0.1 s": (waveforms.Sensor(averaging_s=1.0, update_s=0.1), (20.0,)),
}


@pytest.mark.parametrize("kind", patterned.CLASSES)
@pytest.mark.parametrize("name", MEANS)
def test_steps_with_a_pattern_of_their_own_and_bursts_between_them_are_as_far_from_the_truth_as_they_say(kind, name):
    """Each step errs to the same side by what the mean smears of its pattern, which the readings show only in part."""
    sensor, rates_hz = MEANS[name]
    rng = np.random.default_rng([21, len(kind), len(name)])
    holds, errors, widths = [], [], []
    for rate_hz in rates_hz:
        for _ in range(80 // len(rates_hz)):
            phase_s = np.clip(sensor.averaging_s * 10 ** rng.uniform(-1, 1.3), 0.01, 2.0)
            found, rows, truth_j = patterned.measured(patterned.drawn(kind, phase_s, rng), sensor, rate_hz, rng)
            energy_j, width_j, _ = found.total_of(rows)
            holds.append(abs(energy_j - truth_j) <= width_j)
            errors.append(abs(energy_j - truth_j) / truth_j)
            widths.append(width_j / truth_j)
    assert np.mean(holds) >= 0.93
    assert np.median(widths) < 3 * np.quantile(errors, 0.95)


def test_steps_too_short_for_a_slow_meter_have_a_useful_total():
    """200 steps of 50 ms with a millisecond between them, read five times a second."""
    found, rows, truth_j = short_rows.measured(
        short_rows.Load(200, 0.05, 0.001, 10.0, 6.0), waveforms.Sensor(noise_w=0.5), 5.0, np.random.default_rng(5)
    )
    energy_j, width_j, components_j = found.total_of(rows)
    assert abs(energy_j - truth_j) < width_j < 0.07 * truth_j < truth_j < found.total(rows.at)[1]
    assert found.is_by_hulls(rows) and components_j["unresolved"] > 0


def test_a_part_without_readings_is_missing_in_both_ways():
    """The readings end in the middle: of the second half nothing is known, and nothing is stated."""
    load, end_s = short_rows.Load(200, 0.05, 0.005, 10.0, 6.0), 10.0
    found, rows, truth_j = short_rows.measured(load, waveforms.Sensor(), 5.0, np.random.default_rng(5), until_s=end_s)
    energy_j, width_j, _ = found.total_of(rows)
    covered = ~np.isnan(found.energy_j)
    hulls, holes = (found.energy_j[at][covered[at]].sum() for at in (rows.hulls, rows.holes))
    assert found.is_by_hulls(rows) and energy_j == pytest.approx(hulls - holes, rel=1e-12)
    assert abs(energy_j - truth_j * (end_s - 5) / 11) < width_j < 0.3 * found.total(rows.at)[1]
    assert found.covered_s[rows.at].sum() < 0.5 * found.duration_s[rows.at].sum()


def test_nothing_that_was_covered_has_no_energy_from_a_hull():
    load = short_rows.Load(50, 0.05, 0.005, 10.0, 6.0)
    found, rows, _ = short_rows.measured(load, waveforms.Sensor(), 5.0, np.random.default_rng(5), until_s=4.0)
    assert found.total_of(rows) == (None, None, {}) and not found.is_by_hulls(rows)


def test_what_is_common_to_all_readings_counts_for_the_sum_alone():
    """A gain that is off by 1 % is off by 1 % of the phases, not of the phases and twice of what lies between them."""
    load = short_rows.Load(100, 0.05, 0.03, 15.0, 4.0)
    found, rows, _ = short_rows.measured(load, waveforms.Sensor(), 20.0, np.random.default_rng(3))
    gained = found.budget.components_j["gain"] + 0.01 * np.abs(found.energy_j)
    known = dataclasses.replace(found.budget, components_j={**found.budget.components_j, "gain": gained})
    components_j = dataclasses.replace(found, budget=known).total_of(rows)[2]
    assert components_j["gain"] == pytest.approx(0.01 * found.energy_j[rows.at].sum())
