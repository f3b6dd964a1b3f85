"""A Jetson's power as jtop.service of jetson-stats reads it; needs the group ``jtop``, no root.

The service samples on its own schedule, slowly (each sample forks several programs); its only stamp is the uptime at the start
of a sample, and that is the time of the reading. Three of its habits are guarded against:

* a rail that does not answer is left out of a sample, and where that is the module's input its ``tot`` silently becomes the sum
  of the others. So ``tot`` is taken for a rail of its name or not at all, and the total is made of named rails only.
* when its timer dies the last sample is delivered for ever. Only an uptime that advances is a reading.
* ``avg`` is a recursive filter, not an average of any time; it is not used.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.clock import Clock, monotonic_ns
from ebbench.energy.source import RETRY_NS
from ebbench.environment import below_root, is_jetson, is_simulated_root, package_version
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import Availability, Block, Column, MeterInfo, MeterRequest
from ebbench.units import NS_PER_S
from ebbench_devices.nvidia.board_rails import rail_of, total_of
from ebbench_devices.nvidia.jtop_connection import INSTALL, PACKAGE, SOCKET, Connection, Sample, check_socket

DEFAULT_RATE_HZ = 2.0
MAX_RATE_HZ = 10.0
#: when it opens, a rail of the total may be missing for so long
PATIENCE_NS = 5 * NS_PER_S
#: per rail: column, key of jetson-stats (mW, mV, mA)
QUANTITIES = (("w", "power"), ("v", "volt"), ("a", "curr"))

#: no rail: not connected, and USB-C ports (7.x leaves them out, 4.x names them after their I2C address, ``1-00081``)
_NO_RAIL = re.compile(r"NC|ucsi.*|\d+-[0-9a-f]+", re.IGNORECASE)

#: jetson-stats' entries by rail
Rails = Dict[str, Mapping[str, Any]]


class JtopMeter:
    """All rails of the service, the total's first; `drain` hands over what came since, and connects again after a loss."""

    def __init__(self, request: MeterRequest, clock: Clock = monotonic_ns) -> None:
        if request.options or request.address:
            given = next(iter(request.options), None) or request.address or ""
            raise ConfigError(f"jtop: unknown option or address {given!r}; it takes none")
        rate_hz = DEFAULT_RATE_HZ if request.rate_hz is None else request.rate_hz
        if not 0 < rate_hz <= MAX_RATE_HZ:
            raise ConfigError(
                f"jtop: {rate_hz:g} readings/s is more than its service holds (at most {MAX_RATE_HZ:g}, "
                f"{DEFAULT_RATE_HZ:g} advised); use --meter ina3221, or a lower --rate"
            )
        self._interval_s = 1 / rate_hz
        self._board = request.board or {}
        self._clock = clock
        self._connection: Optional[Connection] = None
        self._first: List[Sample] = []  # what `open` took, for the trace to begin with
        self._retry_ns = 0
        self._names: Tuple[str, ...] = ()
        self._total: Tuple[str, ...] = ()

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Whether the package is here and somebody listens at the socket; it does not connect to the service."""
        scope = str((request.board or {}).get("scope", "module"))
        installed = importlib.util.find_spec("jtop") is not None
        there = os.path.exists(below_root(SOCKET))  # a folder that may not be entered is no error here
        present = there or (installed and is_jetson())
        if not there and not is_jetson():
            return Availability(
                False, False, f"no {SOCKET}; a Jetson with jetson-stats has it", scope, is_simulated_root()
            )
        try:
            if not installed:
                raise MeterError(f"{PACKAGE} is not installed here; {INSTALL}")
            check_socket()
        except MeterError as error:
            return Availability(False, present, str(error), scope, is_simulated_root())
        reason = f"jtop.service answers, {PACKAGE} {package_version(PACKAGE)} here"
        return Availability(True, True, reason, scope, is_simulated_root())

    def open(self) -> MeterInfo:
        """Connect and wait for a sample that has the total. Raises MeterError with what stands in the way."""
        self._connection = Connection(self._interval_s)
        try:
            rails = self._first_rails()
        except MeterError:
            self.close()
            raise
        self._names = (*self._total, *(name for name in rails if name not in self._total))
        identity = {
            "jetson_stats": package_version(PACKAGE),
            "board": self._connection.identity(),
            "interval_s": self._connection.interval_s,
            "asked_interval_s": self._interval_s,
            "time": "uptime at the start of the service's sample, in steps of 10 ms",
            "total_from": "board" if "total" in self._board else "name",
        }
        return MeterInfo(
            "jtop",
            str(self._board.get("scope", "module")),
            is_simulated_root(),
            tuple(rail_of(name, self._board, self._total, _bus_v(rails[name])) for name in self._names),
            tuple(Column(f"{name}_{unit}", 1e-3, raw=True) for name in self._names for unit, _ in QUANTITIES),
            self._total,
            DEFAULT_RATE_HZ,
            MAX_RATE_HZ,
            identity,
        )

    def _first_rails(self) -> Rails:
        """The rails of the first sample that holds all of the total, which is then known."""
        fault: Optional[MeterError] = None
        deadline_ns = self._clock() + PATIENCE_NS
        assert self._connection is not None
        while True:
            for sample in self._connection.take():
                rails = rails_of(sample.power)
                try:
                    self._total = total_of("jtop", rails, self._board)
                except MeterError as error:
                    fault = error
                    continue
                self._first = [sample]
                return rails
            if fault is not None and self._clock() > deadline_ns:
                raise fault
            self._connection.news.wait(0.1)

    def drain(self, rate_hz: float) -> Block:
        """The samples since the last call. Raises MeterError once for a loss and once for each attempt that fails."""
        if self._connection is None:
            if self._clock() >= self._retry_ns:
                self._connection = Connection(self._interval_s)
            return self._block([])
        first, self._first = self._first, []
        try:
            return self._block(first or self._connection.take())
        except MeterError:
            if not self._connection.is_pending:
                self.close()
                self._retry_ns = self._clock() + RETRY_NS
            raise

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _block(self, samples: Sequence[Sample]) -> Block:
        """Readings of `samples`: what a sample lacks is NaN, and a part of the total that it lacks is told."""
        values = np.full((len(samples), len(self._names) * len(QUANTITIES)), math.nan)
        notes: List[Tuple[int, str]] = []
        for row, sample in zip(values, samples):
            rails = rails_of(sample.power)
            row[:] = [
                math.nan if value is None else float(value)
                for name in self._names
                for value in (rails.get(name, {}).get(key) for _, key in QUANTITIES)
            ]
            missing = [name for name in self._total if name not in rails]
            if missing:
                notes.append((sample.time_ns, f"jtop: {', '.join(missing)} did not answer, so the total is missing"))
        times_ns = np.array([sample.time_ns for sample in samples], dtype=np.int64)
        return Block(times_ns, values, tuple(notes))


def _bus_v(entry: Mapping[str, Any]) -> Optional[float]:
    return entry["volt"] * 1e-3 if entry.get("volt") else None


def rails_of(power: Mapping[str, Any]) -> Rails:
    """The measured rails of one sample of jetson-stats by name; ``tot`` is one of them where it has a rail's name.

    Left out: what is not connected (``NC``) and power supplies (batteries, and USB-C ports that only say what was negotiated).
    """
    entries: Rails = dict(power.get("rail", {}))
    total = power.get("tot", {})
    if total.get("name"):
        entries[total["name"]] = total
    return {
        re.sub(r"\W+", "_", label, flags=re.ASCII).strip("_"): entry
        for label, entry in entries.items()
        if not _NO_RAIL.fullmatch(label) and "status" not in entry
    }
