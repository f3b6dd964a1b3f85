from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from executable import write_executable

from ebbench.clock import monotonic_ns
from ebbench.errors import MeterError
from ebbench_devices.lines.spoken import SpokenLines


@pytest.fixture
def program(tmp_path):
    """A shell script, running."""
    running = []

    def start(script, patience_s=30.0):
        path = tmp_path / "speaker"
        write_executable(path, "#!/bin/sh\n" + script)
        running.append(SpokenLines([str(path), "an argument"], patience_s))
        return running[-1]

    yield start
    for one in running:
        one.close()


def lines_of(program, count):
    found = []
    while len(found) < count:
        assert program.news.wait(20)
        found += program.take()
    return found


def gone(pid):
    """Whether a process has ended, or is only still to be waited for."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(claim):
    deadline_s = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_every_line_has_the_time_of_its_arrival(program):
    before_ns = monotonic_ns()
    found = lines_of(program('echo "one $1"\necho two >&2\necho\nprintf "no end"\n'), 3)
    assert [line.text for line in found] == ["one an argument", "two", "no end"]
    times_ns = [line.time_ns for line in found]
    assert times_ns == sorted(times_ns) and before_ns < times_ns[0] and times_ns[-1] < monotonic_ns()


def test_what_a_program_said_last_comes_before_its_end_and_is_in_the_reason(program):
    speaker = program("echo permission denied\nexit 3\n")
    assert [line.text for line in lines_of(speaker, 1)] == ["permission denied"]
    with pytest.raises(MeterError, match=r"speaker ended \(exit code 3\) after 'permission denied'"):
        while True:
            speaker.news.wait(20)
            speaker.take()


def test_a_program_that_says_nothing_hangs(program):
    speaker = program("exec sleep 60\n", patience_s=0.0)
    with pytest.raises(MeterError, match="said nothing for 0 s"):
        speaker.take()


def test_bytes_that_are_no_text_are_a_line_all_the_same(program):
    assert lines_of(program(r"printf '\377\000VDD\n'" + "\n"), 1)[0].text.endswith("VDD")


def test_what_is_no_program_is_one_line(tmp_path):
    (tmp_path / "data").write_bytes(b"\x01\x02")
    (tmp_path / "data").chmod(0o755)
    speaker = SpokenLines([str(tmp_path / "data")], 30.0)
    assert "cannot be started: Exec format error" in lines_of(speaker, 1)[0].text
    speaker.close()


def test_closing_ends_the_program_and_what_it_started(program):
    speaker = program("sleep 60 &\necho $$ $!\nwait\n")
    pids = [int(pid) for pid in lines_of(speaker, 1)[0].text.split()]
    speaker.close()
    assert gone(pids[0])
    wait_until(lambda: gone(pids[1]))


def test_a_program_that_hangs_dies_with_us_even_by_kill_9(tmp_path):
    script = tmp_path / "speaker"
    write_executable(script, "#!/bin/sh\necho $$\nexec sleep 60\n")
    code = (
        "import sys, time; from ebbench_devices.lines.spoken import SpokenLines\n"
        "lines = SpokenLines([sys.argv[1]], 30.0); lines.news.wait(20)\n"
        "print(lines.take()[0].text, flush=True); time.sleep(60)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen([sys.executable, "-c", code, str(script)], stdout=subprocess.PIPE, env=env) as parent:
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: gone(pid))
