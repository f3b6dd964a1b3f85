"""Power mode and clocks of a Jetson, through NVIDIA's programs ``nvpmodel`` and ``jetson_clocks``.

``nvpmodel -m`` asks for a reboot where a mode gates other parts of the GPU than the one in force, prints that to a closed stdin,
changes nothing, and may still end with 0. So its word is not taken: the mode is asked for afterwards. ``jetson_clocks --store``
asks before it replaces a file, so the file is always a new one; what it holds belongs to the mode in which it was stored, so the
mode is put back first.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from ebbench.environment import power_modes
from ebbench.errors import ConfigError, DeviceError, nearest
from ebbench_devices.kernel.state import mode_number
from ebbench_devices.nvidia.programs import find, last_line, run


class NvpmodelControl:
    """A Jetson's; see `ebbench.protocols.BoardControl`."""

    def __init__(self, device_uuid: Optional[str]) -> None:
        pass

    @classmethod
    def probe(cls) -> bool:
        """Whether there is an nvpmodel."""
        return find("nvpmodel") is not None

    def check(self, power_mode: Optional[str], lock_clocks: bool) -> None:
        """Whether the mode is one of ``/etc/nvpmodel.conf`` and there is a jetson_clocks."""
        if power_mode is not None:
            _number(power_mode)
        if lock_clocks and find("jetson_clocks") is None:
            raise ConfigError("--lock-clocks: there is no jetson_clocks on this machine; leave the option out")

    def store(self, power_mode: Optional[str], lock_clocks: bool, folder: Path) -> Dict[str, Any]:
        """The mode now, and a file of jetson_clocks with the clocks now."""
        before: Dict[str, Any] = {"power_mode": _mode() if power_mode is not None else None, "clocks_file": None}
        if lock_clocks:
            file = folder / f"clocks-{os.getpid()}-{time.time_ns()}.conf"
            run("jetson_clocks", "--store", str(file), as_root=True)
            if not file.exists():
                raise DeviceError(f"jetson_clocks --store wrote no {file}; without it nothing could be put back")
            before["clocks_file"] = str(file)
        return before

    def apply(self, power_mode: Optional[str], lock_clocks: bool) -> Dict[str, Any]:
        """Mode first, since it sets the limits within which the clocks are then locked."""
        if power_mode is not None:
            _set_mode(_number(power_mode))
        if lock_clocks:
            run("jetson_clocks", as_root=True)
        return {"power_mode": _mode(), "clocks_locked": lock_clocks}

    def restore(self, before: Mapping[str, Any], same_boot: bool) -> Dict[str, Any]:
        """Mode, then clocks; after a reboot the clocks are the kernel's own again."""
        if before.get("power_mode") is not None:
            _set_mode(before["power_mode"])
        file = before.get("clocks_file")
        if file is not None and same_boot:
            if not Path(file).exists():
                raise DeviceError(f"{file} is gone, so the clocks cannot be put back as they were; reboot the board")
            run("jetson_clocks", "--restore", file, as_root=True)
        if file is not None:
            Path(file).unlink(missing_ok=True)
        return {"power_mode": _mode(), **({} if file is None else {"clocks_locked": False})}


def _number(power_mode: str) -> str:
    """The number of a mode that was named by number or name."""
    modes = power_modes()
    if not modes:
        if power_mode.isdigit():
            return str(int(power_mode))
        raise ConfigError(f"--power-mode {power_mode}: /etc/nvpmodel.conf cannot be read; give the mode's number")
    found = [number for number, name in modes.items() if power_mode.lower() in (number, name.lower())]
    if not found:
        listed = nearest(power_mode, [f"{number} {name}" for number, name in modes.items()])
        raise ConfigError(f"--power-mode {power_mode}: this board has no such mode; {listed}")
    return found[0]


def _mode() -> str:
    said = run("nvpmodel", "-q")
    mode = mode_number(said)
    if mode is None:
        raise DeviceError(f"nvpmodel -q does not say the power mode: {last_line(said)}")
    return mode


def _set_mode(number: str) -> None:
    if _mode() == number:
        return
    said = run("nvpmodel", "-m", number, as_root=True)
    if _mode() == number:
        return
    if "reboot" in said.lower():
        raise DeviceError(
            f"power mode {number} cannot be entered without a reboot: `sudo nvpmodel -m {number}`, answer YES, and run again"
        )
    raise DeviceError(f"nvpmodel -m {number} left the board in mode {_mode()}: {last_line(said)}")
