"""What being there costs: time to import, memory of a sampler, and epochs that are measured against epochs that are not."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "devices"))
from conductor import environment
from fake_boards import FakeBoard

from ebbench.energy.sampler import Sampler
from ebbench.protocols import MeterRequest

pytestmark = pytest.mark.benchmark

REPEATS = 9
IMPORT = """
import sys, time
start_s = time.perf_counter()
import {module}
print(time.perf_counter() - start_s, "torch" in sys.modules)
"""
#: the 14th and the 27th of forty differences are a 95 % interval of their median, whatever their distribution
PAIRS, LOW, HIGH = 40, 13, 26


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], env=environment(), capture_output=True, text=True, check=True
    ).stdout


def test_importing_ebbench_is_quick_and_loads_no_torch():
    said = [python("-c", IMPORT.format(module="ebbench")).split() for _ in range(REPEATS)]
    times_s = [float(seconds) for seconds, _ in said]
    print(
        f"\nimport ebbench: median {statistics.median(times_s) * 1e3:.1f} ms, least {min(times_s) * 1e3:.1f} ms (limit 100)"
    )
    assert all(torch == "False" for _, torch in said)
    assert min(times_s) < 0.1


def test_help_is_quick_and_loads_no_torch():
    times_s, bare_s = [], []
    for _ in range(REPEATS):
        for collected, arguments in ((times_s, ["-m", "ebbench", "--help"]), (bare_s, ["-c", "pass"])):
            start_s = time.perf_counter()
            python(*arguments)
            collected.append(time.perf_counter() - start_s)
    assert python("-c", IMPORT.format(module="ebbench.cli")).split()[1] == "False"
    print(
        f"\nebbench --help: median {statistics.median(times_s) * 1e3:.0f} ms, least {min(times_s) * 1e3:.0f} ms (limit 300),"
        f" of which the interpreter {min(bare_s) * 1e3:.0f} ms"
    )
    assert min(times_s) < 0.6


@pytest.fixture
def sampler(tmp_path, monkeypatch):
    """Starts the sampler of a meter, over the files of a TX2 with twelve rails."""
    FakeBoard(tmp_path, "tx2")
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    started = []

    def start(factory):
        started.append(Sampler.start(factory, MeterRequest(), tmp_path / f"{len(started)}.arrows", 100.0))
        started[-1].wait_ready()
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.mark.parametrize("factory", ["ebbench_devices.ina3221:Ina3221Meter", "ebbench_devices.sim:SimMeter"])
def test_a_sampler_is_small(sampler, factory):
    running = sampler(factory)
    time.sleep(3.0)
    summary = running.stop()
    print(f"\n{factory} at 100 Hz: {summary['resident_bytes'] / 1e6:.0f} MB resident (limit 80)")
    assert summary["heavy_modules"] == []
    assert summary["resident_bytes"] < 80e6


def test_epochs_take_no_longer_for_being_measured(sampler):
    """Pairs of equal epochs, in turns with a sampler of twelve rails at 100 Hz that runs and one that stands still."""
    epoch = epochs_of_training()
    running = sampler("ebbench_devices.ina3221:Ina3221Meter")
    changes = []
    for pair in range(PAIRS):
        times_s = {}
        for measured in (True, False) if pair % 2 else (False, True):
            os.kill(running.pid, signal.SIGCONT if measured else signal.SIGSTOP)
            start_s = time.perf_counter()
            epoch()
            times_s[measured] = time.perf_counter() - start_s
        changes.append(times_s[True] / times_s[False] - 1)
    os.kill(running.pid, signal.SIGCONT)
    changes.sort()
    low, high = changes[LOW], changes[HIGH]
    resolved = "" if high - low <= 0.01 else ", not resolved (wider than +-0.5 %)"
    print(
        f"\nepoch time by being measured: median {statistics.median(changes):+.2%}, 95 % interval {low:+.2%}..{high:+.2%}"
        f" ({PAIRS} pairs){resolved}"
    )
    assert low < 0.05


def epochs_of_training():
    """A call that trains a small VGG for about a quarter of a second, with all cores."""
    import torch

    from ebbench.training.models import build_model

    model = build_model("vgg16-small", 10, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(32) % 10

    def steps(count):
        for _ in range(count):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

    steps(3)
    start_s = time.perf_counter()
    steps(5)
    count = max(1, round(0.25 / ((time.perf_counter() - start_s) / 5)))
    return lambda: steps(count)
