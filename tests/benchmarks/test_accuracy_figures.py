"""How near `EnergyMonitor` comes to a known waveform, end to end: files of a sensor, the real sampler, the record."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from played_sensor import PlayedSensor

import ebbench

pytestmark = pytest.mark.benchmark

CONSTANT = [(10.0, 5.0)]
SQUARE = [(15.0, 0.25), (5.0, 0.25)] * 10
BURSTS = 20


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Measures a played waveform at a rate; gives (energy, half width, truth) in J of each phase."""

    def measure(rate_hz, first_w, play):
        root = tmp_path / "root"
        sensor = PlayedSensor(root, first_w)
        monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(root))
        with ebbench.EnergyMonitor(meter="ina3221", rate_hz=rate_hz, out=tmp_path / "run") as monitor:
            play(sensor, monitor)
        sensor.close()
        return [
            (p["energy_j"], p["uncertainty_j"], sensor.energy_j(p["start_ns"], p["end_ns"]))
            for p in monitor.record.energy.phases
        ]

    return measure


def window(steps):
    """One phase around a waveform."""

    def play(sensor, monitor):
        with monitor.phase("train"):
            sensor.play(steps)

    return play


def bursts(sensor, monitor):
    """20 W for 50 ms over 5 W, each burst a phase."""
    for _ in range(BURSTS):
        sensor.play([(5.0, 0.15)])
        with monitor.phase("train"):
            sensor.play([(20.0, 0.05)])
        sensor.set(5.0)
    sensor.play([(5.0, 0.1)])


@pytest.mark.parametrize("rate_hz", [10.0, 100.0, 1000.0])
@pytest.mark.parametrize(
    "name, steps, limit", [("constant 10 W", CONSTANT, 1e-3), ("square 5/15 W, 0.5 s", SQUARE, 5e-3)]
)
def test_windows_of_five_seconds(measured, name, steps, limit, rate_hz):
    ((energy_j, half_width_j, truth_j),) = measured(rate_hz, steps[0][0], window(steps))
    error = energy_j / truth_j - 1
    stated = f"limit {limit:.1%}" if rate_hz >= 100 or steps is CONSTANT else "no limit at this rate"
    print(
        f"\n{name}, 5 s at {rate_hz:g} Hz: off by {error:+.3%} ({stated}), k = 2 interval +-{half_width_j / truth_j:.2%}"
    )
    assert abs(energy_j - truth_j) <= half_width_j
    if rate_hz >= 100 or steps is CONSTANT:
        assert abs(error) < 2 * limit


@pytest.mark.parametrize("rate_hz", [10.0, 100.0, 1000.0])
def test_bursts_of_fifty_milliseconds(measured, rate_hz):
    found = measured(rate_hz, 5.0, bursts)
    errors = [e / truth - 1 for e, _, truth in found]
    contained = sum(abs(e - truth) <= half_width for e, half_width, truth in found)
    half_width = statistics.median(h / truth for _, h, truth in found)
    stated = "limit 2 %" if rate_hz >= 1000 else "no limit at this rate"
    print(
        f"\n{BURSTS} bursts of 50 ms, 20 W over 5 W, at {rate_hz:g} Hz: mean {statistics.mean(errors):+.2%} ({stated}),"
        f" median {statistics.median(errors):+.2%}, worst"
        f" {max(errors, key=abs):+.1%}; k = 2 interval +-{half_width:.1%} contains {contained} of {BURSTS} (expected 93 %)"
    )
    assert contained >= 0.8 * BURSTS
    if rate_hz >= 1000:
        assert abs(statistics.median(errors)) < 0.04  # one late reading of a busy machine moves the mean
