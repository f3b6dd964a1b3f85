"""The Shelly meter against a real HTTP server that behaves, and misbehaves, as such devices do."""

from __future__ import annotations

import json
import re
import time

import http_devices
import numpy as np
import pytest
from draining import drained, has_readings
from http_devices import Device, shelly_gen1, shelly_gen2
from waves import Square

from ebbench import plugins
from ebbench.clock import monotonic_ns
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.sampler import Sampler
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import power_of, series_of
from ebbench.energy.traces.trace import TraceReader
from ebbench.energy.uncertainty import budget
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import HOLD, MeterRequest
from ebbench_devices.plugs import polled
from ebbench_devices.shelly import ShellyMeter

METERS = plugins.registered(plugins.METERS)
FAST = {"scope": "wall", "timeout_s": "0.3"}


@pytest.fixture
def device():
    """Start devices that are stopped after the test."""
    made = []

    def build(answers=None, **settings):
        made.append(Device(answers or shelly_gen2(), **settings))
        return made[-1]

    yield build
    for each in made:
        each.stop()


@pytest.fixture
def opened(opened, monkeypatch):
    """Open meters that are asked faster than is allowed."""
    monkeypatch.setattr(polled, "MAX_RATE_HZ", 50.0)

    def open_meter(device, rate_hz=50.0, **options):
        return opened(ShellyMeter(MeterRequest(device.address, {**FAST, **options}, rate_hz=rate_hz)))

    return open_meter


# what it reads


@pytest.mark.parametrize("component", ["switch", "pm1", "em1"])
def test_every_metered_component_of_the_second_generation_is_read(device, opened, component):
    plug = device(shelly_gen2(component, at=2))
    meter, info = opened(plug)
    (_, values), *_ = drained(meter, has_readings(1))[0]
    assert values[:3] == [10.0, 230.1, 0.11]
    assert [c.name for c in info.columns] == ["INPUT_w", "INPUT_v", "INPUT_a"] + ["INPUT_COUNTER_j"] * (
        component != "em1"
    )
    assert info.identity["component"] == f"{component}:2" and info.identity["model"] == "SNPL-00112EU"
    if component != "em1":
        assert values[3] * info.columns[3].scale == pytest.approx(plug.shown()[1], abs=20.0)


@pytest.mark.parametrize("kind, step_j", [("meters", 60.0), ("emeters", 360.0)])
def test_the_first_generation_is_read_with_its_own_counter(device, opened, kind, step_j):
    plug = device(shelly_gen1(kind), first_j=7.2e5)
    meter, info = opened(plug)
    (_, values), *_ = drained(meter, has_readings(1))[0]
    assert values[0] == 10.0 and info.columns[3].scale == step_j
    assert values[3] * step_j == pytest.approx(7.2e5, abs=step_j)


def test_the_power_counts_and_the_counter_checks_it_unless_it_is_turned_around(device, opened):
    plug = device()
    _, info = opened(plug)
    assert not series_of(info, info.total).is_counter
    assert series_of(info, ["INPUT_COUNTER"]).is_counter and info.rails[1].inside_of == "INPUT"
    _, info = opened(plug, energy="counter")
    assert series_of(info, info.total).step_j == 3.6 and power_of(info, info.total).columns == (("INPUT_w",),)


def test_what_is_not_documented_is_unknown_until_the_user_states_it(device, opened):
    plug = device()
    _, info = opened(plug)
    rail = info.rails[0]
    assert (rail.gain_ratio, rail.offset_w, rail.resolution_w) == (None, None, 0.1)
    assert (rail.kind, rail.update_period_s, info.identity["update_from"]) == (HOLD, 1.0, "assumed")
    assert 1.0 < info.time_bound_s < 1.5
    _, info = opened(plug, gain_u="0.01", offset_u_w="0.2", update_s="0.5")
    assert (info.rails[0].gain_ratio, info.rails[0].offset_w, info.rails[0].update_period_s) == (0.01, 0.2, 0.5)
    assert info.time_bound_s < 1.0


def test_a_reading_lies_in_the_middle_of_its_round_trip(device, opened):
    plug = device()
    asked_ns = []
    answers = plug.answers

    def noting(*question):
        asked_ns.append(monotonic_ns())
        plug.released.wait(0.05)  # the answer takes its time
        return answers(*question)

    plug.answers = noting
    meter, _ = opened(plug)
    readings, _ = drained(meter, has_readings(3))
    for time_ns, _ in readings:
        late_ns = min(time_ns - a for a in asked_ns if a <= time_ns)
        assert late_ns >= 15_000_000  # neither when the question came in, nor when it was sent


def test_one_connection_serves_all_questions(device, opened):
    plug = device()
    meter, _ = opened(plug)
    drained(meter, has_readings(5))
    assert plug.connections == 1


# what stands in the way


@pytest.mark.parametrize(
    "address, options, words",
    [
        ("http://10.0.0.7", {}, "scope=wall"),
        ("http://admin:secret@10.0.0.7", {"scope": "wall"}, "password_env=NAME"),
        ("https://10.0.0.7", {"scope": "wall"}, "http://HOST"),
        ("http://10.0.0.7/rpc", {"scope": "wall"}, "http://HOST"),
        ("http://10.0.0.7:seven", {"scope": "wall"}, "http://HOST"),
        ("http://10.0.0.7", {"scope": "wall", "pasword_env": "X"}, "password_env"),
        ("http://10.0.0.7", {"scope": "wall", "energy": "both"}, "counter, power"),
        ("http://10.0.0.7", {"scope": "wall", "update_s": "0"}, "above 0"),
        ("http://10.0.0.7", {"scope": "wall", "gain_u": "one"}, "not a number"),
    ],
)
def test_a_wrong_address_or_option_is_refused_before_anything_is_contacted(address, options, words):
    with pytest.raises(ConfigError, match=words) as refused:
        ShellyMeter(MeterRequest(address, options))
    assert "secret" not in str(refused.value)


def test_more_questions_than_it_renews_are_refused():
    with pytest.raises(ConfigError, match="at most 10"):
        ShellyMeter(MeterRequest("http://10.0.0.7", {"scope": "wall"}, rate_hz=50.0))


def test_several_outputs_want_a_choice_and_one_that_is_not_there_is_named(device, opened):
    plug = device(shelly_gen2(others=("switch:1",)))
    with pytest.raises(MeterError, match="switch:0, switch:1; choose one with id=N"):
        opened(plug)
    with pytest.raises(MeterError, match="no power at id=5"):
        opened(plug, id="5")
    assert opened(plug, id="0")[1].identity["component"] == "switch:0"


def test_a_relay_without_a_meter_is_refused_though_it_shows_zero_watts(device, opened):
    with pytest.raises(MeterError, match="has no power meter"):
        opened(device(shelly_gen1("none")))


def test_nobody_at_the_address_is_one_line(device):
    plug = device()
    plug.stop()
    with pytest.raises(MeterError, match=r"shelly: http://127\.0\.0\.1:\d+ cannot be read \(.*refused.*\); is it on"):
        ShellyMeter(MeterRequest(plug.address, FAST)).open()


# passwords


@pytest.mark.parametrize("scheme", ["digest", "digest-md5", "basic"])
def test_a_password_comes_from_the_environment_and_is_nowhere_else(device, opened, monkeypatch, scheme):
    plug = device()
    plug.password, plug.scheme = "s3cr3t:ü", scheme
    monkeypatch.setenv("PLUG_PASSWORD", "s3cr3t:ü")
    meter, info = opened(plug, password_env="PLUG_PASSWORD")
    readings, notes = drained(meter, has_readings(5))
    assert not notes and readings[0][1][0] == 10.0
    assert "s3cr3t" not in json.dumps(info.to_json()) and not any("s3cr3t" in path for path in plug.requests)


def test_a_missing_or_wrong_password_says_so_without_showing_it(device, opened, monkeypatch):
    plug = device()
    plug.password, plug.scheme = "right", "digest"
    with pytest.raises(MeterError, match=r"asks for a password.*password_env=NAME"):
        opened(plug)
    with pytest.raises(ConfigError, match="PLUG_PASSWORD is not set"):
        opened(plug, password_env="PLUG_PASSWORD")
    monkeypatch.setenv("PLUG_PASSWORD", "wr0ng")
    with pytest.raises(MeterError, match="refuses the password") as refused:
        opened(plug, password_env="PLUG_PASSWORD")
    assert "wr0ng" not in str(refused.value)


# faults


FAULTS = [
    (http_devices.error_500, "status 500"),
    (http_devices.hangs, "does not answer within 0.3 s"),
    (http_devices.drips, "does not answer within 0.3 s"),
    (http_devices.half_a_document, "which is not JSON"),
    (http_devices.endless, "more than 1 MiB"),
    (http_devices.says(b"[" * 100_000), "which is not JSON"),
    (http_devices.says(b"[1, 2]"), "no JSON object"),
    (http_devices.says(b'{"apower": 1e400}'), "not a number"),
    (http_devices.says({"apower": 2e6}), "cannot be"),
    (http_devices.says(b'{"apower": 1' + b"0" * 500_000 + b"}"), "not a number"),
    (http_devices.says(b'{"apower": 1e999999999999}'), "not a number"),
    (http_devices.says({"apower": True}), "not a number"),
    (http_devices.says({}), "not a number"),
    (http_devices.says({"apower": "<script>\n\x1b[2J" * 20}), r"apower is '<script>\\n\\x1b\[2J"),
]


@pytest.mark.parametrize("fault, words", FAULTS, ids=lambda value: getattr(value, "__name__", "")[:20])
def test_a_fault_is_a_note_and_no_reading_and_passes(device, opened, fault, words):
    plug = device()
    meter, _ = opened(plug)
    drained(meter, has_readings(1))
    plug.fault = fault
    _, notes = drained(meter, lambda readings, notes: bool(notes))
    during, _ = drained(meter, lambda readings, notes: bool(notes))
    assert not during
    assert len(notes[0]) < 250 and "\n" not in notes[0]
    assert re.search(words, notes[0]), notes[0]
    plug.fault = None
    plug.released.set()
    readings, _ = drained(meter, has_readings(2))
    assert all(values[0] == 10.0 for _, values in readings)


def test_a_redirect_is_not_followed(device, opened):
    plug, elsewhere = device(), device()
    meter, _ = opened(plug)
    plug.fault = http_devices.redirects_to(elsewhere.address)
    _, notes = drained(meter, lambda readings, notes: bool(notes))
    assert "redirects to" in notes[0] and "not followed" in notes[0]
    assert elsewhere.connections == 0


def test_a_reading_that_the_device_itself_calls_invalid_is_left_out(device, opened):
    plug = device(shelly_gen1())
    meter, _ = opened(plug)
    drained(meter, has_readings(1))
    plug.fault = http_devices.says({"meters": [{"power": 3.0, "is_valid": False, "total": 1}]})
    readings, notes = drained(meter, lambda readings, notes: len(notes) >= 2)
    assert "not valid" in notes[0] and all(values[0] == 10.0 for _, values in readings)


def test_an_answer_that_comes_later_than_the_bound_on_time_allows_is_a_note_and_no_reading(device, opened):
    plug = device(shelly_gen1())
    meter, info = opened(plug, timeout_s="5", update_s="0.05")
    assert info.time_bound_s < 0.2
    at_once = http_devices.says({"meters": [{"power": 77.0, "is_valid": True, "total": 1}]})
    plug.fault = lambda handler: (plug.released.wait(0.5), at_once(handler))
    readings, notes = drained(meter, lambda readings, notes: notes)
    assert "s to answer: too late to be a reading" in notes[0] and all(values[0] == 10.0 for _, values in readings)


# in the process that really reads it


@pytest.mark.realtime
def test_the_power_holds_the_truth_over_a_reboot_after_which_the_counter_begins_anew(tmp_path, device):
    """A square wave, renewed every 50 ms."""
    plug = device(wave=Square(5.0, 25.0, 0.3), update_s=0.05)
    request = MeterRequest(plug.address, {**FAST, "update_s": "0.05"})
    sampler = Sampler.start(METERS["shelly"], request, tmp_path / "trace.arrows", 10.0)
    info = sampler.wait_ready()
    edges_ns = np.array([monotonic_ns()]) + np.array([0, 600_000_000, 1_200_000_000])
    time.sleep(0.9)
    plug.reboot()
    time.sleep(0.4)
    sampler.stop()
    series = [series_of(info, info.total), series_of(info, ["INPUT_COUNTER"])]
    chunks = list(TraceReader(tmp_path / "trace.arrows"))
    power, counter = integrate(chunks, series, survey(chunks, series), edges_ns[:-1], edges_ns[1:])
    truth_j = np.array([plug.wave.energy_j(a / 1e9, b / 1e9) for a, b in zip(edges_ns, edges_ns[1:])])
    for integrals in (power, counter):
        whole = ~integrals.is_missing & ~integrals.is_partial
        half_width_j = budget(integrals).half_width_j + 25.0 * 2 * info.time_bound_s
        assert np.all(np.abs(integrals.energy_j - truth_j)[whole] < half_width_j[whole])
    assert list(power.is_partial) == [False, False] and list(counter.is_partial) == [False, True]
    assert "went backwards" in " ".join(gap.reason for gap in counter.gaps)
