"""What all tests share: the same examples every time, and no judgement by the clock of a busy machine."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile(
    "ebbench", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("ebbench")

# A shell's background job is started with SIGINT ignored, and so would be every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What somebody has calibrated on this machine, or seen of a data set, is no part of a test.
os.environ["XDG_CONFIG_HOME"] = os.path.join(tempfile.gettempdir(), "ebbench-tests-have-no-configuration")
os.environ["XDG_CACHE_HOME"] = os.path.join(tempfile.gettempdir(), "ebbench-tests-have-no-cache")


def pytest_itemcollected(item):
    """A test that needs real seconds is in a file that says so, by which scripts/run-tests finds it."""
    if item.get_closest_marker("realtime") and "pytest.mark.realtime" not in item.path.read_text(encoding="utf-8"):
        raise pytest.UsageError(f"{item.nodeid}: write pytest.mark.realtime out in its file; else run-tests misses it")


@pytest.fixture(scope="session")
def nursery():
    """``ebbench`` in forks of one process that has loaded torch, for all tests: loading it takes seconds (see `conductor`)."""
    from conductor import Nursery

    with Nursery() as found:
        yield found


@pytest.fixture(autouse=True)
def leave_torch_as_it_was():
    """Threads and determinism, which a run sets for its process; torch is not loaded for it."""
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    yield
    torch = sys.modules.get("torch")
    if torch is not None and before is not None:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(False)
