"""The state of an NVIDIA GPU: clocks, temperature, why it is slowed down, who else uses it, and whether it is split (MIG).

With MIG the driver gives the power of the whole GPU only, whichever part of it a program uses (NVML documentation,
nvmlDeviceGetPowerUsage: "not supported on MIG instances").
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from ebbench.errors import DeviceError
from ebbench_devices.nvidia.nvml_library import bare, load, text_of

#: NVML's bits of nvmlDeviceGetCurrentClocksThrottleReasons that mean: slowed down against its will
THROTTLED = {0x8: "hardware slowdown", 0x20: "temperature", 0x40: "temperature (hardware)", 0x80: "power brake"}
#: at its power limit, which is how a busy GPU is meant to run
POWER_CAP = 0x4
_CLOCKS = {"gpu sm": 1, "gpu memory": 2}  # NVML_CLOCK_SM, NVML_CLOCK_MEM; in MHz


class NvmlState:
    """The GPU of this UUID, else the only one; of several and none that is meant nothing is read."""

    def __init__(self, device_uuid: Optional[str], run_pid: int) -> None:
        self._run_pid = run_pid
        self._nvml = load()
        count = self._nvml.nvmlDeviceGetCount()
        handles = [self._nvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
        if device_uuid is not None:
            wanted = bare(device_uuid)
            match = [h for h in handles if bare(text_of(self._nvml.nvmlDeviceGetUUID(h))) == wanted]
            handles = match or handles  # for torch a part of a split GPU has a UUID of its own
        if len(handles) != 1:
            raise DeviceError("which GPU is used is not known, so the state of none is logged; name it with --device")
        self._gpu = handles[0]

    def read(self) -> Mapping[str, Any]:
        """What the GPU and its driver tell; a call that it does not support is left out."""
        nvml, gpu = self._nvml, self._gpu
        reasons = self._ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu))
        found: Dict[str, Any] = {
            "temperature_c": _known({"gpu": self._ask(lambda: float(nvml.nvmlDeviceGetTemperature(gpu, 0)))}),
            "clock_hz": _known({name: self._hertz(kind) for name, kind in _CLOCKS.items()}),
            "fan": _known({"gpu fan %": self._ask(lambda: nvml.nvmlDeviceGetFanSpeed(gpu))}),
            "mig": self._ask(lambda: bool(nvml.nvmlDeviceGetMigMode(gpu)[0])),
            "settings": _known(
                {"gpu power limit mW": self._ask(lambda: str(nvml.nvmlDeviceGetPowerManagementLimit(gpu)))}
            ),
            "foreign_processes": self._foreign(),
        }
        if reasons is not None:
            found["throttled"] = [f"gpu {name}" for bit, name in THROTTLED.items() if reasons & bit]
            found["power_capped"] = bool(reasons & POWER_CAP)
        return {key: value for key, value in found.items() if value not in (None, {})}

    def _ask(self, call: Any) -> Any:
        try:
            return call()
        except self._nvml.NVMLError:
            return None

    def _hertz(self, kind: int) -> Optional[int]:
        megahertz = self._ask(lambda: self._nvml.nvmlDeviceGetClockInfo(self._gpu, kind))
        return None if megahertz is None else int(megahertz) * 1_000_000

    def _foreign(self) -> Optional[List[Dict[str, Any]]]:
        """Programs on the GPU that the run did not start; None where they cannot be told apart.

        The driver numbers processes as the host does. In a container they have other numbers, and none of them is found.
        """
        listed = self._ask(lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._gpu))
        if listed is None:
            return None
        pids = {int(each.pid) for each in listed}
        parents = {pid: _parents(pid) for pid in pids}
        if any(known is None for known in parents.values()):
            return None
        return [{"pid": pid, "name": _name(pid)} for pid in sorted(pids) if self._run_pid not in (parents[pid] or [])]


def _known(values: Mapping[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _parents(pid: int) -> Optional[List[int]]:
    """The process and all above it; None where there is no such process here. /proc is the kernel's own, never a test's folder."""
    chain = [pid]
    while chain[-1] > 1:
        try:
            stat = Path(f"/proc/{chain[-1]}/stat").read_bytes()
        except OSError:
            return None if len(chain) == 1 else chain
        chain.append(int(stat.rpartition(b")")[2].split()[1]))
    return chain


def _name(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"
    return "".join(sign if sign.isprintable() else "?" for sign in name)
