"""The command line where people and programs really run it: narrow terminals, pipes, old encodings, hostile folders."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from conductor import only_run, record, write_experiment

from ebbench.cli.hangup import Outliving

EBBENCH = [sys.executable, "-c", "from ebbench.__main__ import main; main()"]


def call(*arguments, cwd=None, **environment):
    """Run ``ebbench`` as a process of its own, with its output in a pipe: (exit code, stdout bytes, stderr)."""
    done = subprocess.run(
        [*EBBENCH, *arguments], cwd=cwd, env=surroundings(**environment), capture_output=True, timeout=120
    )
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def surroundings(**more):
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1", **more}


def test_the_help_of_no_command_is_cut_short():
    code, out, _ = call("--help", COLUMNS="72")
    commands = out.decode().partition("Commands:")[2]
    assert code == 0 and len(commands.splitlines()) > 12
    assert "..." not in commands


def test_a_table_in_a_pipe_is_one_line_per_row():
    _, out, _ = call("boards", COLUMNS="40")
    assert any("agx-xavier" in line and line.rstrip().endswith("SYS5V") for line in out.decode().splitlines())


def test_a_reader_that_goes_away_is_no_failure():
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([*EBBENCH, "boards"], env=surroundings(), stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("encoding, interval", [("utf-8", "±"), ("latin-1", "±"), ("ascii", "+-")])
def test_every_encoding_gets_signs_that_it_has(tmp_path, encoding, interval):
    (tmp_path / "trace.csv").write_text("time_s,rail_w\n0,1\n1,1\n2,1\n")
    (tmp_path / "phases.csv").write_text("phase,start_s,end_s\nentraînement,0,2\n", encoding="utf-8")
    arguments = ("integrate", "--trace", "trace.csv", "--phases", "phases.csv")
    code, out, err = call(*arguments, cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert code == 0, err
    assert f" {interval} " in out.decode(encoding)


def test_no_color_is_kept_to():
    _, out, _ = call("boards", NO_COLOR="1", TERM="xterm-256color")
    assert b"\x1b" not in out


def test_the_doctor_does_not_take_the_folders_torch_for_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise RuntimeError('not the library')")
    _, out, _ = call("doctor", cwd=tmp_path)
    assert "cannot be imported" not in out.decode()


@pytest.mark.parametrize("when", ["ebbench.cli", "click", "ebbench.errors"])
def test_ctrl_c_while_it_loads_is_one_line(when):
    """The import of that module is interrupted, as a key press would."""
    hook = f"""
import sys
def interrupt(event, arguments):
    if event == "import" and arguments[0] == {when!r}:
        raise KeyboardInterrupt
sys.addaudithook(interrupt)
from ebbench.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", hook, "boards"], env=surroundings(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "ebbench: interrupted\n")


@pytest.mark.parametrize("again", ["SIGINT", "SIGTERM"])
def test_ctrl_c_again_while_it_leaves_changes_nothing(again):
    code = f"""
import atexit, os, signal, sys
atexit.register(lambda: os.kill(os.getpid(), signal.{again}))
def interrupt(event, arguments):
    if event == "import" and arguments[0] == "ebbench.plugins":
        raise KeyboardInterrupt
from ebbench.__main__ import main
sys.addaudithook(interrupt)
main()
"""
    done = subprocess.run([sys.executable, "-c", code, "boards"], env=surroundings(), capture_output=True, text=True)
    assert done.returncode == 130
    assert [line for line in done.stderr.splitlines() if line] == [
        line for line in done.stderr.splitlines() if "interrupted;" in line
    ]


@pytest.mark.realtime
def test_sigterm_at_any_command_leaves_with_130():
    process = subprocess.Popen(
        [*EBBENCH, "meters", "sample", "sim", "--seconds", "60"],
        env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().strip():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert len(err.strip().splitlines()) == 1 and "interrupted" in err


def test_a_mark_loads_nothing_heavy():
    code = "import sys, ebbench.measuring.mark; print([n for n in ('numpy', 'pyarrow', 'torch') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], env=surroundings(), capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_the_doctor_is_strict_only_where_it_is_told_to(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text(
        "# R32 (release), REVISION: 7.6, GCID: 1\n"
    )  # a Jetson without a GPU
    codes = [call("doctor", *flag, EBBENCH_SYSFS_ROOT=str(tmp_path))[0] for flag in ((), ("--strict",))]
    assert codes == [0, 1]


class Terminal:
    """A terminal that ``ebbench`` is the leader of, and which can be closed; SIGHUP is as `hangup` says when it starts."""

    def __init__(self, *arguments, cwd, hangup=signal.SIG_DFL):
        def lead():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGHUP, hangup)

        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*EBBENCH, *map(str, arguments)],
            cwd=cwd,
            env=surroundings(TERM="xterm"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lead,
        )
        os.close(theirs)
        self.shown = b""

    def read_until(self, claim, within_s=120.0):
        deadline_s = time.monotonic() + within_s
        while not claim():
            assert time.monotonic() < deadline_s and self.process.poll() is None, self.shown
            if select.select([self.ours], [], [], 0.05)[0]:
                self.shown += os.read(self.ours, 1 << 16)

    def close(self):
        """The kernel sends SIGHUP to everyone in front of it."""
        os.close(self.ours)


@pytest.mark.realtime
@pytest.mark.parametrize("hangup", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_run_goes_on_when_its_terminal_is_closed_and_says_the_rest_in_a_file(tmp_path, hangup):
    experiment = write_experiment(tmp_path, method="dense", epochs=2, idle_s=1.0)
    terminal = Terminal("run", experiment, "--out", "runs", cwd=tmp_path, hangup=hangup)
    terminal.read_until(lambda: any('"begin"' in p.read_text() for p in tmp_path.glob("runs/*/phases.jsonl")))
    terminal.close()
    assert terminal.process.wait(120) == 0
    assert record(only_run(tmp_path / "runs"))["status"] == "success"
    said = (tmp_path / "runs-terminal.txt").read_text()
    assert f"the run goes on as process {terminal.process.pid} (kill" in said.splitlines()[0]
    assert "dense" in said and "\x1b" not in said.partition("\n")[2] and len(said) < 5000
    assert len(list((tmp_path / "runs").iterdir())) == 1  # nothing that is no run


@pytest.mark.realtime
def test_a_run_without_its_terminal_is_ended_by_kill_and_resumed(tmp_path):
    experiment = write_experiment(tmp_path, method="dense", epochs=2, idle_s=30.0)
    terminal = Terminal("run", experiment, "--out", "runs", cwd=tmp_path)
    terminal.read_until(lambda: any('"begin"' in p.read_text() for p in tmp_path.glob("runs/*/phases.jsonl")))
    terminal.close()
    said = tmp_path / "runs-terminal.txt"
    deadline_s = time.monotonic() + 60
    while not (said.exists() and "goes on" in said.read_text()):
        assert time.monotonic() < deadline_s and terminal.process.poll() is None
        time.sleep(0.02)
    terminal.process.terminate()
    assert terminal.process.wait(60) == 130
    assert "interrupted" in said.read_text().splitlines()[-1] and "--resume" in said.read_text()
    (phases,) = tmp_path.glob("runs/*/phases.jsonl")
    stop = json.loads(phases.read_text().splitlines()[-1])
    assert (stop["event"], stop["status"]) == ("stop", "aborted")


def test_what_is_written_to_a_terminal_that_has_gone_is_no_error():
    ours, theirs = pty.openpty()
    os.close(ours)
    with os.fdopen(theirs, "w", buffering=1) as stream:
        with pytest.raises(OSError, match="Input/output error"):
            stream.write("a line\n")
        outliving = Outliving(stream)
        assert outliving.write("a line\n") == 7
        outliving.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), theirs)  # so that what was never shown can be closed
