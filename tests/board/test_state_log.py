"""The state log as a real process beside real measurements."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

import ebbench
from ebbench.board.state import board_state
from ebbench.board.state_log import StateLog
from ebbench_devices.kernel import state as kernel_state

pytestmark = pytest.mark.realtime
SOURCES = {"kernel": f"{kernel_state.__name__}:KernelState"}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    write(tmp_path / "var/lib/nvpmodel/status", "pmode:0000\n")
    write(tmp_path / "sys/class/thermal/thermal_zone0/type", "CPU-therm\n")
    write(tmp_path / "sys/class/thermal/thermal_zone0/temp", "41000\n")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def wait_for(condition, patience_s=20.0):
    deadline_s = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.02)
    return found


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_change_during_the_run_is_seen_and_what_does_not_change_is_written_once(root):
    path = root / "board.jsonl"
    with StateLog(path, SOURCES):
        wait_for(lambda: len(lines(path)) >= 2)
        write(root / "var/lib/nvpmodel/status", "pmode:0003\n")
        wait_for(lambda: any(e.get("power_mode") == "3" for e in lines(path)))
    state = board_state(path)
    assert state["power_mode"] == {"start": "0", "end": "3"} and state["power_mode_changes"] == 1
    assert state["temperature_c"]["CPU-therm"]["max"] == 41.0
    assert [e["power_mode"] for e in lines(path) if "power_mode" in e] == ["0", "3"]
    assert lines(path)[-1]["last"] is True


def test_it_leaves_when_its_parent_is_killed(root):
    path = root / "board.jsonl"
    pid = os.fork()
    if pid == 0:
        StateLog(path, SOURCES).__enter__()
        signal.pause()
    writer = wait_for(lambda: lines(path)[1:] and children(pid))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_for(lambda: not Path(f"/proc/{writer[0]}").exists() or "Z" in Path(f"/proc/{writer[0]}/stat").read_text())
    assert lines(path)[-1]["last"] is True


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_source_that_cannot_be_opened_or_read_costs_nothing_but_itself(root, tmp_path, monkeypatch):
    (tmp_path / "broken_state.py").write_text(
        "class Missing:\n    def __init__(self, *_):\n        raise OSError('no such thing')\n"
        "class Failing:\n    def __init__(self, *_): pass\n    def read(self): raise ValueError\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    path = root / "board.jsonl"
    with StateLog(
        path, {**SOURCES, "missing": "broken_state:Missing", "failing": "broken_state:Failing", "gone": "no_such:X"}
    ):
        wait_for(lambda: lines(path)[1:])
    state = board_state(path)
    assert state["power_mode"]["start"] == "0"
    assert state["absent"]["missing"] == "OSError: no such thing" and "gone" in state["absent"]


def test_the_record_of_a_measurement_holds_the_state_and_its_checks(root, tmp_path):
    with ebbench.EnergyMonitor(meter="sim", out=tmp_path / "run") as monitor, monitor.phase("train"):
        wait_for(lambda: lines(tmp_path / "run/board.jsonl")[1:])
    record = monitor.record
    assert record.board_state["power_mode"] == {"start": "0", "end": "0"}
    checks = {check.name: check.verdict for check in record.checks}
    assert checks["power mode unchanged"] == "PASS" and checks["thermal throttling"] == "NOT CHECKED"
    assert "board.jsonl" in record.files
