"""The energy of any program."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from typing import Any, Callable, Iterator, List, Optional, Sequence

from ebbench.errors import UserError
from ebbench.measuring.mark import RUN_VARIABLE
from ebbench.measuring.monitor import EnergyMonitor
from ebbench.sealing.raw import COMMAND_ENDED


def measure(command: Sequence[str], monitor: EnergyMonitor, stdout: Optional[int] = None) -> int:
    """Run `command` inside `monitor`, as its phase ``command``, and return its exit code (128 + n for signal n).

    Phases that the command opens with ``ebbench mark`` are children of ``command``. Whatever ends the command, we wait for it, so
    that nothing measured is lost. `stdout` is the file descriptor to which it prints (None: ours).
    """
    if shutil.which(command[0]) is None:
        raise UserError(f"cannot run {command[0]!r}: {_why_not(command[0])}")
    with monitor:
        environment = {**os.environ, RUN_VARIABLE: str(monitor.rundir.path.resolve())}
        with monitor.phase("command"), _signals_passed_on() as adopt:
            try:
                process = subprocess.Popen(command, env=environment, stdout=stdout)
            except OSError as error:
                raise UserError(f"cannot run {command[0]!r}: {error.strerror}") from error
            adopt(process)
            code = process.wait()
        monitor.mark(COMMAND_ENDED, exit_code=code)
    return 128 - code if code < 0 else code


def _why_not(program: str) -> str:
    """Why a program is not found, and what to do."""
    if os.sep in program and os.path.isfile(program):
        return "a file, but not one that may be executed; chmod +x it, or name what runs it (sh FILE)"
    return "no such program; check its name, and the folder of a file (./FILE)"


@contextlib.contextmanager
def _signals_passed_on() -> Iterator[Callable[[Any], None]]:
    """Let what would end us end the process that is adopted, and not us.

    Ctrl-C reaches it without our help: it shares our terminal. What comes while it is being started is passed on once it
    is there. What is ignored already (nohup) stays ignored.
    """
    children: List[Any] = []
    early: List[int] = []

    def pass_on(number: int, frame: Any) -> None:
        if not children:
            early.append(number)
        elif number != signal.SIGINT:
            children[0].send_signal(number)

    def adopt(process: Any) -> None:
        children.append(process)
        for number in early:
            process.send_signal(number)

    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield adopt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
