"""The rails of a board by name, as a program or a service of its own samples them: what `tegrastats` and `jtop` have in common."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.clock import Clock, monotonic_ns
from ebbench.environment import is_simulated_root
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import Block, Column, MeterInfo, MeterRequest, Rail
from ebbench.units import NS_PER_S
from ebbench_devices.meter.feed import Connection, Feed, patience_s
from ebbench_devices.meter.options import DOUBTS, LATENESS, Options
from ebbench_devices.nvidia.board_rails import rail_of, total_of

DEFAULT_RATE_HZ = 2.0
MAX_RATE_HZ = 10.0

#: by rail: a value for each of a meter's `UNITS`, in thousandths (mW, mV, mA), None where it is not told
Rails = Mapping[str, Sequence[Optional[float]]]


class NamedRails:
    """All rails, the total's first; `drain` hands over what came since, and connects again after a loss.

    A subclass connects, and says what a sample holds. A sample has a `time_ns`, a connection sets `news` when there is one.
    """

    NAME = ""
    UNITS: Tuple[str, ...] = ("w",)

    def __init__(self, request: MeterRequest, clock: Clock = monotonic_ns) -> None:
        self._options = Options(self.NAME, request, (*DOUBTS, *LATENESS))
        self._options.applied(Rail("any", "rail"))  # what the user states is checked before anything is begun
        if request.address:
            raise ConfigError(f"{self.NAME}: unknown address {request.address!r}; it takes none")
        rate_hz = DEFAULT_RATE_HZ if request.rate_hz is None else request.rate_hz
        if not 0 < rate_hz <= MAX_RATE_HZ:
            raise ConfigError(
                f"{self.NAME}: {rate_hz:g} readings/s is more than it holds (at most {MAX_RATE_HZ:g}, "
                f"{DEFAULT_RATE_HZ:g} advised); use --meter ina3221, or a lower --rate"
            )
        self.interval_s = 1 / rate_hz
        self._board = request.board or {}
        self._clock = clock
        self._feed = Feed(self.connect, clock)
        self._names: Tuple[str, ...] = ()
        self._total: Tuple[str, ...] = ()

    def connect(self) -> Connection:
        """Begin to receive samples every `interval_s`."""
        raise NotImplementedError

    def rails_in(self, sample: Any) -> Rails:
        """What a sample says."""
        raise NotImplementedError

    def lack(self, sample: Any, missing: Sequence[str]) -> str:
        """Why a sample has no total: `missing` are the parts that it lacks."""
        raise NotImplementedError

    def identity(self) -> Dict[str, Any]:
        """What is known of an open connection."""
        raise NotImplementedError

    def open(self) -> MeterInfo:
        """Connect and wait for a sample that has the total. Raises MeterError with what stands in the way."""
        self._feed.open()
        try:
            rails = self._first_rails()
        except MeterError:
            self.close()
            raise
        self._names = (*self._total, *(name for name in rails if name not in self._total))
        return MeterInfo(
            self.NAME,
            str(self._board.get("scope", "module")),
            is_simulated_root(),
            tuple(self._rail(name, rails[name]) for name in self._names),
            tuple(Column(f"{name}_{unit}", 1e-3, raw=True) for name in self._names for unit in self.UNITS),
            self._total,
            DEFAULT_RATE_HZ,
            MAX_RATE_HZ,
            {**self.identity(), "total_from": "board" if "total" in self._board else "name"},
        )

    def _first_rails(self) -> Rails:
        """The rails of the first sample that has all of the total, which is then known; it may keep us waiting for it."""
        fault: Optional[MeterError] = None
        deadline_ns: Optional[int] = None
        while True:
            samples = self._taken(fault)
            for number, sample in enumerate(samples):
                rails = self.rails_in(sample)
                try:
                    self._total = total_of(self.NAME, rails, self._board)
                except MeterError as error:
                    fault = error if rails else fault
                    continue
                self._feed.keep(samples[number:])
                return rails
            if samples and deadline_ns is None:
                deadline_ns = self._clock() + round(patience_s(self.interval_s) * NS_PER_S)
            if samples and deadline_ns is not None and self._clock() > deadline_ns:
                raise fault or MeterError(f"{self.NAME}: {self.lack(samples[-1], ())}; use another --meter")
            self._feed.connection.news.wait(0.1)

    def _taken(self, fault: Optional[MeterError]) -> List[Any]:
        """The samples since the last call. That it is lost says less than a `fault` that is known."""
        try:
            return self._feed.connection.take()
        except MeterError as error:
            raise fault or error from None

    def _rail(self, name: str, values: Sequence[Optional[float]]) -> Rail:
        return self._options.applied(rail_of(name, self._board, self._total, self._bus_v(values)))

    def _bus_v(self, values: Sequence[Optional[float]]) -> Optional[float]:
        millivolts = dict(zip(self.UNITS, values)).get("v")
        return millivolts * 1e-3 if millivolts else None

    def drain(self, rate_hz: float) -> Block:
        """The readings since the last call. Raises MeterError once for a loss and once for each attempt that fails.

        What a sample lacks is NaN, and a part of the total that it lacks is told.
        """
        samples = self._feed.take()
        values = np.full((len(samples), len(self._names) * len(self.UNITS)), math.nan)
        notes: List[Tuple[int, str]] = []
        nothing = (None,) * len(self.UNITS)
        for row, sample in zip(values, samples):
            rails = self.rails_in(sample)
            row[:] = [math.nan if v is None else float(v) for name in self._names for v in rails.get(name, nothing)]
            missing = [name for name in self._total if name not in rails]
            if missing:
                notes.append((sample.time_ns, f"{self.NAME}: {self.lack(sample, missing)}"))
        return Block(np.array([sample.time_ns for sample in samples], dtype=np.int64), values, tuple(notes))

    def close(self) -> None:
        """Hang up."""
        self._feed.close()
