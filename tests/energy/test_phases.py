from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import math
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbench.energy.phases import PhaseLog, PhaseTail, intervals, read_events, redone_intervals, spans
from ebbench.errors import ConfigError, DiskError, InputError, UserError


class Ticking:
    """A clock that goes on by `step_ns` at every look."""

    def __init__(self, now_ns=1_000, step_ns=10):
        self.now_ns, self.step_ns = now_ns, step_ns

    def __call__(self):
        self.now_ns += self.step_ns
        return self.now_ns


@pytest.fixture
def log(tmp_path):
    log = PhaseLog(tmp_path / "phases.jsonl", clock=Ticking())
    yield log
    log.close()


def test_phases_nest_by_path_and_keep_their_edges(log):
    log.start()
    with log.phase("search"), log.phase("search/epoch-1"), log.phase("search/epoch-1/draw"):
        pass
    log.stop("success")
    outer, epoch, draw = intervals(read_events(log.path))
    assert (outer.parent, epoch.parent, draw.parent) == (None, outer.id, epoch.id)
    assert (outer.start_ns, epoch.start_ns, draw.start_ns) == (1_020, 1_030, 1_040)
    assert (draw.end_ns, epoch.end_ns, outer.end_ns) == (1_050, 1_060, 1_070)
    assert not any(i.failed or i.interrupted for i in (outer, epoch, draw))


def test_a_log_that_nobody_holds_any_more_is_closed(tmp_path):
    path = str(tmp_path / "phases.jsonl")
    log = PhaseLog(path)
    assert path in open_files()
    del log
    gc.collect()
    assert path not in open_files()


def open_files():
    """The paths of all files that this process has open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return found


def test_a_phase_whose_block_raises_ends_and_is_failed(log):
    log.start()
    with pytest.raises(ZeroDivisionError), log.phase("train"):
        raise ZeroDivisionError
    (interval,) = intervals(read_events(log.path))
    assert interval.failed
    assert not interval.interrupted


def test_the_accelerator_is_waited_for_before_the_clock_at_both_edges_and_outside_the_lock(tmp_path):
    seen = []
    path = tmp_path / "phases.jsonl"

    def synchronize():
        with open(path) as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if the log held its lock
        seen.append("synchronize")

    def clock():
        seen.append("clock")
        return len(seen)

    log = PhaseLog(path, clock, synchronize)
    log.start()
    seen.clear()
    with log.phase("train"):
        pass
    log.close()
    assert seen == ["synchronize", "clock", "synchronize", "clock"]


def test_an_accelerator_that_cannot_be_waited_for_hides_neither_the_error_nor_the_edges_after_it(tmp_path):
    is_broken = []

    def synchronize():
        if is_broken:
            raise RuntimeError("CUDA error: unspecified launch failure")

    log = PhaseLog(tmp_path / "phases.jsonl", synchronize=synchronize)
    log.start()
    with pytest.raises(ZeroDivisionError) as raised, log.phase("train"), log.phase("train/epoch-1"):
        is_broken.append(True)
        raise ZeroDivisionError
    log.stop("aborted", "the GPU failed")
    assert raised.value.__context__ is None
    assert [e["event"] for e in read_events(log.path)] == ["start", "begin", "begin", "end", "end", "stop"]
    with pytest.raises(RuntimeError, match="CUDA error"):
        log.begin("train")  # what is still to be measured needs its edges
    log.close()


def test_a_phase_can_be_ended_by_another_process_than_began_it(log):
    log.start()
    with log.phase("command"):
        for number in range(2):
            one = PhaseLog(log.path, clock=log._clock)
            begun = one.begin("command/load")
            one.close()
            other = PhaseLog(log.path, clock=log._clock)
            assert other.adopt("command/load") == begun
            with log.phase("command/own"):
                other.end(begun, failed=bool(number))
            with pytest.raises(UserError, match="begin it first"):
                other.adopt("command/load")
            other.close()
    found = intervals(read_events(log.path))
    assert len({i.id for i in found}) == 5
    assert [i.failed for i in found if i.path == "command/load"] == [False, True]
    assert {i.parent for i in found[1:]} == {found[0].id}


def test_the_end_says_why(log):
    log.start()
    log.stop("failed", "the loss is NaN")
    assert read_events(log.path)[-1]["reason"] == "the loss is NaN"


def test_a_path_that_is_no_path_is_refused(log):
    log.start()
    for path in ("", "a//b", "/a", "a\nb"):
        with pytest.raises(ConfigError):
            log.begin(path)
    with pytest.raises(ConfigError, match="not open"):
        log.end(7)


def test_values_are_json_and_not_finite_is_null(log):
    log.start()
    log.metric("loss", float("nan"), epoch=np.int64(3))
    log.mark("ticket", distances=np.array([0.5, math.inf]), layer={"a": np.float32(1)})
    metric, mark = read_events(log.path)[1:]
    assert metric["value"] is None
    assert metric["where"] == {"epoch": 3}
    assert mark["values"] == {"distances": [0.5, None], "layer": {"a": 1.0}}


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(1, 400))
def test_a_log_cut_anywhere_reads_to_the_last_whole_line_and_goes_on(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "phases.jsonl"
    log = PhaseLog(path, clock=Ticking())
    log.start()
    with log.phase("train"):
        log.metric("loss", 0.5)
    log.close()
    whole = path.read_bytes()
    kept = max(0, len(whole) - cut)
    path.write_bytes(whole[:kept])
    before = read_events(path)
    assert len(before) == whole[:kept].count(b"\n")
    again = PhaseLog(path, clock=Ticking(9_000))
    segment = again.start()
    number = again.begin("train")
    again.close()
    after = read_events(path)
    assert after[: len(before)] == before
    assert segment == sum(e["event"] == "start" for e in before)
    assert number not in [e["id"] for e in before if e["event"] == "begin"]
    assert [e["event"] for e in after[len(before) :]] == ["start", "begin"]


def test_a_tail_of_zeros_is_a_torn_line(log):
    log.start()
    with open(log.path, "ab") as handle:
        handle.write(bytes(4096))
    assert len(read_events(log.path)) == 1
    PhaseLog(log.path).close()
    assert b"\0" not in log.path.read_bytes()


def test_a_damaged_line_inside_is_named(log):
    log.start()
    with open(log.path, "ab") as handle:
        handle.write(b'{"event": "beg\n')
    log.mark("later")
    with pytest.raises(InputError, match="line 2"):
        read_events(log.path)


def test_an_interrupted_phase_ends_with_its_segment_or_the_last_reading(log):
    log.start()
    log.begin("train")
    log.metric("loss", 1.0)
    log.close()
    again = PhaseLog(log.path, clock=Ticking(5_000))
    again.start()
    again.close()
    events = read_events(log.path)
    assert [(i.end_ns, i.interrupted) for i in intervals(events)] == [(1_030, True)]
    assert [i.end_ns for i in intervals(events, {0: 4_000})] == [4_000]
    assert [s.end_ns for s in spans(events, {0: 4_000})] == [4_000, 5_010]


def _start(segment, t_ns, restored=None):
    return {"event": "start", "segment": segment, "boot_id": "b", "t_ns": t_ns, "restored": restored}


def _mark(t_ns):
    return {"event": "mark", "name": "alive", "t_ns": t_ns}


def test_work_since_the_restored_state_was_done_again():
    from_40 = {"segment": 0, "t_ns": 40}
    events = [_start(0, 0), _mark(100), _start(1, 200, from_40), _mark(250), _start(2, 300, from_40), _mark(400)]
    assert [(s.segment, s.start_ns, s.end_ns) for s in redone_intervals(events)] == [(0, 40, 100), (1, 200, 250)]
    events[4] = _start(2, 300, {"segment": 1, "t_ns": 220})
    assert [(s.segment, s.start_ns, s.end_ns) for s in redone_intervals(events)] == [(0, 40, 100), (1, 220, 250)]
    events[4] = _start(2, 300)
    assert [(s.segment, s.start_ns, s.end_ns) for s in redone_intervals(events)] == [(0, 0, 100), (1, 200, 250)]


def test_a_tail_that_holds_the_lock_knows_every_edge_before_its_time(tmp_path):
    path = tmp_path / "phases.jsonl"
    tail = PhaseTail(path)
    assert tail.poll()[0] == []
    log = PhaseLog(path)
    log.start()
    written = threading.Event()

    def write():
        for _ in range(2_000):
            with log.phase("train"):
                pass
        written.set()

    writer = threading.Thread(target=write)
    writer.start()
    safe_ns, seen = 0, 0
    while not written.is_set() or seen < 4_001:
        events, until_ns = tail.poll()
        assert all(safe_ns <= e["t_ns"] <= until_ns for e in events)
        safe_ns, seen = until_ns, seen + len(events)
    writer.join()
    tail.close()
    log.close()


def test_a_tail_gives_up_on_a_lock_that_is_not_given_back(log):
    log.start()
    tail = PhaseTail(log.path)
    _, safe_ns = tail.poll()
    with open(log.path) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert tail.poll() == ([], safe_ns)
    log.mark("later")
    assert [e["event"] for e in tail.poll()[0]] == ["mark"]
    tail.close()


def test_a_full_disk_is_one_line_and_tears_nothing(tmp_path):
    code = f"""
import resource, signal
from pathlib import Path
from ebbench.energy.phases import PhaseLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = PhaseLog(Path({str(tmp_path / "phases.jsonl")!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
log.start()
while True:
    log.mark("on")
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"{DiskError.__module__}.DiskError") and "make room" in last
    content = (tmp_path / "phases.jsonl").read_bytes()
    assert content.endswith(b"\n")
    assert all(json.loads(line) for line in content.splitlines())


def test_a_log_that_cannot_be_made_is_a_disk_error(tmp_path):
    with pytest.raises(DiskError, match="--out"):
        PhaseLog(tmp_path / "missing" / "phases.jsonl")
