"""Many sweeps of files in one call of compiled code (``sweeps.c``, where the installation could compile it).

Python takes as long for one sweep of twelve files as compiled code for three, and the sampler runs on the machine that it
measures. Only sweeps in which all is well are made here: the call ends at the first that is not, and that one is Python's.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from ebbench.energy.sampler_process.schedule import Schedule
from ebbench.energy.traces.batches import Floats, Ints
from ebbench.protocols import FileMeter, NumberFile

#: what hatch_build.py makes of sweeps.c; it is not there where the installation found no C compiler
LIBRARY = Path(__file__).with_name("_sweeps.so")

# struct file, slot and row of sweeps.c
_FILE = np.dtype([(name, np.int32) for name in NumberFile._fields])
_SLOT = np.dtype([("instant_ns", np.int64), ("end_ns", np.int64)])
_ROW = np.dtype([("time_ns", np.int64), ("read_ns", np.int64), ("slot", np.int64)])
_UNREADABLE = 2


@dataclass(frozen=True)
class Made:
    """Sweeps that were made: when, for how long, in which slots and how long after the slot's instant (int64 [n] each); the values
    (float64 [n, columns], NaN = not read) and when they were read after the sweep's start (int64 [n, columns], ns).

    With `is_cut` a file could not be read in the sweep after these.
    """

    time_ns: Ints
    read_ns: Ints
    slots: Ints
    late_ns: Ints
    values: Floats
    offsets_ns: Ints
    is_cut: bool


class Sweeps:
    """The compiled code; `heard` is the descriptor whose words end a call, as a signal and the parent's death do."""

    def __init__(self, library: ctypes.CDLL, heard: int) -> None:
        self._call = library.ebbench_sweeps_1
        self._heard, self._parent = heard, os.getppid()

    @classmethod
    def load(cls, heard: int, path: Path = LIBRARY) -> Optional[Sweeps]:
        """None where there is none for this machine."""
        try:
            return cls(ctypes.CDLL(str(path)), heard)
        except (OSError, AttributeError):
            return None

    def make(self, meter: FileMeter, schedule: Schedule, slots: range) -> Made:
        """Read the meter's files in each of `slots` that is not over, for as long as all is well; the slots read are taken."""
        files = meter.files()
        asked = np.array([(schedule.instant_ns(slot), schedule.end_ns(slot)) for slot in slots], _SLOT)
        rows, numbers, offsets_ns, why = self._read(files, asked)
        values, times_ns = meter.take(numbers, offsets_ns)
        taken: Ints = rows["slot"] + slots.start
        schedule.take(taken.tolist())
        return Made(
            time_ns=rows["time_ns"],
            read_ns=rows["read_ns"],
            slots=taken,
            late_ns=rows["time_ns"] - asked["instant_ns"][rows["slot"]],
            values=values,
            offsets_ns=times_ns,
            is_cut=why == _UNREADABLE,
        )

    def _read(self, files: Sequence[NumberFile], slots: npt.NDArray[Any]) -> Tuple[npt.NDArray[Any], Floats, Ints, int]:
        """What sweeps.c gives for these files and slots: a row for each sweep, its numbers, their times, and why it ended."""
        read = np.array(list(files), _FILE)
        rows, shape, why = np.zeros(len(slots), _ROW), (len(slots), len(files)), ctypes.c_int32()
        numbers: Floats = np.full(shape, np.nan)
        offsets_ns: Ints = np.zeros(shape, np.int64)
        count = self._call(
            *(_pointer(read), len(files), _pointer(slots), len(slots), self._heard, self._parent),
            *(_pointer(rows), _pointer(numbers), _pointer(offsets_ns), ctypes.byref(why)),
        )
        return rows[:count], numbers[:count], offsets_ns[:count], why.value


def _pointer(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
