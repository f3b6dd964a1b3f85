"""The columns of anybody's table: which one is where, and what it means by its unit."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Sequence, Tuple

from ebbench.errors import InputError, nearest
from ebbench.units import TO_SI

#: in the metadata of a Parquet file that we wrote: the kind of what is in it
KIND = b"ebbench_kind"
#: cells that hold no reading
NOT_TAKEN = ["", "NaN", "nan", "NAN", "NA", "N/A", "null", "None"]
_SUFFIX = {"w": "w", "j": "j", "h": "j", "v": "v", "a": "a"}  # by a unit's last letter: mW, kJ, Wh, mV, A


def place(path: Path, header: Sequence[str], name: str, remedy: str = "") -> int:
    """Which column is called `name`; `remedy` says what else can be done where none is."""
    if header.count(name) == 1:
        return header.index(name)
    if name in header:
        raise InputError(f"{path} has the column {name!r} {header.count(name)} times; rename one")
    if len(header) == 1 and (marks := [mark for mark in ";\t|" if mark in header[0]]):
        raise InputError(f"{path} separates its columns by {marks[0]!r}; write it with commas, and with decimal points")
    raise InputError(f"{path} has no column {name!r}; {nearest(name, header)}{remedy}")


def meaning(path: Path, name: str, rail: str, unit: str) -> Tuple[str, float]:
    """What a column is called in the chunks, by its unit, and its factor to SI."""
    factor, suffix = TO_SI.get(unit.lower()), _SUFFIX.get(unit.lower()[-1:])
    if unit[:1] == "M" or factor is None or suffix is None:  # mega is not milli, whatever the case of the rest
        known = [u for u in TO_SI if u[-1] in _SUFFIX]
        raise InputError(
            f"{path} column {name}: unit {unit!r} is neither power, energy, volts nor amperes; {nearest(unit, known)}"
        )
    return f"{rail}_{suffix}", factor


def has_pairs(meant: Mapping[str, Tuple[str, float]]) -> bool:
    """Whether a rail has both volts and amperes, whose product is its power."""
    names = {name for name, _ in meant.values()}
    return any(n.endswith("_v") and f"{n[:-2]}_a" in names for n in names)
