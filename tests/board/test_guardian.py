"""The board changed for a run by a real guardian, and put back whoever dies: run, guardian, or both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ebbench
from ebbench.board import restore
from ebbench.board.change import Guardian, changed
from ebbench.cli import cli
from ebbench.doctor import power_findings
from ebbench.errors import DeviceError, UserError
from ebbench.plugins import choose_control

pytestmark = pytest.mark.realtime


def wait_for(condition, patience_s=30.0):
    deadline_s = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.02)
    return found


def measuring(tmp_path, *options, command=("sleep", "1000")):
    """A real ``ebbench measure`` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ebbench",
            "measure",
            "--meter",
            "sim",
            "--out",
            str(tmp_path / "run"),
            *options,
            "--",
            *command,
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def descendants(pid):
    try:
        children = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [each for child in children for each in (child, *descendants(child))]


def guardian_of(pid):
    return next(p for p in descendants(pid) if b"guardian_main" in command(p))


def kill_all(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def running(jetson, tmp_path):
    """A measurement under way on a board that is changed for it; what is left of it is ended after the test."""
    process = measuring(tmp_path, "--power-mode", "MODE_15W", "--lock-clocks")
    log = tmp_path / "run/board.jsonl"
    wait_for(lambda: log.exists() and '"changed"' in log.read_text() and '"state"' in log.read_text())
    assert (jetson.mode, jetson.clocks) == ("1", "locked")
    everyone = descendants(process.pid)
    yield process
    for pid in (process.pid, *everyone):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.communicate()


def is_put_back(jetson):
    return (jetson.mode, jetson.clocks) == ("2", "free") and not restore.file().exists()


def test_a_measurement_changes_the_board_and_puts_it_back_and_its_record_says_all(jetson, tmp_path):
    process = measuring(tmp_path, "--power-mode", "1", "--lock-clocks", command=(str(jetson.bin / "nvpmodel"), "-q"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "MODE_15W" in out and is_put_back(jetson)
    assert "the board is changed for this run: power mode 1, clocks locked True" in err
    changed, restored = json.loads((tmp_path / "run/record.json").read_text())["board_state"]["control"]
    assert changed["asked"] == {"power_mode": "1", "lock_clocks": True}
    assert changed["before"]["power_mode"] == "2" and changed["found"]["power_mode"] == "1"
    assert restored["after"] == {"power_mode": "2", "clocks_locked": False} and restored["error"] is None


def test_kill_9_of_the_run_is_put_back_by_its_guardian(jetson, running):
    kill_all(running.pid)
    wait_for(lambda: is_put_back(jetson))
    assert restore.left_behind() is None


def test_a_run_that_is_ended_by_a_signal_puts_it_back_before_it_ends(jetson, running):
    os.kill(running.pid, signal.SIGTERM)  # passed on to the command, which ends
    running.wait(timeout=60)
    assert is_put_back(jetson)


def test_a_forked_worker_that_outlives_the_run_does_not_hold_its_guardian(jetson, tmp_path):
    """It holds the run's end of the pipe open."""
    (tmp_path / "run").mkdir()
    run = subprocess.Popen([sys.executable, "-c", FORKING, str(tmp_path / "run/board.jsonl")], stdout=subprocess.PIPE)
    worker = int(run.stdout.readline())
    assert jetson.mode == "0"
    run.kill()
    run.wait()
    wait_for(lambda: is_put_back(jetson))
    kill_all(worker)
    run.stdout.close()


FORKING = """
import os, signal, sys
from ebbench.board.change import Guardian
from ebbench.plugins import choose_control
with Guardian(choose_control("0", False, None), sys.argv[1]):
    worker = os.fork()
    if worker:
        print(worker, flush=True)
    signal.pause()
"""


def command(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_kill_9_of_the_guardian_is_put_back_by_the_run(jetson, running):
    kill_all(guardian_of(running.pid))
    os.kill(running.pid, signal.SIGTERM)
    running.wait(timeout=60)
    assert is_put_back(jetson)


def test_after_a_power_cut_the_next_start_says_so_and_offers_to_put_it_back(jetson, running, tmp_path, capfd):
    kill_all(guardian_of(running.pid), running.pid)  # the guardian first: both are gone before it could do anything
    wait_for(lambda: restore.left_behind())
    assert (jetson.mode, jetson.clocks) == ("1", "locked")
    again = measuring(tmp_path / "again", command=("true",))
    assert "ebbench boards --restore" in again.communicate(timeout=60)[1] and again.returncode == 0
    again = measuring(tmp_path / "third", "--power-mode", "0", command=("true",))
    assert "was cut off, and not put back" in again.communicate(timeout=60)[1] and again.returncode == 2
    assert [f["advice"] for f in power_findings() if f["name"] == "board changed"] == ["ebbench boards --restore"]
    cli(["boards", "--restore"], standalone_mode=False)
    assert "put back: power mode 2" in capfd.readouterr().out and is_put_back(jetson)
    cli(["boards", "--restore"], standalone_mode=False)
    assert "nothing to put back" in capfd.readouterr().out


def test_two_runs_cannot_change_the_board_at_once(jetson, running):
    with pytest.raises(UserError, match="another run has changed this board"), restore.held(0.0):
        pass
    assert restore.left_behind() is None  # its guardian is alive: nothing is left behind


def guarded(jetson, tmp_path, said, **asked):
    (tmp_path / "run").mkdir(exist_ok=True)
    change = choose_control(asked.get("power_mode"), asked.get("lock_clocks", False), None)
    return changed(change, tmp_path / "run/board.jsonl", said.append)


def test_what_fails_half_way_is_put_back_before_anything_is_measured(jetson, tmp_path):
    jetson.break_("clocks_broken")
    around = guarded(jetson, tmp_path, [], power_mode="1", lock_clocks=True)
    with pytest.raises(DeviceError, match=r"jetson_clocks failed .*cannot lock"), around:
        raise AssertionError("never entered")
    assert is_put_back(jetson)


def test_a_reboot_that_would_be_needed_is_said_and_nothing_is_measured(jetson, tmp_path):
    process = measuring(tmp_path, "--power-mode", "MODE_50W", command=("true",))
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 3 and "without a reboot" in err and len(err.splitlines()) == 1
    assert is_put_back(jetson) and not (tmp_path / "run/record.json").exists()


def test_a_block_that_raises_is_put_back_too(jetson, tmp_path):
    with pytest.raises(ZeroDivisionError), guarded(jetson, tmp_path, [], power_mode="0"):
        assert jetson.mode == "0"
        1 / 0  # noqa: B018
    assert is_put_back(jetson)


def test_what_cannot_be_put_back_is_said_and_kept_for_later(jetson, tmp_path):
    said = []
    with guarded(jetson, tmp_path, said, power_mode="0"):
        jetson.break_("broken")
    assert "could not be put back: nvpmodel -m 2 left the board in mode 0" in said[-1]
    assert restore.left_behind()["before"]["power_mode"] == "2"
    jetson.mend("broken")
    with guarded(jetson, tmp_path, said):
        assert "ebbench boards --restore" in said[-1]
    assert jetson.mode == "0"  # nobody asked for it


def test_a_monitor_changes_the_board_for_its_block(jetson, tmp_path):
    with ebbench.EnergyMonitor(meter="sim", out=tmp_path / "run", power_mode="MAXN") as monitor, monitor.phase("train"):
        assert jetson.mode == "0"
    assert is_put_back(jetson) and len(monitor.record.board_state["control"]) == 2


def test_a_guardian_that_is_told_to_end_puts_the_board_back_first(jetson, tmp_path):
    """As on shutdown: SIGTERM to everyone."""
    (tmp_path / "run").mkdir()
    guardian = Guardian(choose_control("0", False, None), tmp_path / "run/board.jsonl")
    with guardian:
        os.kill(guardian.pid, signal.SIGTERM)
        wait_for(lambda: is_put_back(jetson))
    assert guardian.problem is None


def test_who_is_interrupted_while_the_board_is_being_changed_waits_until_it_is_back(jetson, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    guardian = Guardian(choose_control("0", True, None), tmp_path / "run/board.jsonl")
    real_answer = guardian._answer

    def interrupted():
        monkeypatch.setattr(guardian, "_answer", real_answer)
        raise KeyboardInterrupt

    monkeypatch.setattr(guardian, "_answer", interrupted)
    with pytest.raises(KeyboardInterrupt), guardian:
        raise AssertionError("never entered")
    assert is_put_back(jetson) and guardian.problem is None


def test_a_damaged_file_is_said_in_one_line(jetson):
    restore.folder().mkdir(parents=True)
    restore.file().write_text("{")
    with pytest.raises(UserError, match=r"board-restore\.json cannot be read"):
        restore.restore_now({})


def test_a_run_that_asks_for_nothing_leaves_no_traces_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    with changed(None, tmp_path / "board.jsonl", print):
        pass
    assert not (tmp_path / "home").exists()


def test_a_pc_without_programs_refuses_before_a_folder_is_made(tmp_path):
    process = measuring(tmp_path, "--power-mode", "1", command=("true",))
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 2 and "--power-mode: this machine has none of" in err
    assert not (tmp_path / "run").exists()
