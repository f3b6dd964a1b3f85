"""The intervals of a run that energy is integrated over, and the time between its starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ebbench.energy.account.rows import RowTable, Together
from ebbench.energy.alignment.links import HOST, LAPTOP
from ebbench.energy.cross_check import windows_of
from ebbench.energy.integration.stretches import Stretch, overlap, union, without
from ebbench.energy.measured import Rows
from ebbench.energy.phases import Event, Interval, Span, intervals, redone_intervals, spans
from ebbench.energy.trace_file import TraceFile
from ebbench.energy.traces.batches import Ints
from ebbench.records import OTHER_PHASES
from ebbench.units import NS_PER_S


@dataclass(frozen=True)
class Timeline:
    """All intervals to integrate over, as rows: the phases come first. `by_path`: the instances of each path together."""

    phases: List[Interval]
    starts_ns: Ints
    ends_ns: Ints
    boots: Any
    training: Rows
    by_path: Dict[str, Rows]
    other: Ints
    redone: Ints
    windows: List[Ints]

    @classmethod
    def of(
        cls, events: Sequence[Event], last_sign_ns: Mapping[int, int], look_s: float, compared_s: Optional[float]
    ) -> Timeline:
        """`look_s`: seconds between two looks at the power. `compared_s`: between readings of the slowest of the meters to be
        compared, None where there is only one."""
        phases = intervals(events, last_sign_ns)
        again = redone_intervals(events, last_sign_ns)
        table = RowTable()
        table.add((p.start_ns, p.end_ns, p.boot_id) for p in phases)
        training, other, redone = (Together(table, look_s) for _ in range(3))
        by_path: Dict[str, Together] = {}
        for span in spans(events, last_sign_ns):
            for rows, stretches in zip((training, other, redone), _stretches(phases, again, span.segment)):
                rows.add(table.add((*s, span.boot_id) for s in stretches))
            for path, members in _members(phases, span.segment).items():
                by_path.setdefault(path, Together(table, look_s)).add(members)
        trained = training.rows()
        windows = windows_of([table[i] for i in trained.at], compared_s) if compared_s is not None else []
        at_windows = [np.array(table.add(window), np.int64) for window in windows]
        instances = {path: rows.rows() for path, rows in by_path.items()}
        return cls(phases, *table.arrays(), trained, instances, other.rows().at, redone.rows().at, at_windows)


def _stretches(phases: Sequence[Interval], again: Sequence[Span], segment: int) -> List[List[Stretch]]:
    """Of one segment: training, other phases, training that was done again."""
    here = [p for p in phases if p.segment == segment]
    other = union((p.start_ns, p.end_ns) for p in here if p.path.rsplit("/", 1)[-1] in OTHER_PHASES)
    top = union(
        (p.start_ns, p.end_ns) for p in here if p.parent is None and p.path.split("/", 1)[0] not in OTHER_PHASES
    )
    training = without(top, other)
    redone = overlap(training, union((s.start_ns, s.end_ns) for s in again if s.segment == segment))
    return [training, other, redone]


def redone_in(phases: Sequence[Interval], again: Sequence[Span], segment: int) -> List[Stretch]:
    """Training of one segment, in these phases, that was done again."""
    return _stretches(phases, again, segment)[2]


def _members(phases: Sequence[Interval], segment: int) -> Dict[str, List[int]]:
    """Which phases of a segment are instances of each path."""
    groups: Dict[str, List[int]] = {}
    for i, phase in enumerate(phases):
        if phase.segment == segment:
            groups.setdefault(_folded(phase.path), []).append(i)
    return groups


def _folded(path: str) -> str:
    """``search/epoch-12/draw`` is an instance of ``search/epoch/draw``; the trials of a search stand each for itself."""
    return re.sub(r"(?<!^search/trial)-\d+(?=/|$)", "", path)


def is_rest(path: str) -> bool:
    """Whether the board rests in a phase: ``idle``, also inside a measured command; not between amplified blocks."""
    first, _, inside = path.partition("/")
    return path == "idle" or (inside.rpartition("/")[2] == "idle" and first not in OTHER_PHASES)


def last_signs(events: Sequence[Event], traces: Sequence[TraceFile]) -> Dict[int, int]:
    """The last reading (ns) of each segment that never said it stopped: its process lived at least about that long."""
    all_spans = spans(events)
    found: Dict[int, int] = {}
    for span, after in zip(all_spans, [*all_spans[1:], None]):
        until_ns = after.start_ns if after is not None and after.boot_id == span.boot_id else None
        for trace in traces:
            if trace.boot_id != span.boot_id or trace.last_ns is None or trace.last_ns < span.start_ns:
                continue
            if _is_of_a_later_start(trace, span.segment):
                continue
            if until_ns is None or trace.last_ns < until_ns:
                found[span.segment] = max(found.get(span.segment, 0), trace.last_ns)
    return found


def _is_of_a_later_start(trace: TraceFile, segment: int) -> bool:
    """Whether it was written for a start after this segment, also one that was killed before it began a segment of its own.

    The laptop counts its own starts.
    """
    return trace.metadata.get(HOST) != LAPTOP and int(trace.metadata.get("segment", segment)) > segment


def down_s_of(events: Sequence[Event], last_sign_ns: Mapping[int, int]) -> float:
    """Time between the segments (s): by the monotonic clock within a boot, by the wall clock across boots."""
    total_ns = 0
    all_spans = spans(events, last_sign_ns)
    starts = [e for e in events if e["event"] == "start"]
    last: Optional[Event] = None
    segment = -1
    for event in events:
        if event["event"] == "start":
            segment += 1
            if last is not None:
                before, now = all_spans[segment - 1], all_spans[segment]
                same_boot = before.boot_id == now.boot_id
                down_ns = now.start_ns - before.end_ns if same_boot else starts[segment]["wall_ns"] - last["wall_ns"]
                total_ns += max(down_ns, 0)
        last = event
    return total_ns / NS_PER_S
