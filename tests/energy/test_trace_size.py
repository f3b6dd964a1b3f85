"""The estimate of a trace's size against real traces, whose readings cannot be compressed."""

from __future__ import annotations

import numpy as np
import pytest

from ebbench.energy.traces.size import bytes_per_s
from ebbench.energy.traces.trace import TraceWriter, compact
from ebbench.protocols import Column, MeterInfo, Rail


@pytest.mark.parametrize(
    "rails, raw, rate_hz", [(1, False, 2), (1, False, 100), (12, True, 20), (12, True, 100), (3, False, 1000)]
)
def test_a_trace_grows_no_faster_than_was_estimated_and_not_much_slower(tmp_path, rails, raw, rate_hz):
    names = [f"RAIL_{n}" for n in range(rails)]
    columns = tuple(Column(f"{name}_{unit}", 1e-3, raw=raw) for name in names for unit in "va")
    info = MeterInfo("m", "module", True, tuple(Rail(n, "module") for n in names), columns, (names[0],), 100.0)
    path, rng, rows = tmp_path / "trace.arrows", np.random.default_rng(0), rate_hz // 2
    writer = TraceWriter(path, info, {})
    for flush in range(120):  # a minute
        seq = np.arange(flush * rows, (flush + 1) * rows)
        time_ns = seq * (1_000_000_000 // rate_hz) + rng.integers(0, 500_000, rows)
        values = rng.integers(-(2**31), 2**31, (rows, len(columns))) if raw else rng.normal(size=(rows, len(columns)))
        writer.extend(time_ns, rng.integers(0, 2**31, rows), seq, values.astype(float))
        writer.flush()
    writer.close()
    estimate = 60 * bytes_per_s(info, rate_hz)
    grown = path.stat().st_size
    assert 0.6 * estimate < grown <= 1.05 * estimate + 5000
    assert compact(path) and path.stat().st_size <= grown + 5000  # the copy never takes more than the trace
