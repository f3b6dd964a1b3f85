"""Unknown meters that need no code: real pyserial on a pty, and real TCP."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from draining import drained, has_readings
from line_devices import Feeder, SerialDevice, TcpDevice
from waves import Square

from ebbench import plugins
from ebbench.clock import monotonic_ns
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.sampler import Sampler
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import series_of
from ebbench.energy.traces.trace import TraceReader
from ebbench.energy.uncertainty import budget
from ebbench.errors import ConfigError, MeterError
from ebbench.meter_ref import MeterRef
from ebbench.protocols import MeterRequest
from ebbench_devices.line import SerialMeter, TcpMeter
from ebbench_devices.lines.serial_port import _fault
from ebbench_devices.meter import gatherer

pytest.importorskip(
    "serial", reason="pyserial is not installed: the serial meters are NOT tested; pip install pyserial"
)
METERS = plugins.registered(plugins.METERS)
WATTS = {"scope": "devkit", "pattern": "P=([0-9.]+) W", "unit": "W"}


@pytest.fixture
def port(tmp_path, monkeypatch):
    monkeypatch.setattr(gatherer, "RETRY_S", 0.05)
    device = SerialDevice(tmp_path / "ttyUSB0").plug_in()
    yield device
    device.close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(gatherer, "RETRY_S", 0.05)
    made = []

    def build(port=0):
        made.append(TcpDevice(port))
        return made[-1]

    yield build
    for each in made:
        each.stop()


@pytest.fixture
def feed():
    """Start feeders that are stopped after the test."""
    made = []

    def start(send, line_at=lambda at_s: b"P=12.5 W\r\n", period_s=0.01):
        made.append(Feeder(send, line_at, period_s))
        return made[-1]

    yield start
    for each in made:
        each.stop()


@pytest.fixture
def opened(opened):
    def open_meter(kind, address, rate_hz=None, **options):
        return opened(kind(MeterRequest(address, {**WATTS, **options}, rate_hz=rate_hz)))

    return open_meter


def has_note(words):
    return lambda readings, notes: any(words in note for note in notes)


# from a URI and from tables


def test_a_uri_is_enough_for_one_rail(port, feed):
    feed(port.send, lambda at_s: b"P=12.5 mW I=3\r\n")
    ref = MeterRef.parse(
        f"serial:{port.path}?scope=devkit&baud=9600&pattern=P=([0-9.]%2B) mW&unit=mW&rail=BOARD&gain_u=0.01"
    )
    meter = SerialMeter(MeterRequest(ref.address, ref.options))
    info = meter.open()
    readings, _ = drained(meter, has_readings(5))
    meter.close()
    assert info.total == ("BOARD",) and info.rails[0].gain_ratio == 0.01
    assert {value for _, (value,) in readings} == {0.0125}
    times = [t for t, _ in readings]
    assert times == sorted(set(times))


def test_tables_give_several_rails_of_a_line_one_of_them_inside_of_another(server, feed, opened):
    rails = [
        {"name": "INPUT", "pattern": "U=([0-9.]+)", "unit": "V"},
        {"name": "INPUT", "pattern": "I=([0-9.]+)", "unit": "mA"},
        {
            "name": "GPU",
            "pattern": "G=([0-9.]+)",
            "unit": "W",
            "inside_of": "INPUT",
            "scope": "rail",
            "step": 0.5,
            "gain_u": 0.02,
        },
    ]
    device = server()
    feed(device.send, lambda at_s: b"U=12 I=500 G=2.5\n")
    options = {"pattern": None, "unit": None, "rails": rails, "scope": "devkit", "timeout_s": 3.0}
    meter, info = opened(TcpMeter, device.address, **options)
    readings, _ = drained(meter, has_readings(3))
    assert info.total == ("INPUT",) and info.rails[1].inside_of == "INPUT" and info.rails[1].resolution_w == 0.5
    assert (info.rails[0].gain_ratio, info.rails[1].gain_ratio) == (None, 0.02)
    assert (info.rails[0].averaging_s, info.rails[0].delay_s) == (None, None)
    stated = opened(TcpMeter, device.address, **options, averaging_s=0, delay_s=0)[1].rails[0]
    assert (stated.averaging_s, stated.delay_s, stated.counter_averaging_s, stated.counter_delay_s) == (0, 0, 0, 0)
    assert series_of(info, info.total).columns == (("INPUT_v", "INPUT_a"),)
    assert readings[0][1] == [12.0, 0.5, 2.5]


def test_commands_start_and_stop_a_meter(port, feed, opened):
    feed(port.send)
    meter, _ = opened(SerialMeter, port.path, start="GO 1\\r\\n", stop="HALT\\n")
    assert port.hear(b"GO 1\r\n").startswith(b"GO 1\r\n")
    meter.close()
    assert port.hear(b"HALT\n").endswith(b"HALT\n")


def test_a_meter_that_is_asked_is_read_half_way_between_question_and_answer(server, opened):
    device = server()
    asked_ns, answered_ns = [], []

    def answer(at_s):
        if device.connections and device.connections[0].recv(64) == b"MEAS?\n":
            asked_ns.append(monotonic_ns())
            time.sleep(0.03)
            answered_ns.append(monotonic_ns())
            return b"P=7 W\n"
        return None

    feeder = Feeder(device.send, answer, 0.001)
    meter, info = opened(TcpMeter, device.address, rate_hz=20.0, query="MEAS?\\n")
    readings, _ = drained(meter, has_readings(3))
    meter.close()  # before the device, which waits for a question
    feeder.stop()
    assert info.identity["time"] == "half way between query and answer"
    for time_ns, values in readings:
        after = [a for a in asked_ns if a <= time_ns]
        assert values == [7.0] and time_ns - after[-1] >= 10_000_000
        assert min(b for b in answered_ns if b >= after[-1]) >= time_ns - 5_000_000


@pytest.mark.parametrize(
    "options, words",
    [
        ({"scope": None}, "scope=wall"),
        ({"unit": "watts"}, "unit 'watts'"),
        ({"pattern": None}, "pattern is missing"),
        ({"rails": [dict(name="A", pattern="(a)", unit="W")]}, "both given"),
        ({"pattern": None, "unit": None, "rails": "A"}, "no list of tables"),
        ({"pattern": "(?P<A_W>.)(?P<B_W>.)", "unit": None}, "which of the rails A, B make up the total"),
        ({"pattern": "(?P<A_V>.)", "unit": None}, "neither power nor energy"),
        ({"total": "C"}, "no rail 'C'"),
        ({"total": "INPUT,INPUT"}, "counts INPUT twice"),
        ({"encoding": "klingon", "start": "a"}, "klingon"),
        ({"end": "crlf"}, "cr, lf"),
        ({"timeout_s": "0"}, "above 0"),
        ({"badu": "9600"}, "did you mean 'baud'"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_opened(options, words):
    given = {key: value for key, value in {**WATTS, **options}.items() if value is not None}
    with pytest.raises(ConfigError, match=words):
        SerialMeter(MeterRequest("/dev/nowhere", given))


@pytest.mark.parametrize("address", ["host", "host:", ":80", "host:99999", "host:http"])
def test_an_address_without_host_or_port_is_refused(address):
    with pytest.raises(ConfigError, match="tcp:HOST:PORT"):
        TcpMeter(MeterRequest(address, WATTS))


# a port that cannot be had


def test_a_port_that_is_not_there_is_named(tmp_path, opened):
    with pytest.raises(MeterError, match=r"ttyUSB9 is not there; is it plugged in\?"):
        opened(SerialMeter, str(tmp_path / "ttyUSB9"))


def test_a_port_that_another_program_uses_is_named(port, feed, opened):
    feed(port.send)
    opened(SerialMeter, port.path)
    with pytest.raises(MeterError, match="in use by another program"):
        opened(SerialMeter, port.path)


def test_a_file_is_no_serial_port(tmp_path, opened):
    (tmp_path / "file").write_text("P=1 W\n")
    with pytest.raises(MeterError, match="cannot be opened as a serial port"):
        opened(SerialMeter, str(tmp_path / "file"))


def test_a_port_without_permission_says_which_group_to_join(port, opened):
    if os.geteuid():
        os.chmod(port.path, 0)
        with pytest.raises(MeterError, match=r"sudo usermod -aG dialout \$USER"):
            opened(SerialMeter, port.path)
    else:  # root may open everything: then only what pyserial says without permission
        import serial

        error = serial.SerialException(13, "could not open port /dev/ttyUSB0: [Errno 13] Permission denied")
        assert "sudo usermod -aG dialout $USER" in _fault("serial: /dev/ttyUSB0", error, 9600)


def test_nobody_at_a_tcp_address_is_one_line(server, opened):
    device = server()
    device.stop()
    with pytest.raises(MeterError, match=r"tcp: 127\.0\.0\.1:\d+ does not answer \(.*refused\)"):
        opened(TcpMeter, device.address)


def test_lines_that_the_pattern_does_not_fit_are_shown_when_nothing_else_comes(port, feed, opened):
    feed(port.send, lambda at_s: b"\x1b[2JPower 3,5 <b>\xff\r\n", 0.05)
    with pytest.raises(
        MeterError, match=r"no number in '\\x1b\[2JPower 3,5 <b>\\ufffd\\r' by the pattern 'P="
    ) as refused:
        opened(SerialMeter, port.path, timeout_s="0.3")
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    "line, words",
    [
        (b"P=9.9E37 W\r\n", "over range: the instrument says 9.9E37; a larger range is needed"),
        (b"P=-INF W\r\n", "over range: the instrument says -INF; a larger range is needed"),
        (b"P=+9.91E+37 W\r\n", r"the instrument has no reading \(\+9.91E\+37\); check its wiring"),
        (b"P=NaN W\r\n", r"the instrument has no reading \(NaN\); check its wiring"),
        (b"info: 9.9 W, nano, 19.9E37\r\n", "no number in 'info: 9.9 W, nano, 19.9E37"),
        (b"P=1.25E+01 W\r\n", r"no number in .* by the pattern .*; the group must take the exponent in: \("),
    ],
)
def test_what_an_instrument_says_in_place_of_a_number_is_understood(port, feed, opened, line, words):
    feed(port.send, lambda at_s: line)
    with pytest.raises(MeterError, match="serial: no reading for 0.3 s: " + words):
        opened(SerialMeter, str(port.path), timeout_s=0.3)


def test_a_pattern_whose_plus_became_a_space_is_pointed_out(port, feed, opened):
    feed(port.send, period_s=0.05)
    with pytest.raises(MeterError, match=r"a \+ is written %2B"):
        opened(SerialMeter, port.path, timeout_s="0.3", pattern="P=([0-9.] ) W")


# faults


def test_garbage_half_lines_and_impossible_numbers_are_left_out(port, opened, feed):
    lines = [
        b"P=12.5 W\n",
        b"P=nan W\n",
        b"P=1e99 W\n",
        b"\xff\xfe\x00garbage\n",
        b"P=",
        b"12.5 W\nP=-\n",
        b"x" * 9000 + b"\n",
    ]
    turn = iter(range(1_000_000))
    feed(port.send, lambda at_s: lines[next(turn) % len(lines)], 0.005)
    meter, _ = opened(SerialMeter, port.path)
    readings, notes = drained(meter, lambda r, n: len(r) >= 10 and has_note("over 4096 bytes")(r, n))
    assert {values[0] for _, values in readings} == {12.5}
    assert not any("no number" in note for note in notes)  # others come, so that is no gap


def test_readings_that_come_at_once_keep_the_newest_and_say_so(server, opened, feed):
    device = server()
    feed(device.send, lambda at_s: b"P=1 W\nP=2 W\nP=3 W\n", 0.02)
    meter, _ = opened(TcpMeter, device.address)
    drained(meter, has_readings(1))
    readings, notes = drained(meter, has_readings(5))
    assert {values[0] for _, values in readings} == {3.0}
    assert all("several readings came at once" in note for note in notes) and notes


def test_a_server_that_goes_away_and_comes_back_is_connected_again_and_started_again(server, feed, opened):
    device = server()
    feeder = feed(device.send)
    meter, _ = opened(TcpMeter, device.address, start="GO\\n")
    drained(meter, has_readings(1))
    feeder.stop()
    device.stop()
    drained(meter, has_note("does not answer"))
    again = server(device.port)
    feed(again.send)
    drained(meter, has_readings(3))
    assert again.wait_for(1).recv(10) == b"GO\n"


# in the process that really reads it


@pytest.mark.realtime
def test_the_energy_of_a_known_wave(tmp_path, port, feed):
    wave = Square(5.0, 25.0, 0.3)
    feed(port.send, lambda at_s: b"P=%.1f W\r\n" % wave.power_w(at_s), 0.005)
    sampler = Sampler.start(METERS["serial"], MeterRequest(port.path, WATTS), tmp_path / "t.arrows")
    info = sampler.wait_ready()
    start_ns = monotonic_ns()
    time.sleep(0.8)
    end_ns = monotonic_ns()
    time.sleep(0.05)
    sampler.stop()
    chunks, series = list(TraceReader(tmp_path / "t.arrows")), [series_of(info, info.total)]
    (found,) = integrate(chunks, series, survey(chunks, series), np.array([start_ns]), np.array([end_ns]))
    half_width_j = budget(found).half_width_j[0] + 20.0 * 2 * info.time_bound_s
    assert found.energy_j[0] == pytest.approx(wave.energy_j(start_ns / 1e9, end_ns / 1e9), abs=half_width_j)
