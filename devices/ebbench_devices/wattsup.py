"""A Watts Up? Pro, ES or .Net at the socket, over its USB port: ``wattsup:/dev/ttyUSB0?scope=wall``. No longer made, still in use.

Vendor's "Serial Data Format" revision 4.41 (search.cpan.org/src/ROBBAT/WattsUp-Daemon-0.4/doc/wattsup_spec_v442.txt): 115200
baud, 8N1; packets of arguments between # and ;, what lies between packets is ignored. ``#L,W,3,E,,1;`` has it send a record
every second, ``#L,R,0;`` ends that: ``#d,-,18,W,V,A,Wh,...;`` with tenths of a watt and of a volt, milliamperes and tenths of a
watt-hour; a quantity that is not logged is ``_``. Nothing in its memory is cleared.

Accuracy: +-1.5 % +- 3 counts of 0.1 W (vendor's "Technical specifications", studylib.net/doc/18064692); taken as rectangular
limits. A record stands for the second before it; which second exactly is not documented, so its time may be off by half of
one. Its counter has steps of 360 J, and is not used.
"""

from __future__ import annotations

import math
from typing import List, Optional

from ebbench.environment import is_simulated_root
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, Availability, Column, MeterInfo, MeterRequest, Rail
from ebbench_devices.lines.link import LineLink
from ebbench_devices.lines.serial_port import SerialPort
from ebbench_devices.meter.external import address_of, named, unnamed
from ebbench_devices.meter.gatherer import Gathered
from ebbench_devices.meter.options import DOUBTS, Options
from ebbench_devices.meter.untrusted import quoted

OPTIONS = ("scope", *DOUBTS)
BAUD = 115_200
START, STOP = b"#L,W,3,E,,1;", b"#L,R,0;"
#: what the vendor states, as standard uncertainties
GAIN_RATIO, OFFSET_W = 0.015 / math.sqrt(3), 3 * 0.1 / math.sqrt(3)
STEP_W = 0.1
#: 18 kW would have six; a longer number is none
MOST_DIGITS = 6
#: records that a meter may leave out before it is started again
TIMEOUT_S = 5.0
EXAMPLE = "wattsup:/dev/ttyUSB0?scope=wall"


class WattsUpMeter(Gathered):
    """Power, voltage and current of the outlet, as the mean of each second."""

    def __init__(self, request: MeterRequest) -> None:
        self._options = Options("wattsup", request, OPTIONS)
        self._path = address_of("wattsup", request, EXAMPLE)
        if request.rate_hz is not None and request.rate_hz > 1.0:
            raise ConfigError(
                f"wattsup: it sends one record a second, not {request.rate_hz:g}; leave out --rate, or take 1"
            )
        self._scope = self._options.stated_scope()
        self._doubts = self._options.doubts(gain_ratio=GAIN_RATIO, offset_w=OFFSET_W, resolution_w=STEP_W)

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Opens nothing: a serial port does not say what is at its other end."""
        if request.address is None:
            return unnamed(EXAMPLE)
        cls(request)
        return named(request)

    def open(self) -> MeterInfo:
        """Open the port, start the records, and wait for the first."""
        self.gather("wattsup", self._link, 3, patience_s=TIMEOUT_S + 0.5)
        rail = Rail("INPUT", self._scope, kind=AVERAGE, averaging_s=1.0, update_period_s=1.0, **self._doubts)
        columns = (
            Column("INPUT_w", 0.1, raw=True),
            Column("INPUT_v", 0.1, raw=True),
            Column("INPUT_a", 1e-3, raw=True),
        )
        identity = {"port": self._path, "time": "arrival of a record's first byte"}
        return MeterInfo(
            "wattsup",
            self._scope,
            is_simulated_root(),
            (rail,),
            columns,
            ("INPUT",),
            1.0,
            1.0,
            identity,
            time_bound_s=0.5,
        )

    def _link(self) -> LineLink:
        port = SerialPort("wattsup", self._path, BAUD)
        try:
            return LineLink(
                "wattsup", port, record_of, timeout_s=TIMEOUT_S, end=b";", start=START, stop=STOP, describe=_mismatch
            )
        except MeterError:
            port.close()
            raise


def record_of(packet: bytes) -> Optional[List[Optional[float]]]:
    """Power (0.1 W), voltage (0.1 V) and current (mA) of one packet without its semicolon; None where it is no record."""
    _, mark, body = packet.rpartition(b"#")
    arguments = body.split(b",")
    if not mark or arguments[0] != b"d" or len(arguments) < 6 or not arguments[2].isdigit():
        return None
    if len(arguments) != 3 + int(arguments[2]):  # bytes were lost: what is left may be in the wrong place
        return None
    values = [float(a) if a.isdigit() and len(a) <= MOST_DIGITS else None for a in arguments[3:6]]
    return None if values[0] is None else values


def _mismatch(packet: bytes) -> str:
    return f"no record in {quoted(packet)}; is it a Watts Up?, and does another program use the port?"
