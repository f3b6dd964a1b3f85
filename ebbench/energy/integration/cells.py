"""Sums over stretches of readings, for any number of nested intervals at once.

The sorted edges of all intervals cut the readings into cells; a quantity is summed per cell, and its sum over an interval
is the difference of two running sums over cells. Both are kept in extended precision, so that a phase of a millisecond in
a trace of a week keeps its digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from ebbench.energy.traces.batches import Floats, Ints


@dataclass(frozen=True)
class Cut:
    """Where a stretch of values goes: into the `cells`, each beginning at its place in `begins`; some get none (`empty`)."""

    cells: slice
    begins: Ints
    empty: Ints


def cut(first: int, at: Ints) -> Cut:
    """Values that begin in cell `first`, with a new cell beginning at each of the places `at` (rising, repeats allowed)."""
    begins = np.concatenate((np.zeros(1, np.int64), at))
    return Cut(slice(first, first + begins.size), begins, np.flatnonzero(begins[1:] == begins[:-1]))


class Cells:
    """Sums of several quantities over m + 1 cells between m edges: cell k ends at edge k."""

    def __init__(self, names: Sequence[str], m: int) -> None:
        self._sums = {name: np.zeros(m + 1, np.longdouble) for name in names}
        self._largest = np.zeros(m + 1)

    def add(self, into: Cut, name: str, values: Floats) -> None:
        """Add `values` to their cells."""
        sums = np.add.reduceat(values, into.begins)
        sums[into.empty] = 0.0  # reduceat gives the value itself for an empty stretch
        self._sums[name][into.cells] += sums

    def add_largest(self, into: Cut, values: Floats) -> None:
        """Keep the largest of `values` per cell."""
        largest = np.maximum.reduceat(values, into.begins)
        largest[into.empty] = 0.0
        self._largest[into.cells] = np.maximum(self._largest[into.cells], largest)

    def between(self, name: str, start: Ints, end: Ints) -> Floats:
        """Sums over the cells after edge `start` up to edge `end`."""
        running = np.cumsum(self._sums[name])
        difference: Floats = (running[end] - running[start]).astype(np.float64)
        return difference

    def total(self, name: str) -> float:
        """The sum over all cells."""
        return float(self._sums[name].sum())

    def largest_between(self, start: Ints, end: Ints) -> Floats:
        """The largest over the same cells, 0 where there are none; by a table of the maxima over powers of two."""
        first, length = start + 1, np.maximum(end - start, 0)
        result = np.zeros(first.size)
        table, width = self._largest, 1
        while width <= self._largest.size:
            here = np.flatnonzero((length >= width) & (length < 2 * width))
            result[here] = np.maximum(table[first[here]], table[end[here] - width + 1])
            table = np.maximum(table[:-width], table[width:])
            width *= 2
        return result
