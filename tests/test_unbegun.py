"""A start that comes to nothing before its first phase leaves nothing, and is in nobody's way."""

from __future__ import annotations

import pytest

from ebbench.errors import MeterError
from ebbench.rundir import RunDir, write_json
from ebbench.unbegun import clear, forgotten_unless_begun, has_begun

START = '{"event": "start", "t_ns": 1}\n'
BEGIN = '{"event": "begin", "t_ns": 2}\n'


def folder(path, phases):
    """A run folder as a start leaves it."""
    rundir = RunDir(path / "run")
    rundir.create()
    write_json(rundir.manifest, {"meters": []})
    rundir.phases.write_text(phases)
    rundir.board.write_text("{}\n")
    rundir.log.write_text("why\n")
    return rundir


@pytest.mark.parametrize("error", [MeterError("gone"), KeyboardInterrupt()])
@pytest.mark.parametrize("phases", ["", START])
def test_nothing_is_left_of_a_start_that_failed_before_its_first_phase(tmp_path, phases, error):
    rundir = folder(tmp_path, phases)
    with pytest.raises(type(error)), forgotten_unless_begun(rundir, rundir.log):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_else_keeps_in_the_folder_stays(tmp_path):
    rundir = folder(tmp_path, START)
    with pytest.raises(MeterError), forgotten_unless_begun(rundir):
        raise MeterError("gone")
    assert [p.name for p in rundir.path.iterdir()] == ["log.txt"]


@pytest.mark.parametrize("phases", [START + BEGIN, "damaged\n" + START])
def test_a_run_that_has_begun_or_cannot_be_read_is_not_touched(tmp_path, phases):
    rundir = folder(tmp_path, phases)
    before = sorted(p.name for p in rundir.path.iterdir())
    with pytest.raises(MeterError), forgotten_unless_begun(rundir, rundir.log):
        raise MeterError("gone")
    clear(rundir)
    assert has_begun(rundir) and sorted(p.name for p in rundir.path.iterdir()) == before


def test_our_own_bug_keeps_its_traces(tmp_path):
    rundir = folder(tmp_path, START)
    with pytest.raises(ZeroDivisionError), forgotten_unless_begun(rundir, rundir.log):
        raise ZeroDivisionError
    assert rundir.manifest.exists() and rundir.log.exists()
