from __future__ import annotations

import os

import pytest

from ebbench.errors import MeterError
from ebbench_devices.kernel.sysfs import FileReader, read_number


@pytest.mark.parametrize(
    ("content", "value"), [("5000\n", 5000), ("5000", 5000), ("32760 ma\n", 32760), ("-12\n", -12), ("7\0", 7)]
)
def test_a_number_is_read_with_or_without_newline_and_unit(tmp_path, content, value):
    (tmp_path / "file").write_text(content)
    assert FileReader(tmp_path / "file").read_int() == value and read_number(tmp_path / "file") == value


def test_each_read_starts_at_the_beginning(tmp_path):
    file = tmp_path / "file"
    file.write_text("12345\n")
    reader = FileReader(file)
    assert [reader.read_int(), reader.read_int()] == [12345, 12345]
    file.write_text("7\n")
    assert reader.read_int() == 7


@pytest.mark.parametrize(("content", "message"), [("", "empty"), ("\n", "empty"), ("abc", "not a"), ("1 2", None)])
def test_what_is_no_number_is_an_error_in_one_line_with_the_path(tmp_path, content, message):
    (tmp_path / "file").write_text(content)
    reader = FileReader(tmp_path / "file")
    if message is None:
        assert reader.read_int() == 1
        return
    for read in (reader.read_int, reader.read_float):
        with pytest.raises(MeterError, match=message) as caught:
            read()
        assert str(tmp_path / "file") in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_file_says_so(tmp_path):
    with pytest.raises(MeterError, match="No such file"):
        FileReader(tmp_path / "none")
    with pytest.raises(MeterError, match="did not answer"):
        FileReader(tmp_path).read_int()


def test_a_read_that_the_driver_refuses_is_a_meter_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("1\n")
    reader = FileReader(tmp_path / "file")

    def refuse(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("ebbench_devices.kernel.sysfs.os.pread", refuse)
    with pytest.raises(MeterError, match="temporarily unavailable"):
        reader.read_int()


def test_closing_twice_is_harmless_and_reading_after_it_is_not(tmp_path):
    (tmp_path / "file").write_text("1\n")
    before = len(os.listdir("/proc/self/fd"))
    reader = FileReader(tmp_path / "file")
    reader.close()
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(MeterError, match="closed"):
        reader.read_int()
