"""The energy of any program: `measure` around it, and `mark_edge` from inside it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from typing import Any, Iterator, List, Optional, Sequence

from ebbench.energy.phases import PhaseLog
from ebbench.errors import UserError
from ebbench.monitor import EnergyMonitor
from ebbench.rundir import RunDir

#: tells `ebbench mark` inside a measured program where the phases are logged
RUN_VARIABLE = "EBBENCH_RUN"


def measure(command: Sequence[str], monitor: EnergyMonitor, stdout: Optional[int] = None) -> int:
    """Run `command` inside `monitor`, as its phase ``command``, and return its exit code (128 + n for signal n).

    Phases that the command opens with ``ebbench mark`` are children of ``command``. Whatever ends the command, we wait for it, so
    that nothing measured is lost. `stdout` is the file descriptor to which it prints (None: ours).
    """
    if shutil.which(command[0]) is None:
        raise UserError(f"cannot run {command[0]!r}: no such program; check its name, and that it may be executed")
    with monitor:
        environment = {**os.environ, RUN_VARIABLE: str(monitor.rundir.path.resolve())}
        with monitor.phase("command"), _signals_passed_on() as children:
            try:
                process = subprocess.Popen(command, env=environment, stdout=stdout)
            except OSError as error:
                raise UserError(f"cannot run {command[0]!r}: {error.strerror}") from error
            children.append(process)
            code = process.wait()
        monitor.mark("command-ended", exit_code=code)
    return 128 - code if code < 0 else code


@contextlib.contextmanager
def _signals_passed_on() -> Iterator[List[Any]]:
    """Let what would end us end the processes in the list that is given, and not us.

    Ctrl-C reaches them without our help: they share our terminal. What is ignored already (nohup) stays ignored.
    """
    children: List[Any] = []

    def pass_on(number: int, frame: Any) -> None:
        if not children:
            raise KeyboardInterrupt
        if number != signal.SIGINT:
            children[0].send_signal(number)

    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield children
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def mark_edge(action: str, name: str) -> None:
    """Begin or end the phase ``command/<name>`` of the measurement around this process (``ebbench mark``)."""
    folder = os.environ.get(RUN_VARIABLE)
    if not folder or not RunDir(folder).phases.exists():
        raise UserError(
            "ebbench mark works inside `ebbench measure -- COMMAND` only; there is no measurement around it"
        )
    rundir = RunDir(folder)
    if rundir.is_sealed:
        raise UserError(f"the measurement in {folder} has ended; a phase of it can neither begin nor end any more")
    with open(rundir.path / ".mark", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two ends at once must not end the same phase
        with contextlib.closing(PhaseLog(rundir.phases)) as log:
            path = f"command/{name}"
            if action == "begin":
                log.begin(path)
            else:
                log.end(log.adopt(path))
