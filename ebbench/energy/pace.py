"""How a series was read: the median interval between its readings, and between changes of its value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.batches import Chunk, Floats, Ints
from ebbench.energy.series import Series
from ebbench.errors import InputError
from ebbench.protocols import AVERAGE, HOLD
from ebbench.units import NS_PER_S

#: default of the longest interval that is interpolated: this many seconds or median intervals, whichever is longer
MAX_GAP_S, MAX_GAP_INTERVALS = 1.0, 10.0
#: intervals longer than this many medians are interpolated, but what may have happened in them counts as a gap
LONG_INTERVALS = 1.5
#: readings taken at once; their arrays stay in the second-level cache
BLOCK = 32768
#: the first intervals are all taken for the median, then every so many-th: the same however a trace is chunked
SURVEY_ALL, SURVEY_EVERY = 65_536, 997


@dataclass(frozen=True)
class Pace:
    """Median interval between readings and between changes of the value (s), NaN where unknown; number of readings."""

    interval_s: float
    change_s: float
    readings: int

    @property
    def is_staircase(self) -> bool:
        """Whether the same value is usually read several times before it changes."""
        return self.change_s > LONG_INTERVALS * self.interval_s

    def max_gap_s(self) -> float:
        """The longest interval that is interpolated unless somebody says otherwise."""
        return max(MAX_GAP_S, MAX_GAP_INTERVALS * self.interval_s) if self.readings > 1 else MAX_GAP_S


def survey(chunks: Iterable[Chunk], series: Sequence[Series]) -> List[Pace]:
    """How each series was read, in one pass over a trace."""
    surveyors = [_Surveyor() for _ in series]
    for chunk in chunks:
        for one, surveyor in zip(series, surveyors):
            for time_ns, value in valid_blocks(one, chunk):
                surveyor.add(time_ns, value)
    return [s.pace() for s in surveyors]


def valid_blocks(series: Series, chunk: Chunk) -> Iterator[Tuple[Ints, Floats]]:
    """Times (ns) and values of the readings of a chunk that were taken (not NaN), in blocks that fit the cache."""
    time_ns = series.times_ns(chunk)
    for at in range(0, time_ns.size, BLOCK):
        rows = slice(at, at + BLOCK)
        value = series.values(chunk, rows)
        if np.isfinite(value.sum()):
            yield time_ns[rows], value
        else:
            taken = np.isfinite(value)
            yield time_ns[rows][taken], value[taken]


def check_order(time_ns: Ints, last_ns: Optional[int], rows: int, where: str = "trace") -> None:
    """Raise InputError, naming the row (from 1), unless times grow; `last_ns` is the time of row number `rows`."""
    if time_ns.size and last_ns is not None and time_ns[0] <= last_ns:
        raise _backwards(where, rows + 1, int(time_ns[0]) - last_ns)
    for at in range(0, time_ns.size - 1, BLOCK):
        block = time_ns[at : at + BLOCK + 1]
        grows = block[1:] > block[:-1]
        if not grows.all():
            row = at + 1 + int(np.argmin(grows))
            raise _backwards(where, rows + row + 1, int(time_ns[row] - time_ns[row - 1]))


def _backwards(where: str, row: int, step_ns: int) -> InputError:
    what = f"goes back by {-step_ns / NS_PER_S:g} s" if step_ns else "is the same again"
    return InputError(f"{where}: time {what} at row {row}; sort the readings, or take out the row")


def memory_s(series: Series, pace: Pace) -> Tuple[float, float]:
    """The averaging time and the update period (s) of a sensor; 0 where it has none that shows. Counters have no memory."""
    if series.is_counter:
        return 0.0, 0.0
    rail = series.rail
    stated_s = rail.update_period_s or 0.0
    if rail.kind == HOLD:
        return rail.averaging_s, stated_s or (pace.change_s if pace.is_staircase else 0.0)
    return (rail.averaging_s if rail.kind == AVERAGE else 0.0), stated_s if pace.is_staircase else 0.0


class _Surveyor:
    """Collects intervals between readings, and between changes of the value."""

    def __init__(self) -> None:
        self._count = 0
        self._last_ns: Optional[int] = None
        self._last_value: Optional[float] = None
        self._changed_ns: Optional[int] = None
        self._intervals: List[Ints] = []
        self._changes: List[Ints] = []

    def add(self, time_ns: Ints, value: Floats) -> None:
        if time_ns.size == 0:
            return
        first, self._count = self._count, self._count + time_ns.size
        if first < SURVEY_ALL:
            self._add_changes(time_ns, value)
        if self._last_ns is not None:
            time_ns = np.concatenate((np.array([self._last_ns]), time_ns))
            first -= 1
        self._last_ns = int(time_ns[-1])
        self._add_intervals(time_ns, first)

    def _add_intervals(self, time_ns: Ints, first: int) -> None:
        """`first`: the number, from 0, of the interval that begins at `time_ns[0]`."""
        start = max(SURVEY_ALL, first)
        number = np.arange(start + -start % SURVEY_EVERY, first + time_ns.size - 1, SURVEY_EVERY)
        self._intervals.append(np.diff(time_ns[: max(SURVEY_ALL - first + 1, 0)]))
        self._intervals.append(time_ns[number - first + 1] - time_ns[number - first])

    def _add_changes(self, time_ns: Ints, value: Floats) -> None:
        before = value[:1] if self._last_value is None else np.array([self._last_value])
        changed_ns = time_ns[np.diff(np.concatenate((before, value))) != 0]
        if changed_ns.size:
            known = [] if self._changed_ns is None else [self._changed_ns]
            self._changes.append(np.diff(np.concatenate((np.array(known, np.int64), changed_ns))))
            self._changed_ns = int(changed_ns[-1])
        self._last_value = float(value[-1])

    def pace(self) -> Pace:
        return Pace(_median_s(self._intervals), _median_s(self._changes), self._count)


def _median_s(parts: Sequence[Ints]) -> float:
    together = np.concatenate(parts) if parts else np.zeros(0)
    return float(np.median(together)) / NS_PER_S if together.size else float("nan")
