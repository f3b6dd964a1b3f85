"""The energy of a training whose arithmetic this machine only simulated: estimated from what it did and a table of unit energies.

For each phase, with the work that `ebbench.training.counting.work` counted:

    E = multiply_adds (e_multiply + e_accumulate) + float32_operations e_operation + bytes e_byte

Nothing that was measured enters it, and its interval is not known: the sources of the unit energies state none.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from ebbench.config import load_toml
from ebbench.errors import ConfigError, nearest
from ebbench.records import ESTIMATED, MISSING, OK, EnergyAccount, PhaseEnergy

TABLES = Path(__file__).with_name("unit_energies.toml")
DEFAULT = "horowitz-45nm"
#: the only width in which every table knows everything
FULL = "32"

_NUMBERS = ("float32_operation_j", "byte_j")
_BY_WIDTH = ("multiply_j", "accumulate_j")


@dataclass(frozen=True)
class UnitEnergies:
    """Joules per operation and per byte, by the width of the factors; `source` says whose numbers they are.

    With `low_precision_divisor`, work in fewer than 32 bits has the energy of the same work in float32 over that.
    """

    name: str
    title: str
    source: str
    multiply_j: Mapping[str, float]
    accumulate_j: Mapping[str, float]
    float32_operation_j: float
    byte_j: float
    low_precision_divisor: Optional[float] = None

    def energy_j(self, work: Mapping[str, Any]) -> float:
        """The energy of this work in its own arithmetic (J)."""
        bits = str(work["factor_bits"])
        if bits != FULL and self.low_precision_divisor is not None:
            return self.float32_j(work) / self.low_precision_divisor
        return self._sum_j(work, bits, work["bytes"])

    def float32_j(self, work: Mapping[str, Any]) -> float:
        """What the same work would take in float32 (J)."""
        return self._sum_j(work, FULL, work["float32_bytes"])

    def _sum_j(self, work: Mapping[str, Any], bits: str, moved_bytes: int) -> float:
        if bits not in self.multiply_j:
            raise ConfigError(f"unit energies {self.name!r} know no factors of {bits} bits; add them to multiply_j")
        return math.fsum(
            (
                work["multiply_adds"] * (self.multiply_j[bits] + self.accumulate_j[bits]),
                work["float32_operations"] * self.float32_operation_j,
                moved_bytes * self.byte_j,
            )
        )

    def to_json(self) -> Dict[str, Any]:
        """As JSON values, all of it: a record holds the numbers that it was made with."""
        return dataclasses.asdict(self)


def unit_energies(name: str) -> UnitEnergies:
    """The built-in table of that name, or the one table of a TOML file. Raises ConfigError with what is wrong with it."""
    tables = load_toml(TABLES)
    where = f"unit energies {name!r}"
    if name.endswith(".toml"):
        own = load_toml(Path(name))
        if len(own) != 1 or not isinstance(next(iter(own.values())), dict):
            raise ConfigError(f"{where}: the file holds one table with a name, such as [my-chip]")
        tables.update(own)
        name = next(iter(own))
    if name not in tables:
        raise ConfigError(f"unknown {where}; {nearest(name, tables)}, or a file that ends in .toml")
    return _checked(name, _with_base(tables[name], tables, where), where)


def _with_base(table: Mapping[str, Any], tables: Mapping[str, Any], where: str) -> Dict[str, Any]:
    base = table.get("base")
    if base is None:
        return dict(table)
    if base not in tables or "base" in tables[base]:
        raise ConfigError(f"{where}: base = {base!r} is not a table that stands for itself")
    return {**tables[base], **{key: value for key, value in table.items() if key != "base"}}


def _checked(name: str, table: Mapping[str, Any], where: str) -> UnitEnergies:
    known = [f.name for f in dataclasses.fields(UnitEnergies) if f.name != "name"]
    needed = [key for key in known if key != "low_precision_divisor"]
    faults = [f"unknown key {key!r}; {nearest(key, known)}" for key in table if key not in known]
    faults += [f"{key} is missing" for key in needed if key not in table]
    numbers = {key: table[key] for key in (*_NUMBERS, "low_precision_divisor") if key in table}
    for key in (key for key in _BY_WIDTH if key in table):
        widths = table[key] if isinstance(table[key], dict) else {}
        numbers.update({f"{key}.{bits}": value for bits, value in widths.items()})
        faults += [f"{key} has no width {FULL}"] if FULL not in widths else []
    if not faults and set(table["multiply_j"]) != set(table["accumulate_j"]):
        faults.append("multiply_j and accumulate_j have different widths")
    faults += [
        f"{key} = {value!r} is not a number above 0" for key, value in numbers.items() if not _is_positive(value)
    ]
    faults += [
        f"{key} = {table[key]!r} is no text" for key in ("title", "source") if not isinstance(table.get(key, ""), str)
    ]
    if faults:
        raise ConfigError(f"{where}: {'; '.join(faults)}")
    return UnitEnergies(name=name, **table)


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def estimated(measured: EnergyAccount, work: Optional[Mapping[str, Any]], units: UnitEnergies) -> EnergyAccount:
    """The account of a run whose arithmetic was simulated; what was measured meanwhile goes below `while_simulating`.

    `work` by top-level phase; None where the run did not come to its end: then there is no total, and a reason.
    """
    phases = {path: _phase(path, each, measured, units) for path, each in (work or {}).items()}
    total_j = None if work is None else math.fsum(phase.energy_j or 0.0 for phase in phases.values())
    account = EnergyAccount(
        reference={"meter": f"unit energies {units.name}", "rail": "operations and bytes", "scope": "model"},
        kind=ESTIMATED,
        total_j=total_j,
        uncertainty_j=None,
        redone_j=None if work is None else 0.0,  # each step is counted once
        other_j=None,
        net_j=None,
        idle_power_w=None,
        duration_s=measured.duration_s,
        covered_s=measured.covered_s,
        down_s=measured.down_s,
        by_phase=phases,
        phases=[],
        rails={},
        components_j={},
        status=MISSING if work is None else OK,
        reason="the arithmetic was simulated and the run did not come to its end: there is nothing to estimate from"
        if work is None
        else None,
    )
    return dataclasses.replace(account, estimate=_how(work or {}, units), while_simulating=_kept(measured))


def _phase(path: str, work: Mapping[str, Any], measured: EnergyAccount, units: UnitEnergies) -> PhaseEnergy:
    energy_j = units.energy_j(work)
    seen = measured.by_phase.get(path)
    return PhaseEnergy(
        energy_j=energy_j,
        uncertainty_j=None,
        self_j=energy_j,
        duration_s=seen.duration_s if seen else 0.0,
        covered_s=seen.covered_s if seen else 0.0,
        count=seen.count if seen else 0,
        kind=ESTIMATED,
        status=OK,
    )


def _how(work: Mapping[str, Any], units: UnitEnergies) -> Dict[str, Any]:
    """How the estimate was made, and what the same work would take in float32 by the same table."""
    float32_j = {path: units.float32_j(each) for path, each in work.items()}
    return {
        "unit_energies": units.to_json(),
        "work": {path: {**each, "float32_j": float32_j[path]} for path, each in work.items()},
        "float32_j": math.fsum(float32_j.values()) if work else None,
    }


def _kept(measured: EnergyAccount) -> Dict[str, Any]:
    """The measured account, whole."""
    kept = dataclasses.asdict(measured)
    return {name: value for name, value in kept.items() if name not in ("estimate", "while_simulating")}
