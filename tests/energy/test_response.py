"""The response of a known meter is found again, and as well as is stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import stepped_load
from stepped_load import fitted, plateaus, readings

from ebbench.energy.step_response.plateaus import BUSY, IDLE, levels, mean_powers, noise_w, usual_interval_s
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


# --- counters

#: rate (Hz), shape, delay and width (s), one count (J), time between its turns (s)
COUNTERS = [
    (20, AVERAGE, 0.101, 0.05, 1e-3, 0.1),
    (20, LOWPASS, 0.101, 0.046, 1e-3, 0.1),
    (20, AVERAGE, 0.05, 0.0, 1e-3, 0.1),
    (50, AVERAGE, 0.02, 0.0, 61e-6, 0.0),
    (50, AVERAGE, 0.03, 0.04, 61e-6, 0.0),
    (10, AVERAGE, 5e-4, 0.0, 61e-6, 0.0),
    (100, AVERAGE, 0.3, 0.1, 1e-3, 0.02),
]


def response_of_counter(seed, *counter):
    rng = np.random.default_rng(seed)
    found = plateaus(rng)
    time_ns, power_w = mean_powers(*stepped_load.counts(rng, found, *counter))
    seen = levels(time_ns, power_w, found)
    noise = max(noise_w(seen, IDLE) or 0.0, noise_w(seen, BUSY) or 0.0)
    return fit_response(time_ns, power_w, seen, noise).without_mean(usual_interval_s(time_ns))


@pytest.fixture(scope="module")
def counter_fits():
    return [(counter, response_of_counter(seed, *counter)) for counter in COUNTERS for seed in SEEDS]


def test_the_delay_of_a_counter_shows_in_its_mean_powers(counter_fits):
    """Of 35 intervals with k = 2, 31 or more hold."""
    assert sum(within(fit.delay_s - counter[2], fit.delay_u_s) for counter, fit in counter_fits) >= 31
    for counter in COUNTERS:
        u_s = float(np.median([fit.delay_u_s for other, fit in counter_fits if other == counter]))
        assert u_s < 0.2 * max(1 / counter[0], counter[5]) + 0.1 * counter[3]


def test_what_the_means_hide_of_a_counters_width_is_said_and_nothing_is_made_up(counter_fits):
    for (_, _, _, width_s, _, _), fit in counter_fits:
        if fit.model == INSTANT:
            assert fit.averaging_s == 0 and width_s < 2 * fit.width_u_s
        else:
            assert width_s > 0 and within(fit.averaging_s - width_s, fit.width_u_s + 0.3 * width_s)
    seen = {counter[:2] for counter, fit in counter_fits if fit.model != INSTANT}
    assert (100, AVERAGE) in seen and (50, AVERAGE) in seen  # where the turns are finer than the width, it shows


def test_a_counter_that_turns_as_it_is_read_has_its_powers_between_its_readings_and_never_backwards():
    time_ns = np.array([0, 100, 250, 400, 500], np.int64) * 1_000_000
    at_ns, power_w = mean_powers(time_ns, np.array([0.0, 1.0, 2.5, 0.5, 1.5]))
    assert at_ns.tolist() == [175_000_000, 450_000_000] and power_w == pytest.approx([10, 10])
    time_ns = np.arange(0, 12, dtype=np.int64) * 50_000_000
    at_ns, power_w = mean_powers(time_ns, np.repeat([0.0, 1.0, 3.0, 4.0], 3))
    assert at_ns.tolist() == [200_000_000, 350_000_000] and power_w == pytest.approx([2 / 0.15, 1 / 0.15])
    assert mean_powers(time_ns, np.zeros(12))[1].size == 0
