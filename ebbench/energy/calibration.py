"""What was found out about a meter on this board, and how it changes what its readings mean.

A calibration is a JSON document (`FORMAT_VERSION`): the fits of `response`, `plateaus` and `comparison` per rail, and what the
meter said of itself at the time. It never changes a trace. `calibrated` applies it where a `MeterInfo` enters the account:

* the delay, with its uncertainty, the averaging time and the update period of each rail whose response was seen, of its power and
  of its energy counter each by its own;
* gain and offset of a rail that is the whole total of its meter, where it was compared with a reference.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, List, Mapping, Optional

from ebbench.energy.step_response.response import AVERAGE as MEAN
from ebbench.energy.step_response.response import INSTANT as SHARP
from ebbench.energy.step_response.response import Response
from ebbench.protocols import AVERAGE, HOLD, INSTANT, MONOTONIC, MeterInfo, Rail

FORMAT_VERSION = 1
#: of a rail, what a calibration depends on: when the meter says something else than it did, the calibration is of another meter
_CONSTITUTION = ("name", "scope", "kind", "update_period_s", "averaging_s", "range_w")
#: of a meter's identity, what tells one instrument from another
_IDENTITIES = ("uuid", "serial")


def constitution(info: MeterInfo) -> Dict[str, Any]:
    """What must be the same for a calibration to be of this meter: rails, columns, and which instrument it is."""
    return {
        "rails": [{key: getattr(rail, key) for key in _CONSTITUTION} for rail in info.rails],
        "columns": [{"name": column.name, "scale": column.scale} for column in info.columns],
        "total": list(info.total),
        "identity": {key: info.identity[key] for key in _IDENTITIES if key in info.identity},
    }


def misfit(info: MeterInfo, document: Mapping[str, Any]) -> Optional[str]:
    """Why a calibration is not of this meter as it is now; None where it is."""
    if document.get("format_version") != FORMAT_VERSION:
        return f"it has format {document.get('format_version')}, not {FORMAT_VERSION}; calibrate again"
    if bool(document.get("simulated")) != info.simulated:
        return "a calibration of a simulated meter says nothing about a real one, nor the other way round"
    now, then = constitution(info), document.get("constitution") or {}
    differing = [key for key in now if now[key] != then.get(key)]
    return f"the meter's {' and '.join(differing)} changed since then; calibrate again" if differing else None


def damage(document: Mapping[str, Any]) -> Optional[str]:
    """What cannot be in a file that `calibrate` wrote; None where there is nothing. One of another format is not looked into."""
    if document.get("format_version") != FORMAT_VERSION:
        return None
    rails, comparison = document.get("rails"), document.get("comparison")
    if not isinstance(rails, dict) or not rails:
        return "it has no rails"
    for name, fit in rails.items():
        try:
            seen = [Response(**part) for part in (fit["response"], fit.get("counter")) if part is not None]
            numbers = [
                *(number for response in seen for number in dataclasses.astuple(response)[1:]),
                fit["update_period_s"],
                fit["resolution_w"],
            ]
        except (KeyError, TypeError):
            return f"rail {name} lacks a part of its response"
        if not seen:
            return f"rail {name} shows nothing"
        uncertain = [u_s for response in seen for u_s in (response.delay_u_s, response.width_u_s)]
        are_numbers = all(number is None or _is_number(number) for number in numbers)
        if not are_numbers or not all(u_s is not None and u_s >= 0 for u_s in uncertain):
            return f"rail {name} holds what is no number"
    if comparison is None:
        return None
    keys = ("gain_correction", "offset_correction_w", "gain_u", "offset_u_w")
    is_whole = isinstance(comparison, dict) and all(_is_number(comparison.get(key)) for key in keys)
    is_possible = is_whole and comparison["gain_correction"] > 0 <= min(comparison["gain_u"], comparison["offset_u_w"])
    return None if is_possible else "its comparison with the reference cannot be"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def calibrated(info: MeterInfo, document: Optional[Mapping[str, Any]]) -> MeterInfo:
    """The meter as the calibration knows it; as it says itself where there is none, or one that does not fit."""
    if document is None or misfit(info, document) is not None:
        return info
    fits = document["rails"]
    comparison = document.get("comparison")
    rails: List[Rail] = []
    for rail in info.rails:
        fit, is_our_clock = fits.get(rail.name) or {}, info.clock == MONOTONIC
        if fit.get("response"):
            rail = _with_response(rail, fit, is_our_clock)
        if fit.get("counter"):
            rail = _with_counter(rail, Response(**fit["counter"]), is_our_clock)
        if comparison is not None and info.total == (rail.name,) and f"{rail.name}_j" not in _names(info):
            rail = _corrected(rail, comparison)
        rails.append(rail)
    return dataclasses.replace(info, rails=tuple(rails))


def _names(info: MeterInfo) -> List[str]:
    return [column.name for column in info.columns]


def _with_response(rail: Rail, fit: Mapping[str, Any], is_our_clock: bool) -> Rail:
    """Delay, averaging and renewal as they were seen; a step of the reading only where the meter does not state one.

    The delay of a meter with a clock of its own holds that clock's offset, which every run finds anew: it is not taken.
    """
    response = Response(**fit["response"])
    period_s = fit["update_period_s"] or rail.update_period_s
    is_sharp = response.model == SHARP
    kind = (
        AVERAGE if not is_sharp else HOLD if fit["update_period_s"] else INSTANT if rail.kind == AVERAGE else rail.kind
    )
    if rail.kind == HOLD:
        kind = HOLD
    return dataclasses.replace(
        rail,
        kind=kind,
        delay_s=response.delay_s if is_our_clock else rail.delay_s,
        delay_u_s=response.delay_u_s if is_our_clock else rail.delay_u_s,
        averaging_s=response.averaging_s,
        update_period_s=period_s,
        resolution_w=fit["resolution_w"] if rail.resolution_w is None else rail.resolution_w,
    )


def _with_counter(rail: Rail, response: Response, is_our_clock: bool) -> Rail:
    """The same of the rail's energy counter; a width that does not show may hide, and counts as if it were there."""
    return dataclasses.replace(
        rail,
        counter_delay_s=response.delay_s if is_our_clock else rail.counter_delay_s,
        counter_delay_u_s=response.delay_u_s if is_our_clock else rail.counter_delay_u_s,
        counter_averaging_s=response.averaging_s or response.width_u_s,
    )


def _corrected(rail: Rail, comparison: Mapping[str, Any]) -> Rail:
    gain, offset_w = comparison["gain_correction"], comparison["offset_correction_w"]
    return dataclasses.replace(
        rail,
        gain_correction=gain,
        offset_correction_w=offset_w,
        gain_ratio=comparison["gain_u"],
        offset_w=comparison["offset_u_w"],
        resolution_w=None if rail.resolution_w is None else rail.resolution_w * gain,
        range_w=None if rail.range_w is None else rail.range_w * gain + offset_w,
    )


def summary(document: Mapping[str, Any]) -> str:
    """A calibration in one line."""
    name, fit = next(iter(document["rails"].items()))
    text = f"{name} {_said(fit['response'])}" if fit["response"] else name
    if fit.get("counter"):
        text += f"{', ' if fit['response'] else ' '}its counter {_said(fit['counter'])}"
    comparison = document.get("comparison")
    if comparison:
        text += (
            f", corrected by {100 * (comparison['gain_correction'] - 1):+.2g} % and {comparison['offset_correction_w']:+.2g} W"
            f" (± {200 * comparison['gain_u']:.2g} % ± {2 * comparison['offset_u_w']:.2g} W)"
        )
    return f"{document['date'][:10]}: {text}"


def _said(fitted: Mapping[str, Any]) -> str:
    response = Response(**fitted)
    text = f"{response.delay_s * 1e3:.3g} ± {2 * response.delay_u_s * 1e3:.2g} ms late"
    if not response.width_s:
        return text
    return text + f", {'averages over' if response.model == MEAN else 'time constant'} {response.width_s * 1e3:.3g} ms"
