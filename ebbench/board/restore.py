"""What is to be put back on the board, on the disk from before anything is changed until all is back.

``$XDG_STATE_HOME/ebbench/board-restore.json`` (else below ~/.local/state) holds control, before, asked, boot_id, wall_ns and run.
Whoever changes the board holds a lock beside it (a flock: it dies with its holder). A file without a holder was left behind: the
power failed, or everything was killed at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import time
from pathlib import Path
from typing import IO, Any, Dict, Iterator, Mapping, Optional

from ebbench.clock import boot_id
from ebbench.errors import DeviceError, DiskError, UserError
from ebbench.rundir import read_json, write_json

#: a guardian that is putting things back is waited for this long
PATIENCE_S = 20.0


def folder() -> Path:
    """Where the file and the lock are."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(home) / "ebbench"


def file() -> Path:
    """The file itself."""
    return folder() / "board-restore.json"


@contextlib.contextmanager
def held(patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the lock: nobody else changes the board. Raises UserError where somebody does for longer than `patience_s`."""
    try:
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = open(folder() / "board.lock", "a+")  # noqa: SIM115 - it is held below
    except OSError as error:
        raise DiskError(
            f"cannot write in {folder()}: {error.strerror}; set XDG_STATE_HOME to a folder of yours"
        ) from error
    with lock:
        _take(lock, patience_s)
        yield


def _take(lock: IO[str], patience_s: float) -> None:
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() >= deadline_s:
                raise UserError("another run has changed this board and is going on; wait until it has ended") from None
            time.sleep(0.1)


def write(control: str, before: Mapping[str, Any], asked: Mapping[str, Any], run: str) -> None:
    """Keep what is to be put back; on the disk when this returns."""
    kept = {"control": control, "before": dict(before), "asked": dict(asked)}
    write_json(file(), {**kept, "boot_id": boot_id(), "wall_ns": time.time_ns(), "run": run})


def put_back(control: Any) -> Dict[str, Any]:
    """Have `control` restore what the file says, and remove the file; the lock is held. Raises DeviceError where it is not back."""
    kept = read_json(file())
    after = control.restore(kept["before"], kept["boot_id"] == boot_id())
    file().unlink()
    return dict(after)


def left_behind() -> Optional[Dict[str, Any]]:
    """What a run that was cut off did not put back; None where there is nothing, or its guardian is alive."""
    try:
        if not file().exists():
            return None
        with held(0.0):
            return read_json(file()) if file().exists() else None
    except (OSError, UserError, DiskError):  # its guardian is alive, or we may not look
        return None


def sentence(kept: Mapping[str, Any]) -> str:
    """What was left behind and what to do, in one line."""
    asked = kept["asked"]
    what = [f"power mode {asked['power_mode']}"] if asked.get("power_mode") else []
    what += ["locked clocks"] if asked.get("lock_clocks") else []
    return (
        f"this board was changed ({', '.join(what)}) for {kept['run']}, which was cut off, and not put back; "
        "put it back with: ebbench boards --restore"
    )


def restore_now(factories: Mapping[str, str]) -> Optional[Dict[str, Any]]:
    """Put back what was left behind and say what is there now; None where there was nothing. `factories` as registered."""
    with held():
        if not file().exists():
            return None
        kept = read_json(file())
        if kept["control"] not in factories:
            raise DeviceError(f"{file()} needs the control {kept['control']!r}, which is not installed here")
        return put_back(made(factories[kept["control"]], None))


def made(factory: str, device_uuid: Optional[str]) -> Any:
    """The `BoardControl` at ``package.module:Class``."""
    module, _, name = factory.partition(":")
    return getattr(importlib.import_module(module), name)(device_uuid)
