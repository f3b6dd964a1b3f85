"""The processor's own energy counters (RAPL of Intel and AMD) through the kernel's powercap files.

What they cover is the processor, never the machine: the total is the sum of the packages, at scope ``cpu``. Cores and graphics
(``core``, ``uncore``) are inside of their package; the memory (``dram``) hangs below it in the tree but is beside it. ``psys`` is
the platform as its maker wired it and holds the packages; what else it holds is not known, so it is never a total.
On AMD ``core`` is the counter of one core (the kernel reads a register that each core has on the package's first CPU).

Since Linux 5.10 only root may read the counters (CVE-2020-8694: they leak what other programs compute), so a user who wants
them is told how to get them for himself alone. No accuracy is promised by their makers: the gain is unknown unless it is stated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

from ebbench.clock import Clock, monotonic_ns
from ebbench.environment import below_root, is_simulated_root, read_text
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import Availability, Column, MeterInfo, MeterRequest, Rail
from ebbench_devices.kernel.sysfs import FileReader, read_number
from ebbench_devices.kernel.wrapping_counter import WrappingCounter
from ebbench_devices.meter.options import DOUBTS, LATENESS, Options

FOLDER = "/sys/class/powercap"
#: opens the counters for this user, until the machine starts again, and for nobody else
OPEN = f'sudo chown "$USER" {FOLDER}/intel-rapl:*/energy_uj'
DEFAULT_RATE_HZ = 10.0
#: the registers of Intel are updated about every millisecond (SDM volume 3B, "RAPL Interfaces": ``MSR_*_ENERGY_STATUS``)
UPDATE_PERIOD_S = 1e-3
#: so what is read is up to that old. Of AMD's no document was found that says how often they are
LATENESS_OF = {
    "GenuineIntel": {
        "counter_averaging_s": 0.0,
        "counter_delay_s": UPDATE_PERIOD_S / 2,
        "counter_delay_u_s": UPDATE_PERIOD_S / 12**0.5,
    }
}
#: no package draws more; used where the zone does not state a limit of its own
PLAUSIBLE_W = 1000.0
PLATFORM, MEMORY = "psys", "dram"

_ZONE = re.compile(r"intel-rapl:\d+(:\d+)*")  # AMD's too; intel-rapl-mmio would be the same package once more


@dataclass(frozen=True)
class Zone:
    """One counter: where it is, what it counts, and after how much it begins anew."""

    folder: Path
    name: str
    inside_of: Optional[str]
    is_package: bool
    range_uj: int
    limit_w: float


class RaplMeter:
    """All counters of all packages in joules since the start, the packages first."""

    def __init__(self, request: MeterRequest, clock: Clock = monotonic_ns) -> None:
        options = Options("rapl", request, (*DOUBTS, *LATENESS))
        if request.address:
            raise ConfigError(f"rapl: unknown address {request.address!r}; it takes none, it finds its zones itself")
        self._options = options
        options.applied(Rail("any", "cpu"))  # what the user states is checked before anything is read
        self._clock = clock
        self._files: List[FileReader] = []
        self._counters: List[WrappingCounter] = []

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Look for zones and read each once."""
        simulated = is_simulated_root()
        if not _zone_folders():
            return Availability(
                False, False, "no intel-rapl zone; is the module intel_rapl_msr loaded?", "cpu", simulated
            )
        meter = cls(MeterRequest())
        try:
            info = meter.open()
        except MeterError as error:
            return Availability(False, True, str(error), "cpu", simulated)
        finally:
            meter.close()
        reason = f"the processor alone, not the machine: {', '.join(rail.name for rail in info.rails)}"
        return Availability(True, True, reason, "cpu", simulated)

    def open(self) -> MeterInfo:
        """Open every counter once. One that cannot be opened is left out and named; of a package that raises."""
        try:
            return self._open(zones())
        except MeterError:
            self.close()
            raise

    def _open(self, found: Sequence[Zone]) -> MeterInfo:
        left_out: Dict[str, str] = {}
        opened: List[Zone] = []
        for zone in found:
            try:
                self._files.append(FileReader(zone.folder / "energy_uj"))
            except MeterError as error:
                if zone.is_package:
                    raise _closed(zone, error) from error
                left_out[zone.name] = str(error)
                continue
            self._counters.append(WrappingCounter(zone.range_uj, zone.limit_w * 1e6))
            opened.append(zone)
        self.read()
        return self._info(opened, left_out)

    def _info(self, opened: Sequence[Zone], left_out: Mapping[str, str]) -> MeterInfo:
        rails = tuple(self._options.applied(rail) for rail in _rails_of(opened))
        identity: Dict[str, Any] = {
            "zones": {
                z.name: {"folder": z.folder.name, "range_j": z.range_uj * 1e-6, "limit_w": z.limit_w} for z in opened
            },
            "left_out": dict(left_out),
        }
        if _vendor() == "AuthenticAMD":
            identity["core"] = "one core of the package"
        return MeterInfo(
            "rapl",
            "cpu",
            is_simulated_root(),
            rails,
            tuple(Column(f"{zone.name}_j", 1e-6, raw=True) for zone in opened),
            tuple(zone.name for zone in opened if zone.is_package),
            DEFAULT_RATE_HZ,
            identity=identity,
        )

    def read(self) -> Sequence[Optional[float]]:
        """Microjoules since the start, None where a counter did not answer. Raises MeterError when none did."""
        values: List[Optional[float]] = []
        fault: Optional[MeterError] = None
        for file, counter in zip(self._files, self._counters):
            try:
                values.append(counter.since_start(file.read_int(), self._clock()))
            except MeterError as error:
                values.append(None)
                fault = fault or error
        if fault is not None and all(value is None for value in values):
            raise fault
        return values

    def close(self) -> None:
        """Close every file."""
        for file in self._files:
            file.close()
        self._files, self._counters = [], []


def zones() -> List[Zone]:
    """All counters below the root, the packages first. Raises MeterError where they are hidden or one makes no sense."""
    folders = _zone_folders()
    hidden = [key for key, folder in folders.items() if not folder.exists()]
    if hidden:
        raise MeterError(
            f"rapl: {FOLDER}/{hidden[0]} leads nowhere: the container hides it; "
            "docker run --security-opt systempaths=unconfined, or measure outside of it"
        )
    labels = {key: _label(folder) for key, folder in folders.items()}
    names = _names(labels)
    found = [_zone(key, folders, labels, names) for key in folders]
    if not any(zone.is_package for zone in found):
        here = ", ".join(names.values()) or "no zone"
        raise MeterError(f"rapl: no package under {FOLDER} ({here}); use another --meter")
    return sorted(found, key=lambda zone: not zone.is_package)


def _zone(key: str, folders: Mapping[str, Path], labels: Mapping[str, str], names: Mapping[str, str]) -> Zone:
    parent = _parent(key)
    is_package = parent is None and labels[key] != PLATFORM
    inside_of = next((names[k] for k, label in labels.items() if label == PLATFORM and k != key), None)
    if parent is not None and labels[key] != MEMORY:  # memory is beside the package that its controller sits in
        inside_of = names[parent]
    range_uj = int(read_number(folders[key] / "max_energy_range_uj"))
    if range_uj <= 0:
        raise MeterError(
            f"{folders[key] / 'max_energy_range_uj'}: {range_uj} is no range of a counter; check the driver"
        )
    limit_w = _limit_w(folders[key]) or (_limit_w(folders[parent]) if parent else None) or PLAUSIBLE_W
    return Zone(folders[key], names[key], inside_of, is_package, range_uj, limit_w)


def _rails_of(opened: Sequence[Zone]) -> Iterator[Rail]:
    names, vendor = [zone.name for zone in opened], _vendor()
    for zone in opened:
        yield Rail(
            zone.name,
            "cpu" if zone.is_package else "rail",
            zone.inside_of if zone.inside_of in names else None,
            update_period_s=UPDATE_PERIOD_S if vendor in LATENESS_OF else None,
            averaging_s=None,
            **LATENESS_OF.get(vendor, {}),
        )


def _vendor() -> str:
    """Whose processor it is, as the kernel names it; empty where it does not."""
    found = re.search(r"^vendor_id[ \t]*:[ \t]*(\w+)", read_text("/proc/cpuinfo") or "", re.MULTILINE)
    return found.group(1) if found else ""


def _zone_folders() -> Dict[str, Path]:
    """The zones' folders by name, in their order: links side by side, or (where a part was mounted) one in the other."""
    base = below_root(FOLDER)
    found = [*base.glob("intel-rapl:*"), *base.glob("intel-rapl:*/intel-rapl:*")]
    by_name = {path.name: path for path in reversed(found) if _ZONE.fullmatch(path.name)}
    return {key: by_name[key] for key in sorted(by_name, key=lambda key: [int(part) for part in key.split(":")[1:]])}


def _label(folder: Path) -> str:
    return re.sub(r"\W+", "_", read_text("name", folder) or folder.name, flags=re.ASCII).strip("_")


def _names(labels: Mapping[str, str]) -> Dict[str, str]:
    """A rail's name by zone: ``package_0``, ``package_0_core``; with the zone's number where two would be the same."""
    names: Dict[str, str] = {}
    for key, label in labels.items():
        parent = _parent(key)
        name = label if parent not in names else f"{names[parent]}_{label}"
        names[key] = name if name not in names.values() else f"{name}_{key.rpartition(':')[2]}"
    return names


def _parent(key: str) -> Optional[str]:
    """``intel-rapl:0`` of ``intel-rapl:0:1``; None at the top."""
    return key.rpartition(":")[0] if key.count(":") > 1 else None


def _limit_w(folder: Path) -> Optional[float]:
    """The most that a zone says of itself in any of its constraints (W); None where it has none."""
    files = [*folder.glob("constraint_*_max_power_uw"), *folder.glob("constraint_*_power_limit_uw")]
    texts = [read_text(file.name, folder) or "" for file in files]
    stated = [int(text) * 1e-6 for text in texts if text.isdigit() and int(text) > 0]
    return max(stated) if stated else None


def _closed(zone: Zone, error: MeterError) -> MeterError:
    """Why a package's counter cannot be opened; where only root may read it, the line that opens it."""
    if isinstance(error.__cause__, PermissionError):
        return MeterError(f"rapl: only root may read {zone.folder / 'energy_uj'}; {OPEN}")
    return error
