"""From the file of a sensor to the record of an `EnergyMonitor`, through the real sampler."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from played_sensor import PlayedSensor

import ebbench

pytestmark = pytest.mark.realtime


def test_constant_power_is_measured_within_a_tenth_of_a_percent(tmp_path, monkeypatch):
    sensor = PlayedSensor(tmp_path / "root", 10.0)
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path / "root"))
    with ebbench.EnergyMonitor(meter="ina3221", out=tmp_path / "run") as monitor, monitor.phase("train"):
        sensor.play([(10.0, 1.0)])
    sensor.close()
    energy = monitor.record.energy
    (phase,) = energy.phases
    truth_j = sensor.energy_j(phase["start_ns"], phase["end_ns"])
    assert energy.total_j == pytest.approx(truth_j, rel=1e-3)
    assert (energy.reference["rail"], energy.kind, energy.status) == (sensor.rail, "simulated", "ok")
