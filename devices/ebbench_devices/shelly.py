"""A Shelly plug or relay with a power meter, asked over HTTP in its own network: ``shelly:http://10.0.0.7?scope=wall&id=0``.

From the second generation on (``/rpc``; components Switch, PM1 and EM1 of the vendor's "Gen2+ Device API",
shelly-api-docs.shelly.cloud/gen2): ``apower`` or ``act_power`` in W, the last instantaneous active power measured; ``voltage``,
``current``; ``aenergy.total`` in Wh, printed to 0.001 (an EM1 keeps its counter elsewhere, by the minute; it is not read).
Passwords by Digest with SHA-256. The first generation ("Gen1 Device API"): ``/status``, with ``meters[]`` (``power`` in W,
``total`` in watt-minutes) or ``emeters[]`` (``total`` in Wh); passwords by Basic, in clear text.

The vendor states neither an accuracy nor how often the power is renewed. So the gain is unknown until it is stated (``gain_u``),
and the renewal is taken for one second (users report one to three), or ``update_s``. Which energy counts: see `polled`.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

from ebbench.errors import MeterError
from ebbench_devices.meter.options import Options
from ebbench_devices.meter.untrusted import number_of, power_of, shown
from ebbench_devices.plugs.http_device import HttpDevice
from ebbench_devices.plugs.polled import Document, PolledMeter, Source, Values

#: components that may measure power: their name in the status, in the method, and the key of the power
COMPONENTS = (("switch", "Switch", "apower"), ("pm1", "PM1", "apower"), ("em1", "EM1", "act_power"))
#: one step of each counter (J): 0.001 Wh, 1 W min, 0.1 Wh; and of each power (W), as they are printed
GEN2_STEP_J, METER_STEP_J, EMETER_STEP_J = 3.6, 60.0, 360.0
GEN2_STEP_W, GEN1_STEP_W = 0.1, 0.01


class ShellyMeter(PolledMeter):
    """One metered output of a Shelly of any generation."""

    NAME = "shelly"
    MORE = ("id",)

    def find(self, device: HttpDevice, options: Options) -> Source:
        """Which generation it is, and which of its components measures power."""
        about = device.get("/shelly").document
        number = options.number("id", at_least=0.0)
        wanted = None if number is None else int(number)
        generation = number_of(about, "gen")
        if generation is None:
            if "type" not in about:
                raise MeterError(f"shelly: {device.address} answers /shelly like no Shelly; is that its address?")
            return _first_generation(device, about, wanted)
        return _later_generation(device, about, wanted, int(generation))


def _later_generation(device: HttpDevice, about: Document, wanted: Optional[int], generation: int) -> Source:
    status = device.get("/rpc/Shelly.GetStatus").document
    found = {
        f"{name}:{at}": (method, key, at)
        for name, method, key in COMPONENTS
        for at in range(16)
        if isinstance(status.get(f"{name}:{at}"), dict) and key in status[f"{name}:{at}"]
    }
    component = _choose(device, found, wanted)
    method, key, at = found[component]
    has_counter = "aenergy" in status[component]

    def values(document: Document) -> Values:
        power_w = power_of("shelly", document, key)
        counted_wh = number_of(_object(document, "aenergy"), "total")
        return power_w, number_of(document, "voltage"), number_of(document, "current"), _steps(counted_wh, 1e3)

    identity = {"generation": generation, "component": component, **_identity(about, "model", "app", "ver")}
    path = f"/rpc/{method}.GetStatus?id={at}"
    return Source(path, values, GEN2_STEP_J if has_counter else None, GEN2_STEP_W, identity)


def _first_generation(device: HttpDevice, about: Document, wanted: Optional[int]) -> Source:
    status = device.get("/status").document
    found = {
        f"{kind}:{at}": (kind, at)
        for kind in ("emeters", "meters")
        for at, entry in enumerate(_list(status, kind))
        if isinstance(entry, dict) and "total" in entry  # a Shelly 1 shows a power of 0 without having a meter
    }
    component = _choose(device, found, wanted)
    kind, at = found[component]
    step_j, per_step = (EMETER_STEP_J, 10.0) if kind == "emeters" else (METER_STEP_J, 1.0)

    def values(document: Document) -> Values:
        entries = _list(document, kind)
        entry = entries[at] if at < len(entries) and isinstance(entries[at], dict) else {}
        if entry.get("is_valid") is False:
            raise MeterError(f"shelly: {component} says that its reading is not valid")
        power_w = power_of("shelly", entry, "power")
        counted = _steps(number_of(entry, "total"), per_step)
        return power_w, number_of(entry, "voltage"), number_of(entry, "current"), counted

    identity = {"generation": 1, "component": component, **_identity(about, "type", "fw")}
    return Source("/status", values, step_j, GEN1_STEP_W, identity)


def _choose(device: HttpDevice, found: Mapping[str, Tuple[Any, ...]], wanted: Optional[int]) -> str:
    """The component with the number `wanted`, or the only one."""
    fitting = [name for name, entry in found.items() if wanted is None or entry[-1] == wanted]
    names = ", ".join(found)
    if not found:
        raise MeterError(f"shelly: {device.address} has no power meter (a model with PM or EM in its name has)")
    if not fitting:
        raise MeterError(f"shelly: {device.address} measures no power at id={wanted}; it does at {names}")
    if len(fitting) > 1:
        raise MeterError(f"shelly: {device.address} measures power at {names}; choose one with id=N")
    return fitting[0]


def _steps(counted: Optional[float], per_unit: float) -> Optional[float]:
    """The counter in whole steps, as it was printed."""
    return None if counted is None else float(round(counted * per_unit))


def _object(document: Document, key: str) -> Document:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _list(document: Document, key: str) -> List[Any]:
    value = document.get(key)
    return value if isinstance(value, list) else []


def _identity(about: Document, *keys: str) -> Dict[str, str]:
    """What it says of itself, as far as it is nobody's secret (no MAC, no name)."""
    return {key: shown(about[key]) for key in keys if isinstance(about.get(key), str)}
