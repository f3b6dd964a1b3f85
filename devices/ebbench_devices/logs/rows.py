"""The rows of a log in CSV: their columns by the header, their times in nanoseconds, what is wrong with them in words."""

from __future__ import annotations

import calendar
import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from ebbench.energy.columns import NOT_TAKEN, has_pairs, meaning, place
from ebbench.errors import ConfigError, InputError, printable
from ebbench.units import NS_PER_S, TO_SI
from ebbench_devices.meter.untrusted import believable, quoted

ISO = "iso8601"
TIME_UNITS = ("s", "ms", "us", "ns", ISO)

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?(?:(Z)|([+-])(\d\d):?(\d\d))?"
)
_OWN = re.compile(r"\w+_[wjva]", re.ASCII)


@dataclass(frozen=True)
class Row:
    """One row: its time by the log's own clock, and its values in SI in the order of the columns, NaN = not read."""

    time_ns: int
    values: Tuple[float, ...]


class LogRows:
    """Reads rows whose columns a first line names. `columns` {name in the file: (rail, unit)}; empty: ``<rail>_w`` and the like."""

    def __init__(
        self, path: str, header: str, time_column: str, time_unit: str, columns: Mapping[str, Tuple[str, str]]
    ) -> None:
        self._path, self._time_column, self._time_unit = Path(path), time_column, time_unit
        names = _cells(header)
        place(self._path, names, time_column, "; say which one is the time with time_column=NAME")
        self._meant = {name: meaning(self._path, name, *target) for name, target in columns.items()}
        if not columns:
            self._meant = {name: (name, 1.0) for name in names if _OWN.fullmatch(name) and name != time_column}
        if not any(n[-2:] in ("_w", "_j") for n, _ in self._meant.values()) and not has_pairs(self._meant):
            raise InputError(
                f"{path} has no column of power such as VDD_IN_w (its columns: {', '.join(map(printable, names))}); "
                "say which one is with column=NAME:RAIL:UNIT"
            )
        self._take_header(names)

    @property
    def columns(self) -> List[str]:
        """``<rail>_<w|v|a|j>`` of each value of a row."""
        return [name for name, _ in self._meant.values()]

    def begin_anew(self, first_line: str) -> Optional[Row]:
        """Take the first line of another file: its header, or where it has none a row already. Raises InputError for neither."""
        names = _cells(first_line)
        row = None if self._time_column in names else self.row(first_line)[0]
        if row is None:
            self._take_header(names)
        return row

    def row(self, line: str) -> Tuple[Optional[Row], Optional[str]]:
        """The row of a line, and what is wrong with it; no row where it has no time or another number of cells."""
        cells = _cells(line)
        if len(cells) != self._width:
            return None, f"a line has {len(cells)} cells instead of {self._width}"
        time_ns = time_of(cells[self._time_place], self._time_unit)
        if time_ns is None:
            return None, f"{self._time_column} = {quoted(cells[self._time_place])} is no time in {self._time_unit}"
        faults: List[str] = []
        values = [self._value(name, cells[at], faults) for name, at in self._places.items()]
        return Row(time_ns, tuple(values)), faults[0] if faults else None

    def _value(self, name: str, cell: str, faults: List[str]) -> float:
        if cell in NOT_TAKEN:
            return math.nan
        try:
            value = float(cell) * self._meant[name][1]
        except ValueError:
            value = math.inf
        if believable(self._meant[name][0][-1], value) is None:
            faults.append(f"{name} = {quoted(cell)} is not a number that can be")
            return math.nan
        return value

    def _take_header(self, names: Sequence[str]) -> None:
        time_place = place(self._path, names, self._time_column)
        self._places: Dict[str, int] = {name: place(self._path, names, name) for name in self._meant}
        self._time_place, self._width = time_place, len(names)


def time_of(text: str, unit: str) -> Optional[int]:
    """A time in ns: a number of `unit`, or for ``iso8601`` since 1970; without a zone UTC. None where it is none."""
    if unit == ISO:
        return _iso_ns(text)
    try:
        if text.isdigit():
            return int(text) * round(TO_SI[unit] * NS_PER_S)
        return round(float(text) * TO_SI[unit] * NS_PER_S)
    except (ValueError, OverflowError):
        return None


def columns_of(text: Optional[str]) -> Dict[str, Tuple[str, str]]:
    """``NAME:RAIL:UNIT,NAME:RAIL:UNIT`` as {name: (rail, unit)}."""
    found: Dict[str, Tuple[str, str]] = {}
    for part in text.split(",") if text else []:
        name, rail, unit = (part.rsplit(":", 2) + ["", ""])[:3]
        if not (name and re.fullmatch(r"[A-Za-z0-9_]+", rail) and unit):
            raise ConfigError(
                f"csv: column = {part!r}; write column=NAME:RAIL:UNIT, with letters, digits and _ in RAIL"
            )
        if name in found:
            raise ConfigError(f"csv: column {name!r} is given twice")
        found[name] = (rail, unit)
    return found


def _cells(line: str) -> List[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line]), [])]
    except csv.Error:
        return []


def _iso_ns(text: str) -> Optional[int]:
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        return None
    seconds = calendar.timegm((year, month, day, hour, minute, second))
    if found.group(9):
        ahead_s = int(found.group(10)) * 3600 + int(found.group(11)) * 60
        seconds -= ahead_s if found.group(9) == "+" else -ahead_s
    return seconds * NS_PER_S + int((found.group(7) or "").ljust(9, "0"))
