from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbench.errors import DiskError, UserError
from ebbench.rundir import RunDir, read_json, runs_in, write_bytes, write_json

HOLD_THE_LOCK = """
import sys
from ebbench.rundir import RunDir
held = RunDir(sys.argv[1]).lock()
print("held", flush=True)
sys.stdin.read()
"""

DIE_BEFORE_THE_NEW_CONTENT_IS_SAFE = """
import os, signal, sys
from pathlib import Path
from ebbench import rundir
rundir.os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)
rundir.write_bytes(Path(sys.argv[1]), b"new" * 1000)
"""

WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from ebbench.rundir import write_bytes
path = Path(sys.argv[1])
for letter in itertools.cycle([b"a", b"b"]):
    write_bytes(path, letter * 300_000)
    print("written", flush=True)
"""


def start(code: str, *arguments: os.PathLike) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def run_dir(tmp_path):
    run = RunDir(tmp_path / "run")
    run.create()
    return run


def test_the_lock_refuses_a_second_process_and_names_the_folder(run_dir):
    with start(HOLD_THE_LOCK, run_dir.path) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"{run_dir.path}.*--out"):
            run_dir.lock()
        other.stdin.close()
    run_dir.lock().close()


def test_the_lock_dies_with_its_process_even_when_that_is_killed(run_dir):
    with start(HOLD_THE_LOCK, run_dir.path) as other:
        assert other.stdout.readline() == "held\n"
        other.kill()
    run_dir.lock().close()


def test_the_lock_is_refused_within_one_process_too(run_dir):
    with run_dir.lock(), pytest.raises(UserError, match="another process is writing"):
        run_dir.lock()


def test_a_folder_that_is_not_there_cannot_be_locked_and_says_so(tmp_path):
    with pytest.raises(DiskError, match="absent"):
        RunDir(tmp_path / "absent").lock()


def test_a_run_folder_cannot_be_made_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot make the run folder .*--out"):
        RunDir(tmp_path / "file" / "run").create()


def test_a_process_killed_before_the_content_is_safe_leaves_the_old_content(tmp_path):
    path = tmp_path / "state.npz"
    write_bytes(path, b"old")
    with start(DIE_BEFORE_THE_NEW_CONTENT_IS_SAFE, path) as writer:
        assert writer.wait() == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_a_writer_killed_at_any_moment_leaves_one_whole_content(tmp_path):
    path = tmp_path / "state.npz"
    for count in (1, 2, 3, 5, 8):
        with start(WRITE_FOR_EVER, path) as writer:
            for _ in range(count):
                writer.stdout.readline()
            writer.kill()  # at some moment of the writes that follow
        content = path.read_bytes()
        assert content in (b"a" * 300_000, b"b" * 300_000)


def test_a_full_disk_is_one_clear_line_and_the_old_content_stays(tmp_path):
    path = tmp_path / "record.json"
    write_bytes(path, b"old")
    # the file that is written before it replaces the old one, on a device that is always full
    (tmp_path / f".record.json.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(DiskError, match=r"record\.json: No space left on device; make room"):
        write_bytes(path, b"new" * 100_000)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_a_folder_that_is_gone_is_one_clear_line(tmp_path):
    with pytest.raises(DiskError, match=r"gone/record\.json: No such file or directory"):
        write_bytes(tmp_path / "gone" / "record.json", b"new")


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_json_holds_every_number_exactly_and_never_nan(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "document.json"
    if value - value == 0:
        write_json(path, {"value": value})
        assert read_json(path) == {"value": value}
    else:
        with pytest.raises(ValueError, match="JSON"):
            write_json(path, {"value": value})
        assert not path.exists()


def test_what_cannot_be_written_as_json_leaves_the_old_document(tmp_path):
    path = tmp_path / "manifest.json"
    write_json(path, {"value": 1})
    with pytest.raises(TypeError):
        write_json(path, {"value": object()})
    assert json.loads(path.read_text()) == {"value": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_a_damaged_document_is_one_clear_line(tmp_path, content):
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


def test_an_absent_document_asks_whether_this_is_a_run(tmp_path):
    with pytest.raises(UserError, match=r"is not there; is .* a run folder"):
        read_json(tmp_path / "manifest.json")


def test_traces_are_in_the_order_of_their_starts_past_999(run_dir):
    numbers = [0, 2, 10, 998, 999, 1000, 1001, 10_000]
    for number in reversed(numbers):
        run_dir.trace("ina3221", number).touch()
    assert run_dir.traces("ina3221") == [run_dir.trace("ina3221", n) for n in numbers]
    assert run_dir.next_trace("ina3221") == run_dir.trace("ina3221", 10_001)


def test_the_first_trace_is_number_zero_and_each_meter_counts_for_itself(run_dir):
    assert run_dir.next_trace("sim").name == "trace-sim-000.arrows"
    run_dir.next_trace("sim").touch()
    assert run_dir.next_trace("sim").name == "trace-sim-001.arrows"
    assert run_dir.next_trace("nvml").name == "trace-nvml-000.arrows"


def test_meters_whose_names_begin_alike_keep_their_traces_apart(run_dir):
    for name in ("sim", "sim-2", "sim.2"):
        run_dir.trace(name, 0).touch()
    assert run_dir.traces("sim") == [run_dir.trace("sim", 0)]
    assert run_dir.traces("sim.2") == [run_dir.trace("sim.2", 0)]
    assert len(run_dir.traces()) == 3


def test_files_that_only_look_like_traces_are_not_read(run_dir):
    for name in ("trace-sim-000.arrows.tmp", "trace-sim-1.arrows", ".trace-sim-000.arrows.12.tmp", "trace-sim.arrows"):
        (run_dir.path / name).touch()
    assert run_dir.traces() == []


def test_a_sealed_record_stays_and_the_next_one_stands_beside_it(run_dir):
    assert not run_dir.is_sealed
    assert run_dir.next_record().name == "record-2.json"  # record.json is written by the run's own end alone
    write_json(run_dir.record, {})
    assert run_dir.is_sealed
    assert run_dir.next_record().name == "record-2.json"
    write_json(run_dir.next_record(), {})
    assert run_dir.next_record().name == "record-3.json"


def test_what_a_killed_process_left_half_written_is_removed_by_the_next_that_writes(run_dir):
    (run_dir.path / ".record.json.123.tmp").write_text("half")
    run_dir.lock().close()
    assert [p.name for p in run_dir.path.iterdir()] == [".lock"]


def test_a_folder_of_runs_stands_for_its_runs_and_a_run_for_itself(tmp_path):
    for name in ("b", "a"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "manifest.json").write_text("{}")
    (tmp_path / "runs" / "notes").mkdir()
    assert [run.path.name for run in runs_in(tmp_path / "runs")] == ["a", "b"]
    assert [run.path.name for run in runs_in(tmp_path / "runs" / "a")] == ["a"]
    assert [run.path.name for run in runs_in(tmp_path / "nowhere")] == ["nowhere"]
