"""Every wrong option is one line that says what would be right; what is not stated stays unknown."""

from __future__ import annotations

import pytest

from ebbench.errors import ConfigError
from ebbench.protocols import MeterRequest
from ebbench_devices.meter.options import DOUBTS, LATENESS, Options


def options(known=("scope", "rate_hz", *DOUBTS), **given):
    return Options("shelly", MeterRequest(options=given), known)


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ConfigError, match="shelly: unknown option 'scpe'; did you mean 'scope'"):
        options(scpe="wall")


def test_an_external_meter_without_a_scope_is_refused_with_what_the_scopes_mean():
    with pytest.raises(ConfigError, match=r"scope=wall \(at the socket\)"):
        options().stated_scope()
    with pytest.raises(ConfigError, match="did you mean 'wall'"):
        options(scope="wal").stated_scope()
    assert options(scope="devkit").stated_scope() == "devkit"


@pytest.mark.parametrize("text", ["1e999", "nan", "fast", ""])
def test_what_is_no_finite_number_is_refused(text):
    with pytest.raises(ConfigError, match=r"rate_hz = .* is not a number"):
        options(rate_hz=text).number("rate_hz")


def test_limits_hold_on_both_sides():
    assert options(rate_hz="0").number("rate_hz", at_least=0) == 0.0
    with pytest.raises(ConfigError, match="must be above 0"):
        options(rate_hz="0").number("rate_hz", above=0)
    with pytest.raises(ConfigError, match="must be at least 0"):
        options(rate_hz="-1").number("rate_hz", at_least=0)


def test_what_the_user_states_comes_before_what_the_meter_knows_and_the_rest_is_unknown():
    assert options(gain_u="0.002").doubts(gain_ratio=0.01, resolution_w=0.1) == {
        "gain_ratio": 0.002,
        "offset_w": None,
        "resolution_w": 0.1,
    }


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (15, "15"), (0.5, "0.5"), (None, None)])
def test_a_number_of_a_bench_file_serves_where_a_text_is_read(value, text):
    options = {} if value is None else {"range": value}
    assert Options("m", MeterRequest(options=options), ["range"]).text("range") == text


@pytest.mark.parametrize("value", [True, [1], {"a": 1}])
def test_what_is_neither_text_nor_number_is_refused_in_their_place(value):
    options = Options("m", MeterRequest(options={"x": value}), ["x"])
    for take in (options.text, options.number, lambda key: options.choice(key, ["a"])):
        with pytest.raises(ConfigError, match="x = "):
            take("x")


@pytest.mark.parametrize(
    ("value", "flag"), [("1", True), ("no", False), (True, True), (False, False), ("False", False)]
)
def test_yes_and_no_are_read_from_a_uri_and_from_a_file(value, flag):
    assert Options("m", MeterRequest(options={"loop": value}), ["loop"]).flag("loop") is flag
    assert Options("m", MeterRequest(), ["loop"]).flag("loop") is False
    with pytest.raises(ConfigError, match="neither 1 nor 0"):
        Options("m", MeterRequest(options={"loop": "maybe"}), ["loop"]).flag("loop")


def test_a_delay_that_is_stated_to_be_none_is_not_one_that_is_not_stated():
    def lateness(known_s=None, **given):
        return options(known=LATENESS, **given).lateness(known_s)

    unknown = dict.fromkeys(("averaging_s", "delay_s", "counter_averaging_s", "counter_delay_s"))
    assert lateness() == unknown
    assert lateness(0.1) == {**unknown, "averaging_s": 0.1}  # known of the power: of a counter that says nothing
    stated = lateness(0.1, averaging_s="0.4", delay_s="0")
    assert stated == {"averaging_s": 0.4, "delay_s": 0.0, "counter_averaging_s": 0.4, "counter_delay_s": 0.0}
    with pytest.raises(ConfigError, match="delay_s = -1 must be at least 0"):
        lateness(delay_s="-1")
