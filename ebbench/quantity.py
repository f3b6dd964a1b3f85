"""A quantity with its interval: how many digits it deserves, in which unit, and what replicates say about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterable, List, Optional, Sequence, Tuple

from ebbench.units import PREFIXES

#: more significant digits than these no energy has
MOST_DIGITS = 8
#: shown where a value is missing; zero is a measurement and is shown as zero
MISSING_TEXT = "–"
FIGURE_SPACE, PUNCTUATION_SPACE = "\u2007", "\u2008"

#: 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom (ISO/IEC Guide 98-3, table G.2 gives them to 2 decimals)
_T_95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """A value and the half width of its interval, in the same unit; `half_width` is None where it is not known."""

    value: float
    half_width: Optional[float] = None

    def scaled(self, factor: float) -> Quantity:
        """The same quantity in a unit that is `1 / factor` times as large."""
        return Quantity(self.value * factor, None if self.half_width is None else self.half_width * abs(factor))


def t_quantile(degrees_of_freedom: int) -> float:
    """Student's t for a two-sided 95 % interval; above 30 degrees of freedom by its expansion around the normal's."""
    if degrees_of_freedom < 1:
        raise ValueError("an interval needs two values or more")
    if degrees_of_freedom <= len(_T_95):
        return _T_95[degrees_of_freedom - 1]
    z, n = 1.959964, degrees_of_freedom
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)


def mean_of(values: Sequence[float]) -> Quantity:
    """Mean of replicates; from two of them on with the 95 % interval of the mean by Student's t."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Quantity(mean)
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    return Quantity(mean, t_quantile(n - 1) * math.sqrt(variance / n))


def decimals_of(half_width: float) -> int:
    """Decimals that leave two significant digits of `half_width`; below zero: tens, hundreds."""
    decimals = 1 - math.floor(math.log10(half_width))
    # 0.0996 rounds to 0.100, which has one digit too many
    return decimals - 1 if round(half_width, decimals) >= 10.0 ** (2 - decimals) else decimals


def texts(quantity: Optional[Quantity], decimals: Optional[int] = None) -> Tuple[str, Optional[str]]:
    """The value's and the half width's text: two significant digits of the half width, the value to the same place.

    A half width beyond the last of so many digits of the value is rounded up to that.

    Without a half width the value has `decimals`, or else four significant digits, and the second text is None.
    """
    if quantity is None:
        return MISSING_TEXT, None
    if not quantity.half_width:
        text = _plain(quantity.value, 4) if decimals is None else _fixed(quantity.value, decimals)
        return text, None if quantity.half_width is None else "0"
    places = decimals_of(quantity.half_width)
    most = MOST_DIGITS - 1 - math.floor(math.log10(abs(quantity.value))) if quantity.value else places
    if places <= most:
        return _fixed(quantity.value, places), _fixed(quantity.half_width, places)
    return _fixed(quantity.value, most), _fixed(math.ceil(quantity.half_width * 10.0**most) / 10.0**most, most)


def format_quantity(quantity: Optional[Quantity], decimals: Optional[int] = None) -> str:
    """``12.34 ± 0.56``."""
    value, half = texts(quantity, decimals)
    return value if half is None else f"{value} ± {half}"


def at_least(quantity: Quantity, is_whole: bool) -> str:
    """As `format_quantity`; ``1.31 ± 0.02 or more`` where the half width leaves out what is not known."""
    text = format_quantity(quantity)
    return text if is_whole or quantity.half_width is None else f"{text} or more"


def with_unit(quantity: Optional[Quantity], unit: str) -> str:
    """``12.34 ± 0.56 kJ``, the prefix chosen by the value."""
    if quantity is None:
        return MISSING_TEXT
    factor, letter = prefix_for([quantity.value])
    return f"{format_quantity(quantity.scaled(1 / factor))} {letter}{unit}"


def aligned(quantities: Sequence[Optional[Quantity]], decimals: Optional[int] = None) -> List[str]:
    """One column of `format_quantity`, padded with spaces as wide as a digit and a point so that the points are in line."""
    pairs = [texts(q, decimals) for q in quantities]
    values = _point_aligned([value for value, _ in pairs])
    halves = _point_aligned([half or "" for _, half in pairs])
    if not any(half for _, half in pairs):
        return values
    return [f"{v} ± {h}" if half else v + _blank(f" ± {h}") for v, h, (_, half) in zip(values, halves, pairs)]


def prefix_for(values: Iterable[Optional[float]]) -> Tuple[float, str]:
    """One SI prefix for a whole column, chosen by its largest value: its factor and its letter."""
    largest = max((abs(v) for v in values if v is not None), default=0.0)
    return next(((factor, letter) for factor, letter in PREFIXES if largest >= factor), (1.0, ""))


def _plain(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    return _fixed(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def _fixed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}" if decimals >= 0 else f"{round(value, decimals):.0f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def _point_aligned(column: Sequence[str]) -> List[str]:
    """Pad each text on both sides, so that the decimal points stand in one line."""
    parts = [(whole, fraction) for whole, _, fraction in (text.partition(".") for text in column)]
    left = max((len(whole) for whole, _ in parts), default=0)
    right = max((len(fraction) for _, fraction in parts), default=0)
    out = []
    for text, (whole, fraction) in zip(column, parts):
        point = PUNCTUATION_SPACE if right and not fraction else ""
        out.append(FIGURE_SPACE * (left - len(whole)) + text + point + FIGURE_SPACE * (right - len(fraction)))
    return out


def _blank(text: str) -> str:
    """Spaces as wide as `text`."""
    wide = {".": PUNCTUATION_SPACE, PUNCTUATION_SPACE: PUNCTUATION_SPACE, " ": " "}
    return "".join(wide.get(c, FIGURE_SPACE) for c in text)
