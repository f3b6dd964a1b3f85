"""`EnergyMonitor` around code that does what real code does: threads, forks, exceptions, exits, samplers that die."""

from __future__ import annotations

import contextvars
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import ebbench
from ebbench.errors import ConfigError, DiskError, MeterError, UserError
from ebbench.rundir import RunDir

pytestmark = pytest.mark.realtime


def monitor(out, **options):
    return ebbench.EnergyMonitor(meter="sim", out=out, **options)


def paths(found):
    return list(found.record.energy.by_phase)


def script(folder, text, *arguments, stdin=False):
    """Run a script of a user's, from a file or from stdin: (exit code, stdout, stderr)."""
    text = textwrap.dedent(text)
    (folder / "script.py").write_text(text)
    command = [sys.executable, "-" if stdin else "script.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        command, cwd=folder, env=environment, input=text if stdin else "", capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


SCRIPT = """
import time, ebbench
with ebbench.EnergyMonitor(meter="sim", out="run") as monitor:
    with monitor.phase("train"):
        time.sleep(0.1)
print(monitor.record.energy.total_j > 0)
"""


@pytest.mark.parametrize("stdin", [False, True])
def test_a_script_without_a_main_guard_measures(tmp_path, stdin):
    assert script(tmp_path, SCRIPT, stdin=stdin) == (0, "True\n", "")


def test_a_training_with_more_than_a_thousand_open_files_is_measured(tmp_path):
    """As one whose data come from many processes has."""
    many = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = [os.dup(0) for _ in range(1100)]
"""
    assert script(tmp_path, many + SCRIPT) == (0, "True\n", "")


def test_a_folder_full_of_modules_with_famous_names_does_no_harm(tmp_path):
    for name in ("json", "numpy", "pyarrow", "select", "random"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not the library')")
    (tmp_path / "elsewhere").mkdir()
    text = textwrap.dedent(SCRIPT).replace("import time, ebbench", "import os, time, ebbench; os.chdir('..')")
    assert script(tmp_path / "elsewhere", text) == (0, "True\n", "")


def test_names_are_free_and_those_that_are_not_training_stay_out_of_the_total(tmp_path):
    with monitor(tmp_path / "run") as found:
        for name in ("load my data", "train", "idle", "evaluate"):
            with found.phase(name):
                time.sleep(0.05)
    energies = {path: phase.energy_j for path, phase in found.record.energy.by_phase.items()}
    assert set(energies) == {"load my data", "train", "idle", "evaluate"}
    assert found.record.energy.total_j == pytest.approx(energies["load my data"] + energies["train"], rel=1e-6)


def test_phases_nest_and_repeat(tmp_path):
    with monitor(tmp_path / "run") as found:
        for _ in range(2):
            with found.phase("train"), found.phase("forward"):
                time.sleep(0.02)
    assert {path: phase.count for path, phase in found.record.energy.by_phase.items()} == {
        "train": 2,
        "train/forward": 2,
    }


def test_each_thread_nests_its_own_phases(tmp_path):
    """One stack for all would nest the phases of one thread in those of another, and end the wrong ones."""
    together = threading.Barrier(3)

    def work(found, name):
        with found.phase(name):
            together.wait()
            with found.phase("inner"):
                together.wait()

    with monitor(tmp_path / "run") as found:
        threads = [threading.Thread(target=work, args=(found, f"worker {n}")) for n in "abc"]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert sorted(paths(found)) == sorted(f"worker {n}{end}" for n in "abc" for end in ("", "/inner"))


def test_a_phase_may_be_left_in_another_context_than_it_was_entered_in(tmp_path):
    """As a task leaves one that another began, or a cell of a notebook."""
    with monitor(tmp_path / "run") as found:
        phase = found.phase("train")
        contextvars.copy_context().run(phase.__enter__)
        phase.__exit__(None, None, None)
        with found.phase("after"):
            pass
    assert paths(found) == ["train", "after"]


@pytest.mark.parametrize(
    "leave, status, reason",
    [
        (ValueError("loss is\nnan"), "failed", "ValueError: loss is nan"),
        (KeyboardInterrupt(), "aborted", "KeyboardInterrupt:"),
        (SystemExit(4), "failed", "SystemExit: 4"),
        (SystemExit(0), "success", None),
    ],
    ids=lambda value: repr(value) if isinstance(value, BaseException) else None,
)
def test_however_the_block_is_left_there_is_a_record_that_says_so_in_one_line(tmp_path, leave, status, reason):
    found = monitor(tmp_path / "run")
    with pytest.raises(type(leave)), found, found.phase("train"):
        time.sleep(0.02)
        raise leave
    assert (found.record.status, found.record.reason) == (status, reason)
    ended = next(check for check in found.record.checks if check.name == "run ended")
    assert (ended.verdict, ended.value) == (("PASS", 1.0) if status == "success" else ("FAIL", 0.0))
    assert (reason or "") in ended.advice and (found.record.verdict == "FAIL") >= (status != "success")
    assert found.record.energy.total_j > 0
    assert RunDir(tmp_path / "run").is_sealed


def test_a_forked_child_that_leaves_the_block_does_not_end_the_measurement(tmp_path):
    code, out, err = script(
        tmp_path,
        """
        import os, sys, time, ebbench
        with ebbench.EnergyMonitor(meter="sim", out="run") as monitor:
            with monitor.phase("train"):
                if os.fork() == 0:
                    sys.exit(0)
                os.wait()
                time.sleep(0.2)
        phase = monitor.record.energy.by_phase["train"]
        print(monitor.record.status, phase.status, phase.count, phase.duration_s > 0.2)
        """,
    )
    assert (code, out) == (0, "success ok 1 True\n"), err


def test_worker_processes_inside_a_phase_do_no_harm(tmp_path):
    code, out, err = script(
        tmp_path,
        """
        import multiprocessing, ebbench
        with ebbench.EnergyMonitor(meter="sim", out="run") as monitor:
            with monitor.phase("train"), multiprocessing.get_context("fork").Pool(2) as pool:
                print(pool.map(abs, [-1, -2]))
        print(monitor.record.status, monitor.record.energy.status)
        """,
    )
    assert (code, out) == (0, "[1, 2]\nsuccess ok\n"), err


def test_a_sampler_that_is_killed_is_started_again_without_the_user_doing_anything(tmp_path):
    with monitor(tmp_path / "run") as found:
        (pid,) = sampler_pids()
        with found.phase("train"):
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: sampler_pids() not in ([], [pid]))
        with found.phase("finetune"):
            wait_for(lambda: len(RunDir(tmp_path / "run").traces()) == 2)
            time.sleep(1.0)
    phases = found.record.energy.by_phase
    assert phases["train"].status in ("partial", "missing")  # what was read in the last half second died with it
    assert phases["finetune"].covered_s > 0.3
    assert "sampler-restarted" in (tmp_path / "run" / "phases.jsonl").read_text()


def sampler_pids():
    """The processes of ours that sample."""
    found = []
    for pid in (int(p) for p in os.listdir("/proc") if p.isdigit()):
        try:
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if parent == os.getpid() and b"sampler_process" in command:
            found.append(pid)
    return found


def wait_for(condition, patience_s=20.0):
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never came to be"
        time.sleep(0.02)


def test_without_a_phase_there_is_no_total_and_the_record_says_why(tmp_path):
    with monitor(tmp_path / "run") as found:
        pass
    assert found.record.energy.total_j is None
    assert found.record.energy.reason == "no phase was opened that counts as training"
    assert found.record.verdict == "WARN"


def test_nothing_can_be_said_outside_the_block(tmp_path):
    found = monitor(tmp_path / "run")
    with pytest.raises(UserError, match="inside"), found.phase("early"):
        pass
    with found:
        pass
    for late in (lambda: found.mark("x"), lambda: found.metric("x", 1.0), lambda: found.phase("x").__enter__()):
        with pytest.raises(UserError, match="inside"):
            late()
    with pytest.raises(UserError, match="holds a run already; choose another out folder"):
        monitor(tmp_path / "run").__enter__()


@pytest.mark.parametrize(
    "options, kind, words",
    [
        ({"meter": "sm"}, ConfigError, "did you mean 'sim'"),
        ({"meter": []}, ConfigError, "meters is empty"),
        ({"meter": ["sim", "sim"]}, ConfigError, "named twice"),
        ({"rate_hz": 0}, ConfigError, "rate_hz"),
        ({"max_gap_s": float("nan")}, ConfigError, "max_gap_s"),
        ({"board": "tx3"}, ConfigError, "did you mean 'tx2'"),
        ({"out": "/proc/nowhere"}, DiskError, "choose another"),
        ({"meter": "replay:nowhere"}, UserError, "nowhere"),
    ],
)
def test_a_fault_is_said_before_anything_is_measured(tmp_path, options, kind, words):
    with pytest.raises(kind, match=words) as caught:
        ebbench.EnergyMonitor(**{"meter": "sim", "out": tmp_path / "run", **options}).__enter__()
    assert "\n" not in str(caught.value)
    assert not RunDir(tmp_path / "run").is_sealed


def test_nothing_is_simulated_unasked(tmp_path, monkeypatch):
    monkeypatch.setenv("EBBENCH_SYSFS_ROOT", str(tmp_path))
    monkeypatch.setattr("ebbench.plugins.AUTO_ORDER", ("ina3221",))  # wherever this runs, nothing is there
    with pytest.raises(MeterError, match="no meter found"):
        ebbench.EnergyMonitor(out=tmp_path / "run").__enter__()


def test_a_manifest_that_cannot_be_written_leaves_no_sampler_behind(tmp_path, monkeypatch):
    import ebbench.measuring.monitor as module

    written = []

    def full(path, document):
        written.append(path)
        if len(written) == 2:
            raise DiskError("full")
        path.write_text(json.dumps(document))

    monkeypatch.setattr(module, "write_json", full)
    with pytest.raises(DiskError, match="full"):
        monitor(tmp_path / "run").__enter__()
    assert sampler_pids() == []


def test_a_full_disk_at_the_end_says_how_to_make_the_record(tmp_path, monkeypatch):
    import ebbench.measuring.monitor as module

    def full(rundir):
        raise DiskError("cannot write record.json: No space left on device; make room")

    monkeypatch.setattr(module, "seal", full)
    with pytest.raises(DiskError, match=r"make room; then `ebbench integrate .*run` makes the record"), monitor(
        tmp_path / "run"
    ) as found, found.phase("train"):
        time.sleep(0.02)
    assert sampler_pids() == []
