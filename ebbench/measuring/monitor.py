"""The measurement core around any code: `EnergyMonitor`."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import datetime
import logging
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Iterator, List, Mapping, Optional, Sequence, Tuple, Type, Union

from ebbench import plugins
from ebbench.board.change import changed
from ebbench.board.state_log import StateLog
from ebbench.calibration import store as calibration_store
from ebbench.config import Bench, load_bench, read_bench
from ebbench.cuda_driver import gpu_uuid
from ebbench.energy.account.run_meter import infos_of
from ebbench.energy.phases import PhaseLog
from ebbench.energy.recording import Recording
from ebbench.energy.watch import Watch
from ebbench.errors import DeviceError, DiskError, UserError
from ebbench.manifest import new_manifest
from ebbench.protocols import BoardChange
from ebbench.records import RunRecord
from ebbench.rundir import RunDir, write_json
from ebbench.sealing.record import seal
from ebbench.unbegun import forgotten_unless_begun

#: of a bench file, what matters where the phases are somebody else's
_OF_MONITORS = ("meters", "board", "rate_hz", "max_gap_s", "power_mode", "lock_clocks", "calibration")


class EnergyMonitor:
    """Measure the energy of the phases of any code, by a sampler in its own process.

    Example::

        with ebbench.EnergyMonitor(meter="auto", out="runs/mine") as monitor:
            for epoch in range(3):
                with monitor.phase("train"):
                    train_one_epoch()
        print(monitor.record.energy.total_j, "+-", monitor.record.energy.uncertainty_j, "J")

    `meter` is a name or URI (or several, the first is the reference); ``auto``, the default, takes the best real one and raises
    MeterError where there is none: nothing is simulated unasked. `bench` is a bench file: its meters, board, rate_hz and max_gap_s
    hold where they are not given here. Phase names are free; those called ``idle``, ``warmup``,
    ``evaluate``, ``checkpoint`` and ``amplify`` are kept out of the total, and so is what lies in no phase. Each thread (and each
    asyncio task) nests its own phases. Where torch has started CUDA in this process, every edge waits for the GPU. A sampler that
    dies is started again. What `ebbench calibrate` kept for a meter is used unless `calibration` is False. `record` is there once
    the block has ended, even when it raised.

    `power_mode` and `lock_clocks` change the board for the block; it is put back whatever ends the block
    (`ebbench.board.guardian_main`).
    """

    def __init__(
        self,
        meter: Optional[Union[str, Sequence[str]]] = None,
        out: Optional[Union[str, os.PathLike]] = None,
        *,
        bench: Optional[Union[str, os.PathLike]] = None,
        board: Optional[str] = None,
        rate_hz: Optional[float] = None,
        max_gap_s: Optional[float] = None,
        power_mode: Optional[str] = None,
        lock_clocks: Optional[bool] = None,
        calibration: Optional[bool] = None,
    ) -> None:
        meters = (meter,) if isinstance(meter, str) else meter
        given = {"meters": meters, "board": board, "rate_hz": rate_hz, "max_gap_s": max_gap_s,
                 "power_mode": power_mode, "lock_clocks": lock_clocks, "calibration": calibration}  # fmt: skip
        self.bench = _bench(bench, {key: value for key, value in given.items() if value is not None})
        self.rundir = RunDir(Path(out) if out is not None else _fresh_folder())
        self.record: Optional[RunRecord] = None
        self._path: contextvars.ContextVar[str] = contextvars.ContextVar("open phase", default="")
        self._pid = os.getpid()
        self._watch: Optional[Watch] = None
        self._lock: Optional[IO[str]] = None
        #: what is done to the board around the recording, and undone after it
        self._around = contextlib.ExitStack()
        self._recording: Optional[Recording] = None

    def __enter__(self) -> EnergyMonitor:
        if self.rundir.manifest.exists():
            raise UserError(f"{self.rundir.path} holds a run already; choose another out folder")
        board = plugins.choose_board(self.bench.board)
        gpu = _device_uuid()
        meters = plugins.choose_meters(self.bench.meters, board, gpu, may_simulate=False)
        if self.bench.calibration:
            calibration_store.check(board, meters)
        change = plugins.choose_control(self.bench.power_mode, self.bench.lock_clocks, gpu)
        self.rundir.create()
        self._lock = self.rundir.lock()
        try:
            with forgotten_unless_begun(self.rundir):
                self._start(board, meters, change, gpu)
        except BaseException:
            self._around.close()
            self._lock.close()
            raise
        return self

    def _start(
        self, board: Any, meters: Sequence[Tuple[str, str, Any]], change: Optional[BoardChange], gpu: Optional[str]
    ) -> None:
        phases = str(self.rundir.phases.resolve())
        wanted = [
            (name, factory, dataclasses.replace(r, phases=phases), self.bench.rate_hz) for name, factory, r in meters
        ]
        manifest = new_manifest(self.rundir.path.name, None, self.bench, board)
        write_json(self.rundir.manifest, manifest)
        self._around.enter_context(changed(change, self.rundir.board, logging.getLogger("ebbench").warning))
        self._around.enter_context(StateLog(self.rundir.board, plugins.registered(plugins.STATES), gpu))
        recording = Recording(self.rundir, wanted, synchronize=_synchronize)
        recording.open()
        try:
            manifest["meters"] = plugins.described(recording.infos, meters, self.bench.meters)
            calibration_store.add_to(manifest["meters"], recording.infos, meters, board, self.bench.calibration)
            recording.know(infos_of(manifest))
            write_json(self.rundir.manifest, manifest)
        except BaseException as error:
            with contextlib.suppress(DeviceError):  # the first fault is the one to hear of
                recording.stop(*_ending(error))
            raise
        self._recording, self._watch = recording, Watch(recording)
        self._watch.start()

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if os.getpid() != self._pid:
            return  # a forked child leaves the block: the measurement is its parent's
        assert self._recording and self._watch and self._lock, "__exit__ follows __enter__"
        self._watch.end()
        try:
            self._recording.stop(*_ending(error))
            self._around.close()
            self.record = seal(self.rundir)
        except DiskError as fault:
            raise DiskError(f"{fault}; then `ebbench integrate {self.rundir.path}` makes the record") from fault
        finally:
            self._around.close()
            self._lock.close()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase inside the one that is open; may be opened any number of times under one name."""
        around = self._path.get()
        path = f"{around}/{name}" if around else name
        with self._log().phase(path):
            token = self._path.set(path)
            try:
                yield
            finally:
                with contextlib.suppress(
                    ValueError
                ):  # left in another task, or cell of a notebook: nothing is open there
                    self._path.reset(token)

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


def _bench(path: Optional[Union[str, os.PathLike]], given: Mapping[str, Any]) -> Bench:
    """The bench of the file at `path` with what was `given` on top; the phases are the caller's, so nothing rests or repeats."""
    settings = read_bench(Path(path)) if path is not None else {}
    of_monitors = {key: settings[key] for key in _OF_MONITORS if key in settings}
    return load_bench({}, {**of_monitors, **given, "idle_s": 0.0, "amplify_s": 0.0}, "bench")


def _ending(error: Optional[BaseException]) -> Tuple[str, Optional[str]]:
    """How the block ended, and why: leaving by ``sys.exit(0)`` is a success, by Ctrl-C it is aborted."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "success", None
    status = "failed" if isinstance(error, (Exception, SystemExit)) else "aborted"
    return status, " ".join(f"{type(error).__name__}: {error}".split())


def _fresh_folder() -> Path:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"monitor-{stamp}-{os.getpid()}"


def _synchronize() -> None:
    """Wait for every GPU that this process uses."""
    for number in _gpus_in_use():
        sys.modules["torch"].cuda.synchronize(number)


def _device_uuid() -> Optional[str]:
    """The GPU that this process uses; None where it uses none yet, or several: then a meter has to be told which."""
    used = _gpus_in_use()
    if len(used) != 1:
        return None
    cuda = sys.modules["torch"].cuda
    return gpu_uuid(used[0], getattr(cuda.get_device_properties(used[0]), "uuid", None), cuda.device_count())


def _gpus_in_use() -> List[int]:
    """Their numbers: of several those on which this process has memory, or else the current one; torch is never loaded for it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    count = torch.cuda.device_count()
    used = [number for number in range(count) if torch.cuda.memory_reserved(number)] if count > 1 else []
    return used or [torch.cuda.current_device()]
