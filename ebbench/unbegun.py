"""A run folder in which nothing was measured: a start that was refused or failed before the first phase leaves none behind."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Iterator

from ebbench.energy.phases import read_events
from ebbench.errors import EbbenchError, InputError
from ebbench.rundir import LOCK, RunDir


def has_begun(rundir: RunDir) -> bool:
    """Whether a phase was ever open in this folder; one whose log cannot be read counts as begun."""
    try:
        return any(event["event"] == "begin" for event in read_events(rundir.phases))
    except InputError:
        return True


def clear(rundir: RunDir) -> None:
    """Remove what starts without a phase left in a folder whose lock is held; a run that has begun is not touched."""
    if not has_begun(rundir):
        for path in (rundir.manifest, rundir.offered, rundir.taken, rundir.phases, rundir.board, *rundir.traces()):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def forgotten_unless_begun(rundir: RunDir, *more: Path) -> Iterator[None]:
    """Around a start: where user, bench or Ctrl-C end it before the first phase, `rundir` is as if it had not been.

    `more`: other files of the start's own. The folder stays where anything else is in it.
    """
    try:
        yield
    except (EbbenchError, KeyboardInterrupt):
        forget(rundir, *more)
        raise


def forget(rundir: RunDir, *more: Path) -> None:
    """Remove a folder whose run has not begun, with what its start left there (`more` too); one that has begun is not touched."""
    with contextlib.suppress(OSError):  # what cannot be removed does no harm: the next start clears it
        if not has_begun(rundir):
            clear(rundir)
            for path in (*more, rundir.path / LOCK):
                path.unlink(missing_ok=True)
            rundir.path.rmdir()
