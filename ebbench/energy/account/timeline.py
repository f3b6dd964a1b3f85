"""The intervals of a run that energy is integrated over, and the time between its starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.cross_check import windows_of
from ebbench.energy.integration.stretches import Stretch, overlap, union, without
from ebbench.energy.phases import Event, Interval, Span, intervals, redone_intervals, spans
from ebbench.energy.trace_file import TraceFile
from ebbench.energy.traces.batches import Ints
from ebbench.records import OTHER_PHASES
from ebbench.units import NS_PER_S


@dataclass(frozen=True)
class Timeline:
    """All intervals to integrate over: the phases themselves, then stretches of training, of other phases, of work redone."""

    phases: List[Interval]
    starts_ns: Ints
    ends_ns: Ints
    boots: Any
    training: Ints
    other: Ints
    redone: Ints
    windows: List[Ints]

    @classmethod
    def of(cls, events: Sequence[Event], last_sign_ns: Mapping[int, int], slowest_s: Optional[float]) -> Timeline:
        """`slowest_s`: seconds between readings of the slowest meter, None where there is nothing to compare."""
        phases = intervals(events, last_sign_ns)
        again = redone_intervals(events, last_sign_ns)
        rows: List[Tuple[int, int, str]] = [(p.start_ns, p.end_ns, p.boot_id) for p in phases]
        kinds: List[List[int]] = [[], [], []]
        for span in spans(events, last_sign_ns):
            for kind, stretches in enumerate(_stretches(phases, again, span.segment)):
                kinds[kind] += range(len(rows), len(rows) + len(stretches))
                rows += [(start, end, span.boot_id) for start, end in stretches]
        windows = []
        for window in windows_of([rows[i] for i in kinds[0]], slowest_s) if slowest_s is not None else []:
            windows.append(np.arange(len(rows), len(rows) + len(window), dtype=np.int64))
            rows += window
        starts_ns, ends_ns = (np.array([r[i] for r in rows], np.int64) for i in (0, 1))
        boots = np.array([r[2] for r in rows], dtype=object)
        training, other, redone = (np.array(k, np.int64) for k in kinds)
        return cls(phases, starts_ns, ends_ns, boots, training, other, redone, windows)


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
            if until_ns is None or trace.last_ns < until_ns:
                found[span.segment] = max(found.get(span.segment, 0), trace.last_ns)
    return found


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
