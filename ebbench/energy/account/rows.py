"""The intervals that an account integrates over, as rows; and rows that are wanted together."""

from __future__ import annotations

from typing import Any, Iterable, List, Sequence, Tuple

import numpy as np

from ebbench.energy.integration.stretches import Stretch, union, without
from ebbench.energy.measured import Rows
from ebbench.energy.traces.batches import Ints
from ebbench.energy.uncertainty import FEW
from ebbench.units import NS_PER_S

Row = Tuple[int, int, str]


class RowTable:
    """Rows of (start, end, boot), each known by its number."""

    def __init__(self) -> None:
        self._rows: List[Row] = []

    def __getitem__(self, number: int) -> Row:
        return self._rows[number]

    def add(self, rows: Iterable[Row]) -> List[int]:
        """Append `rows`; their numbers."""
        first = len(self._rows)
        self._rows += rows
        return list(range(first, len(self._rows)))

    def arrays(self) -> Tuple[Ints, Ints, Any]:
        """Starts and ends (ns) and boots of all rows."""
        starts_ns, ends_ns = (np.array([r[i] for r in self._rows], np.int64) for i in (0, 1))
        return starts_ns, ends_ns, np.array([r[2] for r in self._rows], dtype=object)


class Together:
    """Rows of a table whose energies are wanted together, segment by segment.

    Where single ones are shorter than a few looks at the power (`look_s` apart) there are also rows of a hull around them all,
    and of the holes between them.
    """

    def __init__(self, table: RowTable, look_s: float) -> None:
        self._table, self._shortest_ns = table, FEW * look_s * NS_PER_S
        self._at: List[int] = []
        self._hulls: List[int] = []
        self._holes: List[int] = []

    def add(self, at: Sequence[int]) -> None:
        """The rows `at`, all of one segment."""
        stretches = [self._table[i][:2] for i in at]
        time = union(stretches)
        self._at += at
        if len(at) < 2 or min(map(_length, stretches)) >= self._shortest_ns or not _are_apart(stretches, time):
            self._hulls += at
            return
        hull, boot_id = (time[0][0], time[-1][1]), self._table[at[0]][2]
        self._hulls += self._table.add([(*hull, boot_id)])
        self._holes += self._table.add((*hole, boot_id) for hole in without([hull], time))

    def rows(self) -> Rows:
        """What was added; without hulls where none has more than one row in it."""
        at, hulls, holes = (np.array(numbers, np.int64) for numbers in (self._at, self._hulls, self._holes))
        return Rows(at, hulls[:0] if self._hulls == self._at else hulls, holes)


def _are_apart(stretches: Sequence[Stretch], time: Sequence[Stretch]) -> bool:
    """Whether `stretches`, together `time`, last some time and do not overlap."""
    return bool(time) and sum(map(_length, time)) == sum(map(_length, stretches))


def _length(stretch: Stretch) -> int:
    return stretch[1] - stretch[0]
