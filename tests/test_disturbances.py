"""Samplers and programs that are killed or stopped (SIGSTOP) while an `EnergyMonitor` measures: no energy is invented."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from conductor import environment, record
from played_sensor import PlayedSensor

import ebbench

pytestmark = pytest.mark.realtime


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Measures what happens in `script(sensor, sampler's pid)`; gives the account and the played sensor."""

    def measure(script):
        sensor = PlayedSensor(tmp_path / "root", 10.0)
        monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path / "root"))
        with ebbench.EnergyMonitor(meter="ina3221", out=tmp_path / "run") as monitor, monitor.phase("train"):
            script(sensor, monitor._recording._seats[0].sampler.pid)
        sensor.close()
        return monitor.record, sensor

    return measure


def truth_j(sensor, energy):
    """What was shown during the phase less what was shown during the gaps."""
    (phase,) = energy.phases
    gaps = [(g["start_ns"], g["start_ns"] + round(g["duration_s"] * 1e9)) for g in energy.gaps]
    return sensor.energy_j(phase["start_ns"], phase["end_ns"]) - sum(sensor.energy_j(*gap) for gap in gaps)


def verdict(run, name):
    return next(check.verdict for check in run.checks if check.name == name)


def test_a_killed_sampler_leaves_a_gap_with_its_reason_and_comes_back(measured, tmp_path):
    def script(sensor, pid):
        sensor.play([(10.0, 0.7)])
        os.kill(pid, signal.SIGKILL)
        deadline_s = time.monotonic() + 20
        while len(list((tmp_path / "run").glob("trace-*"))) < 2 and time.monotonic() < deadline_s:
            sensor.play([(15.0, 0.05)])
        sensor.play([(10.0, 1.5)])

    run, sensor = measured(script)
    energy = run.energy
    assert (energy.status, len(energy.gaps)) == ("partial", 1)
    assert "signal 9" in energy.reason
    assert energy.gaps[0]["reason"] == energy.reason
    assert energy.covered_s == pytest.approx(energy.duration_s - energy.gaps[0]["duration_s"], abs=0.05)
    assert abs(energy.total_j - truth_j(sensor, energy)) <= energy.uncertainty_j
    assert verdict(run, "coverage") == verdict(run, "longest gap") == "FAIL"


def test_a_sampler_that_stands_still_for_long_leaves_a_gap(measured):
    def script(sensor, pid):
        sensor.play([(10.0, 0.5)])
        os.kill(pid, signal.SIGSTOP)
        sensor.play([(15.0, 2.0)])
        os.kill(pid, signal.SIGCONT)
        sensor.play([(10.0, 0.5)])

    run, sensor = measured(script)
    energy = run.energy
    assert (energy.status, len(energy.gaps)) == ("partial", 1)
    assert energy.gaps[0]["duration_s"] == pytest.approx(2.0, abs=0.5)
    assert energy.trace["missed"] > 150  # at 100 Hz
    assert abs(energy.total_j - truth_j(sensor, energy)) <= energy.uncertainty_j
    assert energy.covered_s == pytest.approx(energy.duration_s - energy.gaps[0]["duration_s"], abs=1e-6)


def test_a_sampler_that_stands_still_for_a_moment_is_interpolated_and_the_budget_knows(measured):
    def script(sensor, pid):
        sensor.play([(15.0, 0.5), (10.0, 0.5)])
        os.kill(pid, signal.SIGSTOP)
        sensor.play([(15.0, 0.4), (10.0, 0.1)])
        os.kill(pid, signal.SIGCONT)
        sensor.play([(10.0, 0.5)])

    run, sensor = measured(script)
    energy = run.energy
    assert (energy.status, energy.gaps) == ("ok", [])
    assert energy.covered_s == energy.duration_s
    assert energy.components_j["gaps"] > 0.5
    assert abs(energy.total_j - truth_j(sensor, energy)) <= energy.uncertainty_j


STOPPED = """
import time
import ebbench
with ebbench.EnergyMonitor(meter="sim", out="run") as monitor, monitor.phase("train"):
    open("ready", "w").close()
    end_s = time.monotonic() + 2.0
    while time.monotonic() < end_s:
        pass
"""


def test_a_program_that_stands_still_goes_on_being_measured(tmp_path):
    program = subprocess.Popen([sys.executable, "-c", STOPPED], cwd=tmp_path, env=environment())
    while not (tmp_path / "ready").exists():
        assert program.poll() is None
        time.sleep(0.01)
    program.send_signal(signal.SIGSTOP)
    time.sleep(1.2)  # how long it stands still
    program.send_signal(signal.SIGCONT)
    assert program.wait(30) == 0
    energy = record(tmp_path / "run")["energy"]
    assert (energy["status"], energy["gaps"]) == ("ok", [])
    assert energy["covered_s"] == energy["duration_s"] >= 2.0
    assert energy["total_j"] == pytest.approx(9.0 * energy["duration_s"], rel=0.02)
