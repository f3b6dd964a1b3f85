"""The clocks of an NVIDIA GPU in a PC, through ``nvidia-smi``: locked at their greatest value (``-lgc``).

The driver does not say whether clocks were locked before, so they are put back to its default (``-rgc``). Without persistence mode
the lock would be lost whenever no program uses the GPU; it is turned on for the run where it was off.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from ebbench.environment import read_text
from ebbench.errors import ConfigError, DeviceError
from ebbench_devices.nvidia.programs import find, last_line, run


class NvidiaSmiControl:
    """The GPU of this UUID, else the only one; see `ebbench.protocols.BoardControl`."""

    def __init__(self, device_uuid: Optional[str]) -> None:
        self._uuid = device_uuid

    @classmethod
    def probe(cls) -> bool:
        """Whether there is a driver and its program."""
        return read_text("/proc/driver/nvidia/version") is not None and find("nvidia-smi") is not None

    def check(self, power_mode: Optional[str], lock_clocks: bool) -> None:
        """A GPU has no power modes, and of several one must be meant."""
        if power_mode is not None:
            raise ConfigError(
                "--power-mode: an NVIDIA GPU in a PC has no power modes; use --lock-clocks, or leave it out"
            )
        self._gpu()

    def store(self, power_mode: Optional[str], lock_clocks: bool, folder: Path) -> Dict[str, Any]:
        """Whether persistence mode is on."""
        gpu = self._gpu()
        return {"gpu": gpu, "persistence_mode": _ask(gpu, "persistence_mode")}

    def apply(self, power_mode: Optional[str], lock_clocks: bool) -> Dict[str, Any]:
        """Lock the clocks at the greatest that the GPU states."""
        gpu = self._gpu()
        if _ask(gpu, "persistence_mode") == "Disabled":
            _change(gpu, "-pm", "1")
        clock_mhz = _ask(gpu, "clocks.max.sm")
        if not clock_mhz.isdigit():
            raise DeviceError(f"nvidia-smi does not say the GPU's greatest clock: {clock_mhz}")
        _change(gpu, "-lgc", f"{clock_mhz},{clock_mhz}")
        return {"gpu": gpu, "clocks_locked": True, "clock_hz": int(clock_mhz) * 1_000_000}

    def restore(self, before: Mapping[str, Any], same_boot: bool) -> Dict[str, Any]:
        """Unlock, and turn persistence mode off where it was off; a reboot has done both."""
        if same_boot:
            _change(before["gpu"], "-rgc")
            if before["persistence_mode"] == "Disabled":
                _change(before["gpu"], "-pm", "0")
        return {"gpu": before["gpu"], "clocks_locked": False}

    def _gpu(self) -> str:
        """The GPU as nvidia-smi names it."""
        listed = _lines(run("nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"))
        if self._uuid is not None:
            listed = [uuid for uuid in listed if uuid.partition("-")[2] == self._uuid.replace("GPU-", "", 1)]
        if len(listed) != 1:
            raise ConfigError("--lock-clocks: which GPU is meant is not known; name it with --device cuda:N")
        return listed[0]


def _ask(gpu: str, what: str) -> str:
    said = run("nvidia-smi", "-i", gpu, f"--query-gpu={what}", "--format=csv,noheader,nounits")
    return last_line(said)


def _change(gpu: str, *arguments: str) -> None:
    """It may say that a GPU does not support something and still end with 0."""
    said = run("nvidia-smi", "-i", gpu, *arguments, as_root=True)
    if "not supported" in said.lower():
        raise DeviceError(f"nvidia-smi {' '.join(arguments)}: {_lines(said)[0]}")


def _lines(said: str) -> List[str]:
    return [line.strip() for line in said.splitlines() if line.strip()]
