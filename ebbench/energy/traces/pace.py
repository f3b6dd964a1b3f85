"""How a series was read: the median interval between its readings, and between changes of its value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Iterable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.traces.batches import Chunk, Floats, Ints
from ebbench.energy.traces.series import Series
from ebbench.errors import InputError
from ebbench.protocols import AVERAGE, HOLD
from ebbench.units import NS_PER_S

#: default of the longest interval that is interpolated: this many seconds or median intervals, whichever is longer
MAX_GAP_S, MAX_GAP_INTERVALS = 1.0, 10.0
#: the same where a failure was noted in it: readings at random instants of their slots, of which one failed, lie up to three apart
FAILED_INTERVALS = 3.0
#: intervals longer than this many medians are interpolated, but what may have happened in them counts as a gap
LONG_INTERVALS = 1.5
#: readings taken at once: their arrays stay in a processor's cache, and calls of numpy take little of the time
BLOCK = 65_536
#: the first rows are all surveyed, then so many at the beginning of each such stretch: the same however a trace is chunked
SURVEY_ALL, SURVEY_ROWS, SURVEY_EVERY = 65_536, 64, 65_536


@dataclass(frozen=True)
class Pace:
    """Median interval between readings and between changes of the value (s), NaN where unknown; readings it is known from.

    `noted_ns` says when the meter's failures were noted, in their order.
    """

    interval_s: float
    change_s: float
    readings: int
    noted_ns: Ints = field(default_factory=lambda: np.zeros(0, np.int64), compare=False)

    @property
    def is_staircase(self) -> bool:
        """Whether the same value is usually read several times before it changes."""
        return self.change_s > LONG_INTERVALS * self.interval_s

    @property
    def turn_s(self) -> float:
        """How often a new value of a counter is seen (s)."""
        return self.change_s if self.is_staircase else self.interval_s

    def max_gap_s(self) -> float:
        """The longest interval that is interpolated unless somebody says otherwise."""
        return max(MAX_GAP_S, MAX_GAP_INTERVALS * self.interval_s) if self.readings > 1 else MAX_GAP_S

    def max_failed_gap_s(self) -> float:
        """The same for an interval in which the meter failed: no reading is missing by chance there."""
        return longest_failure_s(self.interval_s) if self.readings > 1 else MAX_GAP_S

    def failed_between(self, time_ns: Ints) -> np.ndarray:
        """Whether a failure was noted between each reading and the next, bool [n - 1]."""
        failed: np.ndarray = np.searchsorted(self.noted_ns, time_ns[1:], "left") > np.searchsorted(
            self.noted_ns, time_ns[:-1], "right"
        )
        return failed


def longest_failure_s(interval_s: float) -> float:
    """How long a meter that is read every `interval_s` may fail until what it lacks is a gap."""
    return max(MAX_GAP_S, FAILED_INTERVALS * interval_s)


def survey(chunks: Iterable[Chunk], series: Sequence[Series]) -> List[Pace]:
    """How each series was read, in one pass over a trace; of a long one only samples are looked at."""
    surveyors = [_Surveyor() for _ in series]
    row = 0
    noted: List[int] = []
    for chunk in chunks:
        noted += [int(note["t_ns"]) for note in chunk.notes]
        for rows, is_new in _sampled_rows(row, chunk.time_ns.size):
            for one, surveyor in zip(series, surveyors):
                surveyor.add(*_valid(one.times_ns(chunk)[rows], one.values(chunk, rows)), is_new)
        row += chunk.time_ns.size
    noted_ns = np.sort(np.array(noted, np.int64))
    return [s.pace(noted_ns) for s in surveyors]


def _sampled_rows(first: int, count: int) -> Iterator[Tuple[slice, bool]]:
    """Which of the rows `first` .. `first + count - 1` are surveyed, counted from `first`, and whether a stretch begins there."""
    if first < SURVEY_ALL:
        yield slice(0, min(count, SURVEY_ALL - first)), first == 0
    start = max(SURVEY_ALL, first - first % SURVEY_EVERY)
    for begin in range(start, first + count, SURVEY_EVERY):
        rows = slice(max(begin - first, 0), min(begin + SURVEY_ROWS - first, count))
        if rows.start < rows.stop:
            yield rows, begin >= first


def valid_blocks(series: Series, chunk: Chunk) -> Iterator[Tuple[Ints, Floats]]:
    """Times (ns) and values of the readings of a chunk that were taken (not NaN), in blocks that fit the cache."""
    time_ns = series.times_ns(chunk)
    for at in range(0, time_ns.size, BLOCK):
        rows = slice(at, at + BLOCK)
        yield _valid(time_ns[rows], series.values(chunk, rows))


def _valid(time_ns: Ints, value: Floats) -> Tuple[Ints, Floats]:
    if np.isfinite(value.sum()):  # one pass, and no array
        return time_ns, value
    taken = np.isfinite(value)
    return time_ns[taken], value[taken]


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
    """The averaging time and the update period (s) of a sensor; 0 where none is known.

    A counter has no update period: it is interpolated between the moments at which it was seen to turn.
    """
    rail, averaging_s = series.rail, series.lateness.averaging_s or 0.0
    if series.is_counter:
        return averaging_s, 0.0
    stated_s = rail.update_period_s or 0.0
    if rail.kind == HOLD:
        return averaging_s, stated_s or (pace.change_s if pace.is_staircase else 0.0)
    return (averaging_s if rail.kind == AVERAGE else 0.0), stated_s if pace.is_staircase else 0.0


def look_s(series: Series, pace: Pace) -> float:
    """Time (s) between two independent looks at the power: the median interval, or the register's update period if longer."""
    return max(pace.interval_s, memory_s(series, pace)[1]) if pace.readings > 1 else math.inf


def smear_s(series: Series, pace: Pace) -> float:
    """How far (s) around its moment a step of the power may show: the averaging time, and twice what its delay is known to."""
    return memory_s(series, pace)[0] + 4 * series.lateness.delay_u_s


class _Surveyor:
    """Collects intervals between readings, and between changes of the value."""

    def __init__(self) -> None:
        self._readings = 0
        self._last: Optional[Tuple[int, float]] = None
        self._changed_ns: Optional[int] = None
        self._intervals: List[Ints] = []
        self._changes: List[Ints] = []

    def add(self, time_ns: Ints, value: Floats, is_new: bool) -> None:
        """Take further readings; `is_new`: they do not follow those before."""
        if is_new:
            self._last, self._changed_ns = None, None
        if time_ns.size == 0:
            return
        self._readings += time_ns.size
        if self._last is not None:
            time_ns = np.concatenate((np.array([self._last[0]]), time_ns))
            value = np.concatenate((np.array([self._last[1]]), value))
        self._last = int(time_ns[-1]), float(value[-1])
        self._intervals.append(np.diff(time_ns))
        changed_ns = time_ns[1:][np.diff(value) != 0]
        if changed_ns.size:
            known = [] if self._changed_ns is None else [self._changed_ns]
            self._changes.append(np.diff(np.concatenate((np.array(known, np.int64), changed_ns))))
            self._changed_ns = int(changed_ns[-1])

    def pace(self, noted_ns: Ints) -> Pace:
        return Pace(_median_s(self._intervals), _median_s(self._changes), self._readings, noted_ns)


def _median_s(parts: Sequence[Ints]) -> float:
    together = np.concatenate(parts) if parts else np.zeros(0)
    return float(np.median(together)) / NS_PER_S if together.size else float("nan")
