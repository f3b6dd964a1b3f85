from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbench.units import TO_SI, format_duration, format_si

PREFIXES = {"P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "": 1.0, "m": 1e-3, "µ": 1e-6, "n": 1e-9}
SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


def read_si(text: str) -> float:
    number, prefixed = text.split(" ")
    return float(number) * PREFIXES[prefixed[:-1]]


@given(st.floats(1e-9, 9e17), st.sampled_from([1, -1]), st.integers(1, 8))
def test_what_is_written_reads_back_to_the_digits_that_are_shown(size, sign, digits):
    text = format_si(sign * size, "W", digits)
    assert read_si(text) == pytest.approx(sign * size, rel=0.5 * 10.0 ** (1 - digits) * 1.001)


@given(st.floats(1e-9, 9e17), st.integers(1, 8))
def test_an_si_number_has_between_one_and_three_digits_before_the_point(size, digits):
    number = format_si(size, "J", digits).split(" ")[0]
    assert "e" not in number
    assert 1 <= float(number) < 1000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12340.0, "12.34 kJ"),
        (0.0, "0 J"),
        (-0.25, "-250 mJ"),
        (999.96, "1 kJ"),
        (1.0, "1 J"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_energies_as_people_write_them(value, text):
    assert format_si(value, "J") == text


def test_one_digit_of_hundreds_is_written_without_an_exponent():
    assert format_si(0.297, "J", 1) == "300 mJ"


def test_missing_is_not_written_as_zero():
    assert format_si(None, "W") != format_si(0.0, "W")
    assert format_duration(None) != format_duration(0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.85, "850 ms"),
        (0.9999, "1 s"),
        (2.5e-6, "2.5 µs"),
        (12.3, "12.3 s"),
        (59.97, "1 min 00 s"),
        (245, "4 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7380, "2 h 03 min"),
        (76 * 3600, "3 d 04 h"),
        (0, "0 s"),
    ],
)
def test_durations_as_people_say_them(seconds, text):
    assert format_duration(seconds) == text


@given(st.floats(1e-6, 1e8))
def test_a_duration_reads_back_to_what_its_smallest_unit_shows(seconds):
    words = format_duration(seconds).split(" ")
    pairs = list(zip(words[::2], words[1::2]))
    value = sum(float(number) * SECONDS[unit] for number, unit in pairs)
    step = SECONDS[pairs[-1][1]] if len(pairs) > 1 else 0.0051 * seconds
    assert math.isclose(value, seconds, abs_tol=1.001 * step)


def test_every_unit_is_a_power_of_ten_or_of_the_hour_away_from_si():
    assert TO_SI["kwh"] == 1000 * TO_SI["wh"] == 1000 * 3600 * TO_SI["j"]
    assert TO_SI["mw"] * 1000 == TO_SI["w"] == TO_SI["v"] == TO_SI["a"] == TO_SI["s"] == 1.0
