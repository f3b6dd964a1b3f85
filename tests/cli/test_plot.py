"""A drawing says what the powers were: read back from its characters."""

from __future__ import annotations

import numpy as np
import pytest

from ebbench.cli.plot import ASCII, BLOCKS, plot

TIMES = np.arange(0, 10, 0.01)


def heights(lines, signs):
    """How many parts of each column are filled, and the axis' two ends (W)."""
    *rows, _ = lines
    start = rows[0].index("W") + 2
    width = max(map(len, rows)) - start
    rows_filled = [[signs.find(c) + 1 for c in row[start:].ljust(width)] for row in rows]
    low_w, high_w = (float(row[: start - 2]) for row in (rows[-1], rows[0]))
    return np.sum(rows_filled, axis=0), low_w, high_w, len(rows) * len(signs)


@pytest.mark.parametrize(
    "encoding, signs", [("utf-8", BLOCKS), ("ascii", ASCII), ("latin-1", ASCII), ("nonsense", ASCII)]
)
def test_the_drawing_read_back_is_the_power_to_within_one_part(encoding, signs):
    power_w = 10 + 3 * np.sin(TIMES)
    filled, low_w, high_w, whole = heights(plot(TIMES, power_w, width=80, encoding=encoding), signs)
    middles = (np.arange(filled.size) + 0.5) * 10 / filled.size
    read_w = low_w + filled / whole * (high_w - low_w)
    assert np.abs(read_w - (10 + 3 * np.sin(middles))).max() <= 1.5 * (high_w - low_w) / whole + 0.1


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("power_w", [0.0, 1e-3, 5.0, 12345.6])
def test_no_line_is_wider_than_the_terminal(width, power_w):
    lines = plot(TIMES, np.full(TIMES.size, power_w), width=width)
    assert len(lines) == 7 and max(map(len, lines)) <= width


def test_where_nothing_was_read_nothing_is_drawn():
    kept = (TIMES < 3) | (TIMES > 7)
    filled, *_ = heights(plot(TIMES[kept], np.full(kept.sum(), 5.0), width=60), BLOCKS)
    assert 0.35 < np.mean(filled == 0) < 0.45


def test_a_meter_slower_than_the_columns_leaves_no_holes():
    filled, *_ = heights(plot(np.arange(10), np.full(10, 5.0), width=60), BLOCKS)
    assert (filled > 0).all()


def test_one_reading_is_no_line():
    assert plot([1.0], [5.0], width=80) == [] == plot([], [], width=80) == plot([1.0, 1.0], [5.0, 5.0], width=80)
