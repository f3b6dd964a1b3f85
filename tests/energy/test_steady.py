from __future__ import annotations

import math

import numpy as np
import pytest

from ebbench.energy.steady import steady

OTHERS = 159


def test_values_that_are_all_equal_foretell_their_like_exactly():
    found = steady([7.5] * 4, OTHERS)
    assert (found.mean, found.sd, found.half_width, found.slope, found.widened) == (7.5, 0, 0, 0, 1)
    assert not found.drifts


def test_the_slope_and_its_interval_are_those_of_the_textbook():
    # y = 2 + 3 x with the residuals (1, -2, 1) / 10: slope 3, s^2 = .06 / 1, var(slope) = s^2 / 2, t(1) = 13.97
    found = steady([2.1, 4.8, 8.1], OTHERS)
    assert found.slope == pytest.approx(3.0)
    assert found.slope_half_width == pytest.approx(13.97 * math.sqrt(0.06 / 2))
    assert found.drifts


def test_scaling_the_values_scales_all_that_is_said_of_them():
    values = [10.0, 10.4, 9.9, 10.2, 10.1]
    one, thousand = steady(values, OTHERS), steady([1000 * v for v in values], OTHERS)
    for name in ("mean", "sd", "half_width", "slope", "slope_half_width"):
        assert getattr(thousand, name) == pytest.approx(1000 * getattr(one, name))
    assert thousand.n_eff == pytest.approx(one.n_eff)


def test_values_that_resemble_their_neighbours_count_for_less():
    smooth = [math.sin(i / 3) for i in range(20)]
    rough = list(np.random.default_rng(0).permutation(smooth))
    assert steady(smooth, OTHERS).n_eff < steady(rough, OTHERS).n_eff < 20


def test_a_jump_in_the_middle_widens_the_interval_until_the_beginning_would_have_foretold_the_end():
    before, after = [10.0, 10.01, 9.99, 10.0, 10.01, 9.99], [10.5, 10.51, 10.49, 10.5, 10.51, 10.49]
    found = steady(before + after, OTHERS)
    assert found.widened > 5
    assert found.half_width > 0.5


def test_too_few_values_say_nothing():
    with pytest.raises(ValueError, match="3 values are needed"):
        steady([1.0, 2.0], OTHERS)


@pytest.mark.parametrize(("n", "rise_sd"), [(4, 30), (5, 12), (8, 6), (12, 6)])
def test_a_rise_of_some_standard_deviations_over_the_row_is_found(n, rise_sd):
    rng = np.random.default_rng(n)
    rise = rise_sd * np.arange(n) / n
    assert np.mean([steady(100 + rise + rng.normal(size=n), OTHERS).drifts for _ in range(200)]) > 0.8


@pytest.mark.parametrize("r", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("n", [3, 5, 8, 12])
def test_intervals_of_rows_that_pass_contain_the_mean_of_others_in_93_percent(n, r):
    rng = np.random.default_rng([n, round(10 * r)])
    rows = 100 + _ar1(500, n, r, rng)
    truths = 100 + _ar1(500, OTHERS, r, rng).mean(axis=1)
    found = [(steady(row, OTHERS), truth) for row, truth in zip(rows, truths)]
    passed = [(one, truth) for one, truth in found if not one.drifts]
    assert len(passed) > 0.7 * len(found)
    inside = [abs(one.mean - truth) <= one.half_width for one, truth in passed]
    assert np.mean(inside) >= 0.93


def test_the_interval_is_not_bought_by_being_wide():
    rng = np.random.default_rng(3)
    for n, at_most in ((3, 5.5), (5, 2.6), (12, 1.2)):  # of independent values with the standard deviation 1
        assert np.median([steady(row, OTHERS).half_width for row in _ar1(300, n, 0.0, rng)]) < at_most


def _ar1(rows: int, n: int, r: float, rng: np.random.Generator) -> np.ndarray:
    """Rows [rows, n] of an AR(1) process with the variance 1."""
    noise = rng.normal(size=(rows, n))
    x = noise.copy()
    for i in range(1, n):
        x[:, i] = r * x[:, i - 1] + math.sqrt(1 - r * r) * noise[:, i]
    return x
