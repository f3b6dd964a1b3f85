"""What jtop delivers through the real service on a fake TX2: rate, jitter, cost, and the energy of a power that changes."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ebbench import plugins
from ebbench.clock import monotonic_ns
from ebbench.energy.sampler import Sampler
from ebbench.energy.traces.trace import read_whole
from ebbench.protocols import MeterRequest

pytestmark = pytest.mark.benchmark
LOW_MW, HIGH_MW, HALF_PERIOD_S = 2000, 9000, 0.617
WINDOW_S = 12.0


@pytest.fixture
def board(monkeypatch):
    pytest.importorskip("jtop", reason="jetson-stats is not installed: no figures of jtop; pip install 'jetson-stats'")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "devices"))
    from jtop_board import JtopBoard

    root = Path(tempfile.mkdtemp(prefix="jt"))
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(root))
    fake = JtopBoard(root, "tx2")
    fake.start()
    yield fake
    fake.kill()
    shutil.rmtree(root)


class SquareWave(threading.Thread):
    """Switches VDD_IN between two powers until it is stopped; `edges` [(monotonic ns, mW from then on)]."""

    def __init__(self, fake):
        super().__init__(daemon=True)
        self.fake, self.edges, self.over = fake, [], threading.Event()

    def run(self):
        high = False
        while not self.over.wait(HALF_PERIOD_S):
            high = not high
            milliwatts = HIGH_MW if high else LOW_MW
            self.fake.show("VDD_IN", milliwatts)
            self.edges.append((monotonic_ns(), milliwatts))

    def energy_j(self, start_ns, end_ns):
        """The truth, between two times inside of the edges."""
        times_ns = np.array([t for t, _ in self.edges] + [end_ns])
        spans_ns = np.clip(times_ns[1:], start_ns, end_ns) - np.clip(times_ns[:-1], start_ns, end_ns)
        return float(np.sum(spans_ns * np.array([mw for _, mw in self.edges])) * 1e-12)


def cpu_s(pid):
    """CPU time (s) of a process and of all that it waited for: the service starts programs at every sample."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("rate_hz", [1.0, 2.0, 5.0, 10.0])
def test_what_is_asked_for_is_what_comes(board, tmp_path, rate_hz):
    request = MeterRequest(board=dict(plugins.choose_board().facts))
    wave = SquareWave(board)
    wave.start()
    sampler = Sampler.start(plugins.registered(plugins.METERS)["jtop"], request, tmp_path / "t.arrows", rate_hz)
    sampler.wait_ready()
    time.sleep(2 * HALF_PERIOD_S)
    start_s, ours_s, theirs_s = time.monotonic(), cpu_s(sampler.pid), cpu_s(board.worker)
    time.sleep(WINDOW_S)
    wall_s = time.monotonic() - start_s
    ours_s, theirs_s = cpu_s(sampler.pid) - ours_s, cpu_s(board.worker) - theirs_s
    summary = sampler.stop()
    wave.over.set()
    wave.join()
    chunk = read_whole(tmp_path / "t.arrows")
    late = chunk.time_ns > wave.edges[0][0]
    times_ns, power_w = chunk.time_ns[late], chunk.values["VDD_IN_w"][late]
    steps_s = np.diff(times_ns) * 1e-9
    measured_j = float(np.sum(steps_s * (power_w[1:] + power_w[:-1]) / 2))
    error = measured_j / wave.energy_j(times_ns[0], times_ns[-1]) - 1
    obtained_hz = 1 / float(np.mean(steps_s))
    print(
        f"\njtop asked {rate_hz:g} Hz: obtained {obtained_hz:.2f} Hz (limit 0.7 of it), steps {steps_s.min() * 1e3:.0f}-"
        f"{steps_s.max() * 1e3:.0f} ms, CPU sampler {ours_s / wall_s:.1%} service {theirs_s / wall_s:.1%} of a core, "
        f"resident {summary['resident_bytes'] / 1e6:.0f} MB, energy of 2/9 W every {HALF_PERIOD_S} s {error:+.1%}"
    )
    assert obtained_hz > 0.7 * rate_hz
