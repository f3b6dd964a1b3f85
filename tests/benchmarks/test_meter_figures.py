"""What each meter delivers in the sampler's process over its real transport: rate, steadiness, cost, energy of a known wave.

Prints the table of devices/README.md. The other ends are those of tests/devices and run in this process, so that a busy machine
shows in the intervals. jtop has figures of its own (`test_jtop_figures`), since its service costs more than it does.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "devices"))
import fake_boards
import powercap_tree
import rigs
from cpu_time import cpu_s
from line_devices import Feeder
from waves import Square

from ebbench import plugins
from ebbench.clock import monotonic_ns
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.sampler import Sampler
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.series import series_of
from ebbench.energy.traces.trace import TraceReader, read_whole
from ebbench.energy.uncertainty import budget
from ebbench.protocols import MeterRequest
from ebbench.units import NS_PER_S

pytestmark = pytest.mark.benchmark
WINDOW_S = 10.0
HEADERS = (
    "meter", "asked", "obtained", "interval error p50, p99", "missed", "CPU of the sampler", "resident", "energy over 10 s (k = 2)",
)  # fmt: skip


class Ina3221Rig(rigs.Rig):
    """The sensors of a TX2, of which VDD_IN shows the wave, renewed every 2 ms."""

    name, rate_hz = "ina3221", 100.0

    def __init__(self, folder, wave):
        super().__init__(folder, wave)
        self.request = MeterRequest(board=dict(plugins.choose_board().facts))

    def start(self):
        board = fake_boards.FakeBoard(self.folder, "tx2")
        self.file = os.open(board.file("VDD_IN", "power"), os.O_WRONLY)
        self.feeder = Feeder(lambda text: os.pwrite(self.file, text, 0), self.text, 0.002)

    def text(self, at_s):
        return b"%06d\n" % round(1000 * self.wave.power_w(at_s))

    def close(self):
        self.feeder.stop()
        os.close(self.file)


class RaplRig(rigs.Rig):
    """One package, whose counter is renewed every 2 ms."""

    name, rate_hz = "rapl", 10.0

    def __init__(self, folder, wave):
        super().__init__(folder, wave)
        self.request = MeterRequest()

    def start(self):
        self.tree, start_s = powercap_tree.PowercapTree(self.folder, {"intel-rapl:0": "package-0"}), time.monotonic()
        self.feeder = Feeder(
            lambda count_uj: self.tree.show("intel-rapl:0", count_uj),
            lambda at_s: 1_000_000 + round(1e6 * self.wave.energy_j(start_s, at_s)),
            0.002,
        )

    def close(self):
        self.feeder.stop()


class ShellyRig(rigs.ShellyRig):
    rate_hz, options = 2.0, {"timeout_s": 1, "update_s": 1}


class TasmotaRig(rigs.TasmotaRig):
    rate_hz, options = 2.0, {"timeout_s": 1, "update_s": 1}


class ScpiRig(rigs.ScpiRig):
    rate_hz, what = None, ", a supply"


class Wt300Rig(rigs.Wt300Rig):
    rate_hz, what = None, ", WT300 at 100 ms"


class PtdaemonRig(rigs.PtdaemonRig):
    rate_hz = 1.0


class WattsUpRig(rigs.WattsUpRig):
    period_s = 1.0


KINDS = [
    Ina3221Rig, RaplRig, rigs.TegrastatsRig, ScpiRig, Wt300Rig, PtdaemonRig, ShellyRig, TasmotaRig, rigs.SerialRig, rigs.TcpRig,
    WattsUpRig, rigs.CsvRig, rigs.JoulescopeRig,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_a_meter_delivers_and_costs(kind, tmp_path, monkeypatch, capsys):
    if not importlib.util.find_spec(rigs.NEEDS.get(kind.name, "numpy")):
        pytest.skip(f"{rigs.NEEDS[kind.name]} is not installed: no figures of {kind.name}")
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    wave = Square(start_s=0.0)  # 5 and 25 W, 1.7 s each
    rig = kind(tmp_path, wave)
    try:
        found = figures(rig, tmp_path / "t.arrows", wave)
    finally:
        rig.close()
    with capsys.disabled():
        print("\n" + line(HEADERS) if kind is KINDS[0] else "", line(cells(kind, found)), sep="\n")
    assert found["obtained_hz"] > 0.7 * found["asked_hz"]
    assert found["error_j"] < max(found["half_width_j"], 0.01 * found["truth_j"])


def figures(rig, trace, wave):
    """One meter, sampled for `WINDOW_S`."""
    sampler = Sampler.start(rig.factory, rig.request, trace, rig.rate_hz)
    info = sampler.wait_ready()
    time.sleep(1.0)
    start_ns, ours_s = monotonic_ns(), cpu_s(sampler.pid)
    time.sleep(WINDOW_S)
    end_ns, ours_s = monotonic_ns(), cpu_s(sampler.pid) - ours_s
    summary = sampler.stop()
    times_ns = read_whole(trace).time_ns
    steps_s = np.diff(times_ns[(times_ns >= start_ns) & (times_ns < end_ns)]) * 1e-9
    asked_hz = rig.rate_hz or info.default_rate_hz
    series = series_of(info, info.total)
    chunks = list(TraceReader(trace))
    paces = survey(chunks, [series])
    (energy,) = integrate(
        chunks, [series], paces, np.array([start_ns]), np.array([end_ns]), time_bound_s=info.time_bound_s
    )
    truth_j = wave.energy_j(start_ns / NS_PER_S, end_ns / NS_PER_S)
    missed = summary["missed"] if summary["missed"] is not None else max(0, int(WINDOW_S * asked_hz) - len(steps_s) - 1)
    return {
        "asked_hz": asked_hz,
        "obtained_hz": 1 / float(np.mean(steps_s)),
        "interval_error_ms": np.percentile(np.abs(steps_s - 1 / asked_hz) * 1e3, [50, 99]),
        "missed": missed,
        "cpu": ours_s / WINDOW_S,
        "resident_mb": summary["resident_bytes"] / 1e6,
        "truth_j": truth_j,
        "energy_j": float(energy.energy_j[0]),
        "error_j": abs(float(energy.energy_j[0]) - truth_j),
        "half_width_j": float(budget(energy).half_width_j[0]),
    }


def line(cells):
    return f"| {' | '.join(cells)} |"


def cells(kind, found):
    median_ms, late_ms = found["interval_error_ms"]
    error_percent = round(100 * (found["energy_j"] / found["truth_j"] - 1), 1) + 0.0  # no -0.0
    return [
        f"`{kind.name}`{getattr(kind, 'what', '')}",
        f"{found['asked_hz']:.3g} Hz",
        f"{found['obtained_hz']:.2f} Hz",
        f"{median_ms:.1f}, {late_ms:.1f} ms",
        f"{found['missed']}",
        f"{100 * found['cpu']:.1f} %",
        f"{found['resident_mb']:.0f} MB",
        f"{error_percent:+.1f} % ± {100 * found['half_width_j'] / found['truth_j']:.1f} %",
    ]
