"""The Watts Up? meter: real pyserial on a pty; the other end keeps to the vendor's protocol."""

from __future__ import annotations

import pytest
from draining import drained, has_readings
from line_devices import FULL, SPARSE, WattsUp

from ebbench import plugins
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, MeterRequest
from ebbench_devices import wattsup
from ebbench_devices.meter import gatherer
from ebbench_devices.wattsup import WattsUpMeter, record_of

pytest.importorskip("serial", reason="pyserial is not installed: wattsup is NOT tested; pip install pyserial")
METERS = plugins.registered(plugins.METERS)


@pytest.fixture
def device(tmp_path, monkeypatch):
    monkeypatch.setattr(gatherer, "RETRY_S", 0.05)
    made = WattsUp(tmp_path / "ttyUSB0")
    yield made
    made.close()


@pytest.fixture
def meter(device):
    made = WattsUpMeter(MeterRequest(device.path, {"scope": "wall"}))
    yield made
    made.close()


@pytest.mark.parametrize("record", [FULL, SPARSE])
def test_a_record_is_tenths_of_watts_and_volts_and_milliamperes(record):
    assert record_of(record.strip().rstrip(b";")) == [125.0, 1203.0, 107.0]


@pytest.mark.parametrize(
    "packet",
    [
        b"#d,-,18,125,1203,107,5",
        b"#h,-,18" + b",W" * 18,
        b"125,1203",
        b"",
        b"#d,-,x,1,2,3",
        b"#d,-,18,_" + b",1" * 17,
        b"#d,-,18,-5" + b",1" * 17,
    ],
)
def test_what_is_torn_or_no_record_or_without_power_is_not_read(packet):
    assert record_of(packet) is None


def test_a_torn_packet_does_not_spoil_the_one_after_it():
    assert record_of(b"#d,-,18,9\x00,1#d,-,18,125" + b",1" * 17)[0] == 125.0


def test_it_is_started_read_and_stopped(device, meter):
    info = meter.open()
    ((_, values), *_), notes = drained(meter, has_readings(3))
    meter.close()
    assert not notes and [v * c.scale for v, c in zip(values, info.columns)] == pytest.approx([12.5, 120.3, 0.107])
    assert (info.rails[0].kind, info.rails[0].averaging_s, info.time_bound_s) == (AVERAGE, 1.0, 0.5)
    assert device.hear(b"#L,R,0;") == b"#L,W,3,E,,1;#L,R,0;"  # and its memory is left alone


def test_the_vendors_limits_are_taken_as_rectangular(device, meter):
    rail = meter.open().rails[0]
    # +-1.5 % +- 3 counts at 100 W is 1.8 W, as the vendor's example says
    assert (rail.gain_ratio * 100 + rail.offset_w) * 3**0.5 == pytest.approx(1.8)


def test_another_device_at_the_port_is_shown(device, meter, monkeypatch):
    monkeypatch.setattr(wattsup, "TIMEOUT_S", 0.3)
    device.record = b"AT+OK;\r\n"
    with pytest.raises(MeterError, match=r"no record in 'AT\+OK'; is it a Watts Up\?"):
        meter.open()


def test_a_meter_that_forgot_that_it_was_started_is_started_again(device, meter, monkeypatch):
    monkeypatch.setattr(wattsup, "TIMEOUT_S", 0.3)
    meter.open()
    device.running.clear()
    device.heard = b""  # it lost its power for a moment
    drained(meter, lambda v, n: any("no reading for 0.3 s" in note for note in n))
    drained(meter, has_readings(2))


def test_it_is_refused_without_a_scope_or_at_more_than_a_record_a_second():
    with pytest.raises(ConfigError, match="scope=wall"):
        WattsUpMeter(MeterRequest("/dev/ttyUSB0"))
    with pytest.raises(ConfigError, match="one record a second"):
        WattsUpMeter(MeterRequest("/dev/ttyUSB0", {"scope": "wall"}, rate_hz=10.0))
