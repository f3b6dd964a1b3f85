"""Whether the disk will hold the whole run: a floor before it begins, then a forecast from what it has written so far."""

from __future__ import annotations

import shutil
from typing import Optional

from ebbench.errors import DiskError
from ebbench.rundir import RunDir

#: two checkpoints of the largest network here and the trace of an hour at 100 Hz, with room
FLOOR_BYTES = 200 << 20
#: the forecast must fit into the free space this many times over
MARGIN = 1.2
#: a forecast from less than this part of the work is a guess
ENOUGH_OF_THE_WORK = 0.01


class Room:
    """Looks after the free space under a run folder."""

    def __init__(self, rundir: RunDir) -> None:
        self._rundir = rundir
        self._first: Optional[float] = None
        self._written_before = 0

    def check_before(self) -> None:
        """Refuse to begin where not even the floor is free."""
        free = self._free()
        if free < FLOOR_BYTES:
            raise DiskError(
                f"{self._rundir.path}: {free >> 20} MiB free, {FLOOR_BYTES >> 20} MiB needed; "
                "make room or choose another folder with --out"
            )

    def look(self, fraction: float) -> None:
        """Raise DiskError where the traces of the whole work will not fit, going by those of the `fraction` done so far."""
        if self._first is None or fraction < self._first:
            self._first, self._written_before = fraction, self._written()
        gained = fraction - self._first
        if gained < ENOUGH_OF_THE_WORK:
            return
        needed = int(MARGIN * (self._written() - self._written_before) * (1 - fraction) / gained)
        free = self._free()
        if needed > free:
            raise DiskError(
                f"{self._rundir.path}: the traces will need about {needed >> 20} MiB more and {free >> 20} MiB are free; "
                "make room, then go on with --resume (a lower --rate needs less)"
            )

    def _written(self) -> int:
        return sum(path.stat().st_size for path in self._rundir.traces())

    def _free(self) -> int:
        return shutil.disk_usage(self._rundir.path).free
