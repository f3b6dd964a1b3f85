"""Bytes to lines with times, and lines to numbers: without a port."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbench.errors import ConfigError
from ebbench_devices.lines.link import MAX_LINE_BYTES, Splitter
from ebbench_devices.lines.pattern import LinePattern, quantities_of


def split(pieces, byte_s=1e-4, end=b"\n"):
    """What a splitter makes of pieces that are read 10 ms apart."""
    splitter = Splitter(end, byte_s)
    return [line for i, piece in enumerate(pieces) for line in splitter.add(piece, 10_000_000 * (i + 1))]


@given(st.lists(st.binary(max_size=30).filter(lambda b: b"\n" not in b)), st.data())
def test_lines_are_the_same_however_the_bytes_are_cut_up(lines, data):
    stream = b"caught in the middle\n" + b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)]) if a < b]
    found = [line.rstrip() for _, line in split(pieces)]
    assert found == [line.lstrip(b"\r\n\t \0").rstrip() for line in lines if line.strip(b"\r\n\t \0")]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.sampled_from([0.0, 8.7e-5, 1e-3]))
def test_times_never_go_back_and_lie_between_the_reads(sizes, byte_s):
    pieces = [b"1234567\n" * 6 for _ in sizes]
    times = [t for t, _ in split(pieces, byte_s)]
    assert all(a <= b if byte_s == 0 else a < b for a, b in zip(times, times[1:]))
    assert all(0 < t <= 10_000_000 * len(pieces) for t in times)


def test_a_lines_time_is_that_of_its_first_byte():
    splitter = Splitter(b"\n", 1e-3)
    splitter.add(b"-\n", 1_000_000_000)
    assert splitter.add(b"abcd", 2_000_000_000) == []
    # four bytes of a millisecond each were on the line before the read that ended at 2 s
    assert splitter.add(b"efgh\n", 3_000_000_000) == [(1_996_000_000, b"abcdefgh")]


def test_what_follows_the_end_of_a_packet_does_not_date_the_next():
    splitter = Splitter(b";", 0.0)
    splitter.add(b"#x;\r\n", 1_000_000_000)
    assert splitter.add(b"#d,1;\r\n", 2_000_000_000) == [(2_000_000_000, b"#d,1")]


def test_a_line_caught_in_the_middle_is_not_taken():
    assert [line for _, line in split([b"2.5 W\nP=12.5 W\n"])] == [b"P=12.5 W"]


def test_a_line_without_an_end_is_thrown_away_in_bounded_memory_and_counted():
    splitter = Splitter(b"\n", 0.0)
    splitter.add(b"-\n", 1)
    for i in range(100):
        assert splitter.add(b"x" * 1000, 2 + i) == []
        assert len(splitter._half) <= MAX_LINE_BYTES
    assert splitter.add(b"x\nP=1\n", 200) == [(200, b"P=1")]
    assert splitter.overlong == 1


# meanings


def read(line, *tables):
    pattern = LinePattern(quantities_of("tcp", tables))
    values = pattern.read(line)
    return values if values is None else dict(zip((q.column for q in pattern.quantities), values))


@pytest.mark.parametrize(
    "unit, si",
    [("W", 2.5), ("mW", 2.5e-3), ("uW", 2.5e-6), ("kW", 2500.0)],
)
def test_a_unit_is_converted_once(unit, si):
    assert read("P=2.5", {"name": "IN", "pattern": "P=([0-9.]+)", "unit": unit}) == {"IN_w": pytest.approx(si)}


def test_units_of_all_kinds_and_a_scale():
    line = "U=12000 I=500 E=2 Wh"
    tables = [
        {"name": "IN", "pattern": r"U=(\d+)", "unit": "mV"},
        {"name": "IN", "pattern": r"I=(\d+)", "unit": "mA", "scale": 2},
        {"name": "IN", "pattern": r"E=(\d+)", "unit": "Wh"},
    ]
    assert read(line, *tables) == pytest.approx({"IN_v": 12.0, "IN_a": 1.0, "IN_j": 7200.0})


def test_named_groups_give_several_rails_by_one_pattern():
    pattern = r"(?P<INPUT_mW>\d+);(?P<VDD_GPU_uW>\d+|-)"
    assert read("5000;-", {"pattern": pattern}) == {"INPUT_w": 5.0, "VDD_GPU_w": None}
    assert read("5000;7", {"pattern": pattern}) == pytest.approx({"INPUT_w": 5.0, "VDD_GPU_w": 7e-6})


def test_a_counter_of_known_step_is_kept_in_steps():
    table = {"name": "IN", "pattern": "E=([0-9.]+)", "unit": "Wh", "step": 0.001}
    (quantity,) = quantities_of("tcp", [table])
    assert quantity.is_counted and quantity.step == pytest.approx(3.6)
    assert LinePattern([quantity]).read("E=1.234") == [1234.0]


@pytest.mark.parametrize("text", ["nan", "inf", "1e400", "-", "", "1e9", "12.5.3", "0x10", "OL", "1_000", "1,000.5"])
def test_what_is_no_number_or_cannot_be_is_not_read(text):
    assert read(f"P={text} W", {"name": "IN", "pattern": "P=(.*) W", "unit": "W"}) is None


@pytest.mark.parametrize("text", ["9.9E37", "1.25E+01", "1.25e-3"])
def test_a_number_is_not_read_without_its_exponent(text):
    assert read(f"P={text} W", {"name": "IN", "pattern": "P=([0-9.]+)", "unit": "W"}) is None
    assert read("P=1.25 E 1", {"name": "IN", "pattern": "P=([0-9.]+)", "unit": "W"}) == {"IN_w": 1.25}


@pytest.mark.parametrize(
    "text, by_point, by_comma", [("12,5", None, 12.5), ("1,234", None, 1.234), ("1.234", 1.234, None)]
)
def test_a_comma_is_a_decimal_point_only_where_the_user_says_so(text, by_point, by_comma):
    quantities = quantities_of("tcp", [{"name": "IN", "pattern": "P=(.*) W", "unit": "W"}])
    for decimal, value in ((".", by_point), (",", by_comma)):
        assert LinePattern(quantities, decimal).read(f"P={text} W") == (None if value is None else [value])


@pytest.mark.parametrize(
    "table, words",
    [
        ({"name": "IN", "unit": "W"}, "pattern is missing"),
        ({"name": "IN", "pattern": "P=(", "unit": "W"}, "no regular expression"),
        ({"name": "IN", "pattern": "P=", "unit": "W"}, "has 0 groups"),
        ({"name": "IN", "pattern": "(a)(b)", "unit": "W"}, "has 2 groups"),
        ({"name": "IN", "pattern": "(a)", "unit": "MW"}, "mW"),
        ({"name": "IN", "pattern": "(a)"}, "unit None"),
        ({"name": "../x", "pattern": "(a)", "unit": "W"}, "no name of a rail"),
        ({"pattern": "(?P<INPUT>a)"}, "RAIL_UNIT"),
        ({"name": "IN", "pattern": "(a)", "unit": "W", "scale": 0}, "scale = 0"),
        ({"name": "IN", "pattern": "(a)", "unit": "W", "scale": math.nan}, "scale = nan"),
        ({"name": "IN", "patern": "(a)", "unit": "W"}, "did you mean 'pattern'"),
        ("P=(.*)", "is no table"),
    ],
)
def test_a_fault_in_a_table_is_named_with_its_place(table, words):
    good = {"name": "A", "pattern": "(a)", "unit": "W"}
    with pytest.raises(ConfigError, match=words) as refused:
        quantities_of("serial", [good, table])
    assert str(refused.value).startswith("serial: rails[1]")


def test_two_patterns_for_one_column_are_refused():
    table = {"name": "A", "pattern": "(a)", "unit": "W"}
    with pytest.raises(ConfigError, match="two patterns give A_w"):
        quantities_of("serial", [table, {**table, "unit": "mW"}])
