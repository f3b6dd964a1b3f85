"""Whether the disk will hold the whole run: an estimate before it begins, then a forecast from what it has written so far."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Dict, Mapping, Optional, Sequence

from ebbench.errors import DiskError
from ebbench.rundir import RunDir

#: estimate and forecast must fit into the free space this many times over
MARGIN = 1.2
#: a forecast from less than this part of the work is a guess
ENOUGH_OF_THE_WORK = 0.01
#: how long a run takes is not known before it: traces and logs of so many seconds must fit, and `look` foresees the rest
STATED_S = 3600.0
#: the state log writes a line a second, of 300 to 900 bytes; the phases are few beside it
LOG_BYTES_PER_S = 1000.0

#: bytes, by what they are for
Needs = Mapping[str, int]


def recorded_needs(traces_bytes_per_s: Sequence[float]) -> Dict[str, int]:
    """What recording takes in the stated time: logs, traces, and the copy of one of them that is made when the run is sealed."""
    traces = [rate * STATED_S for rate in traces_bytes_per_s]
    return {
        "an hour of logs": int(LOG_BYTES_PER_S * STATED_S),
        "an hour of traces": int(sum(traces)),
        "the copy of a trace when it is sealed": int(max(traces, default=0.0)),
    }


class Room:
    """Looks after the free space under a run folder."""

    def __init__(self, rundir: RunDir) -> None:
        self._rundir = rundir
        self._first: Optional[float] = None
        self._sizes_before: Dict[Path, int] = {}

    def check_before(self, needs: Needs, mend: str = "make room or choose another folder with --out") -> None:
        """Refuse to begin where what is needed is not free. What a resumed run will replace is there already."""
        needed = int(MARGIN * sum(needs.values()))
        missing = needed - self._replaceable()
        free = self._free()
        if missing > free:
            parts = ", ".join(f"{what} {_mib(size)} MiB" for what, size in needs.items() if size)
            raise DiskError(
                f"{self._rundir.path}: {_mib(missing)} MiB needed ({parts}; and a fifth to spare), {free >> 20} MiB free; {mend}"
            )

    def look(self, fraction: float) -> None:
        """Raise DiskError where the traces of the whole work, and the copy of the largest when they are sealed, will not fit.

        Goes by what was written of them during the `fraction` done so far.
        """
        sizes = self._sizes()
        if self._first is None or fraction < self._first:
            self._first, self._sizes_before = fraction, sizes
        gained = fraction - self._first
        if gained < ENOUGH_OF_THE_WORK:
            return
        ahead = (1 - fraction) / gained
        to_come = {path: (size - self._sizes_before.get(path, 0)) * ahead for path, size in sizes.items()}
        copied = max((size + to_come[path] for path, size in sizes.items()), default=0.0)
        needed = int(MARGIN * (sum(to_come.values()) + copied))
        free = self._free()
        if needed > free:
            raise DiskError(
                f"{self._rundir.path}: the traces, and a copy of one when they are sealed, will need about {_mib(needed)} MiB more "
                f"and {free >> 20} MiB are free; make room, then go on with --resume (a lower --rate needs less)"
            )

    def _replaceable(self) -> int:
        """The checkpoint and the masks that an earlier start left."""
        left = (self._rundir.checkpoint, self._rundir.masks)
        return sum(path.stat().st_size for path in left if path.exists())

    def _sizes(self) -> Dict[Path, int]:
        return {path: path.stat().st_size for path in self._rundir.traces()}

    def _free(self) -> int:
        return shutil.disk_usage(self._rundir.path).free


def _mib(size: int) -> int:
    """In MiB, and rather more than less."""
    return -(-size >> 20)
