"""Any meter that writes lines of text, on a serial port or a TCP connection: no code is needed, only what its lines mean.

``serial:/dev/ttyUSB0?scope=devkit&baud=115200&pattern=P=([0-9.]*) mW&unit=mW&rail=INPUT`` is one rail in a URI (there a + is
written %2B and a & %26). A bench file says the same with TOML's types, and more than one rail under ``rails``: devices/README.md.

A reading's time is the arrival of its line's first byte (`lines`), or half way between a ``query`` and that. How long before it the
meter measured, nobody but the user knows: ``delay_s``, and ``time_bound_s`` for how far that may be off. The same holds for
the uncertainties (``gain_u``, ``offset_u_w``, ``resolution_w``, and ``range_w``).
"""

from __future__ import annotations

from typing import List, Optional, Tuple

from ebbench.environment import is_simulated_root
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import Availability, MeterInfo, MeterRequest
from ebbench_devices.lines.link import LineLink, Port
from ebbench_devices.lines.pattern import LinePattern, has_exponent, quantities_of
from ebbench_devices.lines.rails import SINGLE, rails_of, tables_of, total_of
from ebbench_devices.lines.serial_port import SerialPort
from ebbench_devices.lines.tcp_port import TcpPort, parse_host_port
from ebbench_devices.meter.external import address_of, named, unnamed
from ebbench_devices.meter.gatherer import Gathered
from ebbench_devices.meter.no_number import said_in
from ebbench_devices.meter.options import DOUBTS, LATENESS, Options
from ebbench_devices.meter.untrusted import quoted

OPTIONS = (
    "scope", "rails", "total", *SINGLE, "start", "stop", "query", "end", "decimal", "encoding", "timeout_s",
    *LATENESS, "time_bound_s", "range_w", *DOUBTS,
)  # fmt: skip
ENDS = {"lf": b"\n", "cr": b"\r"}
DECIMALS = {"point": ".", "comma": ","}
DEFAULT_QUERY_HZ, DEFAULT_STREAM_HZ, MAX_QUERY_HZ = 2.0, 1.0, 100.0
TIMEOUT_S = 5.0
#: of a line that comes at once when it was measured: what USB adapters and networks add (s)
TRANSPORT_S = 0.02


class LineMeter(Gathered):
    """Rails from lines; a subclass opens the port."""

    NAME = ""
    MORE: Tuple[str, ...] = ()
    EXAMPLE = ""

    def __init__(self, request: MeterRequest) -> None:
        self._options = options = Options(self.NAME, request, (*OPTIONS, *self.MORE))
        self._address = address_of(self.NAME, request, self.EXAMPLE)
        self._scope = options.stated_scope()
        quantities = quantities_of(self.NAME, tables_of(self.NAME, request.options))
        self._rails = rails_of(self.NAME, quantities, options, self._scope)
        self._total = total_of(self.NAME, self._rails, request.options.get("total"))
        ordered = sorted(quantities, key=lambda q: q.rail not in self._total)  # the total's first
        self._pattern = LinePattern(ordered, DECIMALS[options.choice("decimal", DECIMALS, "point") or "point"])
        self._encoding = self._known_encoding(options.text("encoding", "utf-8") or "utf-8")
        self._start, self._stop, self._query = (self._command(key) for key in ("start", "stop", "query"))
        self._end = ENDS[options.choice("end", ENDS, "lf") or "lf"]
        self._timeout_s = options.number("timeout_s", TIMEOUT_S, above=0.0) or TIMEOUT_S
        self._rate_hz = request.rate_hz or DEFAULT_QUERY_HZ
        if self._query and not 0 < self._rate_hz <= MAX_QUERY_HZ:
            raise ConfigError(
                f"{self.NAME}: {self._rate_hz:g} queries/s are too many (at most {MAX_QUERY_HZ:g}); a lower --rate"
            )
        self._latest: Optional[LineLink] = None

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Opens and contacts nothing."""
        if request.address is None:
            return unnamed(cls.EXAMPLE)
        cls(request)
        return named(request)

    def connect(self) -> Port:
        """Open the port."""
        raise NotImplementedError

    def open(self) -> MeterInfo:
        """Open the port, send `start`, and wait for a first line with a reading in it."""
        self.gather(self.NAME, self._link, len(self._pattern.quantities), patience_s=self._timeout_s + 0.5)
        rate_hz = DEFAULT_QUERY_HZ if self._query else DEFAULT_STREAM_HZ
        columns = tuple(quantity.as_column() for quantity in self._pattern.quantities)
        trip_s = self._latest.longest_trip_s if self._latest is not None else 0.0
        bound_s = self._options.number("time_bound_s", TRANSPORT_S + trip_s / 2, at_least=0.0) or 0.0
        identity = {
            "address": self._address,
            "patterns": {q.column: q.pattern for q in self._pattern.quantities},
            "time": "half way between query and answer" if self._query else "arrival of a line's first byte",
        }
        return MeterInfo(
            self.NAME,
            self._scope,
            is_simulated_root(),
            self._rails,
            columns,
            self._total,
            rate_hz,
            MAX_QUERY_HZ if self._query else None,
            identity,
            bound_s,
        )

    def _link(self) -> LineLink:
        port = self.connect()
        try:
            self._latest = LineLink(
                self.NAME,
                port,
                self._parse,
                timeout_s=self._timeout_s,
                end=self._end,
                start=self._start,
                stop=self._stop,
                query=self._query,
                rate_hz=self._rate_hz,
                describe=self._mismatch,
            )
            return self._latest
        except MeterError:
            port.close()
            raise

    def _parse(self, line: bytes) -> Optional[List[Optional[float]]]:
        return self._pattern.read(line.decode(self._encoding, "replace"))

    def _mismatch(self, line: bytes) -> str:
        text = line.decode(self._encoding, "replace")
        said = said_in(text)
        if said is not None:
            return said
        wanted = ", ".join(dict.fromkeys(repr(q.pattern) for q in self._pattern.quantities))
        hint = "; in a URI a + is written %2B" if " )" in wanted or "] " in wanted else ""
        if has_exponent(text):
            hint += "; the group must take the exponent in: ([-+.0-9Ee]+), in a URI with %2B for +"
        return f"no number in {quoted(line)} by the pattern {wanted}{hint}"

    def _known_encoding(self, encoding: str) -> str:
        try:
            "".encode(encoding)
        except LookupError as error:
            raise ConfigError(
                f"{self.NAME}: encoding = {encoding!r} is not known; utf-8, latin-1 and ascii are"
            ) from error
        return encoding

    def _command(self, key: str) -> bytes:
        """A command as bytes; ``\\r`` and ``\\n`` in it are the characters that they stand for."""
        text = self._options.text(key)
        if text is None:
            return b""
        try:
            return text.replace("\\r", "\r").replace("\\n", "\n").encode(self._encoding)
        except UnicodeError as error:
            raise ConfigError(f"{self.NAME}: {key} = {text!r} in the encoding {self._encoding!r}: {error}") from error


class SerialMeter(LineMeter):
    """Lines on a serial port."""

    NAME = "serial"
    MORE = ("baud",)
    EXAMPLE = "serial:/dev/ttyUSB0?scope=wall&pattern=(.*)W&unit=W"

    def __init__(self, request: MeterRequest) -> None:
        super().__init__(request)
        self._baud = int(self._options.number("baud", 115_200.0, above=0.0) or 0)

    def connect(self) -> Port:
        """Open the port."""
        return SerialPort(self.NAME, self._address, self._baud)


class TcpMeter(LineMeter):
    """Lines on a TCP connection."""

    NAME = "tcp"
    EXAMPLE = "tcp:HOST:PORT?scope=wall&pattern=(.*)W&unit=W"

    def __init__(self, request: MeterRequest) -> None:
        super().__init__(request)
        self._host, self._port = parse_host_port(self.NAME, self._address)

    def connect(self) -> Port:
        """Connect."""
        return TcpPort(self.NAME, self._host, self._port)
