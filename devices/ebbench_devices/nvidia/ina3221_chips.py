"""Which INA3221 power monitors a board has, what is wired to them, and what the data sheet promises of them."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ebbench.environment import below_root, read_text
from ebbench.errors import MeterError

IIO, HWMON = "iio", "hwmon"
DRIVERS = {"ina3221x": IIO, "ina3221": HWMON}
#: on every known board a rail of one of these names is the input of the whole module
MODULE_INPUTS = ("VDD_IN", "POM_5V_IN")
_SQRT3 = math.sqrt(3.0)  # half width of a rectangular distribution over its standard deviation


@dataclass(frozen=True)
class Channel:
    """One wired channel of one chip, with the files that it is read from."""

    name: str
    label: str
    chip: str
    number: int
    layout: str
    folder: Path
    shunt_ohm: Optional[float] = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def file(self, quantity: str) -> Path:
        """The file of ``voltage``, ``current`` or ``power`` (mV, mA, mW)."""
        if self.layout == IIO:
            return self.folder / f"in_{quantity}{self.number}_input"
        return self.folder / f"{ {'voltage': 'in', 'current': 'curr'}[quantity] }{self.number}_input"


def uncertainty(shunt_ohm: Optional[float], bus_v: Optional[float]) -> Dict[str, Optional[float]]:
    """Standard uncertainties (k = 1), step and range of a rail, from the INA3221 data sheet's limits taken as rectangular.

    gain: 0.25 % bus and 0.25 % shunt gain error, 1 % shunt resistor, and the bus offset of 16 mV against `bus_v`;
    offset: 80 uV of shunt offset, as power 80 uV / R V; step 40 uV / R V; range 163.8 mV / R V.
    What needs a resistance or a voltage that is not known is None.
    """
    limits = [0.0025, 0.0025, 0.01] + ([0.016 / bus_v] if bus_v else [])
    known = shunt_ohm is not None and bus_v is not None and shunt_ohm > 0 and bus_v > 0
    watts_per_volt = bus_v / shunt_ohm if known else None  # type: ignore[operator] - of shunt voltage
    return {
        "gain_ratio": math.sqrt(sum(limit**2 for limit in limits)) / _SQRT3,
        "offset_w": 80e-6 * watts_per_volt / _SQRT3 if watts_per_volt else None,
        "resolution_w": 40e-6 * watts_per_volt if watts_per_volt else None,
        "range_w": 0.1638 * watts_per_volt if watts_per_volt else None,
    }


def chips() -> List[Tuple[str, str, Path]]:
    """All INA3221 below the root: ``(bus-address, layout, folder of its files)``, in the order of the addresses."""
    found: Dict[str, Tuple[str, str, Path]] = {}
    for driver, layout in DRIVERS.items():
        bound = sorted(below_root(f"/sys/bus/i2c/drivers/{driver}").glob("*-*"))
        named = [d for d in sorted(below_root("/sys/bus/i2c/devices").glob("*-*")) if _name(d) == driver]
        for device in bound + named:
            patterns = ("iio:device*", "iio_device") if layout == IIO else ("hwmon/hwmon*",)
            folders = [folder for pattern in patterns for folder in sorted(device.glob(pattern))]
            if folders:
                found.setdefault(device.name, (device.name, layout, folders[0]))
    return [found[name] for name in sorted(found)]


def _name(device: Path) -> Optional[str]:
    try:
        return (device / "name").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def channels(board: Optional[Mapping[str, Any]]) -> List[Channel]:
    """The wired channels of all chips, named; ``NC`` is left out, and so is the sum (channel 7 of hwmon)."""
    found: List[Channel] = []
    for chip, layout, folder in chips():
        for number in (0, 1, 2) if layout == IIO else (1, 2, 3):
            label = _label(folder, layout, number)
            name = re.sub(r"\W+", "_", label or "", flags=re.ASCII).strip("_")
            if not name or name.upper() == "NC":
                continue
            name = _free_name(name, chip, number, {channel.name for channel in found})
            address = f"0x{chip.rpartition('-')[2].lstrip('0') or '0'}"
            known = _facts(board, label, address)
            shunt_ohm = _shunt_ohm(folder, layout, number) or known.get("shunt_ohm")
            found.append(Channel(name, label or "", chip, number, layout, folder, shunt_ohm, known))
    return found


def _free_name(name: str, chip: str, number: int, taken: Set[str]) -> str:
    """`name`, or with the chip behind it (``VDD_IN_1_0041``) where another rail has it, or with the channel too."""
    with_chip = f"{name}_{chip.replace('-', '_')}"
    return next(n for n in (name, with_chip, f"{with_chip}_{number}") if n not in taken)


def _facts(board: Optional[Mapping[str, Any]], label: Optional[str], address: str) -> Mapping[str, Any]:
    """What the board's file says of a rail: the one on this chip before one that only has its name."""
    named = [rail for rail in (board or {}).get("rails", []) if rail["name"] == label]
    return next((rail for rail in named if rail.get("chip") == address), named[0] if named else {})


def _label(folder: Path, layout: str, number: int) -> Optional[str]:
    file = folder / (f"rail_name_{number}" if layout == IIO else f"in{number}_label")
    try:
        return file.read_text(errors="replace").strip("\0 \t\r\n")
    except OSError:
        return None


def _shunt_ohm(folder: Path, layout: str, number: int) -> Optional[float]:
    """The shunt as the driver knows it: hwmon in microohms, iio's device tree in milliohms (a big-endian word)."""
    try:
        if layout == HWMON:
            return int((folder / f"shunt{number}_resistor").read_text()) * 1e-6 or None
        node = folder.parent / "of_node" / f"channel@{number}" / "ti,shunt-resistor-mohm"
        return struct.unpack(">I", node.read_bytes())[0] * 1e-3 or None
    except (OSError, ValueError, struct.error):
        return None


def total_of(found: Sequence[Channel], board: Optional[Mapping[str, Any]]) -> Tuple[str, ...]:
    """The rails whose sum is the board's power: what its file says, all of it, or the module's input by its name.

    Raises MeterError when the board's total is not among the rails: a part of it must never pass for the whole.
    """
    names = [channel.name for channel in found]
    if board is None or "total" not in board:
        return tuple(name for name in names if name in MODULE_INPUTS)[:1]
    missing = [name for name in board["total"] if name not in names]
    sensors = {rail["name"]: rail.get("sensor", "ina3221") for rail in board.get("rails", [])}
    if missing and sensors.get(missing[0], "ina3221") != "ina3221":
        raise MeterError(
            f"rail {missing[0]}, the total of board {board.get('name')!r}, is on its {sensors[missing[0]]}, "
            "which this meter does not read; name another with --meter"
        )
    if missing:
        raise MeterError(
            f"rail {missing[0]}, part of the total of board {board.get('name')!r}, is not there "
            f"(found: {', '.join(names) or 'none'}); check --board, and that all INA3221 drivers are loaded"
        )
    return tuple(board["total"])


def settings(folder: Path, layout: str) -> Dict[str, Any]:
    """How the chip is set, as far as the driver tells (ms, counts, and iio's 1 continuous / 0 triggered)."""
    names = ("running_mode", "polling_delay_0") if layout == IIO else ("samples", "update_interval")
    found: Dict[str, Any] = {"layout": layout}
    for name in names:
        text = read_text(name, folder)
        number = re.match(r"-?\d+", text or "")
        found[name] = int(number.group()) if number else text
    return found
