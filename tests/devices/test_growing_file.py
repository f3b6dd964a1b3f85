from __future__ import annotations

import os

import pytest

from ebbench_devices.logs.growing_file import TAIL_BYTES, GrowingFile


@pytest.fixture
def log(tmp_path):
    opened = []

    class Log:
        path = tmp_path / "log.csv"

        def say(self, text):
            with open(self.path, "a") as file:
                file.write(text)

        def follow(self):
            opened.append(GrowingFile(str(self.path)))
            return opened[-1]

    yield Log()
    for one in opened:
        one.close()


def test_half_a_line_waits_for_its_end(log):
    log.say("head\n1\n2")
    file = log.follow()
    assert file.first_and_last_lines() == ("head", ["1"])
    assert file.take() == ([], [], None)
    log.say("3\n4\n")
    assert file.take() == (["23", "4"], [], None)


def test_of_a_long_log_only_whole_lines_at_its_end_are_looked_at(log):
    lines = [f"{number:09d}" for number in range(TAIL_BYTES // 5)]
    log.say("head\n" + "\n".join(lines) + "\n")
    first, last = log.follow().first_and_last_lines()
    assert first == "head" and 0 < len(last) < len(lines) and last == lines[-len(last) :]


def test_a_file_whose_first_line_has_no_end_has_none_yet(log):
    log.say("hea")
    file = log.follow()
    assert file.first_and_last_lines() == (None, [])
    log.say("d\n")
    assert file.first_and_last_lines() == ("head", [])


def test_a_rotated_log_is_read_to_its_end_and_the_next_from_its_start(log):
    log.say("head\n1\n")
    file = log.follow()
    file.first_and_last_lines()
    log.say("2\n")
    os.rename(log.path, str(log.path) + ".1")
    assert file.take()[2].startswith(f"{log.path}: No such file")
    with open(str(log.path) + ".1", "a") as old:
        old.write("3\n")
    log.say("")
    assert file.take() == (["3"], [], None)
    assert file.take() == ([], [], None)
    log.say("new head\n4\n")
    assert file.take() == ([], ["new head", "4"], None)
    log.say("5\n")
    assert file.take() == (["5"], [], None)


def test_a_log_that_is_cut_in_place_is_read_from_its_start_and_that_is_said(log):
    log.say("head\n1\n")
    file = log.follow()
    file.first_and_last_lines()
    log.say("2\n3\n4\n")
    assert file.take()[0] == ["2", "3", "4"]
    log.path.write_text("head\n5\n")
    assert file.take()[2].endswith("was cut; it is read from its start")
    assert file.take() == ([], ["head", "5"], None)


def test_a_line_that_a_rotation_cut_off_is_told(log):
    log.say("head\n1\n2.")
    file = log.follow()
    file.first_and_last_lines()
    os.replace(log.path, str(log.path) + ".1")
    log.say("head\n")
    assert "in the middle of a line" in file.take()[2]
