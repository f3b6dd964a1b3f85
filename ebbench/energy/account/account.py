"""What a run cost: the traces of all its meters integrated over all its phases.

The total is gross, of the reference rail, over the top-level training phases, less the evaluations, checkpoints and other
phases nested in them that are not training. It is integrated over just that time, stretch by stretch, so that its
uncertainty is that of the sum and not of a difference of sums.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Callable, Collection, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.account.by_phase import energy_by_phase, instances, rails_of, self_energies_j, status_over
from ebbench.energy.account.facts import cross_checks_of, facts_of, gaps_within
from ebbench.energy.account.rows import RowTable, Together
from ebbench.energy.account.run_meter import (
    NO_METER,
    UNMETERED,
    RunMeter,
    infos_of,
    slowest_look_s,
    slowest_s,
    traces_there,
)
from ebbench.energy.account.timeline import Timeline, down_s_of, is_rest, last_signs, redone_in
from ebbench.energy.integration.stretches import Stretch
from ebbench.energy.measured import Measured, Rows, measure
from ebbench.energy.phases import Event, Interval, Span, intervals, read_events, redone_intervals, spans
from ebbench.energy.reasons import holes_between
from ebbench.energy.traces.batches import Ints
from ebbench.protocols import MeterInfo
from ebbench.records import EnergyAccount
from ebbench.rundir import RunDir, read_json

#: from all phases, the work that was done again and the number of a segment: stretches of that segment
StretchesOf = Callable[[Sequence[Interval], Sequence[Span], int], List[Stretch]]


def account(
    rundir: RunDir, max_gap_s: Optional[float] = None, infos: Optional[Sequence[MeterInfo]] = None
) -> EnergyAccount:
    """The energy account of a run folder. `infos`: the meters, the reference first; default: those of the manifest.

    Raises InputError where a file cannot be read; what is not covered by readings is missing, with its reason.
    """
    manifest = read_json(rundir.manifest) if infos is None or max_gap_s is None else {}
    if infos is None:
        infos = infos_of(manifest)
    if max_gap_s is None:
        max_gap_s = (manifest.get("bench") or {}).get("max_gap_s")
    events = read_events(rundir.phases)
    meters = [RunMeter.of(rundir, info, events) for info in infos]
    last_sign_ns = last_signs(events, traces_there(meters))
    is_compared = len(meters) > 1 or meters[0].check is not None
    timeline = Timeline.of(events, last_sign_ns, slowest_look_s(meters), slowest_s(meters) if is_compared else None)
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


@dataclass(frozen=True)
class MeasuredOver:
    """Energies of a run over other stretches than its phases: `rows` for each that was wanted, in every rail, the total first."""

    phases: List[Interval]
    rows: List[Rows]
    rails: List[Tuple[str, Measured]]


def measured_over(rundir: RunDir, wanted: Sequence[StretchesOf]) -> MeasuredOver:
    """Integrate every rail over the stretches that each of `wanted` says, with one look at every trace."""
    events = read_events(rundir.phases)
    manifest = read_json(rundir.manifest)
    meters = [RunMeter.of(rundir, info, events) for info in infos_of(manifest)]
    last_sign_ns = last_signs(events, traces_there(meters))
    phases, again = intervals(events, last_sign_ns), redone_intervals(events, last_sign_ns)
    table = RowTable()
    together = [Together(table, slowest_look_s(meters)) for _ in wanted]
    for span in spans(events, last_sign_ns):
        for one, stretches_of in zip(together, wanted):
            one.add(table.add((*s, span.boot_id) for s in stretches_of(phases, again, span.segment)))
    starts_ns, ends_ns, boots = table.arrays()
    found = []
    for meter in meters:
        over = measure(
            meter.traces, meter.series, starts_ns, ends_ns, boots,
            max_gap_s=(manifest.get("bench") or {}).get("max_gap_s"), is_simulated=meter.info.simulated,
        )  # fmt: skip
        found += [(f"{meter.info.name}/{over[i].series.rail.name}", over[i]) for i in meter.rails]
    return MeasuredOver(phases, [one.rows() for one in together], found)


def redone_outside(rundir: RunDir, paths: Collection[str]) -> float:
    """Energy (J) of the training that was done again in other top-level phases than `paths`."""

    def elsewhere(phases: Sequence[Interval], again: Sequence[Span], segment: int) -> List[Stretch]:
        return redone_in([p for p in phases if p.path.split("/")[0] not in paths], again, segment)

    found = measured_over(rundir, [elsewhere])
    (_, total), *_ = found.rails
    return total.total(found.rows[0].at)[0] or 0.0


def _account(
    events: Sequence[Event], timeline: Timeline, meters: Sequence[RunMeter], last_sign_ns: Mapping[int, int]
) -> EnergyAccount:
    reference = meters[0]
    total = reference.total
    training = timeline.training.at
    total_j, uncertainty_j, components_j = total.total_of(timeline.training)
    status, reason = status_over(total, training)
    duration_s, covered_s = float(total.duration_s[training].sum()), float(total.covered_s[training].sum())
    idle = np.array([i for i, p in enumerate(timeline.phases) if is_rest(p.path)], np.int64)
    idle_j, idle_s = total.total(idle)[0], float(total.covered_s[idle].sum())
    idle_power_w = idle_j / idle_s if idle_j is not None and idle_s > 0 else None
    net_j = total_j - idle_power_w * covered_s if total_j is not None and idle_power_w is not None else None
    kind = reference.kind
    self_j = self_energies_j(timeline.phases, total)
    cross_checks = cross_checks_of(events, timeline, meters)
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
        down_s=down_s_of(events, last_sign_ns),
        by_phase=energy_by_phase(timeline, total, self_j, kind),
        phases=instances(timeline.phases, total),
        rails=rails_of(timeline, meters),
        components_j=components_j,
        gaps=[g for m in meters for g in gaps_within(m)],
        trace=facts_of(timeline, meters, cross_checks),
        clocks=[t.clock.facts(m.info.name, t.path.name) for m in meters for t in m.traces],
        status=status,
        reason=reason,
        cross_checks=cross_checks,
    )


def _sum_j(measured: Measured, at: Ints) -> Optional[float]:
    """The energy over the intervals `at`: 0 where there is none of them, None where there are and none is covered."""
    return measured.total(at)[0] if at.size else 0.0
