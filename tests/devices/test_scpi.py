"""SCPI instruments through pyvisa and pyvisa-py, over TCP and a serial line; only the instruments are simulated."""

from __future__ import annotations

import re
import socket
import sys
import time

import numpy as np
import pytest

from ebbench import plugins
from ebbench.clock import monotonic_ns
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.sampler import Sampler
from ebbench.energy.sampler_process.source import Source
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import power_of, series_of
from ebbench.energy.traces.trace import TraceReader
from ebbench.errors import ConfigError, MeterError
from ebbench.meter_ref import MeterRef
from ebbench.protocols import MeterRequest
from ebbench.units import NS_PER_S
from ebbench_devices.instruments.scpi_answers import OverRange, error_in, number
from ebbench_devices.scpi import ScpiMeter

pytest.importorskip("pyvisa_py", reason="pyvisa-py is not installed: the scpi meter is NOT tested")
from scpi_instrument import PERIOD_S, SINE, PowerMeter, SerialInstrument, Supply, TcpInstrument, energy_j, power_w

METERS = plugins.registered(plugins.METERS)
RANGES = {"voltage_range_v": "15", "current_range_a": "5"}
WIRES = [TcpInstrument, SerialInstrument]
#: what is said of faults that test_faults has not
SAID = {"half line": "no whole answer", "deaf": "no whole answer", "wrong words": "is no number"}


def request(resource, **options):
    return MeterRequest(resource, {"scope": "devkit", "timeout_s": "1", **options})


@pytest.fixture
def opened(opened):
    def open_meter(resource, **options):
        return opened(ScpiMeter(request(resource, **options)))

    return open_meter


# what it reads


@pytest.mark.parametrize("wire", WIRES)
def test_a_reading_is_the_power_at_the_middle_of_its_question(opened, wire):
    with wire(Supply()) as instrument:
        meter, info = opened(instrument.resource)
        for _ in range(20):
            start_ns = monotonic_ns()
            (watts,) = meter.read()
            took_ns = monotonic_ns() - start_ns
            (offset_ns,) = meter.offsets_ns
            slack_w = (
                2 * 12 * np.pi / 1.7 * took_ns / 2 / NS_PER_S + 1e-4
            )  # by how much the power may change in half a trip
            assert watts == pytest.approx(power_w((start_ns + offset_ns) / NS_PER_S), abs=slack_w)
            assert 0 < offset_ns < took_ns
        assert info.total == ("INPUT",) and not info.simulated
        assert info.time_bound_s == pytest.approx(info.identity["round_trip_s"] / 2)


@pytest.mark.parametrize("wire", WIRES)
def test_a_power_meter_gives_power_volts_amperes_and_joules_with_one_question(opened, wire):
    with wire(PowerMeter()) as instrument:
        meter, info = opened(instrument.resource, **RANGES)
        asked = len(instrument.other_end.heard)
        watts, volts, amperes, joules = meter.read()
        assert len(instrument.other_end.heard) == asked + 1
        assert volts == 12.0 and watts == pytest.approx(volts * amperes, rel=1e-4) and joules >= 0
        assert [c.name for c in info.columns] == ["INPUT_w", "INPUT_v", "INPUT_a", "INPUT_j"]
        (rail,) = info.rails
        assert (rail.range_w, rail.update_period_s, rail.averaging_s) == (75.0, 0.1, 0.1)


def test_a_supply_without_a_power_query_is_read_by_volts_and_amperes_each_at_its_own_time(opened):
    with TcpInstrument(Supply(has_power=False)) as instrument:
        meter, info = opened(instrument.resource, timeout_s="0.3")
        volts, amperes = meter.read()
        assert volts == 12.0 and 8 / 12 <= amperes <= 32 / 12
        assert meter.offsets_ns[0] < meter.offsets_ns[1]
        assert series_of(info, info.total).columns == (("INPUT_v", "INPUT_a"),)


def test_the_question_can_be_stated_as_it_stands_in_a_uri(opened):
    ref = MeterRef.parse("scpi:TCPIP::127.0.0.1::5025::SOCKET?scope=devkit&query=MEAS:POW?+(@1)")
    assert ref.options["query"] == "MEAS:POW? (@1)" and ref.address == "TCPIP::127.0.0.1::5025::SOCKET"
    with TcpInstrument(Supply()) as instrument:
        opened(instrument.resource, query=ref.options["query"])
        assert "MEAS:POW? (@1)" in instrument.other_end.heard


def test_the_dialogue_that_sets_up_a_power_meter_is_this(opened):
    with TcpInstrument(PowerMeter()) as instrument:
        meter, _ = opened(instrument.resource, **RANGES, update_s="0.25")
        meter.close()
        instrument.__exit__()
        units = [unit for message in instrument.other_end.heard for unit in message.split(";")]
        told = [unit for unit in units if "?" not in unit]
    assert told == [
        "*CLS",
        ":COMMunicate:HEADer OFF",
        ":COMMunicate:VERBose ON",
        ":COMMunicate:REMote ON",
        ":INPut:VOLTage:AUTO OFF",
        ":INPut:VOLTage:RANGe 15",
        ":INPut:CURRent:AUTO OFF",
        ":INPut:CURRent:RANGe 5",
        ":MEASure:MHOLd OFF",
        ":RATE 250MS",
        ":INTEGrate:MODE NORMal",
        ":INTEGrate:TIMer 0,0,0",
        ":INTEGrate:RESet",
        ":INTEGrate:STARt",
        ":NUMeric:FORMat ASCii",
        ":NUMeric:NORMal:NUMber 4",
        ":NUMeric:NORMal:ITEM1 P,1",
        ":NUMeric:NORMal:ITEM2 U,1",
        ":NUMeric:NORMal:ITEM3 I,1",
        ":NUMeric:NORMal:ITEM4 WH,1",
        ":INTEGrate:STOP",
        ":COMMunicate:REMote OFF",
    ]


def test_without_its_integrator_it_is_left_alone(opened):
    with TcpInstrument(PowerMeter()) as instrument:
        meter, info = opened(instrument.resource, **RANGES, integrator="off")
        assert len(meter.read()) == 3 and len(info.columns) == 3
        assert not any("INTEG" in message for message in instrument.other_end.heard)


@pytest.mark.parametrize(
    "model, scope, of_reading, of_range",
    [
        ("WT310", "wall", 0.001, 0.001),
        ("WT310E", "wall", 0.001, 0.0005),
        ("WT333E", "devkit", 0.001, 0.002),
        ("WT310EH", "devkit", 0.003, 0.002),
    ],
)
def test_the_uncertainty_is_the_specifications_unless_it_is_stated(opened, model, scope, of_reading, of_range):
    with TcpInstrument(PowerMeter(model)) as instrument:
        meter, info = opened(instrument.resource, **RANGES, scope=scope)
        (rail,) = info.rails
        assert rail.gain_ratio == pytest.approx(of_reading / 3**0.5)
        assert rail.offset_w == pytest.approx(of_range * 75 / 3**0.5)
        meter.close()
        assert opened(instrument.resource, **RANGES, gain_u="0.01")[1].rails[0].gain_ratio == 0.01


# its settings


def test_an_automatic_range_is_refused_with_the_option_that_fixes_it(opened):
    with TcpInstrument(PowerMeter()) as instrument:
        with pytest.raises(ConfigError, match=r"voltage range is automatic .*voltage_range_v="):
            opened(instrument.resource)
        instrument.other_end.state = "START"  # somebody's measurement
        with pytest.raises(ConfigError, match=r"current range is automatic .*current_range_a="):
            opened(instrument.resource, voltage_range_v="15")
        assert instrument.other_end.state == "START"


def test_what_the_instrument_refuses_is_raised_in_its_words(opened):
    said = pytest.raises(MeterError, match=r'refuses :INPut:CURRent:RANGe 3: 222,"Data out of range"')
    with TcpInstrument(PowerMeter()) as instrument, said:
        opened(instrument.resource, voltage_range_v="15", current_range_a="3")


def test_the_trigger_of_its_protection_is_a_fault_and_not_another_range(opened):
    with TcpInstrument(PowerMeter()) as instrument:
        meter, _ = opened(instrument.resource, **RANGES)
        instrument.other_end.settings[":INPut:CURRent:AUTO"] = 1
        with pytest.raises(MeterError, match="left its fixed range"):
            meter.read()


def test_peaks_over_the_range_are_no_reading_though_it_shows_a_number(opened):
    with TcpInstrument(PowerMeter()) as instrument:
        meter, _ = opened(instrument.resource, **RANGES)
        instrument.other_end.over = 0b10000000
        with pytest.raises(OverRange, match=r"15\.0 V, 5\.0 A are too small; state a larger current_range_a="):
            meter.read()


def test_after_an_over_range_the_counter_begins_anew_so_that_nothing_joins_over_it(opened):
    with TcpInstrument(PowerMeter()) as instrument:
        meter, _ = opened(instrument.resource, **RANGES)
        instrument.other_end.fault = "overflow"
        with pytest.raises(OverRange):
            meter.read()
        instrument.other_end.fault = None
        started_s = instrument.other_end.started_s
        assert meter.read()[3] is None and instrument.other_end.started_s > started_s
        assert meter.read()[3] is not None


def test_an_integrator_that_somebody_stopped_is_a_fault_and_never_no_energy(opened):
    with TcpInstrument(PowerMeter()) as instrument:
        meter, _ = opened(instrument.resource, **RANGES)
        instrument.other_end.state = "STOP"
        with pytest.raises(MeterError, match=r"integrator stands \(STOP\)"):
            meter.read()


def test_after_a_lost_connection_the_integrator_that_still_runs_goes_on(opened):
    with TcpInstrument(PowerMeter()) as instrument:
        opened(instrument.resource, **RANGES)[0]._link.close()  # the cable
        started_s = instrument.other_end.started_s
        meter, info = opened(instrument.resource, **RANGES)
        assert instrument.other_end.started_s == started_s and "goes on" in info.identity["integrator"]
        meter.close()
        assert "at 0" in opened(instrument.resource, **RANGES)[1].identity["integrator"]


# what goes wrong while it runs


def reading_of(meter):
    values = meter.read()
    return [float("nan") if v is None else v for v in values]


@pytest.mark.parametrize("fault", SAID)
def test_a_fault_is_a_reason_and_no_reading_and_it_comes_back(fault):
    with TcpInstrument(Supply()) as instrument:
        source = Source(ScpiMeter, request(instrument.resource, timeout_s="0.3"))
        assert source.attempt(0, reading_of) is not None
        instrument.other_end.fault = fault
        assert source.attempt(1, reading_of) is None
        assert re.search(SAID[fault], source.reason), source.reason
        assert "\n" not in source.reason and "<script>\x1b" not in source.reason
        assert source.attempt(2 * NS_PER_S, reading_of) is None
        instrument.other_end.fault = None
        assert source.attempt(4 * NS_PER_S, reading_of) is not None
        source.close()


def test_an_answer_that_does_not_end_is_not_waited_for_and_fills_no_memory():
    said = pytest.raises(MeterError, match=r"no whole answer to '\*IDN\?' \(over 64 KiB came\)")
    with TcpInstrument(Supply(idn="A" * 5_000_000)) as instrument, said:
        ScpiMeter(request(instrument.resource)).open()


@pytest.mark.parametrize("wire", WIRES)
def test_an_answer_that_comes_too_late_is_never_the_answer_to_the_next_question(wire):
    with wire(Supply()) as instrument:
        source = Source(ScpiMeter, request(instrument.resource, timeout_s="0.3"))
        instrument.other_end.stall_s = 0.6
        late_s = time.monotonic()
        assert source.attempt(0, reading_of) is None and "within 0.3 s" in source.reason
        for step in range(1, 200):  # until its late answer has come and gone
            after_s = time.clock_gettime(time.CLOCK_MONOTONIC)
            values = source.attempt(step * NS_PER_S, reading_of)
            if values is not None:
                break
        now_s = time.clock_gettime(time.CLOCK_MONOTONIC)
        assert now_s - late_s < 20
        between_w = [power_w(t_s) for t_s in np.linspace(after_s, now_s, 20)]
        assert min(between_w) - 0.1 <= values[0] <= max(between_w) + 0.1
        source.close()


def test_an_answer_far_slower_than_the_others_is_not_taken(opened):
    with TcpInstrument(Supply()) as instrument:
        meter, _ = opened(instrument.resource, timeout_s="2")
        meter._link.patience_ns = 50_000_000
        instrument.other_end.stall_s = 0.1
        with pytest.raises(MeterError, match="when it measured that is not known"):
            meter.read()
        meter._link.patience_ns = None
        assert meter.read()


@pytest.mark.realtime
def test_the_energy_of_a_known_wave_by_its_power_and_by_its_integrator(tmp_path):
    trace = tmp_path / "t.arrows"
    with TcpInstrument(PowerMeter()) as instrument:
        sampler = Sampler.start(METERS["scpi"], request(instrument.resource, **RANGES), trace)
        info = sampler.wait_ready()
        start_ns = monotonic_ns()
        # the power is the same at both edges: being late shows in neither
        end_ns = start_ns + round(PERIOD_S * NS_PER_S)
        time.sleep(PERIOD_S + 0.1)
        sampler.stop()
    truth_j = energy_j(start_ns / NS_PER_S, end_ns / NS_PER_S)
    for series in (series_of(info, info.total), power_of(info, info.total)):
        reader = TraceReader(trace)
        (found,) = integrate(reader, [series], survey(reader, [series]), np.array([start_ns]), np.array([end_ns]))
        longest_s = max(np.diff(np.concatenate([chunk.time_ns for chunk in TraceReader(trace)]))) / NS_PER_S
        late_s = max(longest_s - 2 / info.default_rate_hz, 0.0)  # 0 unless the machine kept a reading from its slot
        assert abs(found.energy_j[0] - truth_j) <= 0.03 * truth_j + late_s * SINE.swing_w


# what stands in the way


@pytest.mark.parametrize(
    "address, options, said",
    [
        ("10.0.0.5", {}, "'10.0.0.5' is no VISA resource"),
        ("TCPIP::x::INSTR", {"scope": None}, "say what it measures"),
        ("TCPIP::x::INSTR", {"scope": "wal"}, "did you mean 'wall'"),
        ("TCPIP::x::INSTR", {"voltage_range": "3"}, "did you mean 'voltage_range_v'"),
        ("TCPIP::x::INSTR", {"timeout_s": "0"}, "timeout_s = 0 must be above 0"),
        ("TCPIP::x::INSTR", {"baud": "fast"}, "baud = 'fast' is not a number"),
    ],
)
def test_a_bad_uri_is_refused_before_anything_is_contacted(address, options, said):
    given = {key: value for key, value in {"scope": "wall", **options}.items() if value is not None}
    with pytest.raises(ConfigError, match=re.escape(said)):
        ScpiMeter(MeterRequest(address, given))


def test_where_nothing_listens_it_says_so_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(MeterError, match="nothing listens there; check address and port") as caught:
        ScpiMeter(request(f"TCPIP::127.0.0.1::{port}::SOCKET")).open()
    assert "\n" not in str(caught.value)


def test_a_serial_port_that_is_not_there_is_named():
    with pytest.raises(MeterError, match="ASRL/dev/ttyNOWHERE::INSTR: there is no such port"):
        ScpiMeter(request("ASRL/dev/ttyNOWHERE::INSTR")).open()


def test_another_instrument_than_the_expected_one_is_refused(opened):
    with TcpInstrument(Supply()) as instrument:
        with pytest.raises(MeterError, match=r"this is 'Keysight.*', not 'WT310' as idn= says"):
            opened(instrument.resource, idn="WT310")
        with pytest.raises(ConfigError, match="current_range_a means nothing to this N6705C"):
            opened(instrument.resource, current_range_a="1")


def test_what_is_no_instrument_or_knows_no_power_is_refused(opened):
    said = pytest.raises(MeterError, match=r"'220 mail.example ESMTP' is no answer to \*IDN\?")
    with TcpInstrument(Supply(idn="220 mail.example ESMTP")) as instrument, said:
        opened(instrument.resource)
    silent = Supply(has_power=False)
    silent.measure = lambda header: NotImplemented
    said = pytest.raises(MeterError, match=r"answers neither MEAS:POW\? nor .*state its question")
    with TcpInstrument(silent) as instrument, said:
        opened(instrument.resource, timeout_s="0.3")


def test_without_the_package_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvisa", None)
    with pytest.raises(MeterError, match=r'pip install "ebbench\[visa,serial\]"'):
        ScpiMeter(request("TCPIP::x::INSTR")).open()


# its answers


def test_numbers_have_their_unit_or_none_and_never_another():
    assert number(" +1.25E+01\r", "W") == 12.5 and number("12.5 W", "W") == 12.5 and number("12.5mW", "W") == 0.0125
    assert number("NAN", "W") is None and number("9.91E+37", "W") is None and number("----", "W") is None
    for text in ("INF", "9.9E37", "-9.9E37", "+INFINITY", "1e400"):
        with pytest.raises(OverRange):
            number(text, "W")
    for text in ("12.5 V", "12.5 m", "", "1,2", "0x1F", "١٢", "12.5 w;", "READY"):
        with pytest.raises(MeterError):
            number(text, "W")


def test_an_error_queue_is_empty_only_when_it_says_0():
    assert error_in('0,"No error"') is None and error_in('+0,"No error"') is None and error_in("0") is None
    assert error_in('-113,"Undefined header"') == '-113,"Undefined header"' and error_in("") == ""
