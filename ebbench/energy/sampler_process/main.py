"""What the sampler's process does: read one meter on time and write its trace, until told to stop or left alone.

It is started by `sampler.Sampler`, which hands over a specification as one line of JSON on stdin; a line ``stop NS`` ends it after
so many ns, the end of stdin or the parent's death at once, each after a last reading. It answers in lines of JSON: ``ready`` or
``failed`` once, ``live`` every half second, ``summary`` at the end. Neither torch nor pandas nor matplotlib is loaded here.
"""

from __future__ import annotations

import gc
import importlib
import math
import resource
import select
import signal
import statistics
import sys
import time
from array import array
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from ebbench.clock import monotonic_ns
from ebbench.energy.sampler_process.live import LiveTotal
from ebbench.energy.sampler_process.notes import Notes
from ebbench.energy.sampler_process.own import raise_priority, resident_bytes
from ebbench.energy.sampler_process.parent import Parent
from ebbench.energy.sampler_process.schedule import Lateness, Schedule
from ebbench.energy.sampler_process.source import Source, reason_of
from ebbench.energy.sampler_process.sweeps import Made, Sweeps
from ebbench.energy.sampler_process.sync import Sync
from ebbench.energy.traces.pace import longest_failure_s
from ebbench.energy.traces.trace import TraceWriter, stored_row
from ebbench.errors import EbbenchError, MeterError
from ebbench.protocols import Block, MeterInfo, MeterRequest
from ebbench.units import NS_PER_S

#: a batch is written, and the parent told, this often
FLUSH_NS = NS_PER_S // 2
#: how often a meter that samples by itself is drained
DRAIN_HZ = 10.0
#: of the time between two readings, this much may be spent on reading
MAX_READ_FRACTION = 0.8


def main(spec: Mapping[str, Any]) -> None:
    """Run the sampler of this process."""
    for number in (signal.SIGINT, signal.SIGHUP):  # they may reach everyone at a terminal; the parent decides
        signal.signal(number, signal.SIG_IGN)
    parent = Parent(int(spec["parent"]))
    try:
        sampling = Sampling(spec, parent)
    except EbbenchError as error:
        parent.tell({"failed": str(error), "class": type(error).__name__})
        return
    except Exception as error:  # noqa: BLE001 - a vendor's library may raise anything; the user gets one line
        parent.tell({"failed": f"{spec['name']} cannot be opened: {reason_of(error)}", "class": "MeterError"})
        return
    gc.collect()
    gc.freeze()
    gc.disable()  # cycles come from failures alone; then what is left of them is collected
    parent.tell({"ready": sampling.ready()})
    sampling.run()
    parent.tell({"summary": sampling.close()})


class Sampling:
    """One meter, its schedule and its trace."""

    def __init__(self, spec: Mapping[str, Any], parent: Parent) -> None:
        self._parent = parent
        self._source = Source(_resolve(spec["factory"]), MeterRequest(**spec["request"]))
        info = self._source.info
        self.asked_hz = float(spec["rate_hz"] or info.default_rate_hz)
        self.rate_hz = self.asked_hz if self._source.is_streamed else self._possible_rate(info)
        jitter = bool(spec["jitter"])
        header = {"rate_hz": self.rate_hz, "asked_hz": self.asked_hz, "jitter": jitter, "seed": spec["seed"]}
        self.writer = TraceWriter(Path(spec["trace"]), info, {**spec["metadata"], **header})
        self._longest_ns = round(longest_failure_s(1 / self.rate_hz) * NS_PER_S)
        self._priority = raise_priority()
        self._live = LiveTotal(info, max(1.0, 10 / self.rate_hz))
        self._lateness = Lateness()
        self._seq = self._last_ns = self._missed = 0
        self._late_ns: List[int] = []
        self._notes = Notes(self.writer)
        columns, total = [column.name for column in info.columns], info.total or (info.rails[0].name,)
        #: the rails of the total and where their power is in a reading: where it is not, the reason must be kept
        self._needed = [(rail, columns.index(f"{rail}_w")) for rail in total if f"{rail}_w" in columns]
        self._step = self._drain if self._source.is_streamed else self._sweep
        self._sweeps = Sweeps.load(heard=0) if self._source.is_files else None
        self._ahead_ns = 0  # from when on the sweeps may be made by it
        self._start_ns = monotonic_ns()
        self._take_first()
        self._sync = Sync([self.writer.fd], spec["also_sync"])
        self._flush()  # the first is slow, and so done before the schedule begins
        self._schedule = self._new_schedule(jitter, spec["seed"])
        self._first_seq = self._seq  # of the schedule's first slot

    def ready(self) -> Dict[str, Any]:
        """What the parent is told before anything is measured; the trace has a first reading by then."""
        return {
            "info": self._source.info.to_json(),
            "rate_hz": self.rate_hz,
            "asked_hz": self.asked_hz,
            **self._priority,
        }

    def run(self) -> None:
        """Read on schedule until we are to stop, and then once more."""
        now_ns = monotonic_ns()
        while not self._parent.wait(instant_ns := self._next_slot(now_ns)):
            self._late_ns.append(monotonic_ns() - instant_ns)
            self._step()
            if self._sweeps:
                self._make_ahead(self._sweeps)
            now_ns = monotonic_ns()
            if now_ns >= self._flush_ns:
                self._flush()
                now_ns = monotonic_ns()
        self._take_late()
        self._take_last()

    def close(self) -> Dict[str, Any]:
        """Write all, close the meter, and sum up."""
        self._flush()
        self._sync.finish()
        self._source.close()
        self.writer.summary = self._summary()
        self.writer.close()
        return {**self.writer.summary, "error": self.writer.error or self._sync.error}

    def _summary(self) -> Dict[str, Any]:
        elapsed_s = (monotonic_ns() - self._start_ns) / NS_PER_S
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            **self._state(),
            **self._priority,
            "compiled": self._sweeps is not None,
            "rate_hz": self._seq / elapsed_s,
            "asked_hz": self.asked_hz,
            "scheduled_hz": self.rate_hz,
            "failures": self._source.failures,
            "lateness_s": self._lateness.percentiles_s(),
            "lost": self.writer.lost,
            "cpu_s": used.ru_utime + used.ru_stime,
            "elapsed_s": elapsed_s,
            "resident_bytes": resident_bytes(),
            "heavy_modules": [m for m in ("torch", "pandas", "matplotlib") if m in sys.modules],
        }

    def _next_slot(self, now_ns: int) -> int:
        instant_ns = self._schedule.next(now_ns)
        self._missed = self._schedule.missed
        return instant_ns

    def _new_schedule(self, jitter: bool, seed: int) -> Schedule:
        if self._source.is_streamed:
            return Schedule(monotonic_ns(), DRAIN_HZ, jitter=False, seed=seed)
        return Schedule(monotonic_ns(), self.rate_hz, jitter, seed)

    def _possible_rate(self, info: MeterInfo) -> float:
        """What was asked for, as far as the meter and the time that a reading takes allow."""
        times_ns = [self._time_to_read()]
        while len(times_ns) < 5 and sum(times_ns) < NS_PER_S // 5:
            times_ns.append(self._time_to_read())
        limit_hz = MAX_READ_FRACTION * NS_PER_S / max(statistics.median(times_ns), 1)
        return min(self.asked_hz, limit_hz, info.max_rate_hz or math.inf)

    def _time_to_read(self) -> int:
        """How long one reading takes (ns). Raises MeterError where three in a row fail."""
        for _ in range(3):
            start_ns = monotonic_ns()
            if self._source.attempt(start_ns, self._values) is not None:
                return monotonic_ns() - start_ns
        raise MeterError(f"{self._source.info.name} opens but cannot be read: {self._source.reason}")

    def _take_first(self) -> None:
        """A first reading, so that nothing that follows lies before the trace."""
        deadline_ns = monotonic_ns() + NS_PER_S
        self._step()
        while (not self._seq or self._notes.failing) and monotonic_ns() < deadline_ns:
            if self._parent.wait(monotonic_ns() + 10_000_000):
                return
            self._step()

    def _take_late(self) -> None:
        """Go on until a sensor that shows the power late has shown what it was when we were told to stop."""
        until_ns = monotonic_ns() + self._parent.late_ns
        while (instant_ns := self._next_slot(monotonic_ns())) < until_ns:
            time.sleep(max(instant_ns - monotonic_ns(), 0) / NS_PER_S)
            self._step()
            if monotonic_ns() >= self._flush_ns:
                self._flush()
        time.sleep(max(until_ns - monotonic_ns(), 0) / NS_PER_S)

    def _take_last(self) -> None:
        """A last reading that lies after the command to stop, and so after the last edge of a phase."""
        stop_ns = monotonic_ns()
        patience_s = 0.3 if self._parent.gone else 0.5 + 2 / self.rate_hz
        self._step()
        while self._last_ns <= stop_ns and monotonic_ns() < stop_ns + patience_s * NS_PER_S:
            select.select([], [], [], 0.01)
            self._step()

    def _sweep(self) -> None:
        """Read every column once; a failure is a row of nulls, and so is what came too late to know when it was read."""
        self._notes.failing = None
        time_ns = monotonic_ns()
        values = self._source.attempt(time_ns, self._values)
        read_ns = monotonic_ns() - time_ns
        if values is not None and read_ns > self._longest_ns:
            self._note_late(time_ns, read_ns)
            values = stored_row([None] * len(values))
        elif values is None:
            self._note_failure(time_ns)
            values = stored_row([None] * len(self._source.info.columns))
        else:
            for rail, at in self._needed:
                if values[at] != values[at]:  # NaN, which is null in the trace
                    self._notes.add(time_ns, f"{rail} was not read, other rails were")
        self.writer.append(time_ns, read_ns, self._seq + self._missed, values, self._source.offsets_ns)
        self._seq += 1
        self._last_ns = time_ns

    def _make_ahead(self, sweeps: Sweeps) -> None:
        """Let compiled code make the sweeps up to the next flush. From one on in which a file cannot be read they are Python's."""
        now_ns = monotonic_ns()
        slots = self._schedule.ahead(now_ns, self._flush_ns)
        if not slots or self._notes.failing or now_ns < self._ahead_ns:
            return
        made = self._source.attempt(now_ns, lambda meter: self._made(sweeps, meter, slots))
        if made is None:
            self._note_failure(now_ns)
            return
        for at in np.flatnonzero(made.read_ns > self._longest_ns):
            self._note_late(int(made.time_ns[at]), int(made.read_ns[at]))
            made.values[at] = math.nan
        self.writer.extend(made.time_ns, made.read_ns, made.slots + self._first_seq, made.values, made.offsets_ns)
        self._late_ns += made.late_ns.tolist()
        self._seq += made.slots.size
        self._missed = self._schedule.missed
        self._last_ns = int(made.time_ns[-1]) if made.slots.size else self._last_ns
        self._ahead_ns = self._flush_ns if made.is_cut else now_ns

    def _made(self, sweeps: Sweeps, meter: Any, slots: range) -> Made:
        """What compiled code reads of `meter` in `slots`."""
        made = sweeps.make(meter, self._schedule, slots)
        shape = (made.slots.size, len(self._source.info.columns))
        if not made.values.shape == made.offsets_ns.shape == shape:
            raise MeterError(f"sweeps have values of shape {made.values.shape} for {shape[1]} columns")
        return made

    def _values(self, meter: Any) -> array[float]:
        """One reading of `meter`, stored values, NaN = not read."""
        values = stored_row(meter.read())
        if len(values) != len(self._source.info.columns):
            raise MeterError(f"a reading has {len(values)} values for {len(self._source.info.columns)} columns")
        return values

    def _drain(self) -> None:
        """Take what a meter that samples by itself has gathered."""
        start_ns = monotonic_ns()
        block: Optional[Block] = self._source.attempt(start_ns, lambda meter: meter.drain(self.rate_hz))
        if block is None:
            self._note_failure(start_ns)
            return
        for t_ns, reason in block.notes:
            self._notes.add(t_ns, reason)
        count = len(block.time_ns)
        if count and not np.isnan(block.values[-1, [at for _, at in self._needed]]).any():
            self._notes.failing = None  # a meter that is lost says so once, and then gives nothing
        seq = np.arange(self._seq, self._seq + count, dtype=np.int64)
        self.writer.extend(block.time_ns, np.zeros(count, np.int64), seq, block.values)
        self._last_ns = int(block.time_ns[-1]) if count else self._last_ns
        self._seq += count

    def _note_failure(self, t_ns: int) -> None:
        """Keep why nothing was read."""
        self._notes.add(t_ns, self._source.reason or "the meter is being opened again")

    def _note_late(self, t_ns: int, read_ns: int) -> None:
        """Keep that a reading came too late."""
        self._source.failures += 1
        self._notes.add(t_ns, f"the meter took {read_ns / NS_PER_S:.3g} s to answer: nobody knows when that was read")

    def _flush(self) -> None:
        """Write what was read, and tell the parent how things stand."""
        self._flush_ns = monotonic_ns() + FLUSH_NS
        self.writer.missed = None if self._source.is_streamed else self._missed
        self._live.extend(*self.writer.flush())
        self._lateness.extend(self._late_ns)
        self._late_ns = []
        self._sync.request()
        self._parent.mention({"live": self._state()})

    def _state(self) -> Dict[str, Any]:
        return {
            "power_w": _finite(self._live.power_w),
            "energy_j": _finite(self._live.energy_j),
            "readings": self._seq,
            "missed": None if self._source.is_streamed else self._missed,
            "t_ns": self._last_ns,
            "reason": self._notes.reason,
            "failing": self._notes.failing,
            "error": self.writer.error or self._sync.error,
        }


def _resolve(path: str) -> Any:
    """The class at ``package.module:Name``."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _finite(value: Optional[float]) -> Optional[float]:
    return value if value is not None and math.isfinite(value) else None
