"""On the board: one run, started so that no connection is needed for it, and what can be told of it later.

A job is a folder ``OUT/NAME``: the experiment (``job.toml``), what it may share with other jobs (``lending.json``), what the run
says (``log.txt``), how it ended (``exit.json``) and its run folder below ``runs``. The run itself is a plain ``ebbench run``;
beside it stands this module's `main`, which waits for its end. Both hold the lock ``OUT/.lock``, so that there is never a second
run as long as either lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, Dict, List, Mapping, Optional

from ebbench.errors import DeviceError, DiskError, UserError
from ebbench.process import search_path
from ebbench.rundir import LOCK, LOG, RunDir, write_bytes, write_json
from ebbench.unbegun import forget, has_begun

#: what a job can be: not known, going, ended (with an exit code), or gone without a word (a power cut, kill -9)
NONE, RUNNING, ENDED, DIED = "none", "running", "ended", "died"
#: how long a job may take to be there; a Nano loads Python from its card
START_S, LOOK_S = 60.0, 0.05
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")


class Job:
    """One job's folder."""

    def __init__(self, out: Path, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise UserError(f"job {name!r}: a name is letters, digits, dots and dashes")
        self.out, self.name = out.absolute(), name
        self.path = self.out / name

    experiment = property(lambda self: self.path / "job.toml")
    lending = property(lambda self: self.path / "lending.json")
    log = property(lambda self: self.path / "log.txt")
    printed = property(lambda self: self.path / "printed.txt")
    exit = property(lambda self: self.path / "exit.json")
    runs = property(lambda self: self.path / "runs")

    @property
    def rundir(self) -> Optional[Path]:
        """Where the run's files are; None before it has made any."""
        return next((path.parent for path in self.runs.glob("*/manifest.json")), None)

    def state(self) -> Dict[str, Any]:
        """``{"state", "exit_code", "pid"}``. Raises UserError while another job is going."""
        going = running(self.out)
        if going is not None and going.get("job") == self.name:
            return {"state": RUNNING, "exit_code": None, "pid": going.get("pid")}
        code = _exit_code(self.exit)
        is_ending = going is not None and "job" not in going and code is not None  # it just lets go of the lock
        if going is not None and not is_ending:
            raise UserError(
                f"another run is going there ({going.get('job', 'being started')}, process {going.get('pid')}); wait for its end, "
                "or reattach to it where it was started from, with --resume"
            )
        state = ENDED if code is not None else DIED if self.experiment.exists() else NONE
        return {"state": state, "exit_code": code, "pid": None}

    def start(self, experiment: str, again: bool, lending: Mapping[str, Any]) -> Dict[str, Any]:
        """Start the run unless it is going; one that has ended or died is begun `again` only if so told. The state after that.

        `lending` is what the laptop offers (`ebbench.remote.lending.offer`); a lender is another job here.
        """
        now = self.state()
        if now["state"] == RUNNING or (now["state"] != NONE and not again):
            return now
        with _disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        write_bytes(self.experiment, experiment.encode())
        lenders = [Job(self.out, each["job"]).rundir for each in lending["offers"]]
        offers = [
            {**each, "lender": None if lender is None else str(lender)}
            for each, lender in zip(lending["offers"], lenders)
        ]
        write_json(self.lending, {**lending, "offers": offers})
        process = subprocess.Popen(
            [*_python("from ebbench.remote.job import main; sys.exit(main(sys.argv[1:]))"), str(self.out), self.name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # neither the end of the connection nor a key at a terminal reaches it
        )
        return self._started(process)

    def forget(self) -> bool:
        """Remove a job that ended before the first phase of its run; whether there is nothing of it left to go on with."""
        if not self.path.exists():
            return True
        if self.state()["state"] == RUNNING or any(has_begun(RunDir(path)) for path in self.runs.glob("*")):
            return False
        for path in self.runs.glob("*"):
            forget(RunDir(path), path / LOG)
        for file in (self.experiment, self.lending, self.log, self.printed, self.exit):
            file.unlink(missing_ok=True)
        for folder in (self.runs, self.path):
            with contextlib.suppress(OSError):  # it was never made, or holds a file of somebody else's
                folder.rmdir()
        return True

    def _started(self, process: subprocess.Popen[bytes]) -> Dict[str, Any]:
        """The state once the job is there, or has ended already."""
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s:
            is_over = process.poll() is not None  # before looking: what it says last it says before it ends
            with (
                contextlib.nullcontext() if is_over else contextlib.suppress(UserError)
            ):  # the lock is just being taken
                now = self.state()
                if now["state"] == RUNNING or is_over:
                    return now
            time.sleep(LOOK_S)
        raise DeviceError(f"the run did not start within {START_S:g} s; is the machine overloaded?")


def _python(code: str) -> List[str]:
    """A command that runs `code` with our modules: what lies in the login folder (a checkout, say) must not shadow them."""
    boot = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    return [sys.executable, "-I", "-c", boot + code, json.dumps(search_path())]


def running(out: Path) -> Optional[Dict[str, Any]]:
    """``{"job", "pid"}`` of the job that is going below `out`, empty where it is just being started; None where none is."""
    if not (out / LOCK).exists():
        return None
    with open(out / LOCK, encoding="utf-8") as handle:
        if _locked(handle, fcntl.LOCK_SH):
            return None
        try:
            found: Dict[str, Any] = json.loads(handle.read())
        except ValueError:
            return {}
        return found


def _locked(handle: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _exit_code(path: Path) -> Optional[int]:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["exit_code"])
    except (OSError, ValueError, KeyError):
        return None


@contextlib.contextmanager
def _disk_errors(path: Path) -> Any:
    try:
        yield
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror}; choose another folder with --on-out") from error


def main(arguments: List[str]) -> int:
    """Take the lock, run the job to its end, and write down how it ended; nothing where another job holds the lock."""
    job = Job(Path(arguments[0]), arguments[1])
    with open(job.out / LOCK, "a+", encoding="utf-8") as lock:
        tries = 0
        while not _locked(lock, fcntl.LOCK_EX):  # also where somebody just looks whether it is held
            tries += 1
            if tries > 40:
                return 1
            time.sleep(LOOK_S)
        lock.truncate(0)
        lock.write(json.dumps({"job": job.name, "pid": os.getpid()}))
        lock.flush()
        job.exit.unlink(missing_ok=True)
        write_json(job.exit, {"exit_code": _run(job, lock)})
        lock.truncate(0)
    return 0


def _run(job: Job, lock: IO[str]) -> int:
    """The run as a child that holds the lock too, and its exit code; what would end us ends it, and we say how it ended."""
    with open(job.log, "ab") as log, open(job.printed, "ab") as printed:
        process = subprocess.Popen(
            [
                *_python("from ebbench.__main__ import main; main()"),
                *("run", str(job.experiment), "--out", str(job.runs), "--resume", "--lending", str(job.lending)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=log,
            pass_fds=[lock.fileno()],
        )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: process.send_signal(number))
    return process.wait()
