"""Phases marked from inside a measured program. It runs while others are measured, and so loads next to nothing."""

from __future__ import annotations

import contextlib
import fcntl
import os

from ebbench.energy.phases import PhaseLog
from ebbench.errors import UserError
from ebbench.rundir import RunDir

#: tells `ebbench mark` inside a measured program where the phases are logged
RUN_VARIABLE = "EBBENCH_RUN"


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
