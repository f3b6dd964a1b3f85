"""What the lines of a meter mean: regular expressions, and for each of their groups a rail, a unit and a scale."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ebbench.errors import ConfigError, nearest
from ebbench.protocols import Column
from ebbench_devices.meter.options import DOUBTS
from ebbench_devices.meter.untrusted import believable

#: the letter of a column and the factor to SI, by the unit as it is written (MW is not mW)
UNITS: Dict[str, Tuple[str, float]] = {
    "W": ("w", 1.0), "mW": ("w", 1e-3), "uW": ("w", 1e-6), "kW": ("w", 1e3),
    "V": ("v", 1.0), "mV": ("v", 1e-3), "A": ("a", 1.0), "mA": ("a", 1e-3), "uA": ("a", 1e-6),
    "J": ("j", 1.0), "mJ": ("j", 1e-3), "Wh": ("j", 3600.0), "mWh": ("j", 3.6), "kWh": ("j", 3.6e6),
}  # fmt: skip
STATED = (*DOUBTS, "range_w")
KEYS = ("name", "pattern", "unit", "scale", "step", "scope", "inside_of", *STATED)
_RAIL = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
_EXPONENT = re.compile(r"[eE][+-]?[0-9]")


@dataclass(frozen=True)
class Quantity:
    """One number in a line: group `group` of `pattern`, times `factor`, is column `column` in SI units.

    `step` is one step of it in SI units, None where it is not known. `stated` is what its table says of the rail's uncertainty.
    """

    rail: str
    letter: str
    pattern: str
    group: str
    factor: float
    step: Optional[float] = None
    scope: Optional[str] = None
    inside_of: Optional[str] = None
    stated: Mapping[str, float] = field(default_factory=dict)

    @property
    def column(self) -> str:
        """The column's name."""
        return f"{self.rail}_{self.letter}"

    @property
    def is_counted(self) -> bool:
        """Whether it is stored as a number of steps: a counter, whose resolution is one of them."""
        return self.letter == "j" and self.step is not None

    def as_column(self) -> Column:
        """How it is stored."""
        return Column(self.column, self.step, raw=True) if self.is_counted and self.step else Column(self.column)


class LinePattern:
    """Reads a line: the value of each column, None where no pattern finds it."""

    def __init__(self, quantities: Sequence[Quantity], decimal: str = ".") -> None:
        self.quantities, self._decimal = tuple(quantities), decimal
        self._patterns = {q.pattern: re.compile(q.pattern) for q in quantities}

    def read(self, line: str) -> Optional[List[Optional[float]]]:
        """One value per quantity, in SI units or steps; None for a line in which no pattern finds a number.

        The line is limited in length by who reads it; that is all that limits the time a careless pattern may take.
        """
        found = {pattern: compiled.search(line) for pattern, compiled in self._patterns.items()}
        values = [_value(quantity, found[quantity.pattern], self._decimal) for quantity in self.quantities]
        return None if all(value is None for value in values) else values


def quantities_of(meter: str, tables: Sequence[Mapping[str, Any]]) -> List[Quantity]:
    """What the tables of a bench file (or the options of a URI) say. Raises ConfigError, naming the table's place."""
    quantities: List[Quantity] = []
    for place, table in enumerate(tables):
        where = f"{meter}: rails[{place}]" if len(tables) > 1 else meter
        if not isinstance(table, Mapping):
            raise ConfigError(f"{where} is no table; write {{name = 'INPUT', pattern = 'P=([0-9.]+)', unit = 'W'}}")
        for key in table:
            if key not in KEYS:
                raise ConfigError(f"{where}: unknown key {key!r}; {nearest(str(key), KEYS)}")
        quantities += _of_table(where, table)
    columns = [quantity.column for quantity in quantities]
    twice = next((column for column in columns if columns.count(column) > 1), None)
    if twice is not None:
        raise ConfigError(f"{meter}: two patterns give {twice}; take one out")
    return quantities


def has_exponent(line: str) -> bool:
    """Whether a number with an exponent is in the line."""
    return re.search(r"[0-9.]" + _EXPONENT.pattern, line) is not None


def _of_table(where: str, table: Mapping[str, Any]) -> List[Quantity]:
    pattern = _compiled(where, table.get("pattern"))
    scale = _number(where, table, "scale", 1.0)
    step = _number(where, table, "step", None)
    stated = {key: _number(where, table, key, None) for key in STATED}
    if pattern.groupindex:
        named = [(group, *_split(where, group)) for group in pattern.groupindex]
    elif pattern.groups == 1:
        name, unit = table.get("name"), table.get("unit")
        if not isinstance(name, str) or not _RAIL.fullmatch(name):
            raise ConfigError(f"{where}: name = {name!r} is no name of a rail (letters, digits and _)")
        named = [("", name, _unit(where, unit))]
    else:
        raise ConfigError(
            f"{where}: pattern {pattern.pattern!r} has {pattern.groups} groups; it needs one group (...), "
            "or groups named RAIL_UNIT: (?P<INPUT_mW>...)"
        )
    return [
        Quantity(
            rail,
            UNITS[unit][0],
            pattern.pattern,
            group,
            UNITS[unit][1] * (scale or 1.0),
            None if step is None else step * UNITS[unit][1] * abs(scale or 1.0),
            table.get("scope"),
            table.get("inside_of"),
            {key: value for key, value in stated.items() if value is not None},
        )
        for group, rail, unit in named
    ]


def _compiled(where: str, pattern: Any) -> re.Pattern[str]:
    if not isinstance(pattern, str) or not pattern:
        raise ConfigError(f"{where}: pattern is missing; write the line with the number in brackets: 'P=([0-9.]+) W'")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{where}: pattern {pattern!r} is no regular expression: {error}") from error


def _split(where: str, group: str) -> Tuple[str, str]:
    """Rail and unit of a group that is called RAIL_UNIT."""
    rail, _, unit = group.rpartition("_")
    if not rail:
        raise ConfigError(f"{where}: group {group!r} is not called RAIL_UNIT, as INPUT_mW is")
    return rail, _unit(where, unit)


def _unit(where: str, unit: Any) -> str:
    if unit not in UNITS:
        raise ConfigError(f"{where}: unit {unit!r}; {nearest(str(unit), UNITS)}")
    return str(unit)


def _number(where: str, table: Mapping[str, Any], key: str, default: Optional[float]) -> Optional[float]:
    value = table.get(key, default)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (number == 0 and key in ("scale", "step")) or (number < 0 and key != "scale"):
        raise ConfigError(f"{where}: {key} = {value!r} is no number that can be used")
    return number


def _value(quantity: Quantity, match: Optional[re.Match[str]], decimal: str) -> Optional[float]:
    """A finite number within what can be, in SI units or steps; everything else is not read."""
    group = quantity.group or 1
    text = (match.group(group) if match else None) or ""
    if match and _EXPONENT.match(match.string, match.end(group)):  # 1.25E+01 by ([0-9.]+): 1.25 is not what was said
        return None
    if decimal != ".":
        text = text.replace(".", "_").replace(decimal, ".")
    if "_" in text:  # Python's own way to group digits; as a separator of thousands it would be guessing
        return None
    try:
        value = float(text) * quantity.factor
    except ValueError:
        return None
    if believable(quantity.letter, value) is None:
        return None
    return float(round(value / quantity.step)) if quantity.is_counted and quantity.step else value
