from __future__ import annotations

import math

import pytest

from ebbench import doctor
from ebbench.energy.traces.series import Series
from ebbench.energy.uncertainty import TIME_BASE
from ebbench.errors import MeterError
from ebbench.meter_trials import quality as meter_quality
from ebbench.protocols import Rail


def series(is_counter=False, step_j=None, **facts):
    return Series("X", (("X_j" if is_counter else "X_w",),), Rail("X", "module", **facts), is_counter, step_j)


def test_the_stated_uncertainty_is_that_of_a_run():
    """A steady 10 W for 60 s: gain and offset as they are, and the clock."""
    found, unknown = meter_quality.stated(series(gain_ratio=0.01, offset_w=0.05, resolution_w=0.0), 100.0, 0.0)
    assert (
        found == pytest.approx(2 * math.sqrt(0.01**2 + 0.005**2 + (TIME_BASE / 3**0.5) ** 2), rel=1e-3)
        and unknown == ()
    )


def test_what_a_meter_does_not_say_is_named():
    assert meter_quality.stated(series(), 100.0, 0.0)[1] == ("gain", "offset", "resolution")


def test_a_worse_meter_is_stated_worse():
    facts = {"gain_ratio": 0.001, "offset_w": 0.0}
    good = meter_quality.stated(series(resolution_w=0.0, **facts), 100.0, 0.0)[0]
    for rail, rate_hz, scatter_w in (
        ({"resolution_w": 0.5}, 100, 0),
        ({"resolution_w": 0.0}, 100, 3),
        ({"resolution_w": 0.0}, 1, 1),
    ):
        assert meter_quality.stated(series(**facts, **rail), rate_hz, scatter_w)[0] > good


def test_corrections_of_a_calibration_do_not_change_what_is_asked_about():
    facts = {"gain_ratio": 0.01, "offset_w": 0.0, "resolution_w": 0.0}
    corrected = meter_quality.stated(series(gain_correction=0.5, offset_correction_w=3.0, **facts), 100.0, 0.0)
    assert corrected == meter_quality.stated(series(**facts), 100.0, 0.0)


def test_a_counter_is_assessed_as_a_counter():
    facts = {"gain_ratio": 0.01, "offset_w": 0.0, "counter_averaging_s": 0.0, "counter_delay_s": 0.3}
    found, unknown = meter_quality.stated(series(True, 0.001, **facts), 20.0, 0.0)
    assert found == pytest.approx(0.02, rel=0.02) and unknown == ()
    _, unknown = meter_quality.stated(series(True, 0.001, gain_ratio=0.01, offset_w=0.0), 20.0, 0.0)
    assert unknown == ("lag",)  # how late it is nobody says


@pytest.mark.realtime
def test_the_doctor_says_rate_steps_and_uncertainty_of_the_meter_that_auto_takes():
    quality, calibration = doctor.quality_findings("sim?resolution_w=0.1&gain_u=0.01", None)
    assert quality["verdict"] == "ok" and "steps of 0.1 W" in quality["found"]
    assert "10 W over 60 s would be known to 2" in quality["found"]
    assert calibration["advice"].startswith("ebbench calibrate ")


def test_a_meter_that_cannot_be_sampled_fails_with_its_own_words(monkeypatch):
    def fails(name, board):
        raise MeterError("the plug is out")

    monkeypatch.setattr(doctor, "assess", fails)
    (found,) = doctor.quality_findings("ina3221", None)
    assert (found["verdict"], found["advice"]) == ("fail", "the plug is out")
    assert list(doctor.quality_findings(None, None)) == [] == list(doctor.quality_findings("sim", None))
