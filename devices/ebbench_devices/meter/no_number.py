"""What an instrument writes where it has no number: over its range, or nothing measured."""

from __future__ import annotations

import re
from typing import Optional

OVER_RANGE, NO_READING = "over range", "no reading"
#: SCPI-1999, 7.2.1.4 and 7.2.1.5: infinity is 9.9E37, not a number 9.91E37; instruments also write INF and NAN
_INFINITY, _NOT_A_NUMBER = (9.895e37, 9.905e37), (9.905e37, 9.915e37)
_WORD = re.compile(r"[+-]?(?:(nan|-+)|inf|infinity|ovrflw)", re.IGNORECASE)
_IN_LINE = re.compile(r"(?<![\w.])[+-]?(?:nan|inf|infinity|ovrflw|9\.9[01]?0*e\+?37)(?![a-z0-9])", re.IGNORECASE)


def stands_for(text: str) -> Optional[str]:
    """`OVER_RANGE` or `NO_READING` where `text` is what stands in place of a number; None where it is anything else."""
    word = _WORD.fullmatch(text)
    if word is not None:
        return NO_READING if word.group(1) else OVER_RANGE
    try:
        size = abs(float(text))
    except ValueError:
        return None
    for said, (low, high) in ((OVER_RANGE, _INFINITY), (NO_READING, _NOT_A_NUMBER)):
        if low < size < high:
            return said
    return None


def said_in(line: str) -> Optional[str]:
    """What a line says in place of a number, in words with what to do; None where it says no such thing."""
    found = _IN_LINE.search(line)
    if found is None:
        return None
    if stands_for(found.group()) == OVER_RANGE:
        return f"over range: the instrument says {found.group()}; a larger range is needed"
    return f"the instrument has no reading ({found.group()}); check its wiring and that its output is on"
