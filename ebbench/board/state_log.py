"""Has the state of the board written down beside a run, by a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Mapping, Optional, Type

from ebbench.process import start_process

#: how long a last reading may take
PATIENCE_S = 5.0


class StateLog:
    """Writes ``board.jsonl`` from `__enter__` to `__exit__`. It never stops or fails a run: what is not logged is not checked."""

    def __init__(self, path: Path, sources: Mapping[str, str], device_uuid: Optional[str] = None) -> None:
        self._spec = {"path": str(Path(path).absolute()), "sources": dict(sources), "device_uuid": device_uuid}
        self._process: Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> StateLog:
        with contextlib.suppress(OSError):
            self._process = start_process(
                "ebbench.board.state_main", self._spec, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]] = None,
        error: Optional[BaseException] = None,
        trace: Optional[TracebackType] = None,
    ) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"stop\n")
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdin.close()

    @property
    def pid(self) -> Optional[int]:
        """The process that writes; None where there is none."""
        return self._process.pid if self._process is not None else None
