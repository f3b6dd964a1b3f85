"""The response of a known meter is found again, and as well as is stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import stepped_load
from stepped_load import fitted, plateaus, readings

from ebbench.energy.step_response.plateaus import BUSY, IDLE, levels, noise_w
from ebbench.energy.step_response.response import AVERAGE, INSTANT, LEAK_OF_LOWPASS, LOWPASS, Response, fit_response
from ebbench.errors import ResultError

SEEDS = range(5)
#: rate (Hz), shape, delay and width (s), noise and step (W)
METERS = [
    (10, AVERAGE, 0.0, 0.0, 0.05, 0.0),
    (10, AVERAGE, 0.15, 0.3, 0.3, 0.0),
    (100, AVERAGE, 0.0, 0.0, 0.0, 0.0),
    (100, AVERAGE, 0.05, 0.1, 0.0, 0.15),
    (100, AVERAGE, 0.03, 0.02, 0.05, 0.0),
    (100, LOWPASS, 0.1, 0.08, 0.5, 0.0),
    (100, LOWPASS, 0.08, 0.08, 0.0, 0.15),
    (1000, AVERAGE, 0.002, 0.0, 0.3, 0.0),
    (1000, LOWPASS, 0.02, 0.02, 0.3, 0.0),
]


@pytest.fixture(scope="module")
def fits():
    """All meters x seeds: (meter, fit)."""
    return [(meter, fitted(seed, *meter)) for meter in METERS for seed in SEEDS]


def within(error, u):
    return abs(error) <= 2 * u


def test_the_stated_uncertainties_of_delay_and_width_hold_the_truth(fits):
    """Of 45 intervals with k = 2, 40 or more hold: with 95 % each, fewer would come about once in a hundred times."""
    delays = [within(fit.delay_s - meter[2], fit.delay_u_s) for meter, fit in fits]
    widths = [within(fit.width_s - meter[3], fit.width_u_s) for meter, fit in fits]
    assert sum(delays) >= 40 and sum(widths) >= 40


def test_sixteen_edges_tell_the_delay_to_a_fraction_of_the_time_between_readings(fits):
    for (rate_hz, _, _, width_s, *_), fit in fits:
        assert fit.edges == 16
        assert fit.delay_u_s < 0.15 / rate_hz + 0.1 * width_s


def test_the_shape_is_told_where_it_shows(fits):
    for (rate_hz, model, _, width_s, noise, _), fit in fits:
        if width_s == 0:
            assert fit.model == INSTANT and fit.averaging_s == 0
        elif width_s * rate_hz >= 8 and noise < 0.5:
            assert fit.model == model


def test_the_step_is_found_with_its_size(fits):
    for (*_, step), fit in fits:
        assert fit.step_w == pytest.approx(6.5, abs=4 * fit.step_u_w + step + 1e-9)


def test_a_load_that_does_not_show_is_refused_with_the_numbers():
    rng = np.random.default_rng(1)
    found = plateaus(rng)
    time_ns, power_w = readings(rng, found, 100, AVERAGE, 0, 0, noise=0.2, levels_w={IDLE: 5.0, BUSY: 5.0})
    with pytest.raises(ResultError, match=r"no distinct step: idle 4\.989 W.*known to 0\.012 W"):
        fit_response(time_ns, power_w, levels(time_ns, power_w, found), 0.2)


def test_a_power_that_falls_under_load_is_refused():
    rng = np.random.default_rng(1)
    found = plateaus(rng)
    time_ns, power_w = readings(rng, found, 100, AVERAGE, 0, 0, noise=0.1, levels_w={IDLE: 5.0, BUSY: 4.0})
    with pytest.raises(ResultError, match="no distinct step"):
        fit_response(time_ns, power_w, levels(time_ns, power_w, found), 0.1)


def test_a_meter_that_does_not_settle_within_a_plateau_asks_for_more_time():
    with pytest.raises(ResultError, match=r"too slow for plateaus of .*; give [1-9][.0-9]* times the --seconds"):
        fitted(1, 100, AVERAGE, 0.5, 1.0, noise=0.05)


def test_a_meter_that_is_hardly_read_asks_for_more_time():
    with pytest.raises(ResultError, match="--seconds"):
        fitted(1, 0.5, AVERAGE, 0.0, 0.0)


def test_a_load_that_comes_up_slowly_leaves_the_delay_to_its_end():
    """Up: half a second's ramp, as of rising clocks; down: at once. The meter is late by 20 ms."""
    rng = np.random.default_rng(3)
    found = plateaus(rng, 3.0)
    time_ns, power_w = readings(rng, found, 100, AVERAGE, 0.02, 0.0)
    times_s = time_ns * 1e-9
    for after in found[1:]:
        if after.name == BUSY:
            since_s = times_s - after.start_ns * 1e-9 - 0.02
            rising = (since_s >= 0) & (since_s < 0.5)
            power_w[rising] = 2.5 + 6.5 * since_s[rising] / 0.5
    power_w += rng.normal(0, 0.05, power_w.size)
    seen = levels(time_ns, power_w, found)
    fit = fit_response(time_ns, power_w, seen, noise_w(seen, BUSY))
    assert fit.rising_delay_s - fit.falling_delay_s == pytest.approx(0.25, abs=0.03)
    assert fit.delay_s == pytest.approx(0.02, abs=0.005) and within(fit.delay_s - 0.02, fit.delay_u_s)
    assert fit.delay_u_s > 0.05  # whose ramp it was cannot be known


def test_what_else_ran_for_a_moment_changes_little():
    rng = np.random.default_rng(4)
    found = plateaus(rng)
    time_ns, power_w = readings(rng, found, 100, AVERAGE, 0.05, 0.1, noise=0.05)
    disturbed = power_w.copy()
    for at in rng.integers(0, power_w.size, 25):
        disturbed[at : at + 3] += 8.0
    seen = levels(time_ns, disturbed, found)
    fit = fit_response(time_ns, disturbed, seen, noise_w(seen, IDLE))
    assert fit.delay_s == pytest.approx(0.05, abs=0.006) and fit.width_s == pytest.approx(0.1, abs=0.02)


def test_a_lowpass_leaks_over_an_edge_what_a_mean_of_its_averaging_time_does():
    """Shifted by its delay, exp leaks tau / e of a step to the wrong side; a centred mean leaks an eighth of its width."""
    tau_s = 0.3
    late_s = np.linspace(0, tau_s, 100_001)
    leaked_s = np.trapezoid(1 - np.exp(-late_s / tau_s), late_s) if hasattr(np, "trapezoid") else None
    leaked_s = tau_s / math.e if leaked_s is None else leaked_s
    fit = Response(LOWPASS, tau_s, 0.0, tau_s, 0.0, 1.0, 0.0, 16)
    assert fit.averaging_s / 8 == pytest.approx(leaked_s, rel=1e-6) and pytest.approx(8 / math.e) == LEAK_OF_LOWPASS


def test_the_same_readings_give_the_same_fit():
    one, other = (stepped_load.fitted(5, 100, LOWPASS, 0.1, 0.1, noise=0.1) for _ in range(2))
    assert one == other
