"""A recorded trace played again in real time: ``replay:old/trace-ina3221-000.arrows`` or ``replay:power.csv?scope=wall``.

The first recorded reading is shown when the meter opens, the others as far apart as they were. Nothing is invented: when the
recording ends, the rest is a gap with that reason, unless ``loop=1`` starts it again. The phases are new, so what comes out
is simulated.

A CSV has a column ``time_s`` and one ``<rail>_w`` (or ``_v``, ``_a``, ``_j``) per quantity; an empty cell was not read. The total
is ``?total=RAIL``, else the first rail.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

import numpy as np

from ebbench.clock import Clock, monotonic_ns
from ebbench.energy.traces.trace import TraceReader
from ebbench.errors import ConfigError, InputError, MeterError, nearest
from ebbench.protocols import STATED, Availability, Block, Column, MeterInfo, MeterRequest, Rail
from ebbench.units import NS_PER_S
from ebbench_devices.meter.options import SCOPES, Options

OPTIONS = ("loop", "scope", "total")
_COLUMN = re.compile(r"([A-Za-z0-9_]+)_([wvaj])")

#: times int64 [n] (ns, of the recording's clock) and values float64 [n, columns] (SI, NaN = not read)
Piece = Tuple[np.ndarray, np.ndarray]


#: recordings that have ended, by the request that asked for them: a sampler opens a meter that fails again with the same
#: request, and a recording must not begin anew then (the request is kept so that its id stays its own)
_ENDED: Dict[int, Tuple[MeterRequest, MeterError]] = {}


class ReplayMeter:
    """Shows the readings of a recording again, in constant memory for our own traces."""

    def __init__(self, request: MeterRequest, clock: Clock = monotonic_ns) -> None:
        if not request.address:
            raise ConfigError("replay needs a recording: replay:FILE (.arrows, or a CSV with time_s and <rail>_w)")
        self.path = Path(request.address)
        self._request = request
        options = Options("replay", request, OPTIONS)
        self._loop = options.flag("loop")
        self._scope = options.choice("scope", SCOPES)
        self._total = options.text("total")
        self._clock = clock
        self._recording: Optional[Recording] = None
        self._pieces: Iterator[Piece] = iter(())
        self._waiting: Optional[Piece] = None
        self._shift_ns = 0  # from the recording's clock to ours
        self._last_ns: List[int] = []  # the last two times handed over, ours
        self._counted = np.zeros(0)  # what counters (J) had reached when the recording began again

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Whether the named recording is there; without a name there is nothing to replay."""
        scope = request.options.get("scope", STATED)
        if not request.address:
            return Availability(False, False, "a recording; name it: replay:FILE", scope, simulated=True)
        there = Path(request.address).is_file()
        reason = f"{request.address} is {'' if there else 'not '}there"
        return Availability(there, there, reason, scope, simulated=True)

    def open(self) -> MeterInfo:
        """Read the header and the first readings. Raises InputError for a file that is not a recording."""
        if id(self._request) in _ENDED:
            raise _ENDED[id(self._request)][1]
        recording = ArrowRecording(self.path) if self.path.suffix == ".arrows" else CsvRecording(self.path)
        self._recording = recording
        self._pieces = recording.pieces()
        self._waiting = next(self._pieces, None)
        if self._waiting is None:
            raise InputError(f"{self.path} holds no readings; choose another recording")
        self._shift_ns = self._clock() - int(self._waiting[0][0])
        self._counted = np.zeros(len(recording.info.columns))
        return self._described(recording.info)

    def _described(self, info: MeterInfo) -> MeterInfo:
        """What the recording was, as a simulated meter; `scope` and `total` of the options come before the file's."""
        names = [rail.name for rail in info.rails]
        if self._total is not None and self._total not in names:
            raise ConfigError(f"replay: total = {self._total!r} is not in {self.path}; {nearest(self._total, names)}")
        identity = {
            "recording": str(self.path),
            "loop": self._loop,
            "recorded": dict(info.identity),
            "meter": info.name,
        }
        return dataclasses.replace(
            info,
            name="replay",
            simulated=True,
            scope=self._scope or info.scope,
            total=(self._total,) if self._total else info.total,
            columns=tuple(Column(column.name) for column in info.columns),  # pieces are in SI units
            identity=identity,
        )

    def drain(self, rate_hz: float) -> Block:
        """The readings that are due since the last call, at their recorded distances, whatever `rate_hz` is.

        Raises MeterError once the recording has ended and all of it was handed over.
        """
        assert self._recording is not None, "drain before open"
        now_ns = self._clock()
        taken: List[Piece] = []
        while self._waiting is not None:
            times_ns, values = self._waiting
            due = int(np.searchsorted(times_ns + self._shift_ns, now_ns, side="right"))
            taken.append((times_ns[:due] + self._shift_ns, values[:due] + self._counted))
            self._remember(taken[-1][0], taken[-1][1])
            if due < len(times_ns):
                self._waiting = (times_ns[due:], values[due:])
                break
            self._waiting = self._following()
        if not taken:
            why = self._recording.damage or "the recording ended; use a longer one, or loop=1 to repeat it"
            ended = MeterError(f"replay {self.path}: {why}")
            _ENDED[id(self._request)] = (self._request, ended)
            raise ended
        return Block(np.concatenate([t for t, _ in taken]), np.concatenate([v for _, v in taken]))

    def _remember(self, times_ns: np.ndarray, values: np.ndarray) -> None:
        if len(times_ns):
            self._last_ns = [*self._last_ns, *times_ns[-2:].tolist()][-2:]
            self._last_values = values[-1]

    def _following(self) -> Optional[Piece]:
        """The next piece; with `loop` the first again, one interval after the last reading, counters going on."""
        following = next(self._pieces, None)
        if following is not None or not self._loop:
            return following
        assert self._recording is not None
        self._pieces = self._recording.pieces()
        first_times_ns, first_values = first = next(self._pieces)
        interval_ns = self._last_ns[-1] - self._last_ns[0] if len(self._last_ns) > 1 else NS_PER_S
        self._shift_ns = self._last_ns[-1] + max(interval_ns, 1) - int(first_times_ns[0])
        is_counter = np.array([column.name.endswith("_j") for column in self._recording.info.columns])
        self._counted = np.where(is_counter, self._last_values - first_values[0], 0.0)
        return first

    def close(self) -> None:
        """Nothing stays open between two pieces."""
        self._pieces, self._waiting = iter(()), None


class Recording:
    """A file of readings: what they mean (`info`), and the readings themselves piece by piece."""

    info: MeterInfo
    #: why the recording ended before its end, once `pieces` is through
    damage: Optional[str] = None

    def pieces(self) -> Iterator[Piece]:
        """All readings, from the start."""
        raise NotImplementedError


class ArrowRecording(Recording):
    """One of our own traces."""

    def __init__(self, path: Path) -> None:
        self._reader = TraceReader(path)
        self.info = self._reader.info

    def pieces(self) -> Iterator[Piece]:
        """Batch by batch, up to the first that is damaged."""
        names = [column.name for column in self.info.columns]
        for chunk in self._reader:
            if len(chunk.time_ns):
                yield np.asarray(chunk.time_ns), np.stack([chunk.values[name] for name in names], axis=1)
        self.damage = self._reader.damage


class CsvRecording(Recording):
    """A CSV with ``time_s`` and one column per rail and quantity."""

    def __init__(self, path: Path) -> None:
        self.path = path
        names, rows = self._rows()
        if "time_s" not in names:
            raise InputError(f"{path}: no column time_s ({nearest('time_s', names)}); rename the column of the times")
        kept = [name for name in names if _COLUMN.fullmatch(name) and name != "time_s"]
        if not any(name.endswith(("_w", "_j")) for name in kept):
            raise InputError(f"{path}: no column <rail>_w or <rail>_j; name the powers like VDD_IN_w")
        table = self._table(names, rows)
        self._times_ns = np.rint(table["time_s"] * NS_PER_S).astype(np.int64)
        self._values = np.stack([table[name] for name in kept], axis=1)
        rails = list(dict.fromkeys(name[:-2] for name in kept if name.endswith(("_w", "_j"))))
        intervals_s = np.diff(self._times_ns) / NS_PER_S
        rate_hz = 1 / float(np.median(intervals_s)) if len(intervals_s) else 1.0
        self.info = MeterInfo(
            path.name,
            "rail",
            True,
            tuple(Rail(rail, "rail", averaging_s=None) for rail in rails),
            tuple(Column(name) for name in kept),
            (rails[0],),
            rate_hz,
        )

    def pieces(self) -> Iterator[Piece]:
        """The whole file at once."""
        yield self._times_ns, self._values

    def _rows(self) -> Tuple[List[str], List[List[str]]]:
        try:
            with open(self.path, newline="", encoding="utf-8-sig") as handle:
                rows = [row for row in csv.reader(handle) if row]
        except FileNotFoundError as error:
            raise InputError(f"{self.path} is not there; name a recording with replay:FILE") from error
        except IsADirectoryError as error:
            raise InputError(f"{self.path} is a folder; name the trace in it, such as trace-sim-000.arrows") from error
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.path} cannot be read as CSV: {error}") from error
        if len(rows) < 2:
            raise InputError(f"{self.path} holds no readings; choose another recording")
        return [name.strip() for name in rows[0]], rows[1:]

    def _table(self, names: List[str], rows: List[List[str]]) -> Dict[str, np.ndarray]:
        """All columns as float64 [n]; an empty cell is NaN. Times must be finite and rise."""
        table = {name: np.empty(len(rows)) for name in names}
        for number, row in enumerate(rows):
            if len(row) != len(names):
                raise InputError(
                    f"{self.path} line {number + 2}: {len(row)} cells, not {len(names)}; was the file cut?"
                )
            for name, cell in zip(names, row):
                table[name][number] = self._number(cell, name, number + 2)
        times_s = table.get("time_s", np.zeros(0))
        wrong = np.flatnonzero(~np.isfinite(times_s) | (np.diff(times_s, prepend=-np.inf) <= 0))
        if len(wrong):
            raise InputError(
                f"{self.path} line {wrong[0] + 2}: time_s must rise from line to line; sort or mend the file"
            )
        return table

    def _number(self, cell: str, name: str, line: int) -> float:
        try:
            return float(cell) if cell.strip() else float("nan")
        except ValueError as error:
            if not _COLUMN.fullmatch(name):  # a column that is not replayed may hold anything
                return float("nan")
            raise InputError(f"{self.path} line {line}: {name} = {cell!r} is not a number") from error
