"""The boards that come with ebbench: facts, one TOML file per board. What is not known is absent there."""

from __future__ import annotations

from pathlib import Path
from typing import List

from ebbench.config import load_toml
from ebbench.errors import ConfigError, nearest
from ebbench.protocols import Board

FOLDER = Path(__file__).parent
KEYS = (
    "name", "title", "soc", "model", "compatible", "files", "scope", "total", "devkit_total",
    "power_modes", "power_modes_of", "rails",
)  # fmt: skip
RAIL_KEYS = ("name", "scope", "inside_of", "sensor", "chip", "channel", "shunt_ohm", "note")


def builtin_boards() -> List[Board]:
    """All boards of this package, in the order of their names."""
    return [load_board(file) for file in sorted(FOLDER.glob("*.toml"))]


def load_board(file: Path) -> Board:
    """Read one board's file; unknown keys, and rails that are named but not described, are errors."""
    facts = load_toml(file)
    faults = [f"unknown key {key!r}; {nearest(key, KEYS)}" for key in facts if key not in KEYS]
    faults += [f"no {key!r}" for key in ("name", "title", "scope", "total") if key not in facts]
    rails = facts.get("rails", [])
    faults += [
        f"rail {r.get('name')!r}: unknown key {k!r}; {nearest(k, RAIL_KEYS)}"
        for r in rails
        for k in r
        if k not in RAIL_KEYS
    ]
    faults += [f"rail {r!r} has no name or no scope" for r in rails if not {"name", "scope"} <= set(r)]
    named = [
        *facts.get("total", []),
        *facts.get("devkit_total", []),
        *(r["inside_of"] for r in rails if "inside_of" in r),
    ]
    known = [r.get("name") for r in rails]
    faults += [f"rail {name!r} is not described; {nearest(name, known)}" for name in named if name not in known]
    if faults:
        raise ConfigError(f"{file}: " + "; ".join(faults))
    return Board(facts["name"], facts["title"], facts)
