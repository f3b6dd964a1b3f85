"""One meter of a run: its traces, and its total and rails over all intervals."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence

from ebbench.energy.alignment.clocks import clock_of
from ebbench.energy.calibration import calibrated
from ebbench.energy.measured import Measured
from ebbench.energy.phases import Event
from ebbench.energy.reasons import Hole
from ebbench.energy.trace_file import TraceFile, look_through
from ebbench.energy.traces.pace import look_s
from ebbench.energy.traces.series import Series, power_of, series_of
from ebbench.errors import InputError
from ebbench.meter_ref import OFF
from ebbench.protocols import Column, MeterInfo, Rail
from ebbench.records import MEASURED, NOT_MEASURED, SIMULATED
from ebbench.rundir import RunDir

#: stands for the meters of a run that was to have none: it has no trace, and so every energy is missing
UNMETERED = "no meter was read ('off' was asked for)"
NO_METER = MeterInfo("off", "none", False, (Rail("none", "none"),), (Column("none_w"),), ("none",), 1.0)


@dataclass
class RunMeter:
    """One meter of the run. The first series is its total, then come its rails, then the power beside a counter."""

    info: MeterInfo
    series: List[Series]
    rails: List[int]
    check: Optional[int]
    traces: List[TraceFile]
    measured: List[Measured]
    holes: List[Hole]

    @classmethod
    def of(cls, rundir: RunDir, info: MeterInfo, events: Sequence[Event]) -> RunMeter:
        """The meter with its traces looked through; what it measured and its holes are filled in later."""
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


def infos_of(manifest: Mapping[str, Any]) -> List[MeterInfo]:
    """The meters of a manifest, the reference first. Raises InputError where it names none."""
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


def slowest_s(meters: Sequence[RunMeter]) -> float:
    """The longest median interval (s) between readings of any of the meters' totals."""
    return max(
        (t.paces[0].interval_s for m in meters for t in m.traces if t.paces and t.paces[0].readings > 1), default=0.0
    )


def slowest_look_s(meters: Sequence[RunMeter]) -> float:
    """The longest time (s) between two looks at the power by any of the meters' totals; 0 where nothing was read."""
    looks_s = (look_s(m.series[0], t.paces[0]) for m in meters for t in m.traces if t.paces)
    return max((seconds for seconds in looks_s if math.isfinite(seconds)), default=0.0)


def traces_there(meters: Sequence[RunMeter]) -> Sequence[TraceFile]:
    """The traces of the first meter that was read by the machine that ran: another one's go on when that one dies."""
    there = [m.traces for m in meters if not any(t.clock.is_linked for t in m.traces)]
    return there[0] if there else []
