"""What a device said, taken with care: a number is one that can be or nothing, a text is shown escaped and cut short."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Dict, Mapping, Optional

from ebbench.errors import MeterError

#: no number of volts, amperes or watt-hours is larger
MOST = 1e12
#: by a column's letter, in SI units: what is more stands for something else, as the 9.9e37 of SCPI does for an overflow
LIMITS: Dict[str, float] = {"w": 1e6, "v": 1e6, "a": 1e6, "j": 1e15}
#: decimals that a step may have, before or after the point
DECIMALS = 12


def believable(letter: str, value: Optional[float]) -> Optional[float]:
    """The value (SI units) of a column of this letter; None where it is none, not finite, or more than anything can be."""
    return value if value is not None and abs(value) <= LIMITS[letter] else None


def number_of(document: Mapping[str, Any], key: str) -> Optional[float]:
    """A finite number in a JSON object whose numbers are Decimals; None where there is none (a text such as "0.01 kW" is none)."""
    value = document.get(key)
    if not isinstance(value, Decimal):
        return None
    number = float(value)
    return number if math.isfinite(number) and abs(number) <= MOST else None


def step_of(document: Mapping[str, Any], key: str) -> Optional[float]:
    """One step of a number as it was printed: 0.001 for 1.500; None where there is no number."""
    if number_of(document, key) is None:
        return None
    exponent = int(document[key].as_tuple().exponent)
    return float(Decimal(1).scaleb(exponent)) if abs(exponent) <= DECIMALS else None


def power_of(meter: str, document: Mapping[str, Any], key: str) -> float:
    """The power under `key` (W). Raises MeterError where it is no number, or more than can be."""
    power_w = number_of(document, key)
    if power_w is None:
        raise MeterError(f"{meter}: {key} is {quoted(document.get(key))}, not a number of watts")
    if believable("w", power_w) is None:
        raise MeterError(f"{meter}: {key} = {power_w:g} W cannot be; the reading is left out")
    return power_w


def quoted(value: Any, longest: int = 60) -> str:
    """What a device sent, safe to show in a line, a log or a page: escaped, cut short, in quotes."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return ascii(text if len(text) <= longest else text[:longest] + "...")


def shown(value: Any, longest: int = 160) -> str:
    """The same without its quotes."""
    return quoted(value, longest)[1:-1]
