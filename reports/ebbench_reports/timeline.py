"""What one run did when: phases, marks and metrics from its log, and an envelope of the reference rail's power.

Times are seconds since the run's first event. A trace of any length is read once, batch by batch, in constant memory.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.account.run_meter import infos_of
from ebbench.energy.alignment.clocks import clock_of_trace
from ebbench.energy.phases import Event, intervals, read_events
from ebbench.energy.traces.series import power_of
from ebbench.energy.traces.trace import Chunk, TraceReader
from ebbench.errors import UserError
from ebbench.protocols import MeterInfo
from ebbench.rundir import RunDir
from ebbench_reports.collect import Run

BINS = 1200


@dataclass(frozen=True)
class Band:
    """One instance of a phase; `depth` 0 is a top-level phase."""

    path: str
    start_s: float
    end_s: float
    interrupted: bool

    @property
    def name(self) -> str:
        """The last part of the path, ``epoch-3`` as ``epoch``."""
        return self.path.rsplit("/", 1)[-1].split("-")[0]

    @property
    def depth(self) -> int:
        """How many phases are around this one."""
        return self.path.count("/")


@dataclass(frozen=True)
class Point:
    """A metric or a mark: when, inside which top-level phase, and what was said."""

    name: str
    time_s: float
    phase: Optional[str]
    value: Optional[float]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Envelope:
    """Power per bin of time: float64 arrays (s, W) without empty bins; NaN separates what a gap separates."""

    time_s: np.ndarray
    low_w: np.ndarray
    mean_w: np.ndarray
    high_w: np.ndarray


class Clockwork:
    """Puts times of several boots on one axis: within a boot by CLOCK_MONOTONIC, between boots by the wall clock."""

    def __init__(self, events: Sequence[Mapping[str, Any]]) -> None:
        self._zero_ns: Dict[str, int] = {}
        first_wall_ns = events[0]["wall_ns"]
        for event in events:
            if event["event"] == "start":
                self._zero_ns.setdefault(event["boot_id"], event["t_ns"] - (event["wall_ns"] - first_wall_ns))

    def seconds(self, boot_id: str, t_ns: Any) -> Any:
        """Seconds since the run's first event, of one time or an array; None for a boot that the log does not know."""
        zero_ns = self._zero_ns.get(boot_id)
        return None if zero_ns is None else (t_ns - zero_ns) / 1e9


@dataclass(frozen=True)
class Timeline:
    """Phases, points and power of one run."""

    bands: Tuple[Band, ...]
    points: Tuple[Point, ...]
    duration_s: float
    power: Optional[Envelope]


def read_timeline(run: Run, with_power: bool = True) -> Optional[Timeline]:
    """The timeline of a run; None when its phase log is not there. Raises UserError when the log is damaged."""
    events = read_events(RunDir(run.folder).phases)
    if not events:
        return None
    clockwork = Clockwork(events)
    bands = []
    for i in intervals(events):
        start_s, end_s = clockwork.seconds(i.boot_id, i.start_ns), clockwork.seconds(i.boot_id, i.end_ns)
        bands.append(Band(i.path, start_s, end_s, i.interrupted))
    points = _points(events, clockwork)
    end_s = max([b.end_s for b in bands] + [p.time_s for p in points] + [1e-9])
    power = _envelope(run, events, clockwork, end_s) if with_power else None
    return Timeline(tuple(bands), tuple(points), end_s, power)


def _points(events: Sequence[Mapping[str, Any]], clockwork: Clockwork) -> List[Point]:
    points: List[Point] = []
    boot_id, opened = "", {}  # type: str, Dict[int, str]
    for event in events:
        if event["event"] == "start":
            boot_id, opened = event["boot_id"], {}
        elif event["event"] == "begin":
            opened[event["id"]] = event["path"]
        elif event["event"] == "end":
            opened.pop(event["id"], None)
        elif event["event"] in ("mark", "metric"):
            phase = next(iter(opened.values())).split("/")[0] if opened else None
            said = event.get("where") or event.get("values") or {}
            time_s = clockwork.seconds(boot_id, event["t_ns"])
            points.append(Point(event["name"], time_s, phase, event.get("value"), said))
    return points


def _envelope(run: Run, events: Sequence[Event], clockwork: Clockwork, end_s: float) -> Optional[Envelope]:
    """Min, mean and max power of the reference rail in `BINS` bins of [0, end_s)."""
    reference = run.measured["reference"]
    if not reference.get("meter"):
        return None
    bins = _Bins(end_s)
    described = [meter for meter in run.record.meters if meter.get("name") == reference["meter"]]
    known = infos_of({"meters": described})[0] if described else None
    for path in RunDir(run.folder).traces(str(reference["meter"])):
        _fill(bins, path, reference, known, events, clockwork)
    return bins.envelope()


def _fill(
    bins: _Bins,
    path: Path,
    reference: Mapping[str, Any],
    known: Optional[MeterInfo],
    events: Sequence[Event],
    clockwork: Clockwork,
) -> None:
    """Add one trace; `known`: the meter as the record takes it, its calibration applied."""
    try:
        reader, clock = TraceReader(path), clock_of_trace(path, events)
    except UserError:
        return  # the record's checks already say that this trace cannot be read
    rails = str(reference["rail"]).split("+") if reference.get("rail") else list(reader.info.total)
    rate_hz = reader.metadata.get("rate_hz") or reader.info.default_rate_hz
    info = reader.info if known is None else dataclasses.replace(reader.info, rails=known.rails)
    for chunk in clock.applied(reader):
        time_ns, power_w = power_at(info, rails, chunk)
        time_s = clockwork.seconds(clock.boot_id or reader.metadata["boot_id"], time_ns)
        if power_w is not None and time_s is not None:
            bins.add(time_s, power_w, max(1.0, 10 / rate_hz))


def power_at(info: MeterInfo, rails: Sequence[str], chunk: Chunk) -> Tuple[np.ndarray, Optional[np.ndarray]]:
    """When (ns) the sum of `rails` had which power (W), delay and correction as in the account; else a counter's differences."""
    power = power_of(info, rails)
    if power is not None:
        return power.times_ns(chunk) - power.shift_ns, power.values(chunk)
    joules = [chunk.values.get(f"{rail}_j") for rail in rails]
    if len(chunk.time_ns) < 2 or any(each is None for each in joules):
        return chunk.time_ns, None
    return chunk.time_ns, np.gradient(np.sum(joules, axis=0), chunk.time_ns / 1e9)


class _Bins:
    """Collects readings in the order of time; no reading is kept."""

    def __init__(self, end_s: float) -> None:
        self._width_s = end_s / BINS
        self._sum, self._count = np.zeros(BINS), np.zeros(BINS)
        self._low, self._high = np.full(BINS, np.inf), np.full(BINS, -np.inf)
        self._gaps_s: List[float] = []
        self._last_s: Optional[float] = None

    def add(self, time_s: np.ndarray, power_w: np.ndarray, max_gap_s: float) -> None:
        """Take readings at `time_s`; a longer pause than `max_gap_s` between two of them is a gap."""
        known = np.isfinite(power_w) & (time_s >= 0) & (time_s < self._width_s * BINS)
        time_s, power_w = time_s[known], power_w[known]
        if not len(time_s):
            return
        before_s = np.concatenate([[self._last_s if self._last_s is not None else time_s[0]], time_s])
        self._gaps_s += ((before_s[1:] + before_s[:-1]) / 2)[np.diff(before_s) > max_gap_s].tolist()
        self._last_s = float(time_s[-1])
        index = np.minimum((time_s / self._width_s).astype(np.int64), BINS - 1)
        first = np.flatnonzero(np.diff(index, prepend=-1))
        bins = index[first]
        self._sum[bins] += np.add.reduceat(power_w, first)
        self._count[bins] += np.diff(first, append=len(index))
        self._low[bins] = np.minimum(self._low[bins], np.minimum.reduceat(power_w, first))
        self._high[bins] = np.maximum(self._high[bins], np.maximum.reduceat(power_w, first))

    def envelope(self) -> Optional[Envelope]:
        """The bins that hold readings, with a NaN in every gap; None when there are none."""
        full = np.flatnonzero(self._count)
        if not len(full):
            return None
        time_s = (full + 0.5) * self._width_s
        columns = [time_s, self._low[full], self._sum[full] / self._count[full], self._high[full]]
        where = np.searchsorted(time_s, self._gaps_s)
        gaps = [np.asarray(self._gaps_s)] + [np.full(len(where), np.nan)] * 3
        return Envelope(*(np.insert(column, where, gap) for column, gap in zip(columns, gaps)))
