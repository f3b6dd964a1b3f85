"""What the guardian's process does: change the board, wait for the end of the run, put the board back. Whatever becomes of the run.

It holds a pipe to the run: a line on it, its end, or the parent's death is the end of the run. It has no terminal, so that a
``sudo -n`` that works for the change works for putting back, too. It answers in lines of JSON: ``changed`` or ``failed`` once,
``restored`` at the end.
"""

from __future__ import annotations

import json
import os
import select
import signal
from types import FrameType
from typing import Any, Dict, List, Mapping, Optional

from ebbench.board import restore
from ebbench.clock import monotonic_ns
from ebbench.errors import DeviceError, EbbenchError, UserError

#: the parent is looked for this often: one of its forked workers may hold the pipe open
LOOK_S = 0.5


class Guardian:
    """One change of the board, from before it to after it."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._spec = spec
        self._asked: Dict[str, Any] = {"power_mode": spec["power_mode"], "lock_clocks": spec["lock_clocks"]}
        self._parent = os.getppid()
        self._ending: List[int] = []
        signal.signal(signal.SIGTERM, self._end)  # the machine shuts down: there is time to put things back

    def guard(self) -> None:
        """All of it; the lock is held from before the first look at the board."""
        try:
            with restore.held():
                if restore.file().exists():
                    raise UserError(restore.sentence(restore.read_json(restore.file())))
                control = restore.made(self._spec["factory"], self._spec["device_uuid"])
                self._change(control)
                while not self._has_ended():
                    pass
                self._put_back(control)
        except EbbenchError as error:
            _tell({"failed": str(error), "class": type(error).__name__})
        except Exception as error:  # noqa: BLE001 - a vendor's program may do anything; the run gets one line
            _tell({"failed": f"{self._spec['control']}: {type(error).__name__}: {error}", "class": "DeviceError"})

    def _change(self, control: Any) -> None:
        before = control.store(**self._asked, folder=restore.folder())
        restore.write(self._spec["control"], before, self._asked, self._spec["run"])
        try:
            found = control.apply(**self._asked)
        except EbbenchError as error:
            try:
                restore.put_back(control)
            except EbbenchError as fault:
                raise DeviceError(
                    f"{error}; and it could not be put back: {fault}; then: ebbench boards --restore"
                ) from error
            raise
        self._log({"event": "changed", "asked": self._asked, "before": before, "found": found})
        _tell({"changed": found})

    def _put_back(self, control: Any) -> None:
        after, error = None, None
        try:
            after = restore.put_back(control)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the file stays and the next start says so
            error = str(fault) if isinstance(fault, EbbenchError) else f"{type(fault).__name__}: {fault}"
        self._log({"event": "restored", "after": after, "error": error})
        _tell({"restored": after, "error": error})

    def _has_ended(self) -> bool:
        heard, _, _ = select.select([0], [], [], LOOK_S)
        return bool(heard or self._ending) or os.getppid() != self._parent

    def _end(self, number: int, frame: Optional[FrameType]) -> None:
        self._ending.append(number)

    def _log(self, event: Mapping[str, Any]) -> None:
        """A line in the run's own log of its board."""
        try:
            with open(self._spec["log"], "a", encoding="utf-8") as log:
                log.write(json.dumps({**event, "t_ns": monotonic_ns()}) + "\n")
        except OSError:  # the disk is full or the folder is gone; the board is put back all the same
            pass


def main(spec: Mapping[str, Any]) -> None:
    """Run the guardian of this process."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    Guardian(spec).guard()


def _tell(message: Mapping[str, Any]) -> None:
    try:
        os.write(1, json.dumps(message).encode() + b"\n")
    except OSError:  # nobody listens any more
        pass
