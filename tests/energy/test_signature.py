"""The pattern, and where it lies in a meter's readings."""

from __future__ import annotations

import numpy as np
import pytest
import signed
from signed import OwnClock, S, played

from ebbench.energy.alignment.signature import CHIPS, Fit, NotFound, Played, chip_s, fit, looks_of, pattern
from ebbench.energy.traces.series import Series, series_of
from ebbench.protocols import Rail


def test_the_pattern_resembles_its_shifted_copies_as_little_as_any_can():
    chips = np.array(pattern()[1:-1]) * 2 - 1
    assert len(pattern()) == CHIPS and pattern()[0] == pattern()[-1] == 0
    assert chips.size == 63 and chips.sum() == 1
    assert {int(np.dot(chips, np.roll(chips, k))) for k in range(1, 63)} == {-1}


def found(meter: OwnClock, seed: int, shown=None, within_s: float = 2.0, chip: float = 0.0) -> Fit:
    rng = np.random.default_rng(seed)
    chip = chip or chip_s(max(1 / meter.rate_hz, meter.averaging_s))
    told = played(20.0, chip)
    real = told if shown is None else played(20.0, chip, shown)
    steps = [step for begin, end in real.busy_ns for step in ((begin, signed.BUSY_W), (end, signed.IDLE_W))]
    times_s = np.arange(10, real.end_ns / S + 10, 1 / meter.rate_hz) + rng.uniform(0, 1 / meter.rate_hz)
    time_ns, power_w = meter.read(signed.power_of(steps), times_s, seed)
    return fit(looks_of(series_of(meter.info(), ["IN"]), time_ns, power_w), told, within_s)


@pytest.mark.parametrize("noise_w", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("rate_hz, averaging_s", [(10.0, 0.1), (10.0, 0.0), (100.0, 0.0), (50.0, 0.02), (1.0, 1.0)])
def test_the_offset_is_within_its_bound_whatever_the_meter_and_its_noise(rate_hz, averaging_s, noise_w):
    rng = np.random.default_rng(int(rate_hz))
    for seed in range(6):
        meter = OwnClock(rng.uniform(-1.8, 1.8), 50e-6, rate_hz, averaging_s, noise_w)
        one = found(meter, seed)
        middle_s = 20 + CHIPS / 2 * chip_s(max(1 / rate_hz, averaging_s))
        assert abs(one.offset_s - float(meter.ahead_at_s(middle_s))) <= one.bound_s
        assert one.bound_s < 0.2 / rate_hz + 0.01 + 0.15 * noise_w / rate_hz**0.5 * (averaging_s or 1 / rate_hz) ** 0.5
        assert one.peak_ratio > 1.5 and one.correlation > 0.6


def test_readings_far_below_the_length_of_a_chip_give_a_bound_of_milliseconds():
    assert found(OwnClock(0.8, 50e-6, 50.0, 0.02, 0.1), seed=1).bound_s < 0.005


@pytest.mark.parametrize("seed", range(8))
def test_another_pattern_is_refused_with_the_number(seed):
    other = (0, *np.random.default_rng(seed).permutation(pattern()[1:-1]), 0)
    with pytest.raises(NotFound, match=r"does not show the signature.*times the next best") as refused:
        found(OwnClock(noise_w=0.1), seed, other)
    assert refused.value.peak_ratio > 0


def test_a_quiet_board_and_an_offset_beyond_the_search_are_refused():
    with pytest.raises(NotFound, match="does not show"):
        found(OwnClock(noise_w=0.1), 0, (0,) * CHIPS)
    with pytest.raises(NotFound, match="does not show"):
        found(OwnClock(ahead_s=9.0), 0)


def test_a_meter_that_hardly_reads_is_refused():
    with pytest.raises(NotFound, match=r"too few.*--signature"):
        found(OwnClock(rate_hz=1.0, averaging_s=1.0), 0, chip=0.1)


def test_an_energy_counter_shows_the_signature_too():
    told = played(20.0, 0.15)
    steps = [step for begin, end in told.busy_ns for step in ((begin, 10.0), (end, 3.0))]
    times_s = np.arange(10, 40, 0.1)
    counter = Series("X", (("X_j",),), Rail("X", "module"), is_counter=True)
    energy_j = signed.power_of(steps).energy_j(times_s)
    one = fit(looks_of(counter, np.rint((times_s - 0.7) * S).astype(np.int64), energy_j), told, 2.0)
    assert abs(one.offset_s + 0.7) <= one.bound_s < 0.01


def test_power_that_comes_late_is_taken_for_a_part_of_the_offset_as_it_comes_late_for_the_phases():
    told = played(20.0, 0.15)
    steps = [step for begin, end in told.busy_ns + S // 25 for step in ((begin, 10.0), (end, 3.0))]
    times_s = np.arange(10, 40, 0.1)
    time_ns, power_w = OwnClock(0.5, 0.0).read(signed.power_of(steps), times_s)
    one = fit(looks_of(series_of(OwnClock().info(), ["IN"]), time_ns, power_w), told, 2.0)
    assert one.offset_s == pytest.approx(0.5 + 0.04, abs=one.bound_s)


def test_a_mark_says_all_that_was_played():
    one = played(20.0, 0.15)
    again = Played.of(
        {"start_ns": one.start_ns, "end_ns": one.end_ns, "busy_ns": one.busy_ns.tolist(), "chip_s": 0.15, "more": 1}
    )
    assert (again.start_ns, again.end_ns, again.chip_s) == (one.start_ns, one.end_ns, one.chip_s)
    assert (again.busy_ns == one.busy_ns).all()
