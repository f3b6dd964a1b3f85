"""What the checks want to know of the traces: gaps, counters, idle drift, and how the meters compare."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.account.run_meter import RunMeter
from ebbench.energy.account.timeline import Timeline, is_rest
from ebbench.energy.cross_check import counter_check, cross_check, own_ratio
from ebbench.energy.measured import Measured, gaps_of
from ebbench.energy.phases import Event
from ebbench.energy.reasons import LOST, Hole
from ebbench.records import OK
from ebbench.units import NS_PER_S


def facts_of(
    timeline: Timeline, meters: Sequence[RunMeter], cross_checks: Sequence[Mapping[str, Any]]
) -> Dict[str, Any]:
    """What the checks want to know about the reference meter's traces, and how the other meters compare."""
    reference = meters[0]
    traces = [t for t in reference.traces if t.paces]
    medians = [t.paces[0].interval_s for t in traces if t.paces[0].readings > 1]
    longest = reference.total.longest_s[timeline.training.at]
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


def gaps_within(meter: RunMeter) -> List[Dict[str, Any]]:
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


def _idle_drift(timeline: Timeline, total: Measured) -> Dict[str, Optional[float]]:
    """The greatest power of an idle phase over the least, less 1, and the half width (k = 2) of what they do not have in common."""
    idle = [i for i, p in enumerate(timeline.phases) if is_rest(p.path) and total.statuses[i] == OK]
    power_w = {i: float(total.energy_j[i] / total.duration_s[i]) for i in idle if total.duration_s[i] > 0}
    if len(power_w) < 2 or not min(power_w.values()) > 0:
        return {"idle_drift": None, "idle_drift_uncertainty": None}
    least, most = min(power_w, key=power_w.__getitem__), max(power_w, key=power_w.__getitem__)
    ratio = power_w[most] / power_w[least]
    own = [own_ratio(total, np.array([i], np.int64)) for i in (least, most)]
    return {"idle_drift": ratio - 1, "idle_drift_uncertainty": 2 * ratio * math.hypot(*own)}


def _counter(timeline: Timeline, meter: RunMeter) -> Tuple[Optional[float], Optional[float]]:
    """Integrated power over the energy counter of the same rails, and its half width, where there are both."""
    if meter.check is None:
        return None, None
    return counter_check(meter.measured[meter.check], meter.total, timeline.windows)


def cross_checks_of(events: Sequence[Event], timeline: Timeline, meters: Sequence[RunMeter]) -> List[Dict[str, Any]]:
    """Every other meter against the reference."""
    marks = [e["values"] for e in events if e["event"] == "mark" and e["name"] == LOST]
    lost = {values["meter"]: values["reason"] for values in marks}
    first, *others = [(meter.info, meter.total) for meter in meters]
    return [cross_check(other, first, timeline.windows, lost.get(other[0].name)) for other in others]


def _cross_meter_ratio(cross_checks: Sequence[Mapping[str, Any]]) -> Optional[float]:
    """Total of the other meter of the same scope that differs most, over the reference's."""
    ratios = [c["ratio"] for c in cross_checks if c["expected"] == "1" and c["ratio"] is not None]
    return max(ratios, key=lambda r: abs(r - 1), default=None)
