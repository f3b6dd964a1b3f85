from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbench.errors import ConfigError, InputError
from ebbench_devices.logs.rows import LogRows, columns_of, time_of

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@given(
    st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
)
def test_every_time_that_python_writes_in_iso_8601_is_read_to_the_microsecond(naive, zone_minutes):
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=zone_minutes)))
    assert time_of(moment.isoformat(), "iso8601") == (moment - EPOCH) // timedelta(microseconds=1) * 1000


def test_a_time_without_a_zone_is_utc_and_a_fraction_may_have_any_length():
    base = 1_700_000_000 * 10**9
    assert time_of("2023-11-14 22:13:20", "iso8601") == time_of("2023-11-14T22:13:20Z", "iso8601") == base
    assert time_of("2023-11-14T22:13:20.1", "iso8601") == base + 10**8
    assert time_of("2023-11-14T22:13:20,123456789+00:00", "iso8601") == base + 123_456_789


@pytest.mark.parametrize(("text", "unit", "time_ns"), [
    ("1700000000.25", "s", 1_700_000_000_250_000_000), ("1700000000250", "ms", 1_700_000_000_250_000_000),
    ("1700000000250000001", "ns", 1_700_000_000_250_000_001), ("-1.5", "us", -1500),
])  # fmt: skip
def test_numbers_are_times_in_their_unit(text, unit, time_ns):
    assert abs(time_of(text, unit) - time_ns) <= (0 if text.isdigit() else 200)


@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "1e999", "noon", "2023-13-01T00:00:00Z", "2023-01-01T25:00:00Z", "2023-01-01"]
)
def test_what_is_no_time_is_none(text):
    assert time_of(text, "s") is None and time_of(text, "iso8601") is None


def test_columns_by_their_header_wherever_they_stand_in_si_units():
    rows = LogRows("log", "U [V],P [W],t", "t", "ms", {"P [W]": ("WALL", "mW"), "U [V]": ("WALL", "V")})
    assert rows.columns == ["WALL_w", "WALL_v"]
    row, fault = rows.row("229.5,12000,1500")
    assert (row.time_ns, row.values, fault) == (1_500_000_000, (12.0, 229.5), None)


@pytest.mark.parametrize(("line", "says"), [
    ("1,2", "2 cells instead of 3"), ("x,1,2", "'x' is no time in s"), ("1,OL,2", "A_w = 'OL' is not a number"),
    ("1,inf,2", "'inf' is not a number"), ("1,1e999,2", "not a number"),
])  # fmt: skip
def test_what_cannot_be_read_is_missing_and_told(line, says):
    row, fault = LogRows("log", "time_s,A_w,B_w", "time_s", "s", {}).row(line)
    assert says in fault and (row is None or (math.isnan(row.values[0]) and row.values[1] == 2.0))


@pytest.mark.parametrize("cell", ["", "NaN", "nan", "N/A", "null"])
def test_an_empty_cell_is_missing_and_no_fault(cell):
    row, fault = LogRows("log", "time_s,A_w", "time_s", "s", {}).row(f"1,{cell}")
    assert fault is None and math.isnan(row.values[0])


@pytest.mark.parametrize(("header", "columns", "says"), [
    ("1700000000,5.1", {}, "has no column 'time_s'.*time_column=NAME"), ("time_s,power", {}, "column=NAME:RAIL:UNIT"),
    ("time_s,P", {"Q": ("A", "W")}, "no column 'Q'"), ("time_s;A_w", {}, "separates its columns by ';'"),
    ("time_s,A_w", {"A_w": ("A", "MW")}, "unit 'MW'"), ("time_s,A_w,A_w", {}, "2 times"),
])  # fmt: skip
def test_a_header_that_does_not_fit_says_what_would(header, columns, says):
    with pytest.raises(InputError, match=says):
        LogRows("log", header, "time_s", "s", columns)


def test_another_file_may_order_its_columns_anew_or_have_no_header():
    rows = LogRows("log", "time_s,A_w", "time_s", "s", {})
    assert rows.begin_anew("A_w,time_s") is None and rows.row("5,1")[0].values == (5.0,)
    assert rows.begin_anew("6,2").values == (6.0,)
    with pytest.raises(InputError, match="no column 'time_s'"):
        rows.begin_anew("t,total")
    with pytest.raises(InputError, match="no column 'A_w'"):
        rows.begin_anew("time_s,B_w")


def test_several_columns_are_written_with_commas():
    assert columns_of("P:WALL:W,U:WALL:V,a:b:WALL:A") == {"P": ("WALL", "W"), "U": ("WALL", "V"), "a:b": ("WALL", "A")}
    assert columns_of(None) == {}
    for wrong in ("P", "P:WALL", "P:WA LL:W", ":WALL:W", "P:WALL:W,P:X:W"):
        with pytest.raises(ConfigError, match="csv: column"):
            columns_of(wrong)
