"""A bench supply whose driver writes the power it delivers to a file, in whole milliwatts."""

from __future__ import annotations

from typing import IO, Optional, Sequence

from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import STATED, Availability, Column, MeterInfo, MeterRequest, Rail
from ebbench_devices.meter.options import DOUBTS, Options


class Supply:
    """``supply:/path/to/power_mw?scope=devkit``; what the supply is good to is stated with ``gain_u`` and ``offset_u_w``."""

    def __init__(self, request: MeterRequest) -> None:
        """Looks at its address and options, and takes nothing yet."""
        options = Options("supply", request, ("scope", *DOUBTS))
        self._scope = options.stated_scope()
        self._doubts = options.doubts(resolution_w=0.001)  # unknown stays None
        if request.address is None:
            raise ConfigError("supply: name its file: supply:/path/to/power_mw?scope=devkit")
        self._path = request.address
        self._file: Optional[IO[str]] = None

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Whether a file was named; who only looks around is told how to name one."""
        if request.address is None:
            return Availability(False, False, "name its file: supply:/path/to/power_mw?scope=devkit", STATED)
        return Availability(True, True, f"reads {request.address}", cls(request)._scope)

    def open(self) -> MeterInfo:
        """Open the file once, and say what its readings will mean."""
        try:
            self._file = open(self._path)  # noqa: SIM115 - open for as long as the meter is
        except OSError as error:
            raise MeterError(
                f"supply: cannot open {self._path}: {error.strerror}; is the supply's driver running?"
            ) from error
        rail = Rail("INPUT", self._scope, **self._doubts)
        column = Column("INPUT_w", scale=1e-3, raw=True)  # integers of milliwatts, stored as they are
        return MeterInfo("supply", self._scope, False, (rail,), (column,), ("INPUT",), default_rate_hz=10.0)

    def read(self) -> Sequence[Optional[float]]:
        """The power now. Raises MeterError where the file holds none: that is a gap in the trace, and never 0 W."""
        assert self._file is not None, "read before open"
        self._file.seek(0)
        text = self._file.read().strip()
        try:
            return (int(text),)
        except ValueError as error:
            raise MeterError(f"supply: {self._path} holds {text[:20]!r}, no milliwatts; is the supply on?") from error

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._file is not None:
            self._file.close()
