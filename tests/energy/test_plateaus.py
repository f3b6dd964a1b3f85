from __future__ import annotations

import numpy as np
import pytest
from stepped_load import LEVELS_W, plateaus, readings

from ebbench.energy.step_response.plateaus import BUSY, IDLE, levels, noise_w, renewals, step_w, update_period_s
from ebbench.energy.step_response.response import AVERAGE

RNG = np.random.default_rng


def test_levels_and_noise_of_known_plateaus_are_found_again():
    rng = RNG(1)
    found = plateaus(rng)
    time_ns, power_w = readings(rng, found, 200, AVERAGE, 0.01, 0.02, noise=0.3)
    seen = levels(time_ns, power_w, found)
    for level in seen:
        assert level.power_w == pytest.approx(LEVELS_W[level.plateau.name], abs=5 * 0.3 / np.sqrt(level.readings))
    assert noise_w(seen, IDLE) == pytest.approx(0.3, rel=0.1) and noise_w(seen, BUSY) == pytest.approx(0.3, rel=0.1)


def test_a_board_that_warms_up_is_no_noise():
    rng = RNG(2)
    found = plateaus(rng)
    time_ns, power_w = readings(rng, found, 200, AVERAGE, 0, 0, noise=0.05)
    drifting = power_w + (time_ns - time_ns[0]) * 1e-9 * 0.2
    assert noise_w(levels(time_ns, drifting, found), IDLE) == pytest.approx(0.05, rel=0.1)


def test_a_plateau_without_readings_has_no_level():
    rng = RNG(3)
    found = plateaus(rng)
    time_ns, power_w = readings(rng, found, 100, AVERAGE, 0, 0)
    kept = time_ns < found[5].start_ns
    seen = levels(time_ns[kept], power_w[kept], found)
    assert all(level is not None for level in seen[:5]) and not any(seen[5:])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("step", [0.0, 0.15])
def test_how_often_a_register_is_renewed_is_told_within_what_is_stated(seed, step):
    rng = RNG(seed)
    found = plateaus(rng)
    time_ns, power_w = readings(rng, found, 100, AVERAGE, 0, 0, noise=0.2, step=step, period_s=0.1)
    period_s, u_s = update_period_s(time_ns, power_w, len(found))
    assert abs(period_s - 0.1) <= 3 * u_s and u_s < 0.002


@pytest.mark.parametrize("noise, step", [(0.1, 0.0), (0.02, 0.15), (0.0, 0.0)])
def test_a_meter_that_is_renewed_faster_than_it_is_read_or_is_silent_has_no_period(noise, step):
    rng = RNG(7)
    found = plateaus(rng)
    time_ns, power_w = readings(rng, found, 100, AVERAGE, 0.02, 0.0, noise=noise, step=step)
    assert update_period_s(time_ns, power_w, len(found)) is None


def test_renewals_lie_within_half_an_interval_of_the_truth():
    rng = RNG(8)
    found = plateaus(rng)
    time_ns, power_w = readings(rng, found, 200, AVERAGE, 0, 0, noise=0.2, period_s=0.05)
    new_ns, new_w = renewals(time_ns, power_w)
    place = (new_ns * 1e-9) % 0.05
    middle = np.angle(np.exp(2j * np.pi * place / 0.05).mean()) / 2 / np.pi * 0.05
    off_s = (place - middle + 0.025) % 0.05 - 0.025
    assert np.abs(off_s).max() <= 1.8 / 200 / 2 + 1e-3  # jittered readings are up to 1.8 slots apart
    assert np.all(np.diff(new_w) != 0)


def test_the_step_of_a_meter_that_counts_is_seen_and_of_one_that_does_not_is_none():
    rng = RNG(9)
    found = plateaus(rng)
    _, counted_w = readings(rng, found, 100, AVERAGE, 0.05, 0.2, noise=0.1, step=0.152)
    _, smooth_w = readings(rng, found, 100, AVERAGE, 0.05, 0.2, noise=0.1)
    assert step_w(counted_w) == pytest.approx(0.152) and step_w(smooth_w) is None
