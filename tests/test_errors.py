from __future__ import annotations

import pytest

from ebbench import errors
from ebbench.errors import nearest


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (errors.ConfigError, 2),
        (errors.InputError, 2),
        (errors.UserError, 2),
        (errors.MeterError, 3),
        (errors.DiskError, 3),
        (errors.DeviceError, 3),
        (errors.RunFailed, 1),
        (errors.ResultError, 1),
        (errors.EbbenchError, 70),
    ],
)
def test_the_exit_code_says_who_can_mend_it(error, exit_code):
    assert error("what, where, what to do").exit_code == exit_code
    assert issubclass(error, errors.EbbenchError)


def test_the_nearest_name_is_offered_first_and_all_are_listed():
    assert nearest("vgg61", ["resnet18", "vgg16"]) == "did you mean 'vgg16'? (known: resnet18, vgg16)"


def test_a_name_like_no_other_gets_the_list_and_no_guess():
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


def test_with_nothing_known_the_list_says_none():
    assert nearest("zzz", []) == "known: none"


def test_names_that_others_wrote_steer_no_terminal():
    assert nearest("time_s", ["tim\x1b[2Je", "Ü", "a\u202eb"]).endswith(r"(known: a\u202eb, tim\x1b[2Je, Ü)")


@pytest.mark.parametrize("error", [errors.ConfigError, errors.MeterError, errors.DiskError])
def test_a_message_is_one_printable_line_whatever_an_instrument_said(error):
    said = "it says \x1b]0;mine\x07\r\n\u202e\u2028 ± 5 Ω"
    assert str(error(said)) == r"it says \x1b]0;mine\x07\r\n\u202e\u2028 ± 5 Ω"


def test_of_many_names_the_one_that_was_meant_stands_alone():
    names = [f"name{i}" for i in range(30)]
    assert nearest("nome7", names) == "did you mean 'name7'?"
    assert nearest("zzz", names).startswith("known: name0, name1, ")
