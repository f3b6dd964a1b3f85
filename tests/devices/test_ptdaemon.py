"""The ptdaemon meter over TCP against a daemon that answers as the public programs of MLPerf Power expect."""

from __future__ import annotations

import re
import socket
import time

import numpy as np
import pytest
from ptdaemon_server import PtdaemonServer
from scpi_instrument import PERIOD_S, energy_j

from ebbench import plugins
from ebbench.clock import monotonic_ns
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.sampler import Sampler
from ebbench.energy.sampler_process.source import Source
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import series_of
from ebbench.energy.traces.trace import TraceReader
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, INSTANT, MeterRequest
from ebbench.units import NS_PER_S
from ebbench_devices import ptdaemon
from ebbench_devices.instruments.other_clock import OtherClock
from ebbench_devices.instruments.ptdaemon_link import sample_of
from ebbench_devices.meter import feed
from ebbench_devices.ptdaemon import PtdaemonMeter

METERS = plugins.registered(plugins.METERS)
RATE_HZ = 20.0
OPTIONS = {"scope": "wall", "voltage_range_v": "15", "current_range_a": "5"}
#: faults of the daemon that test_faults has not, and what is said of them
SAID = {"half line": "no whole answer to RL within 0.3 s", "silent": "no sample for 0.25 s"}


def request(server, rate_hz=RATE_HZ, **options):
    return MeterRequest(f"127.0.0.1:{server.port}", {**OPTIONS, "timeout_s": "1", **options}, rate_hz=rate_hz)


@pytest.fixture
def opened(opened):
    def open_meter(server, rate_hz=RATE_HZ, **options):
        return opened(PtdaemonMeter(request(server, rate_hz, **options)))

    return open_meter


def blocks(meter, count, timeout_s=10.0):
    """Drain until there are `count` readings: times (ns), values, notes."""
    times, values, notes, deadline_s = [], [], [], time.monotonic() + timeout_s
    while sum(len(t) for t in times) < count:
        assert time.monotonic() < deadline_s
        block = meter.drain(RATE_HZ)
        times.append(block.time_ns)
        values.append(block.values)
        notes += block.notes
    return np.concatenate(times), np.concatenate(values), notes


# what it reads


@pytest.mark.parametrize("kind, ahead_s", [("RL", 1.6e9), ("DC-RL", 0.5)])
def test_a_sample_lies_on_our_clock_where_the_daemon_took_it(opened, kind, ahead_s):
    with PtdaemonServer(kind=kind, ahead_s=ahead_s) as server:
        meter, info = opened(server, rate_hz=10.0)
        time_ns, values, notes = blocks(meter, 5)
        started_s = server.started_s
    at = np.round((time_ns / NS_PER_S - started_s) / 0.1)
    assert at.tolist() == list(range(1, len(at) + 1)) and not notes
    late_s = time_ns / NS_PER_S - (started_s + at * 0.1)
    assert np.abs(late_s).max() < info.time_bound_s + 1e-3  # its stamps are whole milliseconds
    truth_w = [energy_j(started_s + (k - 1) * 0.1, started_s + k * 0.1) / 0.1 for k in at]
    assert values[:, 0] == pytest.approx(truth_w, abs=2e-6) and set(values[:, 1]) == {12.0}
    assert [c.name for c in info.columns] == ["INPUT_w", "INPUT_v", "INPUT_a"] and info.total == ("INPUT",)
    assert (info.rails[0].averaging_s, info.rails[0].delay_s, info.rails[0].range_w) == (0.1, None, 75.0)


@pytest.mark.parametrize("averaging_s, kind", [("0.05", AVERAGE), ("0", INSTANT)])
def test_what_a_sample_covers_can_be_stated(opened, averaging_s, kind):
    with PtdaemonServer() as server:
        rail = opened(server, rate_hz=10.0, averaging_s=averaging_s, delay_s="0.02")[1].rails[0]
    assert (rail.kind, rail.averaging_s, rail.delay_s) == (kind, float(averaging_s), 0.02)


def test_the_whole_dialogue_is_this(opened):
    with PtdaemonServer() as server:
        meter, info = opened(server)
        meter.close()
        server.__exit__()
        heard = [command for command in server.heard if command != "RL"]
    assert heard == [
        "Hello",
        "Identify",
        "RR",
        "Stop",
        "SR,V,15",
        "SR,A,5",
        "RR",
        "Go,50,0,ebbench",
        "Uncertainty",
        "Stop",
        "SR,V,Auto",
        "SR,A,0.5",
    ]
    assert info.identity["ranges_before"] == {"V": "Auto", "A": "0.5"} and "YokogawaWT310E" in info.identity["analyzer"]


def test_its_stated_uncertainty_is_the_gain_unless_the_user_states_another(opened):
    with PtdaemonServer() as server:
        meter, info = opened(server)
        assert info.rails[0].gain_ratio == pytest.approx(0.0045 / 3**0.5) and info.identity["uncertainty"] == 0.0045
        meter.close()
        assert opened(server, gain_u="0.02")[1].rails[0].gain_ratio == 0.02


def test_samples_of_an_earlier_measurement_are_not_ours(opened):
    with PtdaemonServer() as server:
        server.interval_s = 3.0
        server.left_over = [server.sample(3.0)] * 3
        meter, _ = opened(server)
        time_ns, _, _ = blocks(meter, 3)
        assert time_ns[0] / NS_PER_S == pytest.approx(server.started_s + 0.05, abs=0.06)


# its settings


def test_a_range_that_is_automatic_must_be_fixed(opened):
    with PtdaemonServer() as server:
        with pytest.raises(ConfigError, match="the voltage range is not fixed; fix it with voltage_range_v="):
            PtdaemonMeter(MeterRequest(f"127.0.0.1:{server.port}", {"scope": "wall"})).open()
        server.ranges = {"V": "300", "A": "0.5"}
        meter = PtdaemonMeter(MeterRequest(f"127.0.0.1:{server.port}", {"scope": "wall"}, rate_hz=RATE_HZ))
        assert meter.open().rails[0].range_w == 150.0
        meter.close()
        assert server.ranges == {"V": "300", "A": "0.5"} and not any(c.startswith("SR") for c in server.heard)


def test_what_the_daemon_refuses_is_raised_in_its_words(opened):
    with PtdaemonServer() as server:
        server.fault = "refuses"
        with pytest.raises(MeterError, match="SR,V,15 is answered 'Error: range 15 is not supported'"):
            opened(server)


# what goes wrong while it runs


@pytest.mark.parametrize("fault", SAID)
def test_a_fault_is_a_reason_and_no_reading_and_it_comes_back(fault, monkeypatch):
    monkeypatch.setattr(feed, "SILENCE_S", 0.1)
    with PtdaemonServer() as server:
        source = Source(PtdaemonMeter, request(server, timeout_s="0.3"))
        drain = lambda meter: meter.drain(RATE_HZ)  # noqa: E731
        assert len(source.attempt(0, drain).time_ns) >= 1
        server.fault = fault
        wait_for(lambda: source.attempt(1, drain) is None)
        assert SAID[fault] in source.reason and "\n" not in source.reason
        server.fault = None
        back_ns = monotonic_ns()
        block = source.attempt(2 * NS_PER_S, drain)
        assert block.time_ns[0] > back_ns
        source.close()


@pytest.mark.parametrize("fault", ["over range", "overflow"])
def test_a_sample_without_power_is_missing_with_its_reason_and_the_rest_is_there(opened, fault):
    with PtdaemonServer() as server:
        meter, _ = opened(server)
        server.fault = fault
        wait_for(lambda: np.isnan(meter.drain(RATE_HZ).values).any())
        _, values, notes = blocks(meter, 1)
        assert np.isnan(values[-1, 0]) and values[-1, 1] == 12.0 and "a sample without power" in notes[-1][1]
        server.fault = None
        wait_for(lambda: np.isfinite(meter.drain(RATE_HZ).values[-1:]).any())


def test_an_answer_that_comes_late_is_a_fault_and_its_samples_are_never_taken_for_later_ones():
    with PtdaemonServer() as server:
        source = Source(PtdaemonMeter, request(server, timeout_s="0.3"))
        drain = lambda meter: meter.drain(RATE_HZ)  # noqa: E731
        source.attempt(0, drain)
        server.stall_s = 0.6
        assert source.attempt(0, drain) is None and "within 0.3 s" in source.reason
        begun_ns = monotonic_ns()
        step = iter(range(2, 100))
        found = []
        wait_for(lambda: found.append(source.attempt(next(step) * NS_PER_S, drain)) or found[-1] is not None)
        assert found[-1].time_ns[0] > begun_ns
        source.close()


def test_a_clock_that_is_set_is_told_and_readings_stay_in_order(opened):
    with PtdaemonServer() as server:
        meter, _ = opened(server)
        before_ns, _, _ = blocks(meter, 3)
        server.ahead_s -= 3600  # the end of summer time
        after_ns, _, notes = blocks(meter, 4)
        assert (np.diff(np.concatenate((before_ns, after_ns))) > 0).all()
        assert np.diff(np.concatenate((before_ns, after_ns))).max() < 500_000_000
        (set_by_s,) = re.findall(r"its clock was set by ([-+0-9.]+) s", " ".join(reason for _, reason in notes))
        assert float(set_by_s) == pytest.approx(-3600, abs=0.5)


@pytest.mark.realtime
def test_the_energy_of_a_known_wave_on_a_clock_that_drifts(tmp_path):
    trace = tmp_path / "t.arrows"
    with PtdaemonServer(rate=1 + 5e-5) as server:
        sampler = Sampler.start(METERS["ptdaemon"], request(server), trace, RATE_HZ)
        info = sampler.wait_ready()
        start_ns = monotonic_ns()
        # the power is the same at both edges: being late shows in neither
        end_ns = start_ns + round(PERIOD_S * NS_PER_S)
        time.sleep(PERIOD_S + 0.2)
        sampler.stop()
    reader, series = TraceReader(trace), series_of(info, info.total)
    (found,) = integrate(reader, [series], survey(reader, [series]), np.array([start_ns]), np.array([end_ns]))
    assert found.energy_j[0] == pytest.approx(energy_j(start_ns / NS_PER_S, end_ns / NS_PER_S), rel=0.03)


def wait_for(condition, timeout_s=15.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(0.01)


# what stands in the way


@pytest.mark.parametrize(
    "address, options, said",
    [
        ("10.0.0.5:0", {}, "'10.0.0.5:0' is no HOST or HOST:PORT"),
        ("a b", {}, "'a b' is no HOST or HOST:PORT"),
        ("host:99999", {}, "is no HOST or HOST:PORT"),
        ("host", {"scope": None}, "say what it measures"),
        ("host", {"current_range": "1"}, "did you mean 'current_range_a'"),
        ("host", {"current_range_a": "-1"}, "current_range_a = -1 must be above 0"),
    ],
)
def test_a_bad_uri_is_refused_before_anything_is_contacted(address, options, said):
    given = {key: value for key, value in {"scope": "wall", **options}.items() if value is not None}
    with pytest.raises(ConfigError, match=re.escape(said)):
        PtdaemonMeter(MeterRequest(address, given))


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, 5000.0])
def test_a_rate_that_no_whole_millisecond_stands_for_is_refused(rate_hz):
    with pytest.raises(ConfigError, match="whole milliseconds"):
        PtdaemonMeter(MeterRequest("host", OPTIONS, rate_hz=rate_hz))


def test_the_port_is_8888_unless_it_is_named_and_an_address_may_be_of_version_6():
    assert ptdaemon._host_and_port("power.lab") == ("power.lab", 8888)
    assert ptdaemon._host_and_port("[::1]:8890") == ("::1", 8890)


def test_where_nothing_listens_it_says_so_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(MeterError, match=f"ptdaemon: 127.0.0.1:{port}: nothing listens there; start PTDaemon"):
        PtdaemonMeter(MeterRequest(f"127.0.0.1:{port}", OPTIONS)).open()


def test_what_is_not_ptdaemon_is_refused(opened):
    with PtdaemonServer() as server:
        server.fault = "not ptdaemon"
        with pytest.raises(MeterError, match=r"this is not PTDaemon, it answers '220 mail\.example ESMTP'"):
            opened(server)


# its samples, and its clock


def test_a_sample_is_read_as_the_public_client_reads_it():
    line = "Time,11-13-2020 22:38:59.240,Watts,272.930000,Volts,-1.000000,Amps,-1.000000,PF,-1.000000,Mark,notset,"
    sample = sample_of(line + "Ch1,Watts,91.060000,Volts,120.950000,Amps,0.832100,PF,0.938900")
    assert (
        sample.stamp_ns == 1_605_307_139_240_000_000 and sample.values[0] == 272.93
    )  # date -u -d '2020-11-13 22:38:59.24'
    assert np.isnan(sample.values[1:]).all()
    for wrong in ("", "Time", "Time,now,Watts,1,Volts,1,Amps,1", "Time,11-13-2020 22:38:59.240,Watts,1", line[:40]):
        with pytest.raises(MeterError):
            sample_of(wrong)


def test_facts_narrow_a_clock_down_and_drift_widens_it_again():
    clock = OtherClock()
    assert clock.saw(1000, 5000, 5100) == 0 and (clock.offset_ns, clock.bound_ns) == (4050, 50)
    assert clock.saw(2000, 6080, 6180) == 0 and (clock.offset_ns, clock.bound_ns) == (4090, 10)
    assert clock.saw(100_002_000, 100_000_000, 200_000_000) == 0 and clock.bound_ns > 9_000


def test_the_truth_stays_within_the_bound_whatever_the_drift_and_the_phase():
    random = np.random.default_rng(3)
    for drift in (-8e-5, 0.0, 8e-5):
        clock, asked_s = OtherClock(), 0.0
        for second in range(1, 2000):
            taken_s = second * 1.003
            heard_s = taken_s + random.uniform(0.001, 0.1)
            asked_s = heard_s - 0.102
            stamp_s = 1e9 + taken_s * (1 + drift)
            assert clock.saw(round(stamp_s * 1e9), round(asked_s * 1e9), round(heard_s * 1e9)) == 0
            error_ns = abs(round(stamp_s * 1e9) + clock.offset_ns - taken_s * 1e9)
            assert error_ns <= clock.bound_ns + 2 and clock.bound_ns <= 51_500_000
