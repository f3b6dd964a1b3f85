"""The powercap files of a processor, with counters that a test sets: the links side by side, as below /sys/class/powercap."""

from __future__ import annotations

import os
from pathlib import Path

#: of a real package: 2^32 - 1 counts of 2^-14 J
RANGE_UJ = 262_143_328_850

INTEL = {
    "intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "uncore", "intel-rapl:0:2": "dram",
    "intel-rapl:1": "psys", "intel-rapl-mmio:0": "package-0",
}  # fmt: skip
SERVER = {
    "intel-rapl:0": "package-0", "intel-rapl:0:0": "dram", "intel-rapl:1": "package-1", "intel-rapl:1:0": "dram",
}  # fmt: skip
AMD = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core"}


class PowercapTree:
    """Zones below `root`, whose counters show `since` each zone's own start modulo its range."""

    def __init__(self, root: Path, zones=INTEL, range_uj=RANGE_UJ, limit_w=None) -> None:
        self.root, self.range_uj = root, range_uj
        for zone, name in zones.items():
            parent = zone.rpartition(":")[0] if zone.count(":") > 1 else ""
            folder = root / "sys/devices/virtual/powercap" / zone.partition(":")[0] / parent / zone
            folder.mkdir(parents=True)
            link = self.folder(zone)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(folder, link.parent))
            (folder / "name").write_text(name + "\n")
            (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
            if limit_w is not None and not parent:
                (folder / "constraint_0_name").write_text("long_term\n")
                (folder / "constraint_0_max_power_uw").write_text(f"{round(limit_w * 1e6)}\n")
            self.show(zone, 1_000_000)

    def folder(self, zone: str) -> Path:
        return self.root / "sys/class/powercap" / zone

    def show(self, zone: str, count_uj: int) -> None:
        """Set a counter; what is beyond its range begins anew, as the register does."""
        file = self.folder(zone) / "energy_uj"
        new = file.with_name("energy_uj.new")
        new.write_text(f"{count_uj % self.range_uj}\n")
        new.replace(file)
