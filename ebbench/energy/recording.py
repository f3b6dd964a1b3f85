"""The raw data of a run as it happens: one sampler per meter and the phase log, in one run folder."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ebbench.clock import Clock, monotonic_ns
from ebbench.energy.phases import PhaseLog
from ebbench.energy.reasons import LOST
from ebbench.energy.sampler import Sampler
from ebbench.energy.traces.series import latest_ns
from ebbench.energy.traces.size import bytes_per_s
from ebbench.errors import DeviceError, DiskError, EbbenchError, MeterError, under_name
from ebbench.protocols import MeterInfo, MeterRequest
from ebbench.rundir import RunDir
from ebbench.units import NS_PER_S

#: a sampler that dies is started again, but not more often than this
MAX_RESTARTS, PER_NS = 3, 60 * NS_PER_S
#: a meter that cannot be read for so long is spoken of
SILENT_NS = 10 * NS_PER_S
#: how long a meter may take for its last reading
STOP_S = 10.0

#: a meter as the recording wants it: name, class (``package.module:Name``), what the class is told, rate (None: its own)
Wanted = Tuple[str, str, MeterRequest, Optional[float]]


@dataclass
class _Seat:
    """One meter's place: what was wanted, who samples it now, when samplers before it were replaced, why there is none left."""

    wanted: Wanted
    sampler: Sampler
    restarts_ns: List[int]
    #: how much later than it was a power is read
    late_ns: int = 0
    lost: Optional[str] = None
    #: since when it cannot be read, and whether that was said
    failing_ns: Optional[int] = None
    is_silent: bool = False


class Recording:
    """Samplers and phase log of one start of a run: `open`, then phases and looks at `check`, then `stop`.

    In a folder that holds earlier starts it begins the next segment and the next trace file of each meter. `header` goes into the
    header of every trace.
    """

    def __init__(
        self,
        rundir: RunDir,
        meters: Sequence[Wanted],
        *,
        clock: Clock = monotonic_ns,
        synchronize: Optional[Callable[[], None]] = None,
        header: Optional[Mapping[str, Any]] = None,
    ) -> None:
        self.infos: List[MeterInfo] = []
        #: the number of this start; known from `open` on
        self.segment = -1
        self._rundir, self._meters = rundir, meters
        self._clock, self._synchronize = clock, synchronize
        self._header = dict(header or {})
        self._log: Optional[PhaseLog] = None
        self._seats: List[_Seat] = []

    @property
    def phases(self) -> PhaseLog:
        """The phase log; there from `open` on."""
        assert self._log is not None, "open comes first"
        return self._log

    @property
    def slow_meters(self) -> List[str]:
        """A line for each meter that cannot be read as often as was asked."""
        said = [(*s.wanted[::3], s.sampler.ready["rate_hz"]) for s in self._seats if s.sampler.ready is not None]
        return [
            f"{name} is read {rate_hz:.4g} times a second, not {asked_hz:g} times: one reading takes too long for that"
            for name, asked_hz, rate_hz in said
            if asked_hz is not None and rate_hz < 0.99 * asked_hz
        ]

    @property
    def bytes_per_s(self) -> List[float]:
        """How fast the trace of each meter grows, at most; known from `open` on."""
        return [
            bytes_per_s(s.sampler.info, s.sampler.ready["rate_hz"]) for s in self._seats if s.sampler.ready is not None
        ]

    @property
    def restarts(self) -> int:
        """How often a sampler died and was started again."""
        return sum(len(seat.restarts_ns) for seat in self._seats)

    def open(self, restored: Optional[Mapping[str, int]] = None) -> None:
        """Start all samplers at once, wait until each has a first reading, and begin the segment.

        `restored` {"segment", "t_ns"} says from when the state is that the run goes on with. Raises MeterError (or DiskError) that
        names the faults of all meters; then nothing runs and no segment has begun.
        """
        self._log = PhaseLog(self._rundir.phases, self._clock, self._synchronize)
        faults: List[EbbenchError] = []
        try:
            for wanted in self._meters:
                self._seats.append(_Seat(wanted, self._start(wanted), []))
            for seat in self._seats:
                try:
                    self.infos.append(seat.sampler.wait_ready())
                except EbbenchError as error:
                    faults.append(_named(error, seat.wanted[0]))
            _raise_together(faults)
            self.know(self.infos)
            self.segment = self._log.start(restored)
        except BaseException:
            self._abandon()
            raise

    def know(self, infos: Sequence[MeterInfo]) -> None:
        """What the readings of the meters mean, as their calibrations know it: the last ones must show the power at the end."""
        for seat, info in zip(self._seats, infos):
            seat.late_ns = latest_ns(info)

    def live(self) -> Optional[Dict[str, Any]]:
        """The reference meter's last word: power_w, energy_j, readings, missed, t_ns, reason; None before its first."""
        return self._seats[0].sampler.live() if self._seats else None

    def check(self) -> None:
        """Look after the samplers, without waiting; one that died is started again, into the next trace file.

        Where that fails for good, the run goes on without the meter, except without the reference. Raises DiskError where the disk
        takes no readings, MeterError where the reference's sampler keeps dying or cannot come back.
        """
        for number, (seat, info) in enumerate(zip(self._seats, self.infos)):
            if seat.lost is not None:
                continue
            try:
                self._look_after(seat, info)
            except DiskError:
                raise
            except EbbenchError as error:
                if number == 0:
                    raise
                self._lose(seat, str(error))

    def _look_after(self, seat: _Seat, info: MeterInfo) -> None:
        error = seat.sampler.error
        if isinstance(error, DiskError) or (error is not None and seat.sampler.ready is None):
            raise error
        if error is not None:
            self._restart(seat, error)
            return
        self._hear(seat)
        if seat.restarts_ns and seat.sampler.ready is not None and seat.sampler.info.columns != info.columns:
            raise MeterError(f"{seat.wanted[0]} came back with other columns; start a new run")

    def _hear(self, seat: _Seat) -> None:
        """Say once that a meter cannot be read, and once that it can again: the record would tell only at the end."""
        failing, now_ns, log = (seat.sampler.live() or {}).get("failing"), self._clock(), logging.getLogger("ebbench")
        if failing is None:
            if seat.is_silent:
                log.warning("ebbench: %s is read again", seat.wanted[0])
            seat.failing_ns, seat.is_silent = None, False
            return
        seat.failing_ns = now_ns if seat.failing_ns is None else seat.failing_ns
        if not seat.is_silent and now_ns - seat.failing_ns >= SILENT_NS:
            seat.is_silent = True
            log.warning(
                "ebbench: %s cannot be read (%s); it is tried again and again, and its energy is missing meanwhile",
                seat.wanted[0],
                failing,
            )

    def _lose(self, seat: _Seat, reason: str) -> None:
        """Go on without a meter that is not the reference; what it gave stays, and the record says what it lacks."""
        seat.sampler.kill()
        seat.lost = reason
        self.phases.mark(LOST, meter=seat.wanted[0], reason=reason)
        logging.getLogger("ebbench").warning("ebbench: going on without the meter %s: %s", seat.wanted[0], reason)

    def stop(self, status: str, reason: Optional[str] = None) -> Dict[str, Dict[str, Any]]:
        """Stamp the end, take a last reading of every meter that shows it, end the samplers; their summaries by meter.

        A sampler that died has {"error"} for a summary. Raises DiskError where readings could not be written, after all is stopped.
        """
        try:
            self.phases.stop(status, reason)
        finally:
            summaries = self._stop_samplers()
            self.phases.close()
        faults = [s["error"] for s in summaries.values() if s.get("error") and not s.get("died")]
        if faults:
            raise DiskError("; ".join(faults))
        return summaries

    def _stop_samplers(self) -> Dict[str, Dict[str, Any]]:
        summaries: Dict[str, Dict[str, Any]] = {
            seat.wanted[0]: {"died": True, "error": seat.lost} for seat in self._seats if seat.lost is not None
        }
        remaining = [seat for seat in self._seats if seat.lost is None]
        for seat in remaining:
            seat.sampler.request_stop(seat.late_ns)
        for seat in remaining:
            try:
                summaries[seat.wanted[0]] = seat.sampler.stop(STOP_S + seat.late_ns / NS_PER_S)
            except DeviceError as error:
                summaries[seat.wanted[0]] = {"died": True, "error": str(error)}
        return summaries

    def _start(self, wanted: Wanted, note: Optional[str] = None) -> Sampler:
        name, factory, request, rate_hz = wanted
        metadata = {
            **self._header,
            "name": name,
            "segment": self.phases.next_segment if self.segment < 0 else self.segment,
        }
        if note:
            metadata["note"] = note
        trace = self._rundir.next_trace(name)
        return Sampler.start(factory, request, trace, rate_hz, metadata=metadata, also_sync=[self._rundir.phases])

    def _restart(self, seat: _Seat, error: EbbenchError) -> None:
        now_ns = self._clock()
        if sum(now_ns - t_ns < PER_NS for t_ns in seat.restarts_ns) >= MAX_RESTARTS:
            raise MeterError(
                f"{error}; it died {MAX_RESTARTS + 1} times within a minute; try it with `ebbench meters sample`"
            )
        seat.sampler.kill()
        seat.restarts_ns.append(now_ns)
        seat.sampler = self._start(seat.wanted, str(error))
        self.phases.mark("sampler-restarted", meter=seat.wanted[0], reason=str(error))

    def _abandon(self) -> None:
        """End everything without a word in the log; the traces of meters that did open stay out of the way."""
        for seat in self._seats:
            seat.sampler.kill()
            with contextlib.suppress(OSError):
                seat.sampler.trace.unlink()
        if self._log is not None:
            self._log.close()
        self._seats, self.infos = [], []


def _named(error: EbbenchError, name: str) -> EbbenchError:
    """A meter's error under the name that the meter has here; one of the disk is none of its."""
    return error if isinstance(error, DiskError) else type(error)(under_name(name, str(error)))


def _raise_together(faults: Sequence[EbbenchError]) -> None:
    if len(faults) == 1:
        raise faults[0]
    if faults:
        kind = type(faults[0]) if len({type(f) for f in faults}) == 1 else MeterError
        raise kind("; ".join(str(fault) for fault in faults))
