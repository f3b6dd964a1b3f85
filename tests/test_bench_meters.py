"""What the command line does with a bench file, meter by meter."""

from __future__ import annotations

import json

import pytest

from ebbench.cli import main
from ebbench.monitor import EnergyMonitor

DESK = """
rate_hz = 50
idle_s = 7
[[meters]]
type = "sim"
name = "input"
idle_w = 4
wiring = "at the <input>"
[[meters]]
type = "replay"
address = "{recording}"
name = "socket"
scope = "wall"
loop = true
"""


@pytest.fixture
def desk(tmp_path):
    (tmp_path / "socket.csv").write_text("time_s,A_w\n0,6\n0.02,6\n0.04,6\n")
    path = tmp_path / "desk.toml"
    path.write_text(DESK.format(recording=tmp_path / "socket.csv"))
    return path


@pytest.fixture
def ebbench(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as leaving:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return leaving.value.code, out, err

    return call


def test_doctor_says_of_each_meter_of_a_bench_what_would_be_used(ebbench, desk):
    code, out, _ = ebbench("doctor", "--bench", desk, "--json")
    found = {f["name"]: f for f in json.loads(out)["findings"]}
    assert code == 0 and set(found) == {"board", "meter input", "meter socket"}
    assert {f["verdict"] for f in found.values()} == {"ok"}
    assert "its energy counts" in found["meter input"]["found"] and "at the <input>" in found["meter input"]["found"]
    assert "scope wall; compared" in found["meter socket"]["found"]


def test_doctor_looks_at_all_meters_even_if_the_first_cannot_be_used(ebbench, desk):
    desk.write_text(desk.read_text().replace("idle_w", "idel_w").replace("socket.csv", "absent.csv"))
    _, out, _ = ebbench("doctor", "--bench", desk, "--json")
    _, first, second = json.loads(out)["findings"]
    assert (first["verdict"], second["verdict"]) == ("fail", "fail")
    assert "did you mean 'idle_w'" in first["advice"] and "absent.csv is not there" in second["advice"]


@pytest.mark.realtime
def test_the_meters_of_a_bench_are_sampled_by_their_names(ebbench, desk):
    code, out, _ = ebbench("meters", "sample", "--bench", desk, "--seconds", "0.3", "--json")
    assert code == 0
    means_w = {m["meter"]: m["total_w"] for m in json.loads(out)["meters"]}
    assert means_w == {"input": 4.0, "socket": 6.0}
    code, out, _ = ebbench("meters", "sample", "socket", "--bench", desk, "--seconds", "0.3", "--json")
    assert code == 0 and json.loads(out)["meter"] == "socket"


def test_a_meter_that_the_bench_does_not_have_is_named_with_the_nearest(ebbench, desk):
    code, _, err = ebbench("meters", "sample", "sockt", "--bench", desk)
    assert code == 2 and "did you mean 'socket'" in err
    code, _, err = ebbench("meters", "sample")
    assert code == 2 and "--bench" in err


@pytest.mark.realtime
def test_a_measured_command_uses_the_meters_of_the_bench_and_keeps_how_they_were_named(ebbench, desk, tmp_path):
    run = tmp_path / "run"
    code, out, err = ebbench("measure", "--bench", desk, "--out", run, "--json", "--", "true")
    assert code == 0, err
    record = json.loads(out)
    assert [(m["name"], m["type"], m["reference"], m["wiring"]) for m in record["meters"]] == [
        ("input", "sim", True, "at the <input>"),
        ("socket", "replay", False, None),
    ]
    assert record["energy"]["reference"]["meter"] == "input"
    assert set(record["energy"]["rails"]) == {"input/VDD_IN", "input/VDD_GPU", "socket/A"}
    assert {p.name for p in run.glob("trace-*")} == {"trace-input-000.arrows", "trace-socket-000.arrows"}
    bench = json.loads((run / "manifest.json").read_text())["bench"]
    assert bench["idle_s"] == 0 and bench["rate_hz"] == 50 and bench["meters"][0]["idle_w"] == 4


def test_what_is_given_to_a_monitor_comes_before_its_bench_file(desk, tmp_path):
    monitor = EnergyMonitor("sim", tmp_path / "run", bench=desk)
    assert monitor.bench.meters == ("sim",) and monitor.bench.rate_hz == 50.0
