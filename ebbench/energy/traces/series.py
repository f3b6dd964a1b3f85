"""Which columns of a trace make up one power (or one energy counter) over time, and what is known about it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.traces.batches import Chunk, Floats, Ints
from ebbench.errors import InputError, nearest
from ebbench.protocols import AVERAGE, HOLD, INSTANT, Column, MeterInfo, Rail
from ebbench.units import NS_PER_S


@dataclass(frozen=True)
class Lateness:
    """How what is read follows the power: as the mean over `averaging_s`, later by `delay_s`, known to `delay_u_s` (k = 1).

    None: nobody knows (see `ebbench.protocols.Rail`).
    """

    averaging_s: Optional[float]
    delay_s: Optional[float]
    delay_u_s: float

    @property
    def shift_s(self) -> float:
        """How much later than the power it stands for a reading is stamped: the delay, else half the averaging time."""
        return (self.averaging_s or 0.0) / 2 if self.delay_s is None else self.delay_s


@dataclass(frozen=True)
class Series:
    """One thing that is integrated: a rail, or several whose readings are added (the board's total).

    `columns`: per rail the columns whose product is its value: ``(("VDD_IN_w",),)``, ``(("VDD_IN_v", "VDD_IN_a"),)``. With
    `is_counter` the value is an energy counter (J), else a power (W). `rail` holds the facts of the sum. `step_j` is one
    count of the counter, None where unknown.
    """

    name: str
    columns: Tuple[Tuple[str, ...], ...]
    rail: Rail
    is_counter: bool = False
    step_j: Optional[float] = None

    @property
    def lateness(self) -> Lateness:
        """How late the power is, or of a counter the energy."""
        rail = self.rail
        if self.is_counter:
            return Lateness(rail.counter_averaging_s, rail.counter_delay_s, rail.counter_delay_u_s)
        return Lateness(rail.averaging_s, rail.delay_s, rail.delay_u_s)

    @property
    def shift_ns(self) -> int:
        """How much later (ns) than the power it stands for a reading is stamped."""
        return round(self.lateness.shift_s * NS_PER_S)

    def values(self, chunk: Chunk, rows: slice = slice(None)) -> Floats:
        """The series' value of each sweep (W, or J of a counter), float64 [n]; NaN where a part of it was not read."""
        parts = [_product([chunk.values[c][rows] for c in group]) for group in self.columns]
        value = parts[0] if len(parts) == 1 else np.add.reduce(parts)
        gain, offset_w = self.rail.gain_correction, self.rail.offset_correction_w
        if self.is_counter or (gain, offset_w) == (1.0, 0.0):
            return value
        return value * gain + offset_w

    def times_ns(self, chunk: Chunk) -> Ints:
        """When the series was read, int64 [n]: the sweep's time plus the mean offset of the series' columns in it."""
        offsets = [chunk.offsets_ns.get(c, 0) for group in self.columns for c in group]
        offset_ns = round(sum(offsets) / len(offsets))
        return chunk.time_ns + offset_ns if offset_ns else chunk.time_ns


def series_of(info: MeterInfo, names: Sequence[str], label: Optional[str] = None) -> Series:
    """The power of the rails `names` of a meter, added; a counter where each of them has one (``<rail>_j``).

    Raises InputError for a rail that the meter does not have or that has neither power, counter, nor volts and amperes.
    """
    rails = {rail.name: rail for rail in info.rails}
    columns = {column.name: column for column in info.columns}
    for name in names:
        if name not in rails:
            raise InputError(f"meter {info.name} has no rail {name!r}; {nearest(name, rails)}")
    is_counter = all(f"{name}_j" in columns for name in names)
    groups = tuple(_columns_of(info.name, name, columns, is_counter) for name in names)
    rail = _sum_of([rails[name] for name in names], label or "+".join(names))
    return Series(rail.name, groups, rail, is_counter, _step_j(columns, groups) if is_counter else None)


def power_of(info: MeterInfo, names: Sequence[str]) -> Optional[Series]:
    """The power of rails that have a counter as well, to check the one against the other; None where there is none."""
    columns = {c.name: c for c in info.columns if not c.name.endswith("_j")}
    try:
        return series_of(dataclasses.replace(info, columns=tuple(columns.values())), names)
    except InputError:
        return None


def latest_ns(info: MeterInfo) -> int:
    """How much later (ns) than it was the power of any of a meter's rails is read, or the energy that it counts; at least 0."""
    power_s = [Lateness(r.averaging_s, r.delay_s, r.delay_u_s).shift_s for r in info.rails]
    counter_s = [Lateness(r.counter_averaging_s, r.counter_delay_s, r.counter_delay_u_s).shift_s for r in info.rails]
    return round(max(0.0, *power_s, *counter_s) * NS_PER_S)


def _columns_of(meter: str, name: str, columns: Dict[str, Column], is_counter: bool) -> Tuple[str, ...]:
    if is_counter:
        return (f"{name}_j",)
    for group in ((f"{name}_w",), (f"{name}_v", f"{name}_a")):
        if all(column in columns for column in group):
            return group
    raise InputError(f"rail {name!r} of meter {meter} has no column {name}_w, {name}_j, or {name}_v and {name}_a")


def _step_j(columns: Dict[str, Column], groups: Sequence[Sequence[str]]) -> Optional[float]:
    found = [columns[c] for group in groups for c in group]
    return math.sqrt(sum(c.scale**2 for c in found)) if all(c.raw for c in found) else None


def _sum_of(rails: List[Rail], name: str) -> Rail:
    """The facts of the sum of several rails: gains at worst fully correlated, offsets and steps independent."""
    if len(rails) == 1:
        return rails[0]
    gains = [r.gain_ratio for r in rails]
    power = _lateness_of_sum([Lateness(r.averaging_s, r.delay_s, r.delay_u_s) for r in rails])
    counter = _lateness_of_sum([Lateness(r.counter_averaging_s, r.counter_delay_s, r.counter_delay_u_s) for r in rails])
    periods = [r.update_period_s for r in rails if r.update_period_s]
    kinds = {r.kind for r in rails}
    ranges = [r.range_w for r in rails]
    return Rail(
        name=name,
        scope=rails[0].scope,
        gain_ratio=None if None in gains else max(g for g in gains if g is not None),
        offset_w=_root_sum_square([r.offset_w for r in rails]),
        resolution_w=_root_sum_square([r.resolution_w for r in rails]),
        range_w=None if None in ranges else sum(r for r in ranges if r is not None),
        kind=HOLD if HOLD in kinds else AVERAGE if AVERAGE in kinds else INSTANT,
        update_period_s=max(periods) if periods else None,
        averaging_s=power.averaging_s,
        delay_s=power.delay_s,
        delay_u_s=power.delay_u_s,
        counter_averaging_s=counter.averaging_s,
        counter_delay_s=counter.delay_s,
        counter_delay_u_s=counter.delay_u_s,
    )


def _lateness_of_sum(parts: Sequence[Lateness]) -> Lateness:
    """The longest averaging time, and the mean delay where one of them has any."""
    known_s = [part.averaging_s for part in parts if part.averaging_s is not None]
    has_delay = any(part.delay_s is not None for part in parts)
    return Lateness(
        max(known_s) if len(known_s) == len(parts) else None,
        sum(part.shift_s for part in parts) / len(parts) if has_delay else None,
        max(part.delay_u_s for part in parts),
    )


def _product(factors: List[Floats]) -> Floats:
    return factors[0] if len(factors) == 1 else np.multiply.reduce(factors)


def _root_sum_square(values: Sequence[Optional[float]]) -> Optional[float]:
    known = [v for v in values if v is not None]
    return math.sqrt(sum(v * v for v in known)) if len(known) == len(values) else None
