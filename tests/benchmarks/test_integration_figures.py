"""Figures of the integration: how fast it is, and how often its intervals contain the truth."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ebbench.energy.integration.integrate import integrate
from ebbench.energy.traces.pace import survey

sys.path.insert(0, str(Path(__file__).parents[1] / "energy"))
import coverage
import waveforms

pytestmark = pytest.mark.benchmark

READINGS, PHASES, LIMIT_S = 100_000_000, 100_000, 1.5
BATCH = 65_536


def nested(end_ns: int) -> np.ndarray:
    """Phases in three levels: one run, a hundred epochs, and a thousand draws in each."""
    epochs = np.linspace(0, end_ns, 101).astype(np.int64)
    draws = np.linspace(0, end_ns, PHASES - 100).astype(np.int64)
    starts = np.concatenate(([0], epochs[:-1], draws[:-1]))
    ends = np.concatenate(([end_ns], epochs[1:], draws[:-1] + (draws[1] - draws[0]) // 2))
    return np.stack((starts, ends))


def test_a_hundred_million_readings_over_a_hundred_thousand_nested_phases(capsys):
    step_ns = 1_000_000
    power_w = np.resize(5 + np.random.default_rng(0).random(1_000_003), READINGS)
    time_ns = np.arange(READINGS) * step_ns
    chunks = [waveforms.chunk_of(time_ns[i : i + BATCH], X_w=power_w[i : i + BATCH]) for i in range(0, READINGS, BATCH)]
    series = waveforms.Sensor().series()
    starts, ends = nested(int(time_ns[-1]))
    taken_s, used_s = [], []
    for _ in range(3):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        found = integrate(chunks, [series], survey(chunks, [series]), starts, ends)[0]
        taken_s.append(time.perf_counter() - wall_s)
        used_s.append(time.process_time() - cpu_s)
    cpu_s = time.process_time()
    np.cumsum(power_w, out=power_w)
    sum_s = time.process_time() - cpu_s
    with capsys.disabled():
        print(
            f"\nintegrate {READINGS:.0e} readings over {starts.size} nested phases: {min(taken_s):.2f} s"
            f" (limit {LIMIT_S} s on a quiet machine), CPU time {min(used_s):.2f} s; numpy.cumsum of the same {sum_s:.2f} s"
        )
    assert found.energy_j[0] == pytest.approx(5.5 * READINGS * 1e-3, rel=1e-3)
    assert found.energy_j[1:101].sum() == pytest.approx(found.energy_j[0], rel=1e-12)
    assert min(used_s) < 6 * sum_s
    assert min(used_s) < 1.1 * min(taken_s)  # no thread spins beside it


ON_DISK = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
import waveforms
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.traces.pace import survey
from ebbench.energy.traces.trace import TraceReader, TraceWriter
from ebbench.protocols import Column, MeterInfo, Rail

path, rows, million = Path(sys.argv[2]), int(sys.argv[3]), 1_000_000
writer = TraceWriter(path, MeterInfo("m", "module", False, (Rail("X", "module"),), (Column("X_w"),), ("X",), 1000.0), {})
for first in range(0, rows, million):
    time_ns = np.arange(first, first + million) * 1_000_000
    writer.extend(time_ns, np.zeros_like(time_ns), np.arange(first, first + million), np.ones((million, 1)))
    writer.flush()
writer.close()
reader, series = TraceReader(path), waveforms.Sensor().series()
found = integrate(reader, [series], survey(reader, [series]), np.array([0]), np.array([rows * 500_000]))[0]
assert abs(found.energy_j[0] - rows * 5e-4) < 1e-6
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


def test_a_trace_on_disk_is_integrated_in_constant_memory(tmp_path, capsys):
    sizes = (1_000_000, 16_000_000)
    here = str(Path(waveforms.__file__).parent)
    peaks_mb = []
    for rows in sizes:
        command = [sys.executable, "-c", ON_DISK, here, str(tmp_path / f"{rows}.arrows"), str(rows)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        peaks_mb.append(int(done.stdout))
    with capsys.disabled():
        print(
            f"\npeak memory with {sizes[0]:.0e} and {sizes[1]:.0e} readings on disk: {peaks_mb[0]} and {peaks_mb[1]} MB"
        )
    assert peaks_mb[1] - peaks_mb[0] < 100


def test_stated_intervals_contain_the_truth(capsys):
    samples = coverage.table(traces=15, phases=60, seed=1)
    with capsys.disabled():
        print(f"\n{'intervals that contain the truth, k = 2':40}" + "".join(f"{r:>16g} Hz" for r in coverage.RATES_HZ))
        for kind in waveforms.CLASSES:
            for name in waveforms.SENSORS:
                cells = [samples[kind, name, rate] for rate in coverage.RATES_HZ]
                print(
                    f"{kind + ', ' + name:40}" + "".join(f"{100 * c.coverage:8.1f} % w {c.width:5.2f}  " for c in cells)
                )
        for kind in waveforms.CLASSES:
            whole = coverage.together([one for (k, _, _), one in samples.items() if k == kind])
            print(
                f"{kind:20} {100 * whole.coverage:6.1f} % (limit 93 %), median half width {whole.width:.2f} x p95 (limit 3)"
            )
            assert whole.coverage >= 0.93 and whole.width <= 3
