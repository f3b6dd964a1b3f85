"""What is wrong with what an opened meter says of itself, and with what it then reads."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Iterator, List, Sequence

import numpy as np

from ebbench.energy.alignment.clocks import UNKNOWN_BOUND_S
from ebbench.energy.traces.series import series_of
from ebbench.errors import EbbenchError
from ebbench.protocols import AVERAGE, HOLD, INSTANT, MONOTONIC, REMOTE, Block, Column, MeterInfo, Rail
from ebbench.units import NS_PER_S

SCOPES = ("module", "devkit", "wall", "gpu", "cpu", "rail")
_NAME, _RAIL = re.compile(r"[A-Za-z0-9_.-]+"), re.compile(r"[A-Za-z0-9_]+")
_COLUMN = re.compile(r"([A-Za-z0-9_]+)_([wvaj])")
#: what of a rail is unknown or a size
_SIZES = (
    "gain_ratio", "offset_w", "resolution_w", "range_w", "update_period_s", "averaging_s", "delay_s", "delay_u_s",
    "counter_averaging_s", "counter_delay_s", "counter_delay_u_s",
)  # fmt: skip
#: no volts, amperes or watts are more, and no counter of joules
MOST_SI = 1e18


def info_faults(info: Any) -> Iterator[str]:
    """Every contradiction in a `MeterInfo`."""
    if not isinstance(info, MeterInfo):
        yield f"open gives {type(info).__name__}, not a MeterInfo"
        return
    if not _NAME.fullmatch(info.name):
        yield f"its name {info.name!r} cannot be part of a file's name"
    if info.scope not in SCOPES:
        yield f"its scope {info.scope!r} is none of {', '.join(SCOPES)}"
    if not isinstance(info.simulated, bool):
        yield f"simulated = {info.simulated!r} is neither True nor False"
    if not (math.isfinite(info.default_rate_hz) and info.default_rate_hz > 0):
        yield f"default_rate_hz = {info.default_rate_hz} is not above 0"
    if info.max_rate_hz is not None and info.max_rate_hz < info.default_rate_hz:
        yield f"max_rate_hz = {info.max_rate_hz:g} is below default_rate_hz = {info.default_rate_hz:g}"
    if not info.time_bound_s >= 0:
        yield f"time_bound_s = {info.time_bound_s} is below 0"
    if info.clock not in (MONOTONIC, REMOTE):
        yield f"its clock {info.clock!r} is neither {MONOTONIC!r} nor {REMOTE!r}"
    for rail in info.rails:
        yield from _rail_faults(rail)
    yield from _containment_faults(info)
    yield from _column_faults(info)
    yield from _total_faults(info)
    yield from _json_faults(info)


def _rail_faults(rail: Rail) -> Iterator[str]:
    if not _RAIL.fullmatch(rail.name):
        yield f"rail {rail.name!r}: letters, digits and _ are allowed"
    if rail.scope not in SCOPES:
        yield f"rail {rail.name}: its scope {rail.scope!r} is none of {', '.join(SCOPES)}"
    if rail.kind not in (INSTANT, AVERAGE, HOLD):
        yield f"rail {rail.name}: its kind {rail.kind!r} is none of {INSTANT}, {AVERAGE}, {HOLD}"
    if rail.kind == AVERAGE and not (rail.averaging_s or 0.0) > 0:
        yield f"rail {rail.name}: it averages, and averaging_s = {rail.averaging_s} does not say over how long"
    for name in _SIZES:
        value = getattr(rail, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            yield f"rail {rail.name}: {name} = {value} is no number from 0 on; unknown is None"


def _containment_faults(info: MeterInfo) -> Iterator[str]:
    inside_of = {rail.name: rail.inside_of for rail in info.rails}
    if len(inside_of) < len(info.rails):
        yield "two of its rails have one name"
    for name, around in inside_of.items():
        seen: List[Any] = [name]
        while around is not None and around not in seen:
            if around not in inside_of:
                yield f"rail {name} is inside of {around!r}, which is none of its rails"
                break
            seen.append(around)
            around = inside_of[around]
        else:
            if around is not None:
                yield f"rail {name} is inside of itself"


def _column_faults(info: MeterInfo) -> Iterator[str]:
    rails, names = {rail.name for rail in info.rails}, [column.name for column in info.columns]
    if not names:
        yield "it has no column"
    if len(set(names)) < len(names):
        yield "two of its columns have one name"
    for column in info.columns:
        match = _COLUMN.fullmatch(column.name)
        if match is None or match.group(1) not in rails:
            yield f"column {column.name} belongs to none of its rails ({', '.join(sorted(rails))}): <rail>_w, _v, _a or _j"
        if not (math.isfinite(column.scale) and column.scale > 0):
            yield f"column {column.name}: scale = {column.scale} is not above 0"


def _total_faults(info: MeterInfo) -> Iterator[str]:
    rails = {rail.name: rail for rail in info.rails}
    unknown = [name for name in info.total if name not in rails]
    if unknown:
        yield f"its total names {', '.join(unknown)}, none of its rails"
        return
    if len(set(info.total)) < len(info.total):
        yield "its total counts a rail twice"
    for name in info.total:
        around = rails[name].inside_of
        while around in rails:
            if around in info.total:
                yield f"its total counts {name} twice: it is inside of {around}"
                break
            around = rails[around].inside_of
    if not info.rails:
        yield "it has no rail"
        return
    try:
        series_of(info, info.total or [info.rails[0].name])
    except EbbenchError as error:
        yield str(error)
    first = info.columns[0].name.rpartition("_")[0] if info.columns else None
    if info.total and first not in info.total:
        yield f"column {first} comes before those of its total; the total is read first"


def _json_faults(info: MeterInfo) -> Iterator[str]:
    try:
        text = json.dumps(info.to_json(), allow_nan=False)
        again = json.dumps(MeterInfo.from_json(json.loads(text)).to_json())
    except (TypeError, ValueError) as error:
        yield f"what it says of itself is not JSON: {error}"
        return
    if again != text:
        yield "what it says of itself comes back from JSON as something else"


def reading_faults(values: Any, columns: Sequence[Column]) -> Iterator[str]:
    """What is wrong with one reading."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        yield f"a reading is {type(values).__name__}, not a sequence of values"
        return
    if len(values) != len(columns):
        yield f"a reading has {len(values)} values for {len(columns)} columns"
        return
    for value, column in zip(values, columns):
        if value is None:
            continue
        if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
            yield f"{column.name} = {value!r} is neither a number nor None"
        elif math.isinf(value):
            yield f"{column.name} is infinite; what was not read is None"
        elif column.raw and not math.isnan(value) and value != int(value):
            yield f"{column.name} = {value!r} is raw, and so a whole number or None"
        else:
            yield from _size_faults([value], [column])


def block_faults(block: Any, info: MeterInfo, now_ns: int, last_ns: int) -> Iterator[str]:
    """What is wrong with one block of a streamed meter, taken at `now_ns`; the last reading before it was at `last_ns`."""
    columns = info.columns
    if not isinstance(block, Block):
        yield f"drain gives {type(block).__name__}, not a Block"
        return
    time_ns, values = block.time_ns, np.asarray(block.values)
    if np.asarray(time_ns).dtype != np.int64:
        yield f"time_ns holds {np.asarray(time_ns).dtype}, not int64"
    if values.shape != (len(time_ns), len(columns)):
        yield f"values have the shape {values.shape} for {len(time_ns)} readings of {len(columns)} columns"
    elif np.isinf(values).any():
        yield "a value is infinite; what was not read is NaN"
    else:
        yield from _size_faults(np.nanmax(np.abs(values), axis=0, initial=0.0), columns)
    if len(time_ns) and (np.diff(time_ns, prepend=last_ns) <= 0).any():
        yield "the times of its readings do not rise"
    ahead_s = 0.0 if info.clock == MONOTONIC else info.time_bound_s or UNKNOWN_BOUND_S
    if len(time_ns) and int(time_ns[-1]) > now_ns + ahead_s * NS_PER_S:
        yield "a reading lies in the future: its times are not CLOCK_MONOTONIC"


def _size_faults(values: Sequence[float], columns: Sequence[Column]) -> Iterator[str]:
    """Numbers that stand for something else, as 9.9e37 of SCPI does for an overflow."""
    for value, column in zip(values, columns):
        if abs(value * column.scale) > MOST_SI:
            yield f"{column.name} = {value:.3g} is more than anything can be; what was not read is None or NaN"
