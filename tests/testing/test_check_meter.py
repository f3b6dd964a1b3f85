"""The conformance suite passes a meter that keeps the rules, and names each rule that is broken."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from faulty_meters import INFO, RAILS, Leaks, ProbeLeaks

from ebbench.protocols import AVERAGE, Column, MeterRequest, Rail
from ebbench.testing import MeterCase, check_meter
from ebbench.testing.described import info_faults
from ebbench.testing.quiet import watched


@pytest.fixture
def case(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULTY_FOLDER", str(tmp_path))
    power = tmp_path / "power"
    power.write_text("12345")

    def build(meter, **changes):
        fields = {
            "factory": f"faulty_meters:{meter}",
            "request": MeterRequest(address=str(power), options={"scope": "wall"}),
            "name": "good",
            "broken": MeterRequest(address=str(tmp_path / "absent")),
            "disturb": lambda: power.write_text(""),
            "probe_within_s": 0.2,
            "stop_within_s": 1.0,
            "patience_s": 0.5,
            "in_sampler": False,
        }
        return MeterCase(**{**fields, **changes})

    yield build
    for meter in (ProbeLeaks, Leaks):
        for file in filter(None, meter.kept):
            file.close()
        meter.kept.clear()


@pytest.mark.realtime
@pytest.mark.parametrize("name", ["Good", "Filed", "Streamed"])
def test_a_meter_that_keeps_the_rules_passes(case, name):
    info = check_meter(case(name, in_sampler=True, probe_within_s=2.0, stop_within_s=3.0, patience_s=10.0))
    assert info.total == ("VIN",)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ProbeRaises", "probe raises two"),
        ("ProbeIsSlow", "probe took"),
        ("ProbeAsksAround", "without an address contacts ('127.0.0.1', 9)"),
        ("ProbeWrites", "without an address writes"),
        ("ProbeLeaks", "probe leaves a file or a connection open"),
        ("TakesAnyOption", "option 'scop_', which nobody knows, is accepted"),
        ("NamesNoNearest", "does not name it and the nearest"),
        ("Traceback", "the error where nobody is there is not one line"),
        ("OpensNothing", "it opens although nobody is there"),
        ("Leaks", "after close a file or a connection is still open"),
        ("ClosesOnce", "AttributeError"),
        ("Shrinks", "other columns when it is opened again"),
        ("ReadsTooFew", "1 values for 2 columns"),
        ("TakesTooFew", "take gives values of shape (1, 1) for one sweep of 2 columns"),
        ("TakesFractions", "VIN_w = 6172.5 is raw"),
        ("ReadsWords", "GPU_w = '12 W' is neither"),
        ("ReadsFractions", "VIN_w = 0.5 is raw"),
        ("ReadsInfinity", "GPU_w is infinite"),
        ("ZeroForUnread", "is read as 0"),
        ("StreamsTheFuture", "lies in the future"),
        ("StreamsBackwards", "do not rise"),
        ("StreamsFlat", "have the shape"),
        ("StreamsFloatTimes", "float64, not int64"),
        ("StreamsNothing", "no reading came"),
        ("StreamsZero", "is read as 0"),
        ("StreamsOverflow", "9.9e+37 is more than anything can be"),
    ],
)
def test_a_broken_rule_is_named(case, name, words):
    with pytest.raises(AssertionError) as caught:
        check_meter(case(name))
    assert words in str(caught.value) and f"faulty_meters:{name}: " in str(caught.value)


@pytest.mark.realtime
@pytest.mark.parametrize(
    ("name", "words"),
    [("FailsElsewhere", "works on my machine"), ("ClosesSlowly", "s to stop"), ("LoadsPandas", "loads pandas")],
)
def test_a_rule_that_is_broken_in_the_samplers_process_is_named(case, name, words):
    with pytest.raises(AssertionError, match=words):
        check_meter(case(name, in_sampler=True))


def test_a_clock_of_its_own_may_be_ahead_as_far_as_it_says(case):
    assert check_meter(case("StreamsAhead", disturb=None)).clock == "remote"


def test_a_meter_that_is_registered_under_another_name_is_found(case):
    with pytest.raises(AssertionError, match="calls itself 'good' and is registered as 'socket'"):
        check_meter(case("Good", name="socket"))


def test_all_broken_rules_are_named_at_once(case):
    with pytest.raises(AssertionError) as caught:
        check_meter(case("ReadsTooFew", name="socket", probe_within_s=-1.0))
    assert len(str(caught.value).splitlines()) == 3


def changed(**fields):
    return dataclasses.replace(INFO, **fields)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (None, "not a MeterInfo"),
        (changed(name="../x"), "part of a file's name"),
        (changed(scope="room"), "its scope 'room'"),
        (changed(simulated=None), "neither True nor False"),
        (changed(default_rate_hz=0.0), "default_rate_hz"),
        (changed(max_rate_hz=1.0), "below default_rate_hz"),
        (changed(time_bound_s=-1.0), "time_bound_s"),
        (changed(clock="ours"), "clock 'ours'"),
        (changed(rails=(*RAILS, Rail("a b", "wall"))), "letters, digits"),
        (changed(rails=(*RAILS, Rail("X", "roof"))), "scope 'roof'"),
        (changed(rails=(*RAILS, Rail("X", "rail", kind="now"))), "kind 'now'"),
        (changed(rails=(*RAILS, Rail("X", "rail", kind=AVERAGE))), "over how long"),
        (changed(rails=(*RAILS, Rail("X", "rail", gain_ratio=float("nan")))), "gain_ratio = nan"),
        (changed(rails=(*RAILS, Rail("X", "rail", offset_w=-1.0))), "offset_w = -1"),
        (changed(rails=(*RAILS, RAILS[0])), "have one name"),
        (changed(rails=(*RAILS, Rail("X", "rail", "NOWHERE"))), "inside of 'NOWHERE'"),
        (changed(rails=(*RAILS, Rail("X", "rail", "Y"), Rail("Y", "rail", "X"))), "inside of itself"),
        (changed(columns=()), "no column"),
        (changed(columns=(Column("VIN_w"), Column("VIN_w"))), "have one name"),
        (changed(columns=(Column("VIN_w"), Column("CPU_w"))), "belongs to none"),
        (changed(columns=(Column("VIN_w"), Column("VIN_watt"))), "belongs to none"),
        (changed(columns=(Column("VIN_w", 0.0),)), "scale = 0.0"),
        (changed(total=("CPU",)), "total names CPU"),
        (changed(total=("VIN", "VIN")), "counts a rail twice"),
        (changed(total=("VIN", "GPU")), "counts GPU twice"),
        (changed(columns=(Column("VIN_v"),)), "has no column VIN_w"),
        (changed(columns=(Column("GPU_w"), Column("VIN_w"))), "the total is read first"),
        (changed(rails=(), columns=(), total=()), "no rail"),
        (changed(identity={"path": Path("/")}), "not JSON"),
    ],
)
def test_a_contradiction_in_what_a_meter_says_of_itself_is_named(info, words):
    assert any(words in fault for fault in info_faults(info))


def test_a_meter_without_contradictions_has_no_fault():
    assert list(info_faults(INFO)) == []


def test_a_module_that_python_compiles_meanwhile_is_no_deed_of_the_meters(tmp_path, monkeypatch):
    (tmp_path / "imported_for_the_first_time.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    with watched() as seen:
        importlib.import_module("imported_for_the_first_time")
    assert seen == [] and sys.dont_write_bytecode is False
