"""Disk space: refused before the run where there is none, foreseen during the run."""

from __future__ import annotations

from collections import namedtuple

import pytest

from ebbench import room
from ebbench.errors import DiskError
from ebbench.room import FLOOR_BYTES, Room
from ebbench.rundir import RunDir

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def free(monkeypatch):
    """Set the free bytes of the disk."""
    state = {"free": 10 * FLOOR_BYTES}
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage(0, 0, state["free"]))
    return state


def test_a_disk_below_the_floor_is_refused_before_the_run(tmp_path, free):
    Room(RunDir(tmp_path)).check_before()
    free["free"] = FLOOR_BYTES - 1
    with pytest.raises(DiskError, match="199 MiB free, 200 MiB needed"):
        Room(RunDir(tmp_path)).check_before()


def test_a_run_that_will_not_fit_is_stopped_early_with_the_amount(tmp_path, free):
    rundir = RunDir(tmp_path)
    watch = Room(rundir)
    watch.look(0.0)
    # 10 MiB for a tenth of the work: 90 MiB to come, 108 with margin
    rundir.trace("sim", 0).write_bytes(bytes(10 << 20))
    free["free"] = 109 << 20
    watch.look(0.1)
    free["free"] = 107 << 20
    with pytest.raises(DiskError, match=r"108 MiB more and 107 MiB are free.*--resume"):
        watch.look(0.1)


def test_what_an_earlier_start_wrote_is_not_taken_for_this_ones_pace(tmp_path, free):
    rundir = RunDir(tmp_path)
    rundir.trace("sim", 0).write_bytes(bytes(50 << 20))
    watch = Room(rundir)
    watch.look(0.5)
    rundir.trace("sim", 1).write_bytes(bytes(1 << 20))
    free["free"] = 5 << 20  # 1 MiB for a tenth: 4 MiB to come, 4.8 with margin
    watch.look(0.6)
    free["free"] = 4 << 20
    with pytest.raises(DiskError, match="4 MiB more and 4 MiB are free"):
        watch.look(0.6)


def test_too_little_of_the_work_is_no_forecast(tmp_path, free):
    rundir = RunDir(tmp_path)
    watch = Room(rundir)
    watch.look(0.0)
    rundir.trace("sim", 0).write_bytes(bytes(1 << 20))
    free["free"] = 0
    watch.look(0.005)
    with pytest.raises(DiskError):
        watch.look(0.01)
