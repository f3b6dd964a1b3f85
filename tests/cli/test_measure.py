"""`ebbench measure` and `ebbench mark` as they are typed: real commands, real signals, exit codes passed on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EBBENCH = [sys.executable, "-m", "ebbench"]
MARK = " ".join([*EBBENCH, "mark"])


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}


def as_at_a_terminal():
    """A job in the background has SIGINT ignored, one under nohup SIGHUP; both are inherited."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start(folder, *arguments):
    return subprocess.Popen(
        [*EBBENCH, "measure", "--meter", "sim", "--out", "run", *arguments],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=as_at_a_terminal,
    )  # fmt: skip


def measure(folder, *arguments):
    """(exit code, stdout, stderr) of ``ebbench measure --meter sim --out run ARGUMENTS``."""
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def record(folder):
    return json.loads((folder / "run" / "record.json").read_text())


@pytest.mark.parametrize(
    "command, code, verdict, how",
    [
        ("exit 0", 0, "PASS", ""),
        ("exit 7", 7, "WARN", "exit code 7"),
        ("kill -9 $$", 137, "WARN", "signal 9 (Killed)"),
    ],
)
def test_the_exit_code_is_the_commands_and_one_that_failed_is_no_pass(tmp_path, command, code, verdict, how):
    assert measure(tmp_path, "--", "sh", "-c", command)[0] == code
    assert record(tmp_path)["status"] == "success"
    (ended,) = [
        line for line in (tmp_path / "run" / "phases.jsonl").read_text().splitlines() if "command-ended" in line
    ]
    assert json.loads(ended)["values"] == {"exit_code": code if code < 128 else 128 - code}
    (check,) = [c for c in record(tmp_path)["checks"] if c["name"] == "exit code of the command"]
    assert (check["verdict"], check["value"], check["limit"]) == (verdict, code, 0) and how in check["advice"]


def test_what_an_interval_leaves_out_is_said_beside_it(tmp_path):
    (tmp_path / "wall.csv").write_text("time_s,AC_w\n" + "".join(f"{n / 50},20\n" for n in range(100)))
    _, out, err = measure(tmp_path, "--meter", "replay:wall.csv?scope=wall&loop=1&reference=1", "--", "sleep", "0.3")
    assert "The interval leaves out what is not known of the meter: gain, offset, resolution" in out + err
    _, out, err = measure(tmp_path, "--out", "known", "--", "sleep", "0.3")
    assert "leaves out" not in out + err


def test_what_the_total_leaves_out_is_said_below_it(tmp_path):
    _, _, err = measure(tmp_path, "--", "sh", "-c", f"{MARK} begin idle; sleep 0.2; {MARK} end idle")
    said = re.search(r"^left out of the total: idle \(([0-9.]+) (m?)J\)$", err, re.MULTILINE)
    left_out_j = float(said.group(1)) * (1e-3 if said.group(2) else 1)
    assert left_out_j == pytest.approx(record(tmp_path)["energy"]["by_phase"]["command/idle"]["energy_j"], rel=1e-3)
    _, _, err = measure(tmp_path, "--out", "whole", "--", "sleep", "0.1")
    assert "left out" not in err


@pytest.mark.parametrize("more, closed, heard", [((), "stderr", "stdout"), (("--json",), "stdout", "stderr")])
def test_the_exit_code_is_the_commands_although_nobody_reads_what_we_print(tmp_path, more, closed, heard):
    process = start(tmp_path, *more, "--", "sh", "-c", "sleep 0.1; exit 7")
    getattr(process, closed).close()
    assert getattr(process, heard).read() == ""
    assert process.wait(timeout=60) == 7
    getattr(process, heard).close()


@pytest.mark.parametrize("more", [(), ("--json",)])
@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_what_the_command_prints_on_a_closed_stream_is_in_no_file_of_the_run(tmp_path, more, closed):
    command = [
        *EBBENCH,
        "measure",
        "--meter",
        "sim",
        "--out",
        "run",
        *more,
        "--",
        "sh",
        "-c",
        "echo said; echo said >&2",
    ]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command], cwd=tmp_path, env=environment(), timeout=60,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0 and record(tmp_path)["status"] == "success"
    assert [path.name for path in (tmp_path / "run").iterdir() if b"said" in path.read_bytes()] == []


def test_what_the_command_prints_is_alone_on_stdout(tmp_path):
    code, out, err = measure(tmp_path, "--", "sh", "-c", "echo said; echo complained >&2")
    assert (code, out) == (0, "said\n")
    complained, *table = err.splitlines()
    assert complained == "complained" and table[0].split() == [
        "phase",
        "energy",
        "(k",
        "=",
        "2)",
        "duration",
        "count",
        "status",
    ]
    assert any(line.startswith("total ") and "simulated" in line for line in table)


def test_json_is_all_that_stands_on_stdout(tmp_path):
    _, out, err = measure(tmp_path, "--json", "--", "sh", "-c", "echo said; echo complained >&2")
    assert json.loads(out) == record(tmp_path)
    assert err.splitlines() == ["said", "complained"]


@pytest.mark.parametrize("program", ["./no-such", "no-such", "./data"])
def test_a_command_that_cannot_run_costs_no_run_folder(tmp_path, program):
    (tmp_path / "data").write_text("not a program")
    code, out, err = measure(tmp_path, "--", program)
    assert (code, out) == (2, "")
    why = "a file, but not one that may be executed; chmod +x it, or name what runs it (sh FILE)"
    why = why if program == "./data" else "no such program; check its name, and the folder of a file (./FILE)"
    assert err == f"ebbench: cannot run {program!r}: {why}\n"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "number, to_all, code", [(signal.SIGTERM, False, 143), (signal.SIGINT, True, 130), (signal.SIGHUP, False, 129)]
)
def test_a_signal_ends_the_command_and_what_was_measured_is_kept(tmp_path, number, to_all, code):
    """Ctrl-C goes to all processes at the terminal, a kill to us alone; either way no command is left running."""
    process = start(tmp_path, "--", "sh", "-c", "echo $$ > pid; exec sleep 60")
    pid = int(wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()))
    (os.killpg if to_all else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert record(tmp_path)["energy"]["by_phase"]["command"]["energy_j"] > 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def wait_for(condition):
    deadline_s = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it never came to be"
        time.sleep(0.02)
    return found


def test_marks_make_phases_inside_the_command(tmp_path):
    script = f"{MARK} begin load; {MARK} begin load/part; {MARK} end load/part; {MARK} end load; {MARK} begin open"
    assert measure(tmp_path, "--", "sh", "-c", script)[0] == 0
    by_phase = record(tmp_path)["energy"]["by_phase"]
    assert list(by_phase) == ["command", "command/load", "command/load/part", "command/open"]


def test_marks_at_the_same_time_do_not_disturb_each_other(tmp_path):
    script = f"for i in 1 2 3; do ({MARK} begin w$i; {MARK} end w$i) & done; wait"
    assert measure(tmp_path, "--", "sh", "-c", script)[0] == 0
    assert sorted(record(tmp_path)["energy"]["by_phase"]) == ["command", *(f"command/w{i}" for i in (1, 2, 3))]
    assert not any(phase["interrupted"] for phase in record(tmp_path)["energy"]["phases"])


def test_a_mark_that_does_not_fit_is_one_line(tmp_path):
    script = f"{MARK} end never; {MARK} begin ''; {MARK} begin 'two\nlines'; {MARK} begin a//b"
    code, _, err = measure(tmp_path, "--", "sh", "-c", script)
    assert code == 2
    said = err[: err.index("phase  ")].splitlines()  # until the table
    assert len(said) == 4 and all(line.startswith("ebbench: phase ") for line in said), err


def test_a_mark_after_the_end_changes_nothing(tmp_path):
    measure(tmp_path, "--", "true")
    before = (tmp_path / "run" / "phases.jsonl").read_bytes()
    late = subprocess.run(
        [*EBBENCH, "mark", "begin", "late"],
        env={**environment(), "EBBENCH_RUN": str(tmp_path / "run")},
        capture_output=True,
        text=True,
    )
    assert late.returncode == 2 and "has ended" in late.stderr
    assert (tmp_path / "run" / "phases.jsonl").read_bytes() == before


@pytest.fixture
def small_disk(tmp_path):
    """A folder that holds 2 MB and no more."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True
        ).returncode
    ):
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.realtime
def test_a_disk_that_fills_up_is_one_line_and_what_was_measured_is_kept(small_disk):
    fill = "sleep 1; dd if=/dev/zero of=big bs=4k 2>/dev/null; sleep 1.5"
    code, _, err = measure(small_disk, "--rate", "1000", "--", "sh", "-c", fill)
    assert code == 3
    last = err.splitlines()[-1]
    assert "No space left" in last and last.endswith("then `ebbench integrate run` makes the record"), err
    (small_disk / "big").unlink()
    again = subprocess.run(
        [*EBBENCH, "integrate", "run", "--json"], cwd=small_disk, env=environment(), capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["energy"]["total_j"] > 0
    with contextlib.suppress(FileNotFoundError):
        assert Path(small_disk / "run" / "record.json").stat().st_size > 0
