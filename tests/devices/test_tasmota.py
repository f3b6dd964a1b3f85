"""The Tasmota meter against a real HTTP server that prints numbers as the firmware does."""

from __future__ import annotations

import json

import http_devices
import pytest
from draining import drained, has_readings
from http_devices import Device, tasmota

from ebbench import plugins
from ebbench.errors import MeterError
from ebbench.protocols import MeterRequest
from ebbench_devices.plugs import polled
from ebbench_devices.tasmota import TasmotaMeter

METERS = plugins.registered(plugins.METERS)
FAST = {"scope": "wall", "timeout_s": "0.3"}


@pytest.fixture
def device():
    made = []

    def build(*settings, **options):
        made.append(Device(tasmota(*settings, **options), first_j=3.6e5))
        return made[-1]

    yield build
    for each in made:
        each.stop()


@pytest.fixture
def opened(opened, monkeypatch):
    monkeypatch.setattr(polled, "MAX_RATE_HZ", 50.0)

    def open_meter(device, **options):
        return opened(TasmotaMeter(MeterRequest(device.address, {**FAST, **options}, rate_hz=50.0)))

    return open_meter


@pytest.mark.parametrize(
    "name, status", [("StatusSNS", "Status 10"), ("StatusSNS", "Status 8"), ("StatusPWR", "Status 8")]
)
def test_every_way_in_which_versions_show_the_power_is_read(device, opened, name, status):
    meter, info = opened(device(name, status))
    ((_, values), *_), _ = drained(meter, has_readings(1))
    assert values[:3] == [10.0, 229.0, 0.05]
    assert values[3] * info.columns[3].scale == pytest.approx(3.6e5, abs=100.0)


@pytest.mark.parametrize("watt_decimals, step_w", [(0, 1.0), (1, 0.1), (3, 0.001)])
@pytest.mark.parametrize("energy_decimals, step_j", [(3, 3600.0), (5, 36.0)])
def test_steps_are_those_of_the_numbers_as_printed(device, opened, watt_decimals, step_w, energy_decimals, step_j):
    _, info = opened(device(watt_decimals=watt_decimals, energy_decimals=energy_decimals))
    assert info.rails[0].resolution_w == pytest.approx(step_w) and info.rails[0].gain_ratio is None
    assert info.columns[3].scale == pytest.approx(step_j)


def test_a_password_goes_to_the_device_and_nowhere_else(device, opened, monkeypatch):
    plug = device()
    plug.password = "s3 cr&t"
    with pytest.raises(MeterError, match=r"Need user=.*check password_env=NAME"):
        opened(plug)
    monkeypatch.setenv("PLUG_PASSWORD", plug.password)
    meter, info = opened(plug, password_env="PLUG_PASSWORD")
    drained(meter, has_readings(1))
    plug.fault = http_devices.error_500
    _, notes = drained(meter, lambda v, n: bool(n))
    assert "/cm?cmnd=Status%2010 with status 500" in notes[0]
    assert not any("s3" in text for text in (*notes, json.dumps(info.to_json())))


def test_a_plug_without_a_metering_chip_is_refused(device, opened):
    with pytest.raises(MeterError, match="shows no ENERGY"):
        opened(device(status="Status 99"))


def test_several_channels_are_refused(device, opened):
    plug = device()
    plug.fault = http_devices.says({"StatusSNS": {"ENERGY": {"Power": [1, 2], "Total": 1.5}}})
    with pytest.raises(MeterError, match="several channels"):
        opened(plug)
