from __future__ import annotations

import math

import pytest

from ebbench.energy.live import LiveTotal
from ebbench.protocols import Column, MeterInfo, Rail

S = 10**9


def live(columns, total=("IN",)):
    rails = tuple(Rail(name, "module") for name in ("IN", "MUX"))
    return LiveTotal(MeterInfo("m", "module", True, rails, tuple(columns), total, 1.0), max_gap_s=1.0)


def test_a_ramp_has_the_energy_of_its_trapezoid():
    total = live([Column("IN_w")])
    for i in range(11):
        total.add(i * S // 10, [i / 10])
    assert total.energy_j == pytest.approx(0.5)
    assert total.power_w == 1.0


def test_rails_of_the_total_are_added_in_si_units_and_volts_times_amperes_are_power():
    total = live([Column("IN_w", 1e-3, raw=True), Column("MUX_v"), Column("MUX_a")], ("IN", "MUX"))
    total.add(0, [2_000, 5.0, 0.5])
    assert total.power_w == pytest.approx(4.5)


def test_what_was_not_read_is_no_power_and_adds_no_energy():
    total = live([Column("IN_w")])
    total.add(0, [10.0])
    total.add(S, [math.nan])
    assert (total.power_w, total.energy_j) == (None, None)
    total.add(2 * S, [10.0])
    total.add(9 * S, [10.0])  # a gap
    assert total.energy_j is None
    total.add(10 * S, [10.0])
    assert total.energy_j == 10.0


def test_a_counter_is_energy_and_its_slope_power():
    total = live([Column("IN_j", 1e-3, raw=True)])
    for time_ns, counter_mj in ((0, 1_000), (S // 2, 1_000), (S, 3_000), (2 * S, math.nan)):
        total.add(time_ns, [counter_mj])
    assert (total.energy_j, total.power_w) == (2.0, 2.0)


def test_a_meter_without_a_total_or_with_half_of_it_has_no_power():
    for columns, names in (([Column("GPU_w")], ()), ([Column("IN_w")], ("IN", "MUX"))):
        total = live(columns, names)
        total.add(0, [1.0])
        total.add(S, [1.0])
        assert (total.power_w, total.energy_j) == (None, None)
