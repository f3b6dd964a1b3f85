"""What the command line does with a bench file, meter by meter."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from pathlib import Path

import jsonschema
import pytest

import ebbench
from ebbench import plugins
from ebbench.cli import main
from ebbench.energy.phases import read_events
from ebbench.measuring.monitor import EnergyMonitor

VALIDATOR = jsonschema.Draft202012Validator(
    json.loads((Path(ebbench.__file__).parent / "schema" / "record-1.json").read_text())
)
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
def command(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as leaving:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return leaving.value.code, out, err

    return call


def test_doctor_says_of_each_meter_of_a_bench_what_would_be_used(command, desk):
    code, out, _ = command("doctor", "--bench", desk, "--json")
    found = {f["name"]: f for f in json.loads(out)["findings"]}
    assert code == 0 and set(found) == {"board", "meter input", "meter socket"}
    assert {f["verdict"] for f in found.values()} == {"ok"}
    assert "its energy counts" in found["meter input"]["found"] and "at the <input>" in found["meter input"]["found"]
    assert "scope wall; compared" in found["meter socket"]["found"]


def test_doctor_looks_at_all_meters_even_if_the_first_cannot_be_used(command, desk):
    desk.write_text(desk.read_text().replace("idle_w", "idel_w").replace("socket.csv", "absent.csv"))
    _, out, _ = command("doctor", "--bench", desk, "--json")
    _, first, second = json.loads(out)["findings"]
    assert (first["verdict"], second["verdict"]) == ("fail", "fail")
    assert "did you mean 'idle_w'" in first["advice"] and "absent.csv is not there" in second["advice"]


@pytest.mark.realtime
def test_the_meters_of_a_bench_are_sampled_by_their_names(command, desk):
    code, out, _ = command("meters", "sample", "--bench", desk, "--seconds", "0.3", "--json")
    assert code == 0
    means_w = {m["meter"]: m["total_w"] for m in json.loads(out)["meters"]}
    assert means_w == {"input": 4.0, "socket": 6.0}
    code, out, _ = command("meters", "sample", "socket", "--bench", desk, "--seconds", "0.3", "--json")
    assert code == 0 and json.loads(out)["meter"] == "socket"


def test_a_meter_that_the_bench_does_not_have_is_named_with_the_nearest(command, desk):
    code, _, err = command("meters", "sample", "sockt", "--bench", desk)
    assert code == 2 and "did you mean 'socket'" in err
    code, _, err = command("meters", "sample")
    assert code == 2 and "--bench" in err


@pytest.mark.realtime
def test_a_measured_command_uses_the_meters_of_the_bench_and_keeps_how_they_were_named(command, desk, tmp_path):
    run = tmp_path / "run"
    code, out, err = command("measure", "--bench", desk, "--out", run, "--json", "--", "true")
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


TINY = '''
import os
from ebbench.errors import MeterError
from ebbench.protocols import Availability, Column, MeterInfo, Rail


class Tiny:
    """Six watts from a library that ends its process while the file of its address is there."""

    def __init__(self, request):
        self.path = request.address

    @classmethod
    def probe(cls, request):
        return Availability(True, True, "always there", "wall")

    def open(self):
        rail = Rail("PLUG", "wall", gain_ratio=0.01)
        return MeterInfo("tiny", "wall", True, (rail,), (Column("PLUG_w"),), ("PLUG",), 50.0)

    def read(self):
        if os.path.exists(self.path):
            os._exit(3)
        return (6.0,)

    def close(self): ...
'''


@pytest.mark.realtime
def test_a_foreign_meter_that_dies_for_good_is_a_finding_and_the_run_goes_on(desk, tmp_path, monkeypatch):
    (tmp_path / "tiny_meters.py").write_text(TINY)
    monkeypatch.syspath_prepend(str(tmp_path))
    registered = plugins.registered
    meters = {**registered(plugins.METERS), "tiny": "tiny_meters:Tiny"}
    monkeypatch.setattr(plugins, "registered", lambda group: meters if group == plugins.METERS else registered(group))
    desk.write_text(desk.read_text() + f'[[meters]]\ntype = "tiny"\naddress = "{tmp_path / "die"}"\n')
    rundir = tmp_path / "run"

    def marks():
        return [e["name"] for e in read_events(rundir / "phases.jsonl") if e["event"] == "mark"]

    with EnergyMonitor(out=rundir, bench=desk) as monitor, monitor.phase("train"):
        time.sleep(1.5)
        (tmp_path / "die").touch()
        deadline = time.monotonic() + 30
        while "meter-lost" not in marks():
            assert time.monotonic() < deadline, marks()
            time.sleep(0.05)
    record = monitor.record.to_json()
    VALIDATOR.validate(record)
    assert record["status"] == "success" and record["energy"]["status"] == "ok"
    socket, tiny = record["energy"]["cross_checks"]
    assert socket["lost"] is None and (socket["expected"], socket["reference_scope"]) == (">= 1", "module")
    assert "exit code 3" in tiny["lost"]
    verdicts = {c["name"]: c for c in record["checks"]}
    assert verdicts["other meters read throughout"]["verdict"] == "WARN"
    assert "exit code 3" in verdicts["other meters read throughout"]["advice"]
    assert [verdicts[n]["verdict"] for n in ("coverage", "longest gap", "missed sampling slots")] == ["PASS"] * 3
    assert {p.name.split("-")[1] for p in rundir.glob("trace-*")} == {"input", "socket", "tiny"}


@pytest.mark.realtime
def test_check_and_measure_show_the_other_meters(command, desk, tmp_path):
    code, out, _ = command("measure", "--bench", desk, "--out", tmp_path / "run", "--json", "--", "sleep", "1")
    VALIDATOR.validate(json.loads(out))
    (other,) = json.loads(out)["energy"]["cross_checks"]
    assert abs(other["ratio"] - 6 / 9) <= other["uncertainty"]
    code, out, _ = command("check", tmp_path / "run")
    assert code == 1 and "ratio to input (module)" in out and re.search("FAIL +larger scope shows more", out)


ABSENT = """
[[meters]]
uri = "tcp:127.0.0.1:{port}?scope=wall&pattern=([0-9]%2B)&unit=W&name=socket"
[[meters]]
uri = "serial:/dev/ttyABSENT?scope=wall&pattern=([0-9]%2B)&unit=W"
[[meters]]
uri = "tcp:127.0.0.1:1?scope=wall&pattern=([0-9]%2B)&unit=W"
[[meters]]
uri = "shelly:http://127.0.0.1:1?scope=wall"
[[meters]]
uri = "scpi:TCPIP::127.0.0.1::1::SOCKET?scope=wall"
"""


@pytest.mark.realtime
def test_doctor_tries_each_meter_and_says_what_mends_one_that_does_not_answer(command, tmp_path):
    pytest.importorskip("serial", reason="PYSERIAL IS NOT INSTALLED: a port that is not there is NOT tested")
    pytest.importorskip("pyvisa", reason="PYVISA IS NOT INSTALLED: an instrument that is not there is NOT tested")
    path = tmp_path / "absent.toml"
    with talking() as port:
        path.write_text(ABSENT.format(port=port))
        code, out, _ = command("doctor", "--bench", path, "--json")
    found = {f["name"].partition(" ")[2]: f for f in json.loads(out)["findings"][1:]}
    assert code == 0 and found["socket"]["verdict"] == "ok" and "read, 42 W now" in found["socket"]["found"]
    mends = {name: f["advice"] for name, f in found.items() if f["verdict"] == "fail"}
    assert set(mends) == {"serial", "tcp", "shelly", "scpi"}
    assert "ls /dev/serial/by-id" in mends["serial"] and "is that its address?" in mends["tcp"]
    assert "is that its address?" in mends["shelly"] and "check address and port" in mends["scpi"]
    assert command("doctor", "--bench", path, "--strict", "--json")[0] == 1


@contextlib.contextmanager
def talking():
    """A meter that says 42 to whoever connects; its port."""
    ended = threading.Event()

    def talk():
        while not ended.is_set():
            with contextlib.suppress(OSError), server.accept()[0] as client:
                while not ended.wait(0.02):
                    client.sendall(b"42\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        ended.set()
        with contextlib.suppress(OSError):
            socket.create_connection(server.getsockname()).close()  # whoever waits for a client
    thread.join(10)


@pytest.mark.parametrize(
    "text, says",
    [
        (b"[bench]\nidle_s = 1\n", "[bench] is of an experiment's file; in a bench file"),
        (b"\xff\xfe", "is not TOML, which is text in UTF-8"),
        (b"[[meters]\n", "is not TOML: "),
        (b'[[meters]]\ntype = "tcp"\naddress = "x"\nname = "supply"\n', "supply: tcp: say what it measures"),
    ],
)
def test_a_bench_file_that_cannot_be_used_is_one_line_that_says_why(command, tmp_path, text, says):
    path = tmp_path / "desk.toml"
    path.write_bytes(text)
    code, out, err = command("measure", "--bench", path, "--out", tmp_path / "run", "--", "true")
    assert (code, out, err.count("\n")) == (2, "", 1) and says in err and not (tmp_path / "run").exists()


def test_a_folder_is_no_bench_file(command, tmp_path):
    code, _, err = command("doctor", "--bench", tmp_path)
    assert code == 2 and "Is a directory; name a file of TOML" in err and "Errno" not in err
