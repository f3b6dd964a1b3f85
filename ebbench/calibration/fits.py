"""What the trace of a known load shows of each rail of a meter: as JSON values, of its power and of its energy counter."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.step_response.plateaus import (
    BUSY,
    IDLE,
    Level,
    Plateau,
    levels,
    mean_powers,
    noise_w,
    renewals,
    step_w,
    update_period_s,
    usual_interval_s,
)
from ebbench.energy.step_response.response import fit_response
from ebbench.energy.traces.batches import Chunk, Floats, Ints
from ebbench.energy.traces.pace import valid_blocks
from ebbench.energy.traces.series import Series, power_of, series_of
from ebbench.errors import InputError, ResultError
from ebbench.protocols import MeterInfo
from ebbench.units import NS_PER_S


def own_fit(
    info: MeterInfo, name: str, chunk: Chunk, plateaus: Sequence[Plateau], fits: Dict[str, Any], total: Sequence[str]
) -> Dict[str, Any]:
    """The fit of one rail; that of the total for a part of the total whose own step does not show; else none."""
    if name in fits:
        return {}
    try:
        return {name: fit_of(chunk, info, [name], plateaus)}
    except InputError:  # it has neither power nor counter
        return {}
    except ResultError:
        return {name: fits["+".join(total)]} if name in total else {}


def readings_of(chunk: Chunk, series: Series) -> Tuple[Ints, Floats]:
    """Times (ns) and powers (W) that were read."""
    blocks = list(valid_blocks(series, chunk))
    if not sum(times.size for times, _ in blocks):
        raise ResultError(f"{series.name} gave no reading; try it with `ebbench meters sample`")
    return np.concatenate([times for times, _ in blocks]), np.concatenate([power for _, power in blocks])


def fit_of(chunk: Chunk, info: MeterInfo, names: Sequence[str], plateaus: Sequence[Plateau]) -> Dict[str, Any]:
    """What the power of these rails shows, and the response of their energy counter; None for what they do not have.

    A counter that turns too seldom, or in steps too coarse, is no fault where there is a power.
    """
    power, counter = power_of(info, names), series_of(info, names)
    if power is None:
        return _fit_counter(chunk, counter, plateaus)
    fit = {**_fit_power(chunk, power, plateaus), "counter": None}
    if counter.is_counter:
        with contextlib.suppress(ResultError):
            fit["counter"] = _fit_counter(chunk, counter, plateaus)["counter"]
    return fit


def _fit_counter(chunk: Chunk, series: Series, plateaus: Sequence[Plateau]) -> Dict[str, Any]:
    """The response of a counter, seen through its mean powers from one turn to the next; its noise and steps are not looked for."""
    time_ns, power_w = mean_powers(*readings_of(chunk, series))
    if time_ns.size < 2:
        raise ResultError(f"the counter of {series.name} hardly turned; give more --seconds")
    seen = levels(time_ns, power_w, plateaus)
    idle_w, busy_w = noise_w(seen, IDLE), noise_w(seen, BUSY)
    response = fit_response(time_ns, power_w, seen, max(idle_w or 0.0, busy_w or 0.0))
    return {
        "counter": response.without_mean(usual_interval_s(time_ns)).to_json(),
        "response": None,
        "idle_w": _mean_w(seen, IDLE),
        "load_w": _mean_w(seen, BUSY),
        "idle_noise_w": None,
        "load_noise_w": None,
        "resolution_w": None,
        "update_period_s": None,
        "update_period_u_s": None,
        "readings": int(time_ns.size),
        "rate_hz": NS_PER_S / float(np.median(np.diff(chunk.time_ns))),
    }


def _fit_power(chunk: Chunk, series: Series, plateaus: Sequence[Plateau]) -> Dict[str, Any]:
    """Response, noise, steps and renewal of one power."""
    time_ns, power_w = readings_of(chunk, series)
    seen = levels(time_ns, power_w, plateaus)
    idle_w, busy_w = noise_w(seen, IDLE), noise_w(seen, BUSY)
    period = update_period_s(time_ns, power_w, len(plateaus))
    if period is not None:  # a register: what counts is how it is renewed; that it is kept is known
        time_ns, power_w = renewals(time_ns, power_w)
        seen = [new or old for new, old in zip(levels(time_ns, power_w, plateaus), seen)]
    resolution_w = step_w(power_w)
    known_w = series.rail.resolution_w if series.rail.resolution_w is not None else resolution_w
    response = fit_response(time_ns, power_w, seen, max(idle_w or 0.0, busy_w or 0.0), known_w or 0.0)
    return {
        "response": response.to_json(),
        "idle_w": _mean_w(seen, IDLE),
        "load_w": _mean_w(seen, BUSY),
        "idle_noise_w": idle_w,
        "load_noise_w": busy_w,
        "resolution_w": resolution_w,
        "update_period_s": period and period[0],
        "update_period_u_s": period and period[1],
        "readings": int(time_ns.size),
        "rate_hz": NS_PER_S / float(np.median(np.diff(chunk.time_ns))),
    }


def _mean_w(seen: Sequence[Optional[Level]], name: str) -> Optional[float]:
    each = [level.power_w for level in seen if level is not None and level.plateau.name == name]
    return float(np.mean(each)) if each else None
