from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbench.quantity import (
    FIGURE_SPACE,
    Quantity,
    aligned,
    decimals_of,
    format_quantity,
    mean_of,
    prefix_for,
    t_quantile,
)


@pytest.mark.parametrize(
    ("value", "half_width", "text"),
    [
        (370.6123, 4.4567, "370.6 ± 4.5"),
        (370.6, 0.0996, "370.60 ± 0.10"),
        (0.0041234, 0.00023, "0.00412 ± 0.00023"),
        (12345.6, 678.9, "12350 ± 680"),
        (-1.25, 0.5, "−1.25 ± 0.50"),
        (434.77323600000005, 1.9e-14, "434.8 ± 0"),
        (0.0001, 0.1, "0.00 ± 0.10"),
        (-0.0001, 0.1, "0.00 ± 0.10"),
        (0.0, None, "0"),
        (44.4444, None, "44.44"),
        (5.0, 0.0, "5.000 ± 0"),
    ],
)
def test_the_uncertainty_has_two_digits_and_the_value_ends_at_the_same_place(value, half_width, text):
    assert format_quantity(Quantity(value, half_width)) == text


def test_what_is_missing_is_a_dash_and_zero_is_zero():
    assert format_quantity(None) == "–"
    assert format_quantity(Quantity(0.0, 0.02)) == "0.000 ± 0.020"


@given(st.floats(1e-9, 1e9))
def test_a_rounded_half_width_is_within_five_percent_of_itself(half_width):
    decimals = decimals_of(half_width)
    assert abs(round(half_width, decimals) - half_width) <= 0.0501 * half_width
    assert 10 <= round(half_width * 10.0**decimals) <= 99


def test_a_column_has_its_points_in_one_line():
    texts = aligned([Quantity(402.0, 21.0), None, Quantity(96.02, 2.2), Quantity(140.7, 0.88)])
    assert len({len(text) for text in texts}) == 1
    assert {text.index(".") for text in texts if "." in text} == {3}
    assert texts[2].replace(FIGURE_SPACE, "").startswith("96.0")


def test_one_unit_serves_a_whole_column():
    assert prefix_for([370e3, 44.4e3, None]) == (1e3, "k")
    assert prefix_for([1.2e6, 3.0]) == (1e6, "M")
    assert prefix_for([]) == (1.0, "")
    assert prefix_for([0.0]) == (1.0, "")


def test_the_mean_of_replicates_has_students_interval():
    values = [10.0, 12.0, 11.0, 15.0]
    mean = mean_of(values)
    assert mean.value == pytest.approx(12.0)
    assert mean.half_width == pytest.approx(3.182 * statistics.stdev(values) / 2)
    assert mean_of([7.5]) == Quantity(7.5)


def test_students_t_goes_over_into_the_normal_distribution():
    assert t_quantile(1) == 12.706
    assert t_quantile(31) == pytest.approx(2.0395, abs=5e-4)
    assert t_quantile(100) == pytest.approx(1.9840, abs=1e-4)
    assert t_quantile(10**9) == pytest.approx(1.959964)
    assert all(t_quantile(n) > t_quantile(n + 1) for n in range(1, 60))
    with pytest.raises(ValueError, match="two values"):
        t_quantile(0)


def test_scaling_keeps_the_relative_uncertainty():
    scaled = Quantity(12.0, 0.3).scaled(1e-3)
    assert scaled.half_width is not None
    assert math.isclose(scaled.half_width / scaled.value, 0.3 / 12)
