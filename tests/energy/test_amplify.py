"""Amplified draws of known cost: the stated interval contains it."""

from __future__ import annotations

import random

import numpy as np
import pytest
from repeated_draws import METERS, amplified, drawn

from ebbench.energy.amplify import MeasuredBlock, estimate, student
from ebbench.energy.blocks import DRAW, IDLE, WINDOW, plan


def measured(blocks, draw_s, draw_w, idle_w, drift_w_s, noise_j, rng, gain=0.0):
    """What the blocks of a plan would give on a machine that rests at `idle_w` + drift and draws at `draw_w` + drift."""
    at_s, found = 0.0, []
    for block in blocks:
        busy_s = block.repeats * draw_s
        length_s = busy_s if block.kind == DRAW else block.seconds
        around_s = block.around * draw_s
        middle_s = at_s + around_s + length_s / 2
        energy_j = busy_s * draw_w + (length_s - busy_s) * idle_w + length_s * drift_w_s * middle_s
        energy_j = energy_j * (1 + gain) + rng.normal(0, noise_j)
        start_s = at_s + around_s
        found.append(
            MeasuredBlock(block.kind, block.repeats, start_s, length_s, energy_j, *[abs(gain) * 2 * energy_j] * 2)
        )
        at_s += length_s + 2 * around_s
    return found


def test_the_intervals_contain_the_known_cost_of_a_draw():
    rng = np.random.default_rng(0)
    hits = both = agreed = 0
    for _ in range(300):
        draw_s, draw_w, idle_w = 10 ** rng.uniform(-4, -2), rng.uniform(4, 12), rng.uniform(2, 4)
        found = estimate(
            measured(plan(draw_s, 20, random.Random(0)), draw_s, draw_w, idle_w, 0.0, 0.05, rng, rng.normal(0, 0.01))
        )
        truth_j = draw_w * draw_s
        hits += abs(found.energy_j - truth_j) <= found.uncertainty_j + 0.02 * truth_j
        both += abs(found.regression_energy_j - truth_j) <= found.regression_uncertainty_j + 0.02 * truth_j
        agreed += found.agree
        assert found.duration_s == pytest.approx(draw_s, rel=1e-6)
    assert min(hits, both, agreed) >= 0.93 * 300


def test_a_steady_drift_falls_out():
    rng = np.random.default_rng(1)
    found = estimate(measured(plan(1e-3, 20, random.Random(0))[:8], 1e-3, 9.0, 3.0, 0.05, 0.0, rng))
    assert found.drift_w == pytest.approx(0.05 * 10.5, rel=0.01)
    assert found.power_w == pytest.approx(9.0 + 0.05 * 6.0, rel=1e-3)
    assert found.uncertainty_j < 1e-6


def test_the_overhead_is_gross_and_contains_the_resting_power():
    found = estimate(measured(plan(1e-3, 20, random.Random(0)), 1e-3, 3.0, 3.0, 0.0, 0.0, np.random.default_rng(2)))
    assert found.energy_j == pytest.approx(3e-3) and found.regression_energy_j == pytest.approx(3e-3)


def test_blocks_without_draws_give_no_estimate():
    assert estimate([]) is None
    assert estimate([MeasuredBlock(IDLE, 0, 0.0, 1.0, 3.0, 0.1, 0.1)]) is None


def test_without_windows_there_is_nothing_to_agree_with():
    found = estimate([MeasuredBlock(DRAW, 100, start_s, 1.0, 8.0, 0.1, 0.1) for start_s in (0.0, 1.0)])
    assert found.agree is None and found.regression_energy_j is None and found.drift_w is None
    assert found.energy_j == pytest.approx(0.08) and found.uncertainty_j == pytest.approx(0.001)


def block(kind, repeats, start_s, energy_j, rested_s=0.0, half_width_j=0.0, common_j=0.0, duration_s=1.0):
    return MeasuredBlock(kind, repeats, start_s, duration_s, energy_j, half_width_j, common_j, rested_s)


@pytest.mark.parametrize("pause_w", [2.0, 5.0, 8.0])
def test_a_rest_between_draws_may_cost_as_much_as_resting_or_as_drawing(pause_w):
    """Draws at 8 W, rest at 2 W, a tenth of each block rested at something in between."""
    draw = [block(DRAW, 90, start_s, 0.9 * 8.0 + 0.1 * pause_w, rested_s=0.1) for start_s in (1.0, 2.0)]
    found = estimate([block(IDLE, 0, 0.0, 2.0), *draw, block(IDLE, 0, 3.0, 2.0)])
    assert found.duration_s == pytest.approx(0.01)
    assert abs(found.energy_j - 0.08) <= found.uncertainty_j + 1e-12
    assert found.uncertainty_j < 0.06 * 0.08


def test_what_blocks_have_in_common_stays_and_what_is_their_own_averages_down():
    common, own = (
        [block(DRAW, 100, float(i), 8.0, half_width_j=0.4, common_j=c) for i in range(4)] for c in (0.4, 0.0)
    )
    assert estimate(common).uncertainty_j == pytest.approx(0.004)
    assert estimate(own).uncertainty_j == pytest.approx(0.004 / 2)


def test_two_estimates_that_contradict_each_other_widen_the_interval():
    """Paule and Mandel: with x apart and no doubt within, the standard uncertainty between two methods is x / sqrt 2."""
    blocks = [block(DRAW, 100, float(i), 8.0) for i in range(4)]
    windows = [block(WINDOW, n, 4.0 + i, 2.0 + n * 0.04) for i, n in enumerate((0, 10, 40, 20))]
    found = estimate(blocks + windows)
    assert found.energy_j == pytest.approx(0.08) and found.regression_energy_j == pytest.approx(0.06)
    assert found.uncertainty_j == pytest.approx(2 * 0.02 / 2**0.5)
    assert found.agree is False


def test_two_estimates_that_agree_leave_the_interval_as_it_is():
    blocks = [block(DRAW, 100, float(i), 8.0, half_width_j=0.1) for i in range(4)]
    windows = [block(WINDOW, n, 4.0 + i, 2.0 + n * 0.0601, half_width_j=0.1) for i, n in enumerate((0, 10, 40, 20))]
    assert estimate(blocks + windows).uncertainty_j == estimate(blocks).uncertainty_j
    assert estimate(blocks + windows).agree


def test_the_regression_scatters_where_its_windows_do():
    """The jackknife (leave one window out) is what HC3 stands for."""
    rng = np.random.default_rng(3)
    repeats = np.array([0, 10, 40, 20] * 3)
    energy_j = 2.0 + 0.06 * repeats + 0.002 * repeats * rng.normal(size=12)
    windows = [block(WINDOW, n, float(i), e) for i, (n, e) in enumerate(zip(repeats, energy_j))]
    found = estimate([block(DRAW, 100, -1.0, 8.0), *windows])

    def gross_j(keep):
        design = np.stack((np.ones(keep.sum()), repeats[keep]), axis=1)
        resting_w, above_j = np.linalg.lstsq(design, energy_j[keep], rcond=None)[0]
        return above_j + 0.01 * resting_w

    left_out = np.array([gross_j(np.arange(12) != i) for i in range(12)])
    jackknife_j = np.sqrt(np.sum((left_out - gross_j(np.ones(12, bool))) ** 2))
    assert found.regression_uncertainty_j == pytest.approx(student(10) * jackknife_j, rel=1e-6)


def test_windows_are_compared_at_the_time_of_the_blocks():
    """On a machine that warms up steadily the two estimates are of different times, and that is no contradiction."""
    found = estimate(measured(plan(1e-3, 60, random.Random(0)), 1e-3, 9.0, 3.0, 0.01, 0.0, np.random.default_rng(1)))
    assert found.regression_energy_j == pytest.approx(found.energy_j, rel=1e-3)


@pytest.mark.parametrize("name", METERS)
def test_a_draw_in_step_with_the_meter_is_covered(name):
    """Draws exactly at a harmonic of the meter's period, where every look may fall on the same part of each."""
    rng = np.random.default_rng([2, *name.encode()])
    found = [amplified(drawn("exact", METERS[name], rng), METERS[name], 20.0, rng) for _ in range(30)]
    error_j = np.array([abs(f.stated.energy_j - f.draw_j) for f in found])
    assert np.mean(error_j <= [f.stated.uncertainty_j for f in found]) >= 0.93
    other_j = np.array([abs(f.stated.regression_energy_j - f.draw_j) for f in found])
    assert np.mean(other_j <= [f.stated.regression_uncertainty_j for f in found]) >= 0.86  # 30 runs of 93 %


def test_draws_that_keep_step_would_not_be_covered():
    """The same meter and draws back to back in equal blocks: the test above would see that."""
    rng, meter = np.random.default_rng(4), METERS["20 Hz held 100 ms"]
    found = [amplified(drawn("exact", meter, rng), meter, 20.0, rng, in_step=True) for _ in range(60)]
    missed = [abs(f.stated.energy_j - f.draw_j) > f.stated.uncertainty_j for f in found]
    assert np.mean(missed) > 0.15
