"""The load works for its share of the time and has ended when it says so."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ebbench.clock import monotonic_ns
from ebbench.training.device import choose_device
from ebbench.training.load import Load

torch = pytest.importorskip("torch")


def wanted_s() -> float:
    """For how long this thread has computed, or waited for a processor that others had; the former alone where no kernel says."""
    try:
        ran_ns, waited_ns, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except OSError:
        return time.thread_time()
    return (int(ran_ns) + int(waited_ns)) * 1e-9


@pytest.mark.realtime
def test_idle_uses_no_cpu_half_uses_some_and_busy_uses_the_most():
    load = Load(choose_device("cpu"))
    load.run(monotonic_ns() + 50_000_000, 1.0)
    used_s = []
    for share in (0.0, 0.5, 1.0):
        before_s, end_ns = wanted_s(), monotonic_ns() + 400_000_000
        load.run(end_ns, share)
        used_s.append(wanted_s() - before_s)
        assert monotonic_ns() >= end_ns
    assert used_s[0] < 0.05 < used_s[1] < used_s[2]


def test_the_threads_of_torch_are_put_back():
    before = torch.get_num_threads()
    Load(choose_device("cpu")).run(monotonic_ns(), 1.0)
    assert torch.get_num_threads() == before
