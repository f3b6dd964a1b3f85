"""Units at the borders: inside, everything is SI without prefixes."""

from __future__ import annotations

import math
from typing import Optional

#: factor to watts, joules, volts, amperes and seconds, by the unit's usual spelling in lower case
TO_SI = {
    "w": 1.0, "mw": 1e-3, "uw": 1e-6, "kw": 1e3,
    "j": 1.0, "mj": 1e-3, "uj": 1e-6, "kj": 1e3, "wh": 3600.0, "mwh": 3.6, "kwh": 3.6e6,
    "v": 1.0, "mv": 1e-3, "a": 1.0, "ma": 1e-3,
    "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9,
}  # fmt: skip
NS_PER_S = 1_000_000_000
#: no meter is read, or sends, more often than that
MOST_HZ = 2e6

#: SI prefixes by their factor, the largest first
PREFIXES = (
    (1e15, "P"),
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
)


def format_si(value: Optional[float], unit: str, digits: int = 4) -> str:
    """Write `value` with an SI prefix and `digits` significant digits: ``12.34 kJ``; missing or not finite is ``–``."""
    if value is None or not math.isfinite(value):
        return "–"
    value = float(f"{value:.{digits - 1}e}")  # round first: 999.96 W is 1 kW, not 1000 W
    if value == 0:
        return f"0 {unit}"
    for factor, prefix in PREFIXES:
        if abs(value) >= factor * (1 - 1e-12) or factor == PREFIXES[-1][0]:
            return f"{_plain(value / factor, digits)} {prefix}{unit}"
    raise AssertionError("unreachable: the last prefix takes every value")


def _plain(value: float, digits: int) -> str:
    """As format ``g``, without ever an exponent: two digits of 300 are 300, not 3e+02."""
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def format_duration(seconds: Optional[float]) -> str:
    """Write a time span as people say it: ``850 ms``, ``12.3 s``, ``4 min 05 s``, ``2 h 03 min``, ``3 d 04 h``."""
    if seconds is None:
        return "–"
    if seconds < 59.95:  # what three digits would show as 60 s is a minute
        return format_si(seconds, "s", 3)
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d} h"
