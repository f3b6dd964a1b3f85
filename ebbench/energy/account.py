"""What a run cost: the traces of all its meters integrated over all its phases.

The total is gross, of the reference rail, over the top-level training phases, less the evaluations, checkpoints and other
phases nested in them that are not training. It is integrated over just that time, stretch by stretch, so that its
uncertainty is that of the sum and not of a difference of sums.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.alignment.clocks import clock_of
from ebbench.energy.calibration import calibrated
from ebbench.energy.cross_check import counter_check, cross_check, own_ratio, windows_of
from ebbench.energy.integration.stretches import Stretch, overlap, union, without
from ebbench.energy.measured import Measured, gaps_of, measure
from ebbench.energy.phases import Event, Interval, Span, intervals, read_events, redone_intervals, spans
from ebbench.energy.reasons import LOST, Hole, holes_between, together
from ebbench.energy.trace_file import TraceFile, look_through
from ebbench.energy.traces.batches import Ints
from ebbench.energy.traces.series import Series, power_of, series_of
from ebbench.errors import InputError
from ebbench.meter_ref import OFF
from ebbench.protocols import Column, MeterInfo, Rail
from ebbench.records import (
    MEASURED,
    MISSING,
    NOT_MEASURED,
    OK,
    OTHER_PHASES,
    PARTIAL,
    SIMULATED,
    EnergyAccount,
    PhaseEnergy,
)
from ebbench.rundir import RunDir, read_json
from ebbench.units import NS_PER_S

#: stands for the meters of a run that was to have none: it has no trace, and so every energy is missing
UNMETERED = "no meter was read ('off' was asked for)"
NO_METER = MeterInfo("off", "none", False, (Rail("none", "none"),), (Column("none_w"),), ("none",), 1.0)


def account(
    rundir: RunDir, max_gap_s: Optional[float] = None, infos: Optional[Sequence[MeterInfo]] = None
) -> EnergyAccount:
    """The energy account of a run folder. `infos`: the meters, the reference first; default: those of the manifest.

    Raises InputError where a file cannot be read; what is not covered by readings is missing, with its reason.
    """
    manifest = read_json(rundir.manifest) if infos is None or max_gap_s is None else {}
    if infos is None:
        infos = _infos(manifest)
    if max_gap_s is None:
        max_gap_s = (manifest.get("bench") or {}).get("max_gap_s")
    events = read_events(rundir.phases)
    meters = [_Meter.of(rundir, info, events) for info in infos]
    last_sign_ns = _last_signs(events, _traces_there(meters))
    is_compared = len(meters) > 1 or meters[0].check is not None
    timeline = _Timeline.of(events, last_sign_ns, _slowest_s(meters) if is_compared else None)
    for meter in meters:
        meter.holes = holes_between(meter.traces, spans(events, last_sign_ns))
        meter.measured = measure(
            meter.traces, meter.series, timeline.starts_ns, timeline.ends_ns, timeline.boots,
            max_gap_s=max_gap_s, is_simulated=meter.info.simulated,
            holes=meter.holes,
        )  # fmt: skip
    if meters[0].info is NO_METER:
        meters[0].measured = [dataclasses.replace(m, reasons=[UNMETERED] * len(m.reasons)) for m in meters[0].measured]
    return _account(events, timeline, meters, last_sign_ns)


def measured_over(
    rundir: RunDir, stretches_of: Callable[[Sequence[Interval], Sequence[Span], int], List[Stretch]]
) -> List[Tuple[str, Measured]]:
    """Every rail of a run over other stretches than its phases; the reference's total comes first.

    `stretches_of` says which, from all phases, the work that was done again and the number of a segment.
    """
    events = read_events(rundir.phases)
    manifest = read_json(rundir.manifest)
    meters = [_Meter.of(rundir, info, events) for info in _infos(manifest)]
    last_sign_ns = _last_signs(events, _traces_there(meters))
    phases, again = intervals(events, last_sign_ns), redone_intervals(events, last_sign_ns)
    rows = [
        (*s, span.boot_id) for span in spans(events, last_sign_ns) for s in stretches_of(phases, again, span.segment)
    ]
    starts_ns, ends_ns = (np.array([r[i] for r in rows], np.int64) for i in (0, 1))
    boots = np.array([r[2] for r in rows], dtype=object)
    found = []
    for meter in meters:
        over = measure(
            meter.traces, meter.series, starts_ns, ends_ns, boots,
            max_gap_s=(manifest.get("bench") or {}).get("max_gap_s"), is_simulated=meter.info.simulated,
        )  # fmt: skip
        found += [(f"{meter.info.name}/{over[i].series.rail.name}", over[i]) for i in meter.rails]
    return found


def _infos(manifest: Mapping[str, Any]) -> List[MeterInfo]:
    meters = sorted(manifest.get("meters") or [], key=lambda m: not m.get("reference", False))
    if not meters and (manifest.get("bench") or {}).get("meters") in ([OFF], [{"type": OFF}]):
        return [NO_METER]
    if not meters:
        raise InputError("the manifest names no meter: the run ended before one was ready; run it again")
    return [_info(meter) for meter in meters]


def _info(meter: Mapping[str, Any]) -> MeterInfo:
    """A meter of the manifest, which says more, of the bench: what it said of itself, as its calibration knows it better."""
    known = {f.name for f in dataclasses.fields(MeterInfo)}
    info = MeterInfo.from_json({k: v for k, v in meter.items() if k in known})
    calibration = meter.get("calibration") or {}
    return calibrated(info, calibration) if calibration.get("applied") else info


@dataclass
class _Meter:
    """One meter of the run. The first series is its total, then come its rails, then the power beside a counter."""

    info: MeterInfo
    series: List[Series]
    rails: List[int]
    check: Optional[int]
    traces: List[TraceFile]
    measured: List[Measured]
    holes: List[Hole]

    @classmethod
    def of(cls, rundir: RunDir, info: MeterInfo, events: Sequence[Event]) -> _Meter:
        names = info.total or (info.rails[0].name,)
        total = series_of(info, names)
        series = [total] + [series_of(info, [r.name]) for r in info.rails if (r.name,) != tuple(names)]
        rails = list(range(len(series)))
        check = power_of(info, names) if total.is_counter else None
        if check is not None:
            series.append(check)
        paths = rundir.traces(info.name)
        traces = [look_through(path, series, clock_of(info, total, path, events)) for path in paths]
        return cls(info, series, rails, len(series) - 1 if check is not None else None, traces, [], [])

    @property
    def total(self) -> Measured:
        """The meter's total over all intervals."""
        return self.measured[0]

    @property
    def kind(self) -> str:
        """Whether its energies were measured or simulated; or not even that."""
        if self.info is NO_METER:
            return NOT_MEASURED
        return SIMULATED if self.info.simulated else MEASURED


@dataclass(frozen=True)
class _Timeline:
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
    def of(cls, events: Sequence[Event], last_sign_ns: Mapping[int, int], slowest_s: Optional[float]) -> _Timeline:
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


def _slowest_s(meters: Sequence[_Meter]) -> float:
    """The longest median interval (s) between readings of any of the meters' totals."""
    return max(
        (t.paces[0].interval_s for m in meters for t in m.traces if t.paces and t.paces[0].readings > 1), default=0.0
    )


def _traces_there(meters: Sequence[_Meter]) -> Sequence[TraceFile]:
    """The traces of the first meter that was read by the machine that ran: another one's go on when that one dies."""
    there = [m.traces for m in meters if not any(t.clock.is_linked for t in m.traces)]
    return there[0] if there else []


def _last_signs(events: Sequence[Event], traces: Sequence[TraceFile]) -> Dict[int, int]:
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


def _account(
    events: Sequence[Event], timeline: _Timeline, meters: Sequence[_Meter], last_sign_ns: Mapping[int, int]
) -> EnergyAccount:
    reference = meters[0]
    total = reference.total
    training = timeline.training
    total_j, uncertainty_j, components_j = total.total(training)
    status, reason = _status(total, training)
    duration_s, covered_s = float(total.duration_s[training].sum()), float(total.covered_s[training].sum())
    idle = np.array([i for i, p in enumerate(timeline.phases) if p.path == "idle"], np.int64)
    idle_j, idle_s = total.total(idle)[0], float(total.covered_s[idle].sum())
    idle_power_w = idle_j / idle_s if idle_j is not None and idle_s > 0 else None
    net_j = total_j - idle_power_w * covered_s if total_j is not None and idle_power_w is not None else None
    kind = reference.kind
    self_j = _self_j(timeline.phases, total)
    cross_checks = _cross_checks(events, timeline, meters)
    return EnergyAccount(
        reference={"meter": reference.info.name, "rail": total.series.name, "scope": reference.info.scope},
        kind=kind,
        total_j=total_j,
        uncertainty_j=uncertainty_j,
        redone_j=_sum_j(total, timeline.redone),
        other_j=_sum_j(total, timeline.other),
        net_j=net_j,
        idle_power_w=idle_power_w,
        duration_s=duration_s,
        covered_s=covered_s,
        down_s=_down_s(events, last_sign_ns),
        by_phase=_by_phase(timeline.phases, total, self_j, kind),
        phases=_instances(timeline.phases, total),
        rails=_rails(timeline, meters),
        components_j=components_j,
        gaps=[g for m in meters for g in _gaps(m)],
        trace=_facts(timeline, meters, cross_checks),
        clocks=[t.clock.facts(m.info.name, t.path.name) for m in meters for t in m.traces],
        status=status,
        reason=reason,
        cross_checks=cross_checks,
    )


def _sum_j(measured: Measured, at: Ints) -> Optional[float]:
    """The energy over the intervals `at`: 0 where there is none of them, None where there are and none is covered."""
    return measured.total(at)[0] if at.size else 0.0


def _status(measured: Measured, at: Ints) -> Tuple[str, Optional[str]]:
    """ok, partial or missing over the intervals `at` together, and the reasons."""
    if at.size == 0:
        return MISSING, "no phase was opened that counts as training"
    statuses = {measured.statuses[i] for i in at} if at.size < 100 else set(np.array(measured.statuses)[at])
    reasons = together(measured.reasons[i] for i in at)
    return (OK if statuses == {OK} else MISSING if statuses == {MISSING} else PARTIAL), reasons


def _folded(path: str) -> str:
    """``search/epoch-12/draw`` is an instance of ``search/epoch/draw``; the trials of a search stand each for itself."""
    return re.sub(r"(?<!^search/trial)-\d+(?=/|$)", "", path)


def _self_j(phases: Sequence[Interval], total: Measured) -> List[Optional[float]]:
    """Each phase's energy without its children's; None where one of them is missing."""
    place = {p.id: i for i, p in enumerate(phases)}
    rest = total.energy_j[: len(phases)].copy()
    for i, phase in enumerate(phases):
        if phase.parent is not None:
            rest[place[phase.parent]] -= total.energy_j[i]
    return [None if np.isnan(r) else float(r) for r in rest]


def _by_phase(
    phases: Sequence[Interval], total: Measured, self_j: Sequence[Optional[float]], kind: str
) -> Dict[str, PhaseEnergy]:
    groups: Dict[str, List[int]] = {}
    for i, phase in enumerate(phases):
        groups.setdefault(_folded(phase.path), []).append(i)
    statuses = np.array(total.statuses, dtype=object)
    found = {}
    for path, members in groups.items():
        at = np.array(members, np.int64)
        energy_j, uncertainty_j, _ = total.total(at)
        own = [self_j[i] for i in members]
        kinds = set(statuses[at])
        found[path] = PhaseEnergy(
            energy_j=energy_j,
            uncertainty_j=uncertainty_j,
            self_j=None if energy_j is None or None in own else sum(o for o in own if o is not None),
            duration_s=float(total.duration_s[at].sum()),
            covered_s=float(total.covered_s[at].sum()),
            count=len(members),
            kind=kind,
            status=OK if kinds == {OK} else MISSING if kinds == {MISSING} else PARTIAL,
            reason=together(total.reasons[i] for i in members),
            readings=int(total.readings[at].sum()),
            unresolved=bool(total.budget.unresolved[at].all()),
        )
    return found


def _instances(phases: Sequence[Interval], total: Measured) -> List[Dict[str, Any]]:
    none = np.full(len(total.reasons), np.nan)
    half_width_j = total.budget.half_width_j if total.budget.components_j else none
    common_j = total.budget.common_half_width_j if total.budget.components_j else none
    found = []
    for i, (phase, status) in enumerate(zip(phases, total.statuses)):
        is_missing = status == MISSING
        found.append(
            {
                "path": phase.path,
                "segment": phase.segment,
                "start_ns": phase.start_ns,
                "end_ns": phase.end_ns,
                "duration_s": float(total.duration_s[i]),
                "energy_j": None if is_missing else float(total.energy_j[i]),
                "uncertainty_j": None if is_missing else float(half_width_j[i]),
                "common_j": None if is_missing else float(common_j[i]),
                "status": status,
                "reason": total.reasons[i],
                "interrupted": phase.interrupted,
                "failed": phase.failed,
            }
        )
    return found


def _rails(timeline: _Timeline, meters: Sequence[_Meter]) -> Dict[str, Dict[str, Any]]:
    groups: Dict[str, List[int]] = {}
    for i, phase in enumerate(timeline.phases):
        groups.setdefault(_folded(phase.path), []).append(i)
    found: Dict[str, Dict[str, Any]] = {}
    for meter in meters:
        for index in meter.rails:
            measured = meter.measured[index]
            total_j, uncertainty_j, _ = measured.total(timeline.training)
            status, reason = _status(measured, timeline.training)
            by_phase = {path: measured.total(np.array(at, np.int64))[0] for path, at in groups.items()}
            rail = measured.series.rail
            found[f"{meter.info.name}/{rail.name}"] = {
                "meter": meter.info.name,
                "rail": rail.name,
                "scope": meter.info.scope if index == 0 and meter.info.total else rail.scope,
                "kind": meter.kind,
                "total_j": total_j,
                "uncertainty_j": uncertainty_j,
                "covered_s": float(measured.covered_s[timeline.training].sum()),
                "status": status,
                "reason": reason,
                "by_phase": by_phase,
            }
    return found


def _gaps(meter: _Meter) -> List[Dict[str, Any]]:
    """The gaps within the traces and between them; ``down``: the run did not run then, and nothing of it is missing."""
    return [
        {
            "meter": meter.info.name,
            "start_ns": gap.start_ns,
            "duration_s": (gap.end_ns - gap.start_ns) / NS_PER_S,
            "reason": gap.reason,
            "down": isinstance(gap, Hole) and gap.is_down,
        }
        for gap in [*gaps_of(meter.traces, 0), *meter.holes]
    ]


def _facts(timeline: _Timeline, meters: Sequence[_Meter], cross_checks: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """What the checks want to know about the reference meter's traces, and how the other meters compare."""
    reference = meters[0]
    traces = [t for t in reference.traces if t.paces]
    medians = [t.paces[0].interval_s for t in traces if t.paces[0].readings > 1]
    longest = reference.total.longest_s[timeline.training]
    damages = [t.damage for t in reference.traces if t.damage]
    range_w = reference.total.series.rail.range_w
    counter_ratio, counter_uncertainty = _counter(timeline, reference)
    return {
        "readings": sum(t.readings for t in traces),
        "rate_hz": 1 / float(np.median(medians)) if medians else None,
        "missed": sum(t.missed for t in traces),
        "longest_gap_s": float(longest.max()) if longest.size and traces else None,
        "damage": "; ".join(damages) or None,
        "bytes_lost": sum(t.bytes_lost for t in reference.traces),
        "saturated": sum(t.integrals[0].saturated for t in traces) if range_w is not None else None,
        "gaps": sum(t.integrals[0].gap_count for t in traces),
        "counter_ratio": counter_ratio,
        "counter_ratio_uncertainty": counter_uncertainty,
        "cross_meter_ratio": _cross_meter_ratio(cross_checks),
        **_idle_drift(timeline, reference.total),
    }


def _idle_drift(timeline: _Timeline, total: Measured) -> Dict[str, Optional[float]]:
    """The greatest power of an idle phase over the least, less 1, and the half width (k = 2) of what they do not have in common."""
    idle = [i for i, p in enumerate(timeline.phases) if p.path == "idle" and total.statuses[i] == OK]
    power_w = {i: float(total.energy_j[i] / total.duration_s[i]) for i in idle if total.duration_s[i] > 0}
    if len(power_w) < 2 or not min(power_w.values()) > 0:
        return {"idle_drift": None, "idle_drift_uncertainty": None}
    least, most = min(power_w, key=power_w.__getitem__), max(power_w, key=power_w.__getitem__)
    ratio = power_w[most] / power_w[least]
    own = [own_ratio(total, np.array([i], np.int64)) for i in (least, most)]
    return {"idle_drift": ratio - 1, "idle_drift_uncertainty": 2 * ratio * math.hypot(*own)}


def _counter(timeline: _Timeline, meter: _Meter) -> Tuple[Optional[float], Optional[float]]:
    """Integrated power over the energy counter of the same rails, and its half width, where there are both."""
    if meter.check is None:
        return None, None
    return counter_check(meter.measured[meter.check], meter.total, timeline.windows)


def _cross_checks(events: Sequence[Event], timeline: _Timeline, meters: Sequence[_Meter]) -> List[Dict[str, Any]]:
    """Every other meter against the reference."""
    marks = [e["values"] for e in events if e["event"] == "mark" and e["name"] == LOST]
    lost = {values["meter"]: values["reason"] for values in marks}
    first, *others = [(meter.info, meter.total) for meter in meters]
    return [cross_check(other, first, timeline.windows, lost.get(other[0].name)) for other in others]


def _cross_meter_ratio(cross_checks: Sequence[Mapping[str, Any]]) -> Optional[float]:
    """Total of the other meter of the same scope that differs most, over the reference's."""
    ratios = [c["ratio"] for c in cross_checks if c["expected"] == "1" and c["ratio"] is not None]
    return max(ratios, key=lambda r: abs(r - 1), default=None)


def _down_s(events: Sequence[Event], last_sign_ns: Mapping[int, int]) -> float:
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
