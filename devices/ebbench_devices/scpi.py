"""A power meter, supply or multimeter that speaks SCPI, over TCP, VXI-11, USB or a serial line.

``scpi:TCPIP::10.0.0.5::INSTR?scope=wall&voltage_range_v=300&current_range_a=0.5``. What ``*IDN?`` answers picks the dialect:
`wt300.Wt300` for Yokogawa's WT300 family, else `plain_scpi.PlainScpi`. A reading lies at the middle of its question's round
trip; one whose answer took far longer than the others is not taken, since nobody knows when it was measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from typing import Any, Dict, List, Optional, Sequence, Union

from ebbench.clock import monotonic_ns
from ebbench.environment import is_simulated_root, package_version
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import Availability, MeterInfo, MeterRequest
from ebbench.units import NS_PER_S
from ebbench_devices.instruments import plain_scpi, wt300
from ebbench_devices.instruments.plain_scpi import PlainScpi
from ebbench_devices.instruments.visa import BACKEND, INSTALL, RESOURCE, Link
from ebbench_devices.instruments.wt300 import Wt300
from ebbench_devices.meter.external import address_of, named, unnamed
from ebbench_devices.meter.options import DOUBTS, Options
from ebbench_devices.meter.untrusted import quoted, shown

OPTIONS = ("scope", "backend", "timeout_s", "baud", "idn", *DOUBTS)
EXAMPLE = "scpi:TCPIP::10.0.0.5::INSTR?scope=wall"
DEFAULT_RATE_HZ, DEFAULT_TIMEOUT_S, DEFAULT_BAUD = 10.0, 1.0, 9600
#: so often within an update of the instrument, so that its steps show
READS_PER_UPDATE = 2.5
#: an answer that takes longer than this many of the slowest at the start, and than this, is late
LATE_FACTOR, LATE_NS = 10, NS_PER_S // 5


class ScpiMeter:
    """One instrument, one rail."""

    def __init__(self, request: MeterRequest) -> None:
        address = address_of("scpi", request, EXAMPLE)
        if not RESOURCE.fullmatch(address):
            raise ConfigError(f"scpi: {quoted(address)} is no VISA resource; write it as in {EXAMPLE}")
        known = {*OPTIONS, *wt300.OPTIONS, *plain_scpi.OPTIONS}
        self._options = Options("scpi", request, known)
        self._scope = self._options.stated_scope()
        self._given, self._rate_hz = request.options, request.rate_hz
        self._link = Link(
            address,
            self._options.text("backend") or BACKEND,
            self._options.number("timeout_s", DEFAULT_TIMEOUT_S, above=0.0) or DEFAULT_TIMEOUT_S,
            int(self._options.number("baud", DEFAULT_BAUD, above=0.0) or DEFAULT_BAUD),
        )
        self._dialect: Optional[Union[Wt300, PlainScpi]] = None
        #: when each column of the last sweep was measured, after its start (ns): the middle of the round trip
        self.offsets_ns: List[int] = []

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Whether an address is named and what it takes is installed; it never contacts anything."""
        if not request.address:
            return unnamed(EXAMPLE)
        cls(request)
        if importlib.util.find_spec("pyvisa") is None:
            return dataclasses.replace(
                named(request), available=False, reason=f"pyvisa is not installed here; {INSTALL}"
            )
        return named(request)

    def open(self) -> MeterInfo:
        """Connect, recognise the instrument, set it up, and time its answers. Raises MeterError with what stands in the way."""
        self._link.open()
        try:
            identity = self._identify()
            dialect = self._dialect = self._dialect_of(identity)
            rail = dialect.open()
            slowest_ns = max(self._round_trip_ns() for _ in range(3))
        except (MeterError, ConfigError):
            self.close()
            raise
        self._link.patience_ns = max(LATE_FACTOR * slowest_ns, LATE_NS)
        update_s = dialect.update_s
        rate_hz = READS_PER_UPDATE / update_s if update_s else DEFAULT_RATE_HZ
        bound_s = slowest_ns / 2 / NS_PER_S
        if update_s and (self._rate_hz or rate_hz) * update_s < 2:
            bound_s += update_s  # its steps do not show, and a reading may be as old as that
        facts = {**identity, **dialect.identity, "round_trip_s": slowest_ns / NS_PER_S}
        return MeterInfo(
            "scpi",
            self._scope,
            is_simulated_root(),
            (rail,),
            dialect.columns,
            (rail.name,),
            rate_hz,
            None,
            facts,
            time_bound_s=bound_s,
        )

    def read(self) -> Sequence[Optional[float]]:
        """One reading. Raises MeterError where there is none, or its time is not known."""
        if self._dialect is None:
            raise MeterError("scpi: not open")
        start_ns = monotonic_ns()
        values = self._dialect.read()
        self.offsets_ns = [middle_ns - start_ns for middle_ns in self._dialect.middles_ns]
        return values

    def close(self) -> None:
        """Leave the instrument as it should be left, and hang up."""
        if self._dialect is not None:
            with contextlib.suppress(MeterError):
                self._dialect.close()
        self._dialect = None
        self._link.close()

    def _identify(self) -> Dict[str, Any]:
        """Maker, model, serial number and firmware. Raises MeterError where it is no SCPI instrument, or not the one expected."""
        answer = self._link.ask("*IDN?")
        parts = [part.strip() for part in answer.split(",")]
        if len(parts) < 3 or not parts[0] or parts[0].replace(".", "").isdigit():
            raise MeterError(
                f"scpi: {quoted(answer)} is no answer to *IDN?; check that the address is the instrument's"
            )
        expected = self._options.text("idn")
        if expected and expected.lower() not in answer.lower():
            raise MeterError(f"scpi: this is {quoted(answer)}, not {quoted(expected)} as idn= says; check the address")
        versions = {name: package_version(name) for name in ("pyvisa", "pyvisa-py")}
        return {"idn": shown(answer), "maker": shown(parts[0]), "model": shown(parts[1]), **versions}

    def _dialect_of(self, identity: Dict[str, Any]) -> Union[Wt300, PlainScpi]:
        model = identity["model"].upper()
        is_wt300 = "YOKOGAWA" in identity["maker"].upper() and model.startswith(wt300.MODELS)
        kind, other = (wt300, plain_scpi) if is_wt300 else (plain_scpi, wt300)
        for key in self._given:
            if key in other.OPTIONS and key not in kind.OPTIONS:
                raise ConfigError(
                    f"scpi: {key} means nothing to this {model}; it takes {', '.join(sorted(kind.OPTIONS))}"
                )
        return (Wt300 if is_wt300 else PlainScpi)(self._link, self._options, model, self._scope)

    def _round_trip_ns(self) -> int:
        """How long the (last) question of a reading takes."""
        self.read()
        return self._link.ended_ns - self._link.begun_ns
