"""A Joulescope JS110 or JS220 between supply and board, through its maker's package. The only module that knows it.

The instrument computes statistics itself and sends a block of them `rate` times a second: the energy counted since the start, and
the means of power, volts and amperes over the block, with the numbers of its first and last sample. The counter goes on in the
instrument, so a block that is lost on the way costs no energy, only the knowledge of when it was spent; it is told.

Written against joulescope 1.5 (`statistics_callback_register`, and the dictionary in pyjoulescope_driver's binding); its maker's
device classes were run, an instrument was not at hand.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import threading
from collections import deque
from typing import Any, Deque, Dict, List

import numpy as np

from ebbench.clock import monotonic_ns
from ebbench.energy.source import RETRY_NS, reason_of
from ebbench.environment import below_root, is_simulated_root, package_version, read_text
from ebbench.errors import ConfigError, EbbenchError, MeterError, nearest
from ebbench.protocols import AVERAGE, STATED, Availability, Block, Column, MeterInfo, MeterRequest, Rail
from ebbench.units import NS_PER_S
from ebbench_devices.instruments.device_time import DeviceTime
from ebbench_devices.instruments.joulescope_block import COLUMNS, Statistics
from ebbench_devices.meter.options import DOUBTS, Options

OPTIONS = ("scope", "i_range", "v_range", "offset_bound_s", *DOUBTS)
INSTALL = "pip install 'ebbench[joulescope]' (it needs Python 3.9 or newer)"
#: USB vendor and product of what runs its application (the maker's udev rules)
USB_IDS = {("16d0", "0e88"): "JS110", ("16d0", "10ba"): "JS220"}
#: blocks per second that each can send; the JS110 computes them itself at one rate only
RATES_HZ = {"js220": (1, 2, 5, 10, 20, 50, 100), "js110": (2,)}
DEFAULT_RATE_HZ = 20.0
#: by how much a reading's time may be off: the way over USB, and 30 s of drift. Stated, never measured on an instrument
TIME_BOUND_S = 0.02
#: nothing for so long, or for so many blocks: it is unplugged, or hangs
SILENCE_S, SILENCE_BLOCKS = 2.0, 5


class JoulescopeMeter:
    """One rail, ``DUT``: what flows through the instrument."""

    def __init__(self, request: MeterRequest) -> None:
        options = Options("joulescope", request, OPTIONS)
        self._scope = options.stated_scope()
        self._serial = request.address
        self._rate_hz = DEFAULT_RATE_HZ if request.rate_hz is None else request.rate_hz
        self._is_rate_asked = request.rate_hz is not None
        self._ranges = {"i_range": options.text("i_range", "auto"), "v_range": options.text("v_range")}
        bound_s = options.number("offset_bound_s", at_least=0.0)
        self._bound_s = TIME_BOUND_S if bound_s is None else bound_s
        self._doubts = options.doubts()
        self._device: Any = None
        self._blocks: Deque[Statistics] = deque(maxlen=100_000)
        self._faults: Deque[str] = deque(maxlen=100)
        self._news = threading.Event()
        self._retry_ns = 0

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Whether one is on USB, from the kernel's files; the package is not loaded."""
        scope, simulated = str(request.options.get("scope", STATED)), is_simulated_root()
        found = " and ".join(on_usb())
        if not found:
            return Availability(False, False, "no Joulescope on USB", scope, simulated)
        if importlib.util.find_spec("joulescope") is None:
            return Availability(
                False, True, f"{found} on USB, but its package is not here; {INSTALL}", scope, simulated
            )
        return Availability(True, True, f"{found} on USB: --meter joulescope?scope=devkit", scope, simulated)

    def open(self) -> MeterInfo:
        """Find the instrument, set its ranges and wait for a first block. Raises MeterError with what stands in the way."""
        try:
            self._connect()
            self._wait_for_a_block()
        except EbbenchError:
            self.close()
            raise
        model = self._device.model.lower()
        rail = Rail("DUT", self._scope, kind=AVERAGE, averaging_s=1 / self._rate_hz, **self._doubts)
        identity = {
            "model": model.upper(),
            "serial_number": self._device.serial_number,
            "package": package_version("joulescope"),
            "driver": package_version("pyjoulescope_driver"),
            "time": "number of the block's last sample; offset by the quickest arrival of 30 s",
            **self._ranges,
        }
        columns = tuple(Column(f"DUT_{unit}") for unit in COLUMNS)
        rates = RATES_HZ[model]
        return MeterInfo(
            "joulescope",
            self._scope,
            is_simulated_root(),
            (rail,),
            columns,
            ("DUT",),
            self._rate_hz,
            float(max(rates)),
            identity,
            self._bound_s,
        )

    def _connect(self) -> None:
        """Begin to receive blocks."""
        self._time, self._last_sample = DeviceTime(), None
        self._blocks.clear()
        self._faults.clear()
        self._news.clear()
        device = self._find(_package().scan(config="off"))  # off: statistics alone, no 2 MHz of samples over USB
        self._set_rate(device)
        self._device = device
        try:
            device.parameter_set("buffer_duration", 1)  # the least; without it the package takes 400 MB
            device.statistics_callback_register(self._receive, "sensor")
            device.open()
            self._set_ranges(device)
            if device.model.lower() == "js220":
                device.parameter_set("reduction_frequency", int(self._rate_hz))
        except (RuntimeError, OSError, ValueError) as error:
            raise MeterError(
                f"joulescope: {device} cannot be used ({reason_of(error)}); close other programs that use it, plug it in again"
            ) from error
        self._heard_ns = monotonic_ns()

    def _find(self, devices: List[Any]) -> Any:
        """The one that is meant."""
        names = ", ".join(str(device) for device in devices)
        if not devices:
            raise MeterError(f"joulescope: none is found{_hidden()}; plug it in")
        if self._serial is not None:
            named = [d for d in devices if self._serial in (d.serial_number, str(d))]
            if not named:
                raise MeterError(f"joulescope: no {self._serial} on USB; these are here: {names}")
            return named[0]
        if len(devices) > 1:
            raise MeterError(f"joulescope: several on USB, choose one with joulescope:SERIAL?scope=...: {names}")
        return devices[0]

    def _set_rate(self, device: Any) -> None:
        rates = RATES_HZ[device.model.lower()]
        if self._rate_hz not in rates and self._is_rate_asked:
            known = ", ".join(f"{rate}" for rate in rates)
            raise ConfigError(
                f"joulescope: a {device.model.upper()} has no rate of {self._rate_hz:g} Hz; --rate {known}"
            )
        if self._rate_hz not in rates:
            self._rate_hz = float(max(rates))

    def _set_ranges(self, device: Any) -> None:
        """Fix the ranges; written without spaces (``i_range=10A``, ``180uA``) or as the package does."""
        for name, asked in self._ranges.items():
            value = asked or ("15V" if name == "v_range" else "auto")
            known = {
                option[0].replace(" ", "").replace("µ", "u"): option[0] for option in device.parameters(name).options
            }
            if name == "v_range" and device.model.lower() == "js220":
                known = {"15V": "15V", "2V": "2V"}
            plain = value.replace(" ", "").replace("µ", "u")
            if plain not in known or plain == "off":
                raise ConfigError(f"joulescope: {name} = {value!r}; {nearest(plain, [k for k in known if k != 'off'])}")
            device.parameter_set(name, known[plain])
            self._ranges[name] = known[plain]

    def _receive(self, block: Dict[str, Any]) -> None:
        """Called by the package, in a thread of its own, with every block."""
        try:
            self._blocks.append(Statistics.of(block, monotonic_ns()))
            self._news.set()
        except (KeyError, TypeError, ValueError) as error:
            self._faults.append(f"joulescope: a block is not what it should be ({reason_of(error)})")

    def _wait_for_a_block(self) -> None:
        if not self._news.wait(self._patience_s):
            raise MeterError(f"joulescope: {self._device} sends nothing{self._fault()}; plug it in again")

    def _fault(self) -> str:
        return f" that can be read ({self._faults[-1]})" if self._faults else ""

    @property
    def _patience_s(self) -> float:
        return max(SILENCE_S, SILENCE_BLOCKS / self._rate_hz)

    def drain(self, rate_hz: float) -> Block:
        """The blocks since the last call. Raises MeterError once for a loss and once for each attempt that fails."""
        now_ns = monotonic_ns()
        try:
            if self._device is None:
                if now_ns >= self._retry_ns:
                    self._connect()
                return self._as_readings([])
            taken = [self._blocks.popleft() for _ in range(len(self._blocks))]
            if taken:
                self._heard_ns = now_ns
            elif now_ns > self._heard_ns + self._patience_s * NS_PER_S:
                raise MeterError(f"joulescope: nothing for {self._patience_s:g} s; is it plugged in?")
            return self._as_readings(taken)
        except EbbenchError:
            self.close()
            self._retry_ns = now_ns + RETRY_NS
            raise

    def _as_readings(self, blocks: List[Statistics]) -> Block:
        times_ns, rows = [], []
        notes = [(monotonic_ns(), self._faults.popleft()) for _ in range(len(self._faults))]
        for block in blocks:
            time_ns = self._time.ours_ns(round(block.last * NS_PER_S / block.sample_hz), block.arrival_ns)
            lost = 0 if self._last_sample is None else block.first - self._last_sample
            if lost:
                what = f"{lost / block.sample_hz:.3g} s of blocks were lost" if lost > 0 else "it began to count anew"
                notes.append((time_ns, f"joulescope: {what}"))
            if any(math.isnan(value) for value in block.values):
                notes.append((time_ns, "joulescope: out of range, or not a number"))
            self._last_sample = block.last
            times_ns.append(time_ns)
            rows.append(block.values)
        values = np.array(rows, dtype=np.float64).reshape(len(rows), len(COLUMNS))
        return Block(np.array(times_ns, dtype=np.int64), values, tuple(notes))

    def close(self) -> None:
        """Let the instrument go."""
        device, self._device = self._device, None
        if device is not None:
            with contextlib.suppress(Exception):  # one that was unplugged may say anything
                device.statistics_callback_unregister(self._receive, "sensor")
                device.close()


def on_usb() -> List[str]:
    """The models that the kernel sees on USB."""
    folders = sorted(below_root("/sys/bus/usb/devices").glob("*"))
    ids = [(read_text("idVendor", folder) or "", read_text("idProduct", folder) or "") for folder in folders]
    return [USB_IDS[one] for one in ids if one in USB_IDS]


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
