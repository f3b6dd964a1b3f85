"""The state of the machine as its kernel tells it: power mode, temperatures, clocks and their limits, throttling, fan.

Files below `sysfs_root`, found once and then read. Who throttles tells it in one of three ways:

* cooling devices (``/sys/class/thermal/cooling_device*``; Linux, Documentation/driver-api/thermal): a state above 0 of one that
  slows something down. Fans are no such thing, and neither are those that are set once and for ever (``TCC Offset``).
* x86: ``thermal_throttle/*_throttle_count`` of each CPU.
* Orin and newer: ``oc*_event_cnt`` of ``soctherm_oc``, which count how often the supply's voltage fell or its current rose too far
  (Jetson Linux Developer Guide, "Platform Power and Performance"; the chip slows down each time).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

from ebbench.environment import IGNORED_ZONES, below_root, power_mode, read_text

#: kinds of cooling devices that slow something down while their state is above 0; an address is a devfreq device's
_SLOWS = re.compile(r"cpu|gpu|devfreq|balanced|throttle|processor|emergency|^[0-9a-f]+\.", re.IGNORECASE)
_HARMLESS = re.compile(r"fan|hot-surface|tcc offset|powerclamp", re.IGNORECASE)
#: nvpmodel is a program: it is asked only where its status file cannot be read, and then this often (readings)
ASK_EVERY = 60

_Read = Callable[[], Optional[str]]


class KernelState:
    """Reads what is there; see `ebbench.protocols.StateSource` for the keys."""

    def __init__(self, device_uuid: Optional[str], run_pid: int) -> None:
        self._temperatures = {name: _file(folder / "temp") for name, folder in _zones()}
        self._cooling = {f"{kind} {folder.name}": _file(folder / "cur_state") for folder, kind in _cooling()}
        self._clocks, self._settings = _clock_files()
        self._counts = {str(path.relative_to(below_root("/"))): _file(path) for path in _count_files()}
        self._fans = {name: _file(path) for name, path in _fan_files()}
        self._mode: Optional[str] = None
        self._readings = 0

    def read(self) -> Mapping[str, Any]:
        """What can be read now; a group of which nothing can be read is left out."""
        found: Dict[str, Any] = {
            "power_mode": self._power_mode(),
            "temperature_c": _numbers(self._temperatures, 1e-3),
            "clock_hz": _numbers(self._clocks),
            "settings": {name: text for name, read in self._settings.items() if (text := read())},
            "throttle_counts": _numbers(self._counts),
            "fan": _numbers(self._fans),
        }
        if self._cooling:
            found["throttled"] = [name for name, state in _numbers(self._cooling).items() if state > 0]
        elif self._counts:
            found["throttled"] = []
        self._readings += 1
        return {key: value for key, value in found.items() if value not in (None, {})}

    def _power_mode(self) -> Optional[str]:
        mode = power_mode()
        if mode is None and self._readings % ASK_EVERY == 0:
            self._mode = ask_nvpmodel()
        return mode or self._mode


def ask_nvpmodel() -> Optional[str]:
    """The number of the mode as ``nvpmodel -q`` prints it last; None where there is no such program or it does not say."""
    program = shutil.which("nvpmodel") or shutil.which("nvpmodel", path="/usr/sbin:/sbin")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "-q"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return mode_number(done.stdout) if done.returncode == 0 else None


def mode_number(said: str) -> Optional[str]:
    """The number below the line ``NV Power Mode: NAME``, with which ``nvpmodel -q`` ends."""
    found = re.search(r"NV Power Mode:.*\n(\d+)\s*$", said)
    return found.group(1) if found else None


def _file(path: Path) -> _Read:
    return lambda: read_text(str(path), Path("/"))


def _numbers(files: Mapping[str, _Read], scale: float = 1.0) -> Dict[str, float]:
    texts = {name: read() for name, read in files.items()}
    return {
        name: int(text) if scale == 1.0 else int(text) * scale
        for name, text in texts.items()
        if text is not None and re.fullmatch(r"-?\d+", text)
    }


def _zones() -> List[Any]:
    folders = sorted(below_root("/sys/class/thermal").glob("thermal_zone*"))
    named = [(read_text("type", folder) or folder.name, folder) for folder in folders]
    twice = {name for name, _ in named if [other for other, _ in named].count(name) > 1}
    return [(f"{n} {f.name}" if n in twice else n, f) for n, f in named if n not in IGNORED_ZONES]


def _cooling() -> List[Any]:
    folders = sorted(below_root("/sys/class/thermal").glob("cooling_device*"))
    named = [(folder, read_text("type", folder) or "") for folder in folders]
    return [(folder, kind) for folder, kind in named if _SLOWS.search(kind) and not _HARMLESS.search(kind)]


def _clock_files() -> Any:
    """Files of clocks now (Hz), and of the settings within which they move; cpufreq counts in kHz, devfreq in Hz."""
    clocks: Dict[str, _Read] = {}
    settings: Dict[str, _Read] = {}
    for policy in sorted(below_root("/sys/devices/system/cpu/cpufreq").glob("policy*")):
        clocks[f"cpu {policy.name}"] = _kilohertz(policy / "scaling_cur_freq")
        for name in ("scaling_governor", "scaling_min_freq", "scaling_max_freq"):
            settings[f"{policy.name}/{name}"] = _file(policy / name)
    for device in sorted(below_root("/sys/class/devfreq").glob("*")):
        clocks[device.name] = _file(device / "cur_freq")
        for name in ("governor", "min_freq", "max_freq"):
            settings[f"{device.name}/{name}"] = _file(device / name)
    emc = below_root("/sys/kernel/debug/bpmp/debug/clk/emc/rate")  # root alone may look there
    if read_text(str(emc), Path("/")) is not None:
        clocks["emc"] = _file(emc)
    settings["cpu online"] = _file(below_root("/sys/devices/system/cpu/online"))
    return clocks, settings


def _kilohertz(path: Path) -> _Read:
    def read() -> Optional[str]:
        text = read_text(str(path), Path("/"))
        return f"{text}000" if text is not None and text.isdigit() else None

    return read


def _count_files() -> List[Path]:
    cpus, hwmon = below_root("/sys/devices/system/cpu"), below_root("/sys/class/hwmon")
    return sorted([*cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count"), *hwmon.glob("hwmon*/oc[0-9]*_event_cnt")])


def _fan_files() -> List[Any]:
    """Duty and speed: hwmon's, and the one of L4T 32."""
    hwmon = below_root("/sys/class/hwmon")
    found = [
        (f"{p.parent.name}/{p.name}", p)
        for p in sorted([*hwmon.glob("hwmon*/fan*_input"), *hwmon.glob("hwmon*/pwm[0-9]")])
    ]
    old = below_root("/sys/devices/pwm-fan/cur_pwm")
    return [*found, ("pwm-fan/cur_pwm", old)] if old.exists() else found
