"""What a device said, taken with care: a number is a finite number or nothing, a text is shown in quotes, escaped and cut short."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Mapping, Optional

from ebbench.errors import MeterError


def number_of(document: Mapping[str, Any], key: str) -> Optional[float]:
    """A finite number in a JSON object; None where there is none under `key` (a text such as "0.01 kW" is none)."""
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def step_of(document: Mapping[str, Any], key: str) -> Optional[float]:
    """One step of a number as it was printed: 0.001 for 1.500; None where there is no number."""
    if number_of(document, key) is None:
        return None
    value = document[key]
    exponent = value.as_tuple().exponent if isinstance(value, Decimal) else 0
    return float(Decimal(1).scaleb(int(exponent)))


def power_of(meter: str, document: Mapping[str, Any], key: str, limit_w: float) -> float:
    """The power under `key` (W). Raises MeterError where it is no number, or more than `limit_w`."""
    power_w = number_of(document, key)
    if power_w is None:
        raise MeterError(f"{meter}: {key} is {quoted(document.get(key))}, not a number of watts")
    if abs(power_w) > limit_w:
        raise MeterError(f"{meter}: {key} = {power_w:g} W cannot be; the reading is left out")
    return power_w


def quoted(value: Any, longest: int = 60) -> str:
    """What a device sent, safe to show: escaped, in quotes, cut short."""
    text = (
        value.decode("utf-8", "replace")
        if isinstance(value, bytes)
        else value
        if isinstance(value, str)
        else str(value)
    )
    return ascii(text if len(text) <= longest else text[:longest] + "...")
