"""The times of a process's threads, from the kernel that runs this test and from a tree of files."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from ebbench_devices.kernel.processor import ProcessorState

needs_schedstat = pytest.mark.skipif(
    not os.path.exists("/proc/self/schedstat"), reason="this kernel does not say how long a thread waited"
)


def test_times_are_summed_over_the_threads(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    for thread, text in ((7, "2000000000 500000000 12\n"), (8, "1000000000 250000000 3\n"), (9, "not this\n")):
        folder = tmp_path / f"proc/7/task/{thread}"
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(text)
    assert ProcessorState(None, 7).read() == {"processor": {"ran_s": 3.0, "waited_s": 0.75}}


def test_children_and_their_children_count(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    for pid, children in ((7, "8 9 "), (8, "10 "), (9, ""), (10, "7"), (11, "")):
        folder = tmp_path / f"proc/{pid}/task/{pid}"
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text("1000000000 500000000 12\n")
        (folder / "children").write_text(children)
    assert ProcessorState(None, 7).read() == {"processor": {"ran_s": 4.0, "waited_s": 2.0}}


def test_a_kernel_that_does_not_say_is_no_source(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no thread says"):
        ProcessorState(None, 7)


@needs_schedstat
def test_time_that_is_computed_is_what_the_process_was_given():
    source, before_s = ProcessorState(None, os.getpid()), time.process_time()
    first = source.read()["processor"]["ran_s"]
    while time.process_time() - before_s < 0.1:
        pass
    spent_s = time.process_time() - before_s
    assert source.read()["processor"]["ran_s"] - first == pytest.approx(spent_s, abs=0.02)


@needs_schedstat
def test_two_who_share_one_processor_wait_for_each_other():
    """A child that is bound to our processor and computes as we do: each waits about as long as it computes, or longer."""
    mine = os.sched_getaffinity(0)
    one = {min(mine)}
    try:
        os.sched_setaffinity(0, one)
        with subprocess.Popen(
            [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
        ) as rival:
            assert rival.stdout is not None
            rival.stdout.readline()  # it computes now
            source = ProcessorState(None, os.getpid())
            first, before_s = source.read()["processor"], time.process_time()
            while time.process_time() - before_s < 0.2:
                pass
            last = source.read()["processor"]
            rival.kill()
    finally:
        os.sched_setaffinity(0, mine)
    ran_s, waited_s = (last[name] - first[name] for name in ("ran_s", "waited_s"))
    assert waited_s / (ran_s + waited_s) > 0.2
