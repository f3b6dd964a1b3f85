from __future__ import annotations

import math

import numpy as np
import pytest

from ebbench.energy.sampler_process.live import LiveTotal
from ebbench.protocols import Column, MeterInfo, Rail

S = 10**9


def add(total, time_ns, values):
    total.extend(np.array([time_ns]), np.array([values], dtype=float))


def live(columns, total=("IN",)):
    rails = tuple(Rail(name, "module") for name in ("IN", "MUX"))
    return LiveTotal(MeterInfo("m", "module", True, rails, tuple(columns), total, 1.0), max_gap_s=1.0)


def test_a_ramp_has_the_energy_of_its_trapezoid():
    total = live([Column("IN_w")])
    for i in range(11):
        add(total, i * S // 10, [i / 10])
    assert total.energy_j == pytest.approx(0.5)
    assert total.power_w == 1.0


def test_rails_of_the_total_are_added_in_si_units_and_volts_times_amperes_are_power():
    total = live([Column("IN_w", 1e-3, raw=True), Column("MUX_v"), Column("MUX_a")], ("IN", "MUX"))
    add(total, 0, [2_000, 5.0, 0.5])
    assert total.power_w == pytest.approx(4.5)


def test_readings_may_come_one_by_one_or_in_blocks():
    rng = np.random.default_rng(0)
    time_ns, power_w = np.cumsum(rng.integers(1, S // 2, 200)), rng.uniform(1, 9, (200, 1))
    power_w[rng.random(200) < 0.1] = np.nan
    for column in ("IN_w", "IN_j"):
        values = power_w if column == "IN_w" else np.cumsum(np.nan_to_num(power_w) // 4, axis=0)
        whole, parts = live([Column(column)]), live([Column(column)])
        whole.extend(time_ns, values)
        for i in range(0, 200, 7):
            parts.extend(time_ns[i : i + 7], values[i : i + 7])
        assert parts.energy_j == pytest.approx(whole.energy_j)
        assert parts.power_w == pytest.approx(whole.power_w)


def test_what_was_not_read_is_no_power_and_adds_no_energy():
    total = live([Column("IN_w")])
    add(total, 0, [10.0])
    add(total, S, [math.nan])
    assert (total.power_w, total.energy_j) == (None, None)
    add(total, 2 * S, [10.0])
    add(total, 9 * S, [10.0])  # a gap
    assert total.energy_j is None
    add(total, 10 * S, [10.0])
    assert total.energy_j == 10.0


def test_a_counter_is_energy_and_its_slope_power():
    total = live([Column("IN_j", 1e-3, raw=True)])
    for time_ns, counter_mj in ((0, 1_000), (S // 2, 1_000), (S, 3_000), (2 * S, math.nan)):
        add(total, time_ns, [counter_mj])
    assert (total.energy_j, total.power_w) == (2.0, 2.0)


def test_a_meter_without_a_total_or_with_half_of_it_has_no_power():
    for columns, names in (([Column("GPU_w")], ()), ([Column("IN_w")], ("IN", "MUX"))):
        total = live(columns, names)
        add(total, 0, [1.0])
        add(total, S, [1.0])
        assert (total.power_w, total.energy_j) == (None, None)
