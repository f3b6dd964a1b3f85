"""Boards as folders: the files that the kernel of a Jetson shows, with numbers that a test writes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Optional, Tuple

#: per board: layout, model, compatible, L4T, and per chip the labels of its three channels
Chips = Dict[str, Tuple[str, str, str]]


@dataclass(frozen=True)
class FakeKind:
    layout: str
    model: str
    compatible: Tuple[str, ...]
    release: str
    chips: Chips
    #: the rails whose sum a reader must call the board's power
    total: Tuple[str, ...]
    shunt_uohm: int = 5000
    #: an INA238 beside them, whose one rail is called VIN: its device
    ina238: Optional[str] = None


R32 = "# R32 (release), REVISION: 7.6, GCID: 1, BOARD: t186ref, EABI: aarch64, DATE: Tue Nov  5 07:46:14 UTC 2024\n"
R35 = "# R35 (release), REVISION: 4.1, GCID: 1, BOARD: t186ref, EABI: aarch64, DATE: Tue Aug  1 19:57:35 UTC 2023\n"
R36 = "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n"
R38 = "# R38 (release), REVISION: 2.0, GCID: 1, BOARD: generic, EABI: aarch64, DATE: Fri Aug 22 00:55:42 UTC 2025\n"
NC = "NC"
KINDS = {
    "tx2": FakeKind(
        "iio",
        "quill",
        ("nvidia,p2597-0000+p3310-1000", "nvidia,tegra186"),
        R32,
        {
            "0-0040": ("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI"),
            "0-0041": ("VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR"),
            "0-0042": ("VDD_MUX", "VDD_5V0_IO_SYS", "VDD_3V3_SYS"),
            "0-0043": ("VDD_3V3_IO_SLP", "VDD_1V8_IO", "VDD_3V3_SYS_M2"),
        },
        ("VDD_IN",),
    ),
    "tx1": FakeKind(
        "iio",
        "jetson_tx1",
        ("nvidia,p2371-2180", "nvidia,tegra210"),
        R32,
        {
            "1-0040": ("VDD_IN", "VDD_GPU", "VDD_CPU"),
            "1-0042": ("VDD_MUX", "VDD_5V_IO_SYS", "VDD_3V3_SYS"),
            "1-0043": ("VDD_3V3_IO", "VDD_1V8_IO", "VDD_M2_IN"),
        },
        ("VDD_IN",),
    ),
    "tx2-nx": FakeKind(
        "iio",
        "NVIDIA Jetson TX2 NX Developer Kit",
        ("nvidia,p3509-0000+p3636-0001", "nvidia,tegra186"),
        R32,
        {"0-0040": ("VDD_IN", "VDD_CPU_GPU", "VDD_SOC")},
        ("VDD_IN",),
    ),
    "nano": FakeKind(
        "iio",
        "NVIDIA Jetson Nano Developer Kit",
        ("nvidia,p3449-0000-b00+p3448-0000-b00", "nvidia,tegra210"),
        R32,
        {"6-0040": ("POM_5V_IN", "POM_5V_GPU", "POM_5V_CPU")},
        ("POM_5V_IN",),
    ),
    "agx-xavier": FakeKind(
        "iio",
        "Jetson-AGX",
        ("nvidia,p2972-0000", "nvidia,tegra194"),
        R32,
        {"1-0040": ("GPU", "CPU", "SOC"), "1-0041": ("CV", "VDDRQ", "SYS5V")},
        ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
    ),
    "xavier-nx": FakeKind(
        "hwmon",
        "NVIDIA Jetson Xavier NX Developer Kit",
        ("nvidia,p3509-0000+p3668-0000", "nvidia,p3668-0000", "nvidia,tegra194"),
        R35,
        {"7-0040": ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")},
        ("VDD_IN",),
    ),
    "orin-nx": FakeKind(
        "hwmon",
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        ("nvidia,p3768-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"),
        R36,
        {"1-0040": ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")},
        ("VDD_IN",),
    ),
    "orin-nano": FakeKind(
        "hwmon",
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit",
        ("nvidia,p3768-0000+p3767-0005", "nvidia,p3767-0005", "nvidia,tegra234"),
        R36,
        {"1-0040": ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC")},
        ("VDD_IN",),
    ),
    "agx-orin": FakeKind(
        "hwmon",
        "NVIDIA Jetson AGX Orin Developer Kit",
        ("nvidia,p3737-0000+p3701-0000", "nvidia,tegra234"),
        R36,
        {"1-0040": ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), "1-0041": (NC, "VDDQ_VDD2_1V8AO", NC)},
        ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        shunt_uohm=2000,
    ),
    "thor": FakeKind(
        "hwmon",
        "NVIDIA Jetson AGX Thor Developer Kit",
        ("nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"),
        R38,
        {"2-0040": ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")},
        ("VIN",),
        ina238="2-0044",
    ),
}
#: those whose total is on an INA3221
OF_INA3221 = [name for name, kind in KINDS.items() if kind.ina238 is None]


class FakeBoard:
    """A board below `root`. Rails get 5 V and distinct currents; `set` changes one."""

    def __init__(self, root: Path, kind: str) -> None:
        self.root, self.kind = root, KINDS[kind]
        self.truth_w: Dict[str, float] = {}
        write(root / "etc/nv_tegra_release", self.kind.release)
        write(root / "proc/device-tree/model", self.kind.model + "\0")
        write(root / "proc/device-tree/compatible", "\0".join(self.kind.compatible) + "\0")
        number = 0
        for k, (chip, labels) in enumerate(self.kind.chips.items()):
            for channel, label in enumerate(labels):
                self._label(chip, k, channel, label)
                number += 1
                if label != NC:
                    self.set(label, 5000, 100 * number)
            if self.kind.layout == "hwmon":
                folder = self.folder(chip)
                write(folder / "in7_label", "sum of shunt voltages\n")
                write(folder / "in7_input", "1\n")
                write(folder / "samples", "1\n")
                write(folder / "update_interval", "7\n")
        if self.kind.ina238 is not None:
            write(self.file("VIN", "voltage").with_name("label"), "VIN\n")
            self.set("VIN", 5000, 100 * (number + 1))

    def _label(self, chip: str, k: int, channel: int, label: str) -> None:
        if self.kind.layout == "iio":
            write(self.folder(chip) / f"rail_name_{channel}", label + "\n")
            node = self.folder(chip).parent / "of_node" / f"channel@{channel}" / "ti,shunt-resistor-mohm"
            node.parent.mkdir(parents=True, exist_ok=True)
            node.write_bytes(struct.pack(">I", self.kind.shunt_uohm // 1000))
        else:
            write(self.folder(chip) / f"in{channel + 1}_label", label + "\n")
            write(self.folder(chip) / f"shunt{channel + 1}_resistor", f"{self.kind.shunt_uohm}\n")

    def folder(self, chip: str) -> Path:
        if chip == self.kind.ina238:
            return self.root / f"sys/bus/i2c/drivers/ina238/{chip}/hwmon/hwmon0"
        k = list(self.kind.chips).index(chip)
        if self.kind.layout == "iio":
            return self.root / f"sys/bus/i2c/drivers/ina3221x/{chip}/iio:device{k}"
        return self.root / f"sys/bus/i2c/drivers/ina3221/{chip}/hwmon/hwmon{k + 1}"

    def file(self, rail: str, quantity: str) -> Path:
        """The file of ``voltage``, ``current`` or ``power``; an INA238 has all three (Documentation/hwmon/ina238.rst)."""
        if self.kind.ina238 is not None and rail == "VIN":
            names = {"voltage": "in1_input", "current": "curr1_input", "power": "power1_input"}
            return self.folder(self.kind.ina238) / names[quantity]
        chip, channel = next((c, ls.index(rail)) for c, ls in self.kind.chips.items() if rail in ls)
        if self.kind.layout == "iio":
            return self.folder(chip) / f"in_{quantity}{channel}_input"
        return self.folder(chip) / f"{ {'voltage': 'in', 'current': 'curr'}[quantity] }{channel + 1}_input"

    def set(self, rail: str, millivolts: int, milliamperes: int, milliwatts: Optional[int] = None) -> None:
        """Let `rail` show these; on iio, and on an INA238 (in microwatts), the power is a file of its own."""
        power_mw = millivolts * milliamperes // 1000 if milliwatts is None else milliwatts
        write(self.file(rail, "voltage"), f"{millivolts}\n")
        write(self.file(rail, "current"), f"{milliamperes}\n")
        if self.kind.layout == "iio":
            write(self.file(rail, "power"), f"{power_mw}\n")
        elif self.kind.ina238 is not None and rail == "VIN":
            write(self.file(rail, "power"), f"{power_mw * 1000}\n")
        self.truth_w[rail] = power_mw * 1e-3


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
