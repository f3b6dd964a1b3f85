"""A Joulescope JS110 or JS220 between supply and board, through its maker's package.

The instrument computes statistics itself and sends a block of them `rate` times a second: the energy counted since the start, and
the means of power, volts and amperes over the block, with the numbers of its first and last sample. The counter goes on in the
instrument, so a block that is lost on the way costs no energy, only the knowledge of when it was spent; it is told. What it has
counted is that up to the block's last sample, of a million or two a second: it is neither late nor averaged beside what the
time of that sample may be off, which is the meter's bound on time.
"""

from __future__ import annotations

import importlib.util

import numpy as np

from ebbench.clock import Clock, monotonic_ns
from ebbench.environment import is_simulated_root
from ebbench.errors import MeterError
from ebbench.protocols import AVERAGE, STATED, Availability, Block, Column, MeterInfo, MeterRequest, Rail
from ebbench_devices.instruments.joulescope_block import COLUMNS
from ebbench_devices.instruments.joulescope_link import INSTALL, RATES_HZ, JoulescopeLink, Settings, on_usb
from ebbench_devices.meter.feed import Feed
from ebbench_devices.meter.options import DOUBTS, Options

OPTIONS = ("scope", "i_range", "v_range", "offset_bound_s", *DOUBTS)
RAIL = "DUT"
#: by how much a reading's time may be off: the way over USB, and 30 s of drift. Stated, never measured on an instrument
TIME_BOUND_S = 0.02


class JoulescopeMeter:
    """One rail, ``DUT``: what flows through the instrument."""

    def __init__(self, request: MeterRequest, clock: Clock = monotonic_ns) -> None:
        options = Options("joulescope", request, OPTIONS)
        self._scope = options.stated_scope()
        ranges = {name: options.text(name) for name in ("i_range", "v_range")}
        settings = Settings(request.address, request.rate_hz, ranges)
        bound_s = options.number("offset_bound_s", at_least=0.0)
        self._bound_s = TIME_BOUND_S if bound_s is None else bound_s
        self._doubts = options.doubts()
        self._feed = Feed(lambda: JoulescopeLink(settings, clock), clock)

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
        self._feed.open()
        link: JoulescopeLink = self._feed.connection
        try:
            link.wait()
        except MeterError:
            self.close()
            raise
        return MeterInfo(
            "joulescope",
            self._scope,
            is_simulated_root(),
            (
                Rail(
                    RAIL,
                    self._scope,
                    kind=AVERAGE,
                    averaging_s=1 / link.rate_hz,
                    counter_averaging_s=0.0,
                    counter_delay_s=0.0,
                    **self._doubts,
                ),
            ),
            tuple(Column(f"{RAIL}_{unit}") for unit in COLUMNS),
            (RAIL,),
            link.rate_hz,
            float(max(RATES_HZ[link.model])),
            {**link.identity(), "time": "number of the block's last sample; offset by the quickest arrival of 30 s"},
            self._bound_s,
        )

    def drain(self, rate_hz: float) -> Block:
        """The blocks since the last call. Raises MeterError once for a loss and once for each attempt that fails."""
        readings = self._feed.take()
        link = self._feed.connection
        times_ns = np.array([time_ns for time_ns, _ in readings], dtype=np.int64)
        values = np.array([row for _, row in readings], dtype=np.float64).reshape(len(readings), len(COLUMNS))
        return Block(times_ns, values, tuple(link.notes()) if link is not None else ())

    def close(self) -> None:
        """Let the instrument go."""
        self._feed.close()
