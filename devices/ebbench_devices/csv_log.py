"""A log in CSV that any other program on any other machine is writing, followed while it grows: ``csv:power.csv?scope=wall``.

Its stamps are those of its own clock. They become CLOCK_MONOTONIC by this machine's clocks read together when a row arrives, after
`offset_s` (what has to be added to the log's clock to get this machine's) was added. How far that may be off is `offset_bound_s`.
Where nobody states it for a wall clock, that clock is another one, still to be aligned when the run is sealed (`energy.clocks`).

Nothing is invented: a row that goes back in time, lies in the future, or is cut off, is left out and told. What was logged before
the meter is opened belongs to no run; a whole log of the past is for `ebbench integrate --trace`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import List, Optional, Sequence, Tuple

import numpy as np

from ebbench.clock import ClockReading, monotonic_ns, read_clocks
from ebbench.environment import is_simulated_root
from ebbench.errors import ConfigError, EbbenchError, InputError, MeterError, nearest
from ebbench.protocols import Availability, Block, Column, MeterInfo, MeterRequest, Rail
from ebbench.units import NS_PER_S, format_duration
from ebbench_devices.logs import clock as log_clock
from ebbench_devices.logs.clock import LogClock
from ebbench_devices.logs.growing_file import GrowingFile
from ebbench_devices.logs.rows import ISO, TIME_UNITS, LogRows, Row, columns_of
from ebbench_devices.meter.external import address_of, named, unnamed
from ebbench_devices.meter.feed import patience_s
from ebbench_devices.meter.options import DOUBTS, LATENESS, Options
from ebbench_devices.meter.untrusted import shown

OPTIONS = ("scope", "time_column", "time_unit", "column", *log_clock.OPTIONS, "total", "range_w", *DOUBTS, *LATENESS)
EXAMPLE = "csv:/path/power.csv?scope=wall"
#: when a log opens, a row is not waited for longer than this
MOST_PATIENCE_S = 20.0


class CsvLogMeter:
    """The rails of a log, as its rows arrive."""

    def __init__(self, request: MeterRequest, clocks=read_clocks) -> None:  # type: ignore[no-untyped-def]
        options = Options("csv", request, OPTIONS)
        self._path = address_of("csv", request, EXAMPLE)
        self._scope = options.stated_scope()
        self._time_unit = str(options.choice("time_unit", TIME_UNITS, "s"))
        self._time_column = str(
            options.text("time_column", "time" if self._time_unit == ISO else f"time_{self._time_unit}")
        )
        self._columns = columns_of(options.text("column"))
        self._clock = LogClock(options)
        self._total = options.text("total")
        range_w = options.number("range_w", above=0.0)
        self._facts = options.applied(Rail("any", self._scope, range_w=range_w, averaging_s=None))
        self._clocks = clocks
        self._file: Optional[GrowingFile] = None
        self._last_ns: Optional[int] = None  # of the last row, in our time
        self._fault: Optional[str] = None  # why none of the file's rows can be believed
        self._is_anew = False  # whether rows are read again, up to those that are new
        self._notes: List[Tuple[int, str]] = []

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Whether the named log is there and has its columns; without a name there is none."""
        if not request.address:
            return unnamed(EXAMPLE)
        meter, there = cls(request), named(request)
        try:
            info = meter._begin()
        except (MeterError, InputError) as error:
            return dataclasses.replace(there, available=False, present=False, reason=str(error))
        finally:
            meter.close()
        rails = ", ".join(rail.name for rail in info.rails)
        return dataclasses.replace(there, reason=f"{shown(request.address)}: {rails}")

    def open(self) -> MeterInfo:
        """Read the header and the last row. Raises MeterError or InputError for a file that is no log."""
        try:
            info = self._begin()
            self._wait_for_a_row()
        except EbbenchError:
            self.close()
            raise
        return info

    def _begin(self) -> MeterInfo:
        try:
            self._file = GrowingFile(self._path)
            first, lines = self._file.first_and_last_lines()
        except OSError as error:
            mend = (
                "start what writes it first" if isinstance(error, FileNotFoundError) else "name a log that you may read"
            )
            raise MeterError(f"csv: {self._path}: {error.strerror}; {mend}") from error
        if first is None:
            raise MeterError(f"csv: {self._path} has no header yet; start what writes it first")
        self._rows = LogRows(self._path, first, self._time_column, self._time_unit, self._columns)
        clocks = self._clocks()
        self._opened_ns = self._heard_ns = clocks.monotonic_ns
        self._clock.set_by(clocks)
        rows = [row for row in (self._rows.row(line)[0] for line in lines) if row is not None]
        self._interval_s = _interval_s(rows)
        info = self._info()
        last = [row for row in rows[-1:] if self._clock.age_s(row.time_ns, clocks) < self._patience_s]
        self._first = [row for row in last if self._is_next(row, clocks, self._notes)]
        return info

    def _wait_for_a_row(self) -> None:
        """Until there is one of now. Raises MeterError with what is wrong with those that come, or that none comes."""
        deadline_ns = monotonic_ns() + round(min(self._patience_s, MOST_PATIENCE_S) * NS_PER_S)
        while not self._first:
            rows, notes = self._gather(self._clocks())
            self._first, self._notes = rows, self._notes + notes
            if monotonic_ns() > deadline_ns:
                reason = (
                    self._notes[-1][1] if self._notes else f"csv: nothing new in {self._path}; is it still written?"
                )
                raise MeterError(reason)
            time.sleep(0.02)

    @property
    def _patience_s(self) -> float:
        return patience_s(self._interval_s or 0.0)

    def _info(self) -> MeterInfo:
        columns = self._rows.columns
        rails = [name for name in dict.fromkeys(c[:-2] for c in columns) if _has_power(name, columns)]
        if self._total is None and len(rails) > 1:
            raise ConfigError(
                f"csv: {self._path} has the rails {', '.join(rails)}; say which one is the whole: total=RAIL"
            )
        if self._total is not None and self._total not in rails:
            raise ConfigError(f"csv: total = {self._total!r} is not in {self._path}; {nearest(self._total, rails)}")
        self._total = total = self._total or rails[0]
        self._total_at = [at for at, name in enumerate(columns) if name[:-2] == total]
        return MeterInfo(
            "csv",
            self._scope,
            is_simulated_root(),
            tuple(
                dataclasses.replace(self._facts, name=name, scope=self._scope if name == total else "rail")
                for name in rails
            ),
            tuple(Column(name) for name in columns),
            (total,),
            1.0 / self._interval_s if self._interval_s else 1.0,
            identity={
                "log": self._path,
                **self._clock.to_json(),
                "time_column": self._time_column,
                "time_unit": self._time_unit,
            },
            time_bound_s=self._clock.bound_s,
            clock=self._clock.kind,
        )

    def drain(self, rate_hz: float) -> Block:
        """The rows that have arrived since the last call; what is wrong with them, or with the file, is told in notes."""
        clocks = self._clocks()
        rows, notes = self._gather(clocks)
        rows, self._first = self._first + rows, []
        notes, self._notes = self._notes + notes, []
        self._watch_silence(bool(rows), clocks, notes)
        times_ns = np.array([self._clock.monotonic_ns(row.time_ns, clocks) for row in rows], dtype=np.int64)
        values = np.array([row.values for row in rows], dtype=np.float64).reshape(len(rows), len(self._rows.columns))
        return Block(times_ns, values, tuple(notes))

    def _gather(self, clocks: ClockReading) -> Tuple[List[Row], List[Tuple[int, str]]]:
        """The rows that are new and can be believed, and what is to be told."""
        assert self._file is not None, "read before open"
        notes: List[Tuple[int, str]] = []
        was_set = self._clock.set_by(clocks)
        if was_set is not None:
            notes.append((clocks.monotonic_ns, f"csv: {was_set}"))
        lines, fresh, fault = self._file.take()
        rows = self._first_row(fresh.pop(0)) if fresh else []
        if fault is not None or self._fault is not None:
            notes.append((clocks.monotonic_ns, f"csv: {fault or self._fault}"))
        rows += self._read(lines or fresh, clocks, notes)
        return [row for row in rows if self._is_next(row, clocks, notes)], notes

    def _first_row(self, line: str) -> List[Row]:
        """Begin another file with its first line; while that does not fit, none of its rows is believed."""
        self._is_anew, self._fault = True, None
        try:
            row = self._rows.begin_anew(line)
        except InputError as error:
            self._fault = str(error)
            return []
        return [row] if row else []

    def _read(self, lines: Sequence[str], clocks: ClockReading, notes: List[Tuple[int, str]]) -> List[Row]:
        rows: List[Row] = []
        for line in lines if self._fault is None else []:
            row, fault = self._rows.row(line) if line.strip() else (None, None)
            if fault is not None:
                notes.append((clocks.monotonic_ns, f"csv: {self._path}: {fault}"))
            if row is not None:
                rows.append(row)
                if fault is None and all(math.isnan(row.values[at]) for at in self._total_at):
                    notes.append(
                        (clocks.monotonic_ns, f"csv: {self._path}: rows without {self._total} (empty, or NaN)")
                    )
        return rows

    def _is_next(self, row: Row, clocks: ClockReading, notes: List[Tuple[int, str]]) -> bool:
        """Whether a row lies after the one before and not in the future; remembers it."""
        age_s, time_ns = self._clock.age_s(row.time_ns, clocks), self._clock.monotonic_ns(row.time_ns, clocks)
        if self._last_ns is not None and time_ns <= self._last_ns:
            if not self._is_anew:
                notes.append((clocks.monotonic_ns, f"csv: time does not grow in {self._path}; such rows are left out"))
            return False
        if not self._clock.may_be(age_s):
            notes.append(
                (clocks.monotonic_ns, f"csv: rows are {format_duration(-age_s)} ahead of this machine; {self._mend()}")
            )
            return False
        if time_ns < self._opened_ns - self._patience_s * NS_PER_S:
            if not self._is_anew:
                notes.append(
                    (
                        clocks.monotonic_ns,
                        f"csv: rows are {format_duration(age_s)} old when they arrive; {self._mend()}",
                    )
                )
            return False
        self._last_ns, self._is_anew = time_ns, False
        return True

    def _watch_silence(self, is_heard: bool, clocks: ClockReading, notes: List[Tuple[int, str]]) -> None:
        silent_s = (clocks.monotonic_ns - self._heard_ns) / NS_PER_S
        if is_heard:
            self._heard_ns = clocks.monotonic_ns
        elif silent_s > self._patience_s:
            notes.append((clocks.monotonic_ns, f"csv: nothing new in {self._path}; is it still written?"))

    def _mend(self) -> str:
        return f"check time_unit={self._time_unit}, {self._clock}, and the time zone"

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
        self._file = None


def _has_power(rail: str, columns: Sequence[str]) -> bool:
    return any(f"{rail}_{unit}" in columns for unit in "wj") or all(f"{rail}_{unit}" in columns for unit in "va")


def _interval_s(rows: Sequence[Row]) -> Optional[float]:
    """The median time between rows; None where that is not known."""
    steps = np.diff([row.time_ns for row in rows])
    median = float(np.median(steps)) / NS_PER_S if len(steps) else math.nan
    return median if median > 0 else None
