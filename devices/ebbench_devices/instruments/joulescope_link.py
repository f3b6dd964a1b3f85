"""A connection to a Joulescope through its maker's package: the only module that knows that package.

Written against joulescope 1.5 (`statistics_callback_register`, and the dictionary in pyjoulescope_driver's binding); its maker's
device classes were run, an instrument was not at hand.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Deque, Dict, List, Mapping, Optional, Tuple

from ebbench.clock import Clock
from ebbench.energy.sampler_process.source import reason_of
from ebbench.environment import below_root, package_version, read_text
from ebbench.errors import ConfigError, MeterError, nearest
from ebbench.units import NS_PER_S
from ebbench_devices.instruments.device_time import DeviceTime
from ebbench_devices.instruments.joulescope_block import Statistics

INSTALL = "pip install 'ebbench[joulescope]' (it needs Python 3.9 or newer)"
#: USB vendor and product of what runs its application (the maker's udev rules)
USB_IDS = {("16d0", "0e88"): "JS110", ("16d0", "10ba"): "JS220"}
#: blocks per second that each can send; the JS110 computes them itself at one rate only
RATES_HZ = {"JS220": (1, 2, 5, 10, 20, 50, 100), "JS110": (2,)}
DEFAULT_RATE_HZ = 20.0
#: nothing for so long, or for so many blocks: it is unplugged, or hangs
SILENCE_S, SILENCE_BLOCKS = 2.0, 5


@dataclass(frozen=True)
class Settings:
    """What is asked of the instrument: which one, how many blocks a second, in which ranges. None leaves it to us."""

    serial: Optional[str]
    rate_hz: Optional[float]
    ranges: Mapping[str, Optional[str]]


class JoulescopeLink:
    """Begins to receive blocks when it is made. Raises MeterError or ConfigError with what stands in the way."""

    is_pending = False

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self._blocks: Deque[Statistics] = deque(maxlen=100_000)
        self._notes: Deque[Tuple[int, str]] = deque(maxlen=100)
        self._time, self._last_sample = DeviceTime(), None
        #: set when there is a block
        self.news = threading.Event()
        device = _find(
            _package().scan(config="off"), settings.serial
        )  # off: statistics alone, no 2 MHz of samples over USB
        self.model = device.model.upper()
        self.rate_hz = _rate_hz(self.model, settings.rate_hz)
        self._patience_s = max(SILENCE_S, SILENCE_BLOCKS / self.rate_hz)
        self._device = device
        try:
            self.ranges = self._set_up(settings.ranges)
        except (RuntimeError, OSError, ValueError) as error:
            self.close()
            raise MeterError(
                f"joulescope: {device} cannot be used ({reason_of(error)}); close other programs that use it, plug it in again"
            ) from error
        except ConfigError:
            self.close()
            raise
        self._heard_ns = clock()

    def identity(self) -> Dict[str, Any]:
        """Which instrument it is, by which software, in which ranges."""
        return {
            "model": self.model,
            "serial_number": self._device.serial_number,
            "package": package_version("joulescope"),
            "driver": package_version("pyjoulescope_driver"),
            **self.ranges,
        }

    def wait(self) -> None:
        """Wait for a first block. Raises MeterError where none comes, or none that can be read."""
        if not self.news.wait(self._patience_s):
            fault = f" that can be read ({self._notes[-1][1]})" if self._notes else ""
            raise MeterError(f"joulescope: {self._device} sends nothing{fault}; plug it in again")

    def take(self) -> List[Tuple[int, Tuple[float, ...]]]:
        """The blocks since the last call: our time, and values. Raises MeterError where there were none for too long."""
        now_ns = self._clock()
        blocks = [self._blocks.popleft() for _ in range(len(self._blocks))]
        if blocks:
            self._heard_ns = now_ns
        elif now_ns > self._heard_ns + self._patience_s * NS_PER_S:
            raise MeterError(f"joulescope: nothing for {self._patience_s:g} s; is it plugged in?")
        return [(self._timed_ns(block), block.values) for block in blocks]

    def notes(self) -> List[Tuple[int, str]]:
        """What was wrong with blocks since the last call, and when."""
        return [self._notes.popleft() for _ in range(len(self._notes))]

    def close(self) -> None:
        """Let the instrument go."""
        with contextlib.suppress(Exception):  # one that was unplugged may say anything
            self._device.statistics_callback_unregister(self._receive, "sensor")
            self._device.close()

    def _set_up(self, ranges: Mapping[str, Optional[str]]) -> Dict[str, str]:
        """Open the instrument and have it send blocks. Returns the ranges as the package names them."""
        device = self._device
        device.parameter_set("buffer_duration", 1)  # the least; without it the package takes 400 MB
        device.statistics_callback_register(self._receive, "sensor")
        device.open()
        chosen = {name: _range(device, name, asked) for name, asked in ranges.items()}
        for name, value in chosen.items():
            device.parameter_set(name, value)
        if self.model == "JS220":
            device.parameter_set("reduction_frequency", int(self.rate_hz))
        return chosen

    def _receive(self, block: Dict[str, Any]) -> None:
        """Called by the package, in a thread of its own, with every block."""
        try:
            self._blocks.append(Statistics.of(block, self._clock()))
            self.news.set()
        except (KeyError, TypeError, ValueError) as error:
            reason = f"joulescope: a block is not what it should be ({reason_of(error)})"
            self._notes.append((self._clock(), reason))

    def _timed_ns(self, block: Statistics) -> int:
        """The time of a block's last sample; that blocks were lost before it, or what it lacks, is noted."""
        time_ns = self._time.ours_ns(round(block.last * NS_PER_S / block.sample_hz), block.arrival_ns)
        lost = 0 if self._last_sample is None else block.first - self._last_sample
        self._last_sample = block.last
        if lost:
            what = f"{lost / block.sample_hz:.3g} s of blocks were lost" if lost > 0 else "it began to count anew"
            self._notes.append((time_ns, f"joulescope: {what}"))
        if any(math.isnan(value) for value in block.values):
            self._notes.append((time_ns, "joulescope: out of range, or not a number"))
        return time_ns


def on_usb() -> List[str]:
    """The models that the kernel sees on USB."""
    folders = sorted(below_root("/sys/bus/usb/devices").glob("*"))
    ids = [(read_text("idVendor", folder) or "", read_text("idProduct", folder) or "") for folder in folders]
    return [USB_IDS[one] for one in ids if one in USB_IDS]


def _find(devices: List[Any], serial: Optional[str]) -> Any:
    """The one that is meant."""
    names = ", ".join(str(device) for device in devices)
    if not devices:
        raise MeterError(f"joulescope: none is found{_hidden()}; plug it in")
    if serial is not None:
        named = [d for d in devices if serial in (d.serial_number, str(d))]
        if not named:
            raise MeterError(f"joulescope: no {serial} on USB; these are here: {names}")
        return named[0]
    if len(devices) > 1:
        raise MeterError(f"joulescope: several on USB, choose one with joulescope:SERIAL?scope=...: {names}")
    return devices[0]


def _rate_hz(model: str, asked_hz: Optional[float]) -> float:
    """The rate that is asked for, or else the default or the next to it that the model has."""
    rates = RATES_HZ[model]
    if asked_hz is None:
        return DEFAULT_RATE_HZ if DEFAULT_RATE_HZ in rates else float(max(rates))
    if asked_hz not in rates:
        known = ", ".join(f"{rate}" for rate in rates)
        raise ConfigError(f"joulescope: a {model} has no rate of {asked_hz:g} Hz; --rate {known}")
    return asked_hz


def _range(device: Any, name: str, asked: Optional[str]) -> str:
    """A range as the package names it; asked for without spaces (``i_range=10A``, ``180uA``) or as the package does."""
    if name == "v_range" and device.model.upper() == "JS220":
        known = {"15V": "15V", "2V": "2V"}
    else:
        known = {_plain(option[0]): option[0] for option in device.parameters(name).options}
    value = asked or ("15V" if name == "v_range" else "auto")
    if _plain(value) not in known or _plain(value) == "off":
        found = nearest(_plain(value), [k for k in known if k != "off"])
        raise ConfigError(f"joulescope: {name} = {value!r}; {found}")
    return known[_plain(value)]


def _plain(range_: str) -> str:
    return range_.replace(" ", "").replace("µ", "u")


def _hidden() -> str:
    if not on_usb():
        return ""
    return (
        ", although one is on USB: your user may not open it; put the maker's 72-joulescope.rules into /etc/udev/rules.d, run "
        "`sudo udevadm control --reload-rules`"
    )


def _package() -> Any:
    try:
        return importlib.import_module("joulescope")
    except (ImportError, RuntimeError, OSError) as error:  # RuntimeError: it refuses a Python that is too old
        why = "is not installed" if package_version("joulescope") is None else "cannot be loaded"
        raise MeterError(f"joulescope: its package {why} ({reason_of(error)}); {INSTALL}") from error
