"""The supply does what every meter must, and reads what its file says."""

from __future__ import annotations

import pytest
from example_lab.supply import Supply

from ebbench.errors import ConfigError
from ebbench.protocols import MeterRequest
from ebbench.testing import MeterCase, check_meter


@pytest.fixture
def power_mw(tmp_path):
    path = tmp_path / "power_mw"
    path.write_text("12345\n")
    return path


def test_it_does_what_every_meter_must(power_mw, tmp_path):
    options = {"scope": "devkit"}
    check_meter(
        MeterCase(
            "example_lab.supply:Supply",
            MeterRequest(address=str(power_mw), options=options),
            name="supply",
            broken=MeterRequest(address=str(tmp_path / "absent"), options=options),
            disturb=lambda: power_mw.write_text(""),
        )
    )


def test_milliwatts_are_stored_as_they_are(power_mw):
    meter = Supply(MeterRequest(address=str(power_mw), options={"scope": "devkit", "gain_u": 0.002}))
    info = meter.open()
    assert meter.read() == (12345,) and info.columns[0].scale == 1e-3
    assert (info.rails[0].gain_ratio, info.rails[0].offset_w) == (0.002, None)
    meter.close()


def test_what_it_measures_must_be_stated(power_mw):
    with pytest.raises(ConfigError, match="scope=devkit"):
        Supply(MeterRequest(address=str(power_mw)))
