"""Amplified draws of known cost: the stated interval contains it."""

from __future__ import annotations

import numpy as np
import pytest

from ebbench.energy.amplify import DRAW, IDLE, WINDOW, MeasuredBlock, estimate, plan, time_once


@pytest.mark.parametrize("draw_s", [1e-5, 1e-3, 0.04, 3.0])
@pytest.mark.parametrize("seconds", [5.0, 30.0])
def test_the_plan_takes_about_the_time_it_is_given(draw_s, seconds):
    blocks = plan(draw_s, seconds)
    assert [b.kind for b in blocks[:8]] == [IDLE, DRAW, DRAW, IDLE] * 2
    assert {b.kind for b in blocks[8:]} == {WINDOW}
    assert all(b.repeats > 0 for b in blocks if b.kind == DRAW)
    assert all(b.repeats * draw_s <= b.seconds * (1 + 1e-9) for b in blocks)
    counts = sorted({b.repeats for b in blocks if b.kind == WINDOW})
    assert counts == [0, counts[1], 2 * counts[1], 4 * counts[1]]
    if draw_s < 0.01:
        assert sum(b.seconds for b in blocks) == pytest.approx(seconds, rel=0.2)


def measured(blocks, draw_s, draw_w, idle_w, drift_w_s, noise_j, rng, gain=0.0):
    """What the blocks of a plan would give on a machine that rests at `idle_w` + drift and draws at `draw_w` + drift."""
    at_s, found = 0.0, []
    for block in blocks:
        busy_s = block.repeats * draw_s
        length_s = busy_s if block.kind == DRAW else block.seconds
        middle_s = at_s + length_s / 2
        energy_j = busy_s * draw_w + (length_s - busy_s) * idle_w + length_s * drift_w_s * middle_s
        energy_j = energy_j * (1 + gain) + rng.normal(0, noise_j)
        found.append(MeasuredBlock(block.kind, block.repeats, length_s, energy_j, abs(gain) * 2 * energy_j))
        at_s += length_s
    return found


def test_the_intervals_contain_the_known_cost_of_a_draw():
    rng = np.random.default_rng(0)
    hits = both = agreed = 0
    for _ in range(300):
        draw_s, draw_w, idle_w = 10 ** rng.uniform(-4, -2), rng.uniform(4, 12), rng.uniform(2, 4)
        found = estimate(measured(plan(draw_s, 20), draw_s, draw_w, idle_w, 0.0, 0.05, rng, rng.normal(0, 0.01)))
        truth_j = draw_w * draw_s
        hits += abs(found.energy_j - truth_j) <= found.uncertainty_j + 0.02 * truth_j
        both += abs(found.regression_energy_j - truth_j) <= found.regression_uncertainty_j + 0.02 * truth_j
        agreed += found.agree
        assert found.duration_s == pytest.approx(draw_s, rel=1e-6)
    assert min(hits, both, agreed) >= 0.93 * 300


def test_a_steady_drift_falls_out():
    rng = np.random.default_rng(1)
    found = estimate(measured(plan(1e-3, 20)[:8], 1e-3, 9.0, 3.0, 0.05, 0.0, rng))
    middle_s = found.blocks * found.drift_w  # only to show that it was seen
    assert middle_s > 0 and found.drift_w == pytest.approx(0.05 * 10.5, rel=0.05)
    assert found.power_w == pytest.approx(9.0 + 0.05 * 6.0, rel=1e-3)
    assert found.uncertainty_j < 1e-6


def test_the_overhead_is_gross_and_contains_the_resting_power():
    found = estimate(measured(plan(1e-3, 20), 1e-3, 3.0, 3.0, 0.0, 0.0, np.random.default_rng(2)))
    assert found.energy_j == pytest.approx(3e-3) and found.regression_energy_j == pytest.approx(3e-3)


def test_blocks_without_draws_give_no_estimate():
    assert estimate([]) is None
    assert estimate([MeasuredBlock(IDLE, 0, 1.0, 3.0, 0.1)]) is None


def test_without_windows_there_is_nothing_to_agree_with():
    found = estimate([MeasuredBlock(DRAW, 100, 1.0, 8.0, 0.1), MeasuredBlock(DRAW, 100, 1.0, 8.0, 0.1)])
    assert found.agree is None and found.regression_energy_j is None and found.drift_w is None
    assert found.energy_j == pytest.approx(0.08) and found.uncertainty_j == pytest.approx(0.001)


def test_one_draw_is_timed_by_the_shorter_of_two():
    calls = []
    assert time_once(lambda: calls.append(1)) >= 0
    assert len(calls) == 2
