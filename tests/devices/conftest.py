from __future__ import annotations

import gc
import multiprocessing
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def fake_board(tmp_path, monkeypatch):
    """Build a board below a folder that stands for ``/`` in this test."""
    from fake_boards import FakeBoard

    def build(kind: str) -> FakeBoard:
        monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
        return FakeBoard(tmp_path, kind)

    return build


@pytest.fixture
def opened():
    """Open meters, which are closed after the test."""
    meters = []

    def open_meter(meter):
        meters.append(meter)
        return meter, meter.open()

    yield open_meter
    for meter in meters:
        meter.close()


@pytest.fixture
def jtop_board(monkeypatch):
    """A board of a kind, its service not yet started; the sensors' root points to it."""
    pytest.importorskip(
        "jtop", reason="jetson-stats is not installed: the jtop meter is NOT tested; pip install 'jetson-stats>=7.2'"
    )
    from jtop_board import JtopBoard

    from ebbench_devices.meter import feed
    from ebbench_devices.nvidia import jtop_connection

    start_method = multiprocessing.get_start_method(allow_none=True)
    threads = set(threading.enumerate())
    root = Path(tempfile.mkdtemp(prefix="jt"))
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(root))
    monkeypatch.setattr(feed, "SILENCE_S", 1.0)
    monkeypatch.setattr(jtop_connection, "CONNECT_S", 2.0)
    made = []

    def build(kind, *options, start=True):
        made.append(JtopBoard(root, kind))
        if start:
            made[0].start(*options)
        return made[0]

    yield build
    for each in made:
        each.kill()
    for thread in set(threading.enumerate()) - threads:  # some of them hold what jetson-stats leaves open
        while thread.ident is None:  # it is being started just now, and cannot be joined before it is
            time.sleep(0.001)
        thread.join(20.0)
    gc.collect()  # here, and not in another test
    shutil.rmtree(root)
    multiprocessing.set_start_method(start_method, force=True)
