"""What an instrument's answers mean: numbers with or without a unit, and errors. Nothing that is not a number becomes one."""

from __future__ import annotations

import re
from typing import Optional

from ebbench.errors import MeterError
from ebbench_devices.meter.no_number import NO_READING, OVER_RANGE, stands_for
from ebbench_devices.meter.untrusted import LIMITS, quoted, shown

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([munkM]?)([A-Za-z]*)", re.ASCII)
_PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "k": 1e3, "M": 1e6}
_NO_ERROR = re.compile(r"[+-]?0+(\D|$)")


class OverRange(MeterError):
    """The instrument says that its input is more than its range."""


def number(text: str, unit: str) -> Optional[float]:
    """The number in `text`, in `unit` (``W``, ``V``, ``A``); None where the instrument has none (NAN).

    Raises OverRange where it says infinite, MeterError where it is another unit's number or no number.
    """
    text = text.strip()
    match = _NUMBER.fullmatch(text)
    said = stands_for(match.group(1) if match else text)
    if said == NO_READING:
        return None
    if said == OVER_RANGE:
        raise OverRange(f"scpi: over range: the instrument answers {shown(text)} for {unit}; a larger range is needed")
    if match is None:
        raise MeterError(f"scpi: {quoted(text)} is no number; check query=, and that the address is the instrument's")
    digits, prefix, found = match.groups()
    if found not in ("", unit) or (prefix and not found):
        raise MeterError(f"scpi: {quoted(text)} is not in {unit}; check what the query asks for")
    value = float(digits) * _PREFIXES[prefix]
    if abs(value) > LIMITS[(unit or "j").lower()]:
        raise OverRange(f"scpi: over range: the instrument answers {shown(text)}; a larger range is needed")
    return value


def error_in(answer: str) -> Optional[str]:
    """What an answer of the error queue (``0,"No error"``) reports, None where it reports none."""
    return None if _NO_ERROR.match(answer.strip()) else shown(answer)


def is_on(answer: str) -> bool:
    """A boolean answer: 1 or 0, in some settings ON or OFF. Raises MeterError for anything else."""
    if answer.strip().upper() in ("1", "ON"):
        return True
    if answer.strip().upper() in ("0", "OFF"):
        return False
    raise MeterError(f"scpi: {quoted(answer)} is neither 0 nor 1; the instrument and its answers are out of step")
