"""What the uncertainty of an energy is made from: how much the readings differ from one to the next, summed per cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np

from ebbench.energy.integration.cells import Cells, Cut
from ebbench.energy.integration.integrals import Bools
from ebbench.energy.traces.batches import Floats, Ints
from ebbench.energy.traces.pace import LONG_INTERVALS, Pace
from ebbench.units import NS_PER_S

SUMS = ("jump", "cross", "cross_2", "long", "value", "square", "changes")


@dataclass(frozen=True)
class Block:
    """Neighbouring readings, the first of which was there before: n + 1 times and values, n intervals with their rise.

    `broken`: where an interval is a gap, None where none is; `cut`: which cells they belong to; `at`: the reading before each
    of the edges in `where`.
    """

    time_ns: Ints
    value: Floats
    interval_s: Floats
    rise: Floats
    longest_s: float
    broken: Optional[Bools]
    cut: Cut
    where: slice
    at: Ints


class Spread:
    """The running sums of one series of powers; blocks come in order. Meaning of the sums: `integrals.Integrals`."""

    def __init__(self, pace: Pace, m: int, *, holds: bool, update_s: float, counts_changes: bool) -> None:
        self._pace, self._holds, self._update_s, self._counts_changes = pace, holds, update_s, counts_changes
        self._cells = Cells(SUMS, m)
        self._edge_j2 = np.zeros((3, m))  # (h dP)^2 and both products of the interval that an edge lies in
        self._last_jumps_j = np.zeros(2)
        self._changed_ns: Optional[int] = None
        self.whole_jump_j4 = 0.0

    def add(self, block: Block) -> None:
        """Add one block of readings."""
        jump_j, (cross_j2, cross_2_j2) = (self._held_jumps_j if self._holds else self._jumps_j)(block)
        jump_j2 = np.square(jump_j)
        # not numpy.dot, which would wake a thread per core for it; they then spin
        self.whole_jump_j4 += float(np.einsum("i,i", jump_j2, jump_j2))
        self._cells.add(block.cut, "jump", jump_j2)
        self._cells.add(block.cut, "cross", cross_j2)
        self._cells.add(block.cut, "cross_2", cross_2_j2)
        self._cells.add(block.cut, "value", block.value[1:])
        self._cells.add(block.cut, "square", np.square(block.value[1:]))
        if self._counts_changes:
            self._cells.add(block.cut, "changes", (block.rise != 0).astype(np.float64))
        if block.longest_s > LONG_INTERVALS * self._pace.interval_s:
            self._add_long(block)
        if block.at.size:
            self._edge_j2[:, block.where] = jump_j2[block.at], cross_j2[block.at], cross_2_j2[block.at]

    def between(self, name: str, start: Ints, end: Ints) -> Floats:
        """A sum over the intervals between readings that lie inside, from edge `start` to edge `end`."""
        total = self._cells.between(name, start, end)
        names = ("jump", "cross", "cross_2")
        return total - self._edge_j2[names.index(name), start] if name in names else total

    def whole(self, name: str) -> float:
        """A sum over the whole trace."""
        return self._cells.total(name)

    def variance_w2(self, count: Ints, start: Ints, end: Ints) -> Floats:
        """Variance of the `count` readings between the edges `start` and `end`."""
        n = np.maximum(count, 1)
        mean_w, mean_square_w2 = self.between("value", start, end) / n, self.between("square", start, end) / n
        return np.maximum(mean_square_w2 - mean_w**2, 0.0)

    def _jumps_j(self, block: Block) -> Tuple[Floats, Sequence[Floats]]:
        """h dP of each interval between readings (J), and its products with the one before and the one before that."""
        jump_j = block.rise * block.interval_s
        return jump_j, self._products(jump_j)

    def _products(self, jump_j: Floats) -> List[Floats]:
        products_j2 = []
        for lag in (1, 2):
            product_j2 = np.empty_like(jump_j)
            np.multiply(jump_j[lag:], jump_j[:-lag], out=product_j2[lag:])
            product_j2[:lag] = jump_j[:lag] * self._last_jumps_j[2 - lag : 2 - lag + min(lag, jump_j.size)]
            products_j2.append(product_j2)
        self._last_jumps_j = np.concatenate((self._last_jumps_j, jump_j[-2:]))[-2:]
        return products_j2

    def _held_jumps_j(self, block: Block) -> Tuple[Floats, Sequence[Floats]]:
        """The same of a register: the power may have changed at any time since the change before, one update ago at most."""
        jump_j = np.zeros_like(block.rise)
        crosses_j2 = [np.zeros_like(jump_j), np.zeros_like(jump_j)]
        changed = np.flatnonzero(block.rise)
        if changed.size:
            now_ns = block.time_ns[changed + 1]
            before_ns = int(block.time_ns[0]) if self._changed_ns is None else self._changed_ns
            since_s = np.diff(np.concatenate((np.array([before_ns]), now_ns))) / NS_PER_S
            longest_s = np.maximum(block.interval_s[changed], self._update_s)
            jump_j[changed] = block.rise[changed] * np.minimum(since_s, longest_s)
            is_next = since_s < LONG_INTERVALS * longest_s + block.interval_s[changed]
            for cross_j2, product_j2 in zip(crosses_j2, self._products(jump_j[changed])):
                cross_j2[changed] = np.where(is_next, product_j2, 0.0)
            self._changed_ns = int(now_ns[-1])
        elif self._changed_ns is None:
            self._changed_ns = int(block.time_ns[0])
        return jump_j, crosses_j2

    def _add_long(self, block: Block) -> None:
        """Sum the squares of what exceeds 1.5 median intervals, of intervals that are interpolated."""
        excess_s = np.maximum(block.interval_s - LONG_INTERVALS * self._pace.interval_s, 0.0)
        if block.broken is not None:
            excess_s[block.broken] = 0.0
        self._cells.add(block.cut, "long", np.square(excess_s, out=excess_s))
