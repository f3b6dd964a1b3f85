"""The board changed for the time of a run: what the run has to do with its guardian (`guardian_main`)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

from ebbench import errors
from ebbench.board import restore
from ebbench.errors import DeviceError, EbbenchError
from ebbench.process import is_heard, start_process
from ebbench.protocols import BoardChange

#: how long changing or putting back may take: nvpmodel and jetson_clocks take seconds each
PATIENCE_S = 300.0


@contextlib.contextmanager
def changed(change: Optional[BoardChange], log: Path, say: Callable[[str], None]) -> Iterator[None]:
    """The board as `change` asks for inside the block, and as it was before after it; nothing is done for None.

    `log` is the run's ``board.jsonl``. Raises where the board cannot be changed; then it is as it was. Where it cannot be put back,
    `say` tells it, and so does the next start.
    """
    if change is None:
        left = restore.left_behind()
        if left is not None:
            say(restore.sentence(left))
        yield
        return
    guardian = Guardian(change, log)
    try:
        with guardian:
            say(f"the board is changed for this run: {_words(guardian.found)}")
            yield
    finally:
        if guardian.problem is not None:
            say(f"the board could not be put back: {guardian.problem}; mend that, then: ebbench boards --restore")


class Guardian:
    """The process that changes the board and puts it back, seen from the run."""

    def __init__(self, change: BoardChange, log: Path) -> None:
        #: what the board was found in after the change
        self.found: Mapping[str, Any] = {}
        #: why it is not put back; None where it is
        self.problem: Optional[str] = None
        self._change, self._run = change, str(Path(log).absolute().parent)
        self._heard = b""
        spec = {**dataclasses.asdict(change), "log": str(Path(log).absolute()), "run": self._run}
        try:
            self._process = start_process(
                "ebbench.board.guardian_main", spec, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise DeviceError(
                f"the guardian, who would put the board back, cannot be started: {error.strerror}"
            ) from error

    def __enter__(self) -> Guardian:
        try:
            answer = self._answer()
        except BaseException:  # Ctrl-C while the board is being changed
            self._end()
            raise
        if "changed" in answer:
            self.found = answer["changed"]
            return self
        if "failed" in answer:
            self._close()
            self._process.wait()
            raise getattr(errors, answer["class"], DeviceError)(answer["failed"])
        self._end()
        raise DeviceError("the guardian, who changes the board and puts it back, died or hangs; nothing was measured")

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """The guardian's process id."""
        return self._process.pid

    def _end(self) -> None:
        """Have the board put back. Where the guardian was killed, it is done here."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(b"end\n")
        try:
            answer = self._answer()
            if "changed" in answer:  # we were interrupted before we heard of it
                answer = self._answer()
        finally:
            self._close()
        if "restored" in answer:
            self._process.wait()
            self.problem = answer["error"]
        elif "failed" in answer:  # nothing was changed, or it is back
            self._process.wait()
        elif self._process.poll() is None:  # it waits for a program of the vendor, and goes on without us
            self.problem = f"its guardian (process {self.pid}) does not answer"
        else:
            self.problem = self._put_back()

    def _put_back(self) -> Optional[str]:
        try:
            kept = restore.left_behind()
            if kept is not None and kept["run"] == self._run:
                restore.restore_now({self._change.control: self._change.factory})
        except Exception as error:  # noqa: BLE001 - what was measured is kept; the file says what is to be put back
            return str(error) if isinstance(error, EbbenchError) else f"{type(error).__name__}: {error}"
        return None

    def _answer(self) -> Dict[str, Any]:
        """The guardian's next line; empty where it died, and then it is waited for, or where it took too long."""
        assert self._process.stdout is not None
        deadline_s = time.monotonic() + PATIENCE_S
        while b"\n" not in self._heard and time.monotonic() < deadline_s:
            if is_heard(self._process.stdout, 1.0):
                said = os.read(self._process.stdout.fileno(), 65_536)
                if not said:
                    self._process.wait()
                    return {}
                self._heard += said
        line, newline, self._heard = self._heard.partition(b"\n")
        return dict(json.loads(line)) if newline else {}

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


def _words(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in found.items())
