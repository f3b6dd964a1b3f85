"""What a board's file says of rails that a program only gives by name."""

from __future__ import annotations

from typing import Any, Iterable, Mapping, Optional, Tuple

from ebbench.errors import MeterError
from ebbench.protocols import Rail
from ebbench_devices.nvidia.ina3221_chips import MODULE_INPUTS, uncertainty


def total_of(meter: str, rails: Iterable[str], board: Mapping[str, Any]) -> Tuple[str, ...]:
    """The rails whose sum is the board's power: what its file says, all of it, or the module's input by its name.

    Raises MeterError where one is missing or none is known: a sum of what is there must never pass for the whole.
    """
    names = list(rails)
    found = ", ".join(names) or "none"
    if "total" not in board:
        total = [name for name in ("VIN", *MODULE_INPUTS) if name in names][:1]
    else:
        total = list(board["total"])
    missing = [name for name in total if name not in names]
    if missing:
        raise MeterError(
            f"{meter}: rail {missing[0]}, part of the total of board {board.get('name')!r}, is not there (found: {found}); "
            f"check --board, and `{meter}`"
        )
    if not total:
        raise MeterError(
            f"{meter}: which of its rails ({found}) make up the board is not known; name the board with --board"
        )
    return tuple(total)


def rail_of(name: str, board: Mapping[str, Any], total: Tuple[str, ...], bus_v: Optional[float] = None) -> Rail:
    """A rail with its scope, what contains it, and the uncertainty of the INA3221 behind it at `bus_v`, as far as known.

    How long the chip averages no program tells.
    """
    facts: Mapping[str, Any] = next((r for r in board.get("rails", []) if r["name"] == name), {})
    scope = facts.get("scope", "module" if name in total and len(total) == 1 else "rail")
    is_ina3221 = facts.get("sensor", "ina3221") == "ina3221" and name != "VIN"
    doubts = uncertainty(facts.get("shunt_ohm"), bus_v) if is_ina3221 else {}
    return Rail(name, str(scope), facts.get("inside_of"), averaging_s=None, **doubts)
