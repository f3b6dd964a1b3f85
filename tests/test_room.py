"""Disk space: refused before the run where there is none, foreseen during the run."""

from __future__ import annotations

from collections import namedtuple

import pytest

from ebbench import room
from ebbench.config import Bench, Recipe
from ebbench.errors import DiskError
from ebbench.room import MARGIN, Room, recorded_needs
from ebbench.rundir import RunDir
from ebbench.session import conduct
from ebbench_baselines.dense import DensePipeline

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def free(monkeypatch):
    """Set the free bytes of the disk."""
    state = {"free": 10 << 30}
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage(0, 0, state["free"]))
    return state


def test_a_disk_that_cannot_hold_what_is_needed_and_a_fifth_more_is_refused_with_what_it_is_for(tmp_path, free):
    needs = {"two checkpoints": 100 << 20, "masks": 0, "an hour of traces": 20 << 20}
    free["free"] = 144 << 20
    Room(RunDir(tmp_path)).check_before(needs)
    free["free"] -= 1
    with pytest.raises(DiskError) as refused:
        Room(RunDir(tmp_path)).check_before(needs)
    assert str(refused.value) == (
        f"{tmp_path}: 144 MiB needed (two checkpoints 100 MiB, an hour of traces 20 MiB; and a fifth to spare), 143 MiB free; "
        "make room or choose another folder with --out"
    )
    assert MARGIN == 1.2


def test_what_a_resumed_run_replaces_is_not_needed_again(tmp_path, free):
    rundir = RunDir(tmp_path)
    rundir.checkpoint.parent.mkdir()
    rundir.checkpoint.write_bytes(bytes(50 << 20))
    free["free"] = 70 << 20
    Room(rundir).check_before({"two checkpoints": 100 << 20})
    free["free"] = 69 << 20
    with pytest.raises(DiskError, match="70 MiB needed"):
        Room(rundir).check_before({"two checkpoints": 100 << 20})


def test_recording_needs_an_hour_of_all_traces_and_the_copy_of_the_largest():
    needs = recorded_needs([1000.0, 4000.0])
    assert needs["an hour of traces"] == 3600 * 5000
    assert needs["the copy of a trace when it is sealed"] == 3600 * 4000
    assert sum(recorded_needs([]).values()) == needs["an hour of logs"] == 3_600_000


@pytest.mark.parametrize(
    "beside_mib, meant", [(0, r"two checkpoints \d MiB"), (1, r"two checkpoints .*an hour of traces \d+ MiB")]
)
def test_a_run_is_refused_before_its_first_phase_and_leaves_no_folder(tmp_path, free, beside_mib, meant):
    """First by what its pipeline stores, then, when the meters are open, with what they write."""
    recipe = Recipe(method="dense", model="vgg16-small", dataset="synthetic", train_images=32, test_images=16, epochs=1)
    pipeline = DensePipeline(recipe)
    pipeline.check()
    stored = int(MARGIN * sum(pipeline.stored_bytes.values()))
    free["free"] = stored + (beside_mib << 20) - (not beside_mib)
    with pytest.raises(DiskError, match=meant) as refused:
        conduct(recipe, Bench(meters=("sim",), rate_hz=100, idle_s=0.0, device="cpu"), tmp_path)
    assert ("traces" in str(refused.value)) == bool(beside_mib)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_will_not_fit_is_stopped_early_with_the_amount(tmp_path, free):
    rundir = RunDir(tmp_path)
    watch = Room(rundir)
    watch.look(0.0)
    # 10 MiB for a tenth of the work: 90 MiB to come and 100 to be copied, 228 with margin
    rundir.trace("sim", 0).write_bytes(bytes(10 << 20))
    free["free"] = 229 << 20
    watch.look(0.1)
    free["free"] = 227 << 20
    with pytest.raises(DiskError, match=r"will need about 228 MiB more and 227 MiB are free.*--resume"):
        watch.look(0.1)


def test_what_an_earlier_start_wrote_is_not_taken_for_this_ones_pace_but_is_copied_when_sealed(tmp_path, free):
    rundir = RunDir(tmp_path)
    rundir.trace("sim", 0).write_bytes(bytes(50 << 20))
    watch = Room(rundir)
    watch.look(0.5)
    rundir.trace("sim", 1).write_bytes(bytes(1 << 20))
    free["free"] = 65 << 20  # 1 MiB for a tenth: 4 MiB to come, and the copy of 50: 64.8 with margin
    watch.look(0.6)
    free["free"] = 64 << 20
    with pytest.raises(DiskError, match="65 MiB more and 64 MiB are free"):
        watch.look(0.6)


def test_of_several_traces_only_the_largest_is_copied_at_a_time(tmp_path, free):
    rundir = RunDir(tmp_path)
    watch = Room(rundir)
    watch.look(0.0)
    for meter, size in (("sim", 10 << 20), ("wall", 1 << 20)):
        rundir.trace(meter, 0).write_bytes(bytes(size))
    free["free"] = int(1.2 * (11 + 20 << 20)) + 1  # half done: as much again, and 20 MiB to be copied
    watch.look(0.5)
    free["free"] -= 2
    with pytest.raises(DiskError, match="38 MiB more and 37 MiB are free"):
        watch.look(0.5)


def test_too_little_of_the_work_is_no_forecast(tmp_path, free):
    rundir = RunDir(tmp_path)
    watch = Room(rundir)
    watch.look(0.0)
    rundir.trace("sim", 0).write_bytes(bytes(1 << 20))
    free["free"] = 0
    watch.look(0.005)
    with pytest.raises(DiskError):
        watch.look(0.01)
