from __future__ import annotations

import math
from decimal import Decimal

import pytest

from ebbench_devices.meter.untrusted import believable, number_of, quoted, shown, step_of


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 9.9e37, -9.91e37, 1.1e6])
def test_what_cannot_be_is_no_power(value):
    assert believable("w", value) is None


def test_what_can_be_is_left_as_it_is():
    assert [believable(*each) for each in (("w", -1e6), ("v", 0.0), ("j", 1e12))] == [-1e6, 0.0, 1e12]


@pytest.mark.parametrize("said", ["12", True, None, [1], Decimal("NaN"), Decimal("1e400")])
def test_only_a_finite_number_is_a_number(said):
    assert number_of({"apower": said}, "apower") is None and number_of({}, "apower") is None


def test_a_step_is_that_of_the_last_digit():
    assert step_of({"total": Decimal("1.500")}, "total") == 0.001


def test_what_a_device_says_is_one_short_line_of_ascii():
    assert quoted("a\x1b[31m\n\u202e") == r"'a\x1b[31m\n\u202e'" and shown(b"\xff<b>") == r"\ufffd<b>"
    assert len(shown("x" * 1000)) < 170 and quoted(None) == "'None'"
