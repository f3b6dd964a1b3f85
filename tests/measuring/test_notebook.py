"""`EnergyMonitor` in a notebook: a real Jupyter kernel, told cell by cell what to do as a notebook tells it."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from ebbench.rundir import RunDir

LOUD = "is not installed: EnergyMonitor in a notebook is NOT tested; pip install ipykernel jupyter_client"
pytestmark = [
    pytest.mark.realtime,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(jupyter_client|jupyter_core|zmq|tornado|traitlets)"),
]


@pytest.fixture
def cell(monkeypatch):
    """Run the text of a cell in one kernel, whose folder is `cell.folder`: (the name of its exception or None, what it printed)."""
    pytest.importorskip("ipykernel", reason=f"ipykernel {LOUD}")
    manager = pytest.importorskip("jupyter_client.manager", reason=f"jupyter_client {LOUD}")
    folder = Path(tempfile.mkdtemp(prefix="nb"))  # short: a Unix socket's path has at most 108 bytes
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(folder / name))  # this machine's own kernels and settings stay out
    kernel = manager.KernelManager(kernel_name="python3", transport="ipc", ip=str(folder / "k"))
    kernel.start_kernel(cwd=str(folder))
    client = kernel.client()
    client.start_channels()

    def run(text):
        printed = []

        def hear(message):
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = client.execute_interactive(text, output_hook=hear, allow_stdin=False, timeout=60)["content"]
        return reply.get("ename"), "".join(printed)

    run.folder = folder
    try:
        client.wait_for_ready(timeout=60)
        yield run
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
        shutil.rmtree(folder)


OPEN = "import time, ebbench\nmonitor = ebbench.EnergyMonitor(meter='sim', out='run').__enter__()"
CLOSE = "monitor.__exit__(None, None, None)\nprint(monitor.record.status, monitor.record.energy.status)"


def by_phase(folder):
    assert RunDir(folder / "run").is_sealed
    return json.loads((folder / "run" / "record.json").read_text())["energy"]["by_phase"]


def test_a_monitor_opened_in_one_cell_and_closed_in_another_has_the_phases_between_whole(cell):
    assert cell(OPEN) == (None, "")
    assert cell("with monitor.phase('load'), monitor.phase('part'):\n    time.sleep(0.2)") == (None, "")
    assert cell("with monitor.phase('train'):\n    time.sleep(0.2)\n    raise ValueError('loss is nan')") == (
        "ValueError",
        "",
    )
    assert cell("with monitor.phase('train'):\n    time.sleep(0.2)") == (None, "")
    assert cell(CLOSE) == (None, "success ok\n")
    found = by_phase(cell.folder)
    assert {path: phase["count"] for path, phase in found.items()} == {"load": 1, "load/part": 1, "train": 2}
    assert all(phase["status"] == "ok" and phase["energy_j"] > 0 for phase in found.values())
    assert found["train"]["covered_s"] == found["train"]["duration_s"] >= 0.4


def test_a_phase_may_span_cells_also_those_that_await(cell):
    assert cell(OPEN) == (None, "")
    assert cell("import asyncio\nphase = monitor.phase('train')\nphase.__enter__()\nawait asyncio.sleep(0.1)") == (
        None,
        "",
    )
    assert cell("time.sleep(0.1)\nawait asyncio.sleep(0.1)\nphase.__exit__(None, None, None)") == (None, "")
    assert cell("with monitor.phase('evaluate'):\n    await asyncio.sleep(0.1)") == (None, "")
    assert cell(CLOSE) == (None, "success ok\n")
    found = by_phase(cell.folder)
    assert list(found) == ["train", "evaluate"] and found["train"]["duration_s"] >= 0.3
