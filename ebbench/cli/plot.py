"""A power over time drawn with characters."""

from __future__ import annotations

import math
from typing import List, Optional, Sequence, Tuple

import numpy as np

#: from an eighth of a character to a whole one; where the terminal lacks them, halves and wholes
BLOCKS, ASCII = "▁▂▃▄▅▆▇█", ".#"


def plot(
    times_s: Sequence[float], power_w: Sequence[float], *, width: int, height: int = 6, encoding: str = "utf-8"
) -> List[str]:
    """Lines of at most `width` characters: the mean power of each column's share of the time, least and greatest beside it.

    A column in which nothing was read is left empty. No line at all where there are fewer than two readings.
    """
    times, power = np.asarray(times_s, float), np.asarray(power_w, float)
    if times.size < 2 or not times[-1] > times[0]:
        return []
    signs = BLOCKS if _has(encoding, BLOCKS) else ASCII
    low_w, high_w = _range(power)
    labels = [_watts(high_w), *[""] * (height - 2), _watts(low_w)] if height > 1 else [_watts(high_w)]
    margin = max(map(len, labels))
    columns = max(1, width - margin - 1)
    means = _means(times, power, min(columns, times.size))
    means = means[np.floor(np.arange(columns) * means.size / columns).astype(int)]
    eighths = [_filled(mean, low_w, high_w, height * len(signs)) for mean in means]
    rows = []
    for row, label in enumerate(labels):
        below = (height - 1 - row) * len(signs)
        rows.append(f"{label:>{margin}} " + "".join(_sign(filled, below, signs) for filled in eighths))
    ends = f"{times[0]:.1f} s", f"{times[-1]:.1f} s"
    axis = " " * (margin + 1) + ends[0] + " " * max(1, columns - len(ends[0]) - len(ends[1])) + ends[1]
    return [line.rstrip()[:width] for line in [*rows, axis]]


def _range(power_w: np.ndarray) -> Tuple[float, float]:
    """A steady power fills half of the height; the axis never ends at a line that moves."""
    low_w, high_w = float(power_w.min()), float(power_w.max())
    margin_w = max(0.05 * (high_w - low_w), 0.01 * abs(high_w), 1e-3)
    return low_w - margin_w if low_w < margin_w or low_w - margin_w > 0 else 0.0, high_w + margin_w


def _means(times_s: np.ndarray, power_w: np.ndarray, columns: int) -> np.ndarray:
    """Mean power of each of `columns` equal parts of the time; NaN where nothing was read."""
    place = (times_s - times_s[0]) / (times_s[-1] - times_s[0]) * columns
    at = np.minimum(place.astype(int), columns - 1)
    counts, sums = np.bincount(at, minlength=columns), np.bincount(at, power_w, minlength=columns)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _filled(mean_w: float, low_w: float, high_w: float, whole: int) -> Optional[int]:
    """How many parts of a column are filled, at least one; None where nothing was read."""
    return None if math.isnan(mean_w) else max(1, round((mean_w - low_w) / (high_w - low_w) * whole))


def _sign(filled: Optional[int], below: int, signs: str) -> str:
    if filled is None or filled <= below:
        return " "
    return signs[min(filled - below, len(signs)) - 1]


def _watts(power_w: float) -> str:
    return f"{power_w:.4g} W"


def _has(encoding: str, signs: str) -> bool:
    try:
        signs.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
