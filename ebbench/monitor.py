"""The measurement core around any code: `EnergyMonitor`, and `measure` around any program."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Iterator, List, Optional, Sequence, Tuple, Type, Union

from ebbench import __version__, plugins
from ebbench.config import Bench
from ebbench.energy.phases import PhaseLog
from ebbench.energy.recording import Recording
from ebbench.environment import describe
from ebbench.errors import UserError
from ebbench.records import RunRecord
from ebbench.rundir import RunDir, write_json
from ebbench.sealing import seal

#: tells `ebbench mark` inside a measured program where the phases are logged
RUN_VARIABLE = "EBBENCH_RUN"


class EnergyMonitor:
    """Measure the energy of the phases of any code, by a sampler in its own process.

    Example::

        with ebbench.EnergyMonitor(meter="auto", out="runs/mine") as monitor:
            for epoch in range(3):
                with monitor.phase("train"):
                    train_one_epoch()
        print(monitor.record.energy.total_j, "+-", monitor.record.energy.uncertainty_j, "J")

    `meter` is a name or URI (or several, the first is the reference); ``auto`` takes the best real one and raises
    MeterError where there is none: nothing is simulated unasked. Phase names are free; those called ``idle``, ``warmup``,
    ``evaluate``, ``checkpoint`` and ``amplify`` are kept out of the total. Where torch has started CUDA in this process, every
    edge waits for the GPU. `record` is there once the block has ended, even when it raised.
    """

    def __init__(
        self,
        meter: Union[str, Sequence[str]] = "auto",
        out: Optional[Union[str, os.PathLike]] = None,
        *,
        board: str = "auto",
        rate_hz: Optional[float] = None,
        max_gap_s: Optional[float] = None,
    ) -> None:
        meters = (meter,) if isinstance(meter, str) else tuple(meter)
        self.bench = Bench(meters=meters, board=board, rate_hz=rate_hz, max_gap_s=max_gap_s, idle_s=0.0, amplify_s=0.0)
        self.rundir = RunDir(Path(out) if out is not None else _fresh_folder())
        self.record: Optional[RunRecord] = None
        self._open: List[str] = []
        self._lock: Optional[IO[str]] = None
        self._recording: Optional[Recording] = None

    def __enter__(self) -> EnergyMonitor:
        if self.rundir.manifest.exists():
            raise UserError(f"{self.rundir.path} holds a run already; choose another folder with out=")
        board = plugins.choose_board(self.bench.board)
        meters = plugins.choose_meters(self.bench.meters, board, _device_uuid(), may_simulate=False)
        self.rundir.create()
        self._lock = self.rundir.lock()
        try:
            self._start(board, meters)
        except BaseException:
            self._lock.close()
            raise
        return self

    def _start(self, board: Any, meters: Sequence[Tuple[str, str, Any]]) -> None:
        phases = str(self.rundir.phases.resolve())
        wanted = [
            (name, factory, dataclasses.replace(r, phases=phases), self.bench.rate_hz) for name, factory, r in meters
        ]
        manifest = {
            "ebbench": __version__,
            "run_id": self.rundir.path.name,
            "recipe": None,
            "bench": self.bench.settings(),
            "board": {"name": board.name, "title": board.title} if board else {"name": "unknown"},
            "environment": describe(),
            "meters": [],
        }
        write_json(self.rundir.manifest, manifest)
        self._recording = Recording(self.rundir, wanted, synchronize=_synchronize)
        self._recording.open()
        manifest["meters"] = [{**info.to_json(), "reference": n == 0} for n, info in enumerate(self._recording.infos)]
        write_json(self.rundir.manifest, manifest)

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        assert self._recording is not None and self._lock is not None, "__exit__ follows __enter__"
        status = "success" if kind is None else "failed" if issubclass(kind, Exception) else "aborted"
        try:
            self._recording.stop(status, None if error is None else f"{type(error).__name__}: {error}")
            self.record = seal(self.rundir)
        finally:
            self._lock.close()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase inside the one that is open; may be opened any number of times under one name."""
        log = self._log()
        self._open.append(name)
        try:
            with log.phase("/".join(self._open)):
                yield
        finally:
            self._open.pop()

    def mark(self, name: str, **values: Any) -> None:
        """This happened, now."""
        self._log().mark(name, **values)

    def metric(self, name: str, value: float, **where: Any) -> None:
        """This value is now so."""
        self._log().metric(name, value, **where)

    def _log(self) -> PhaseLog:
        if self._recording is None or self.record is not None:
            raise UserError("phases, marks and metrics belong inside `with EnergyMonitor(...) as monitor:`")
        return self._recording.phases


def measure(command: Sequence[str], monitor: EnergyMonitor) -> int:
    """Run `command` inside `monitor`, as its phase ``command``, and return its exit code (128 + n for signal n).

    Phases that the command opens with ``ebbench mark`` are children of ``command``. Ctrl-C reaches the command itself; we wait
    for it to end, so that nothing measured is lost.
    """
    environment = {**os.environ, RUN_VARIABLE: str(monitor.rundir.path.resolve())}
    with monitor.phase("command"):
        try:
            process = subprocess.Popen(command, env=environment)
        except OSError as error:
            raise UserError(f"cannot run {command[0]!r}: {error.strerror}") from error
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            code = process.wait()
        finally:
            signal.signal(signal.SIGINT, before)
    return 128 - code if code < 0 else code


def mark_edge(action: str, name: str) -> None:
    """Begin or end the phase ``command/<name>`` of the measurement around this process (``ebbench mark``)."""
    folder = os.environ.get(RUN_VARIABLE)
    if not folder or not RunDir(folder).phases.exists():
        raise UserError(
            "ebbench mark works inside `ebbench measure -- COMMAND` only; there is no measurement around it"
        )
    rundir = RunDir(folder)
    with open(rundir.path / ".mark", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two marks at once must not take the same id
        with contextlib.closing(PhaseLog(rundir.phases)) as log:
            path = f"command/{name}"
            if action == "begin":
                log.begin(path)
            else:
                log.end(log.adopt(path))


def _fresh_folder() -> Path:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"monitor-{stamp}-{os.getpid()}"


def _synchronize() -> None:
    """Wait for the GPU if this process uses one; torch is never loaded for it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _device_uuid() -> Optional[str]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    uuid = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
    return f"GPU-{uuid}" if uuid else None
