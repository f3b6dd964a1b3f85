"""Starts a meter's sampler in a process of its own (`process` says how), and listens to it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ebbench import errors
from ebbench.errors import DiskError, EbbenchError, MeterError
from ebbench.process import is_heard, start_process
from ebbench.protocols import MeterInfo, MeterRequest

#: how long opening a meter may take
READY_S = 30.0


class Sampler:
    """The handle of one sampler: `start`, `wait_ready`, look at `live()`, `error` and `alive`, `stop`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Any, name: str, trace: Path) -> None:
        self.name, self.trace = name, trace
        #: what the sampler said when it was ready: info, rate_hz, asked_hz, scheduler, nice
        self.ready: Optional[Dict[str, Any]] = None
        #: what it said last: power_w, energy_j, readings, missed, failures, lateness_s and more
        self.summary: Optional[Dict[str, Any]] = None
        self._process, self._log = process, log
        self._failed: Optional[EbbenchError] = None
        self._live: Optional[Dict[str, Any]] = None
        self._heard = b""
        self._stopping = False
        self._started_s = time.monotonic()

    @classmethod
    def start(
        cls,
        factory: str,
        request: MeterRequest,
        trace: Path,
        rate_hz: Optional[float] = None,
        *,
        metadata: Optional[Mapping[str, Any]] = None,
        jitter: bool = True,
        seed: int = 0,
        also_sync: Sequence[Path] = (),
    ) -> Sampler:
        """Start a process that opens ``package.module:Class`` and writes `trace`; returns before it is ready.

        None for `rate_hz` leaves it to the meter; with `jitter` each reading falls at a random moment of its slot. `metadata` go
        into the trace's header, and their ``name`` is what the meter is called in messages; the files `also_sync` are brought to
        the disk together with the trace.
        """
        name = str((metadata or {}).get("name", factory))
        spec = {
            "name": name,
            "factory": factory,
            "request": {**request.to_json(), "rate_hz": rate_hz},
            "trace": str(Path(trace).absolute()),
            "rate_hz": rate_hz,
            "metadata": dict(metadata or {}),
            "jitter": jitter,
            "seed": seed,
            "also_sync": [str(Path(p).absolute()) for p in also_sync],
        }
        log = tempfile.TemporaryFile()  # noqa: SIM115 - the process writes to it for as long as it lives
        try:
            process = start_process("ebbench.energy.sampler_process.main", spec, stdout=subprocess.PIPE, stderr=log)
        except OSError as error:
            log.close()
            raise MeterError(f"cannot start the sampler with {sys.executable}: {error.strerror}") from error
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return cls(process, log, name, Path(trace))

    @property
    def pid(self) -> int:
        """The sampler's process id."""
        return self._process.pid

    @property
    def info(self) -> MeterInfo:
        """What the meter's readings mean; waits until the meter is open."""
        return self.wait_ready()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def error(self) -> Optional[EbbenchError]:
        """What is wrong now: the disk takes nothing, or the process died; None when all is well."""
        alive = self.alive  # before listening: what a process says last is said before it ends
        self._listen()
        if self._failed is not None:
            return self._failed
        if not alive and self.summary is None:
            return MeterError(
                f"the sampler of {self.name} died ({self._last_words()}); readings after that are missing"
            )
        if self.ready is None and alive and time.monotonic() > self._started_s + READY_S:
            return MeterError(f"{self.name} was not ready within {READY_S:g} s; check its connection")
        said = (self.summary or self._live or {}).get("error")
        return DiskError(said) if said else None

    def wait_ready(self) -> MeterInfo:
        """What the meter's readings mean, once it is open and read. Raises MeterError with the meter's own message."""
        while self.ready is None:
            error = self.error
            if error is not None:
                self.kill()
                raise error
            self._wait_for_word(0.1)
        return MeterInfo.from_json(self.ready["info"])

    def live(self) -> Optional[Dict[str, Any]]:
        """The last word of the sampler: power_w of the total now, energy_j so far, readings, missed, t_ns, reason, error, and
        failing: why the last reading lacks the total."""
        self._listen()
        return self._live

    def request_stop(self, late_ns: int = 0) -> None:
        """Ask for a last reading, `late_ns` from now or later, and the end; returns at once, so that many can be asked together."""
        if not self._stopping:
            self._stopping = True
            stdin = self._process.stdin
            assert stdin is not None
            with contextlib.suppress(BrokenPipeError):
                stdin.write(b"stop %d\n" % late_ns)

    def stop(self, timeout_s: float = 10.0) -> Dict[str, Any]:
        """Take a last reading after this call, end the process and return its summary; may be called twice.

        Raises DeviceError where the process died or did not answer; what it wrote before stays.
        """
        self.request_stop()
        deadline_s = time.monotonic() + timeout_s
        while self.alive and time.monotonic() < deadline_s:
            self._wait_for_word(0.05)
            self._listen()
        error = self.error
        if self.alive:
            error = MeterError(f"the sampler of {self.name} did not stop within {timeout_s:g} s; its meter hangs")
        self.kill()
        if self.summary is None:
            raise error or MeterError(f"the sampler of {self.name} ended without a word")
        return self.summary

    def kill(self) -> None:
        """End the process at once and release what belongs to it; may be called twice."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._log.close()

    def _wait_for_word(self, timeout_s: float) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        is_heard(stdout, timeout_s)

    def _listen(self) -> None:
        """Take in what the sampler said since the last call."""
        stdout = self._process.stdout
        assert stdout is not None
        while not stdout.closed:
            said = stdout.read(65_536)
            if not said:  # None: nothing yet; empty: the process has ended
                break
            self._heard += said
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: Dict[str, Any]) -> None:
        if "ready" in message:
            self.ready = message["ready"]
        elif "failed" in message:
            kind = getattr(errors, message["class"], MeterError)
            self._failed = kind(message["failed"])
        elif "live" in message:
            self._live = message["live"]
        elif "summary" in message:
            self.summary = message["summary"]

    def _last_words(self) -> str:
        """How the process ended: its exit code or signal, and the last line that it printed."""
        code = self._process.returncode
        how = f"exit code {code}" if code is None or code >= 0 else f"signal {-code}"
        if self._log.closed:
            return how
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 4096))
        printed: List[str] = self._log.read().decode(errors="replace").strip().splitlines()
        return f"{how}: {printed[-1]}" if printed else how
