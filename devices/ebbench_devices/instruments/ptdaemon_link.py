"""A conversation with SPEC's PTDaemon: commands and answers are lines that end in CR LF, over TCP.

The commands, and what they are answered, are as the public programs of MLPerf Power use and check them
(github.com/mlcommons/power-dev at c4b3ad8: ``ptd_client_server/lib/server.py``, ``compliance/check.py``, and the unit tests;
answers of ``Watts`` and ``Uncertainty``: its pull request 273). PTDaemon itself is licensed by SPEC and was not at hand.
"""

from __future__ import annotations

import calendar
import contextlib
import math
import re
import select
import socket
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from ebbench.clock import monotonic_ns
from ebbench.errors import MeterError
from ebbench.units import NS_PER_S
from ebbench_devices.meter.untrusted import believable, quoted, shown

HELLO, HELLO_ANSWER = "Hello", "Hello, PTDaemon here!"
_STAMP = re.compile(r"(\d\d)-(\d\d)-(\d{4}) (\d\d):(\d\d):(\d\d)\.(\d{1,9})", re.ASCII)
_COUNT = re.compile(r"Last (\d{1,6}) samples?\b", re.IGNORECASE | re.ASCII)
#: a line is never so long
MOST_BYTES = 1 << 20
#: PTDaemon writes it for a quantity that it could not read
NOT_READ = -1.0


@dataclass(frozen=True)
class Sample:
    """One line of samples: its stamp as ns of the daemon's calendar (of an unknown time zone), and W, V, A; NaN = not read."""

    stamp_ns: int
    values: Tuple[float, float, float]


class PtdaemonLink:
    """Connects to `host`, and asks; a failure hangs up, so that no answer is ever taken for another's."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._address, self._timeout_s = (host, port), timeout_s
        self._where = f"ptdaemon: {host}:{port}"
        self._socket: Optional[socket.socket] = None
        self._waiting = b""
        self._fault: Optional[MeterError] = None

    def open(self) -> None:
        """Connect, and see that it is a PTDaemon."""
        try:
            self._socket = socket.create_connection(self._address, self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except ConnectionRefusedError as error:
            raise MeterError(
                f"{self._where}: nothing listens there; start PTDaemon, or check address and port"
            ) from error
        except socket.gaierror as error:
            raise MeterError(f"{self._where}: there is no such host; check the address") from error
        except OSError as error:
            raise MeterError(f"{self._where}: {error.strerror or error}; check the address") from error
        answer = self.say(HELLO)
        if answer != HELLO_ANSWER:
            self.close()
            raise MeterError(
                f"{self._where}: this is not PTDaemon, it answers {quoted(answer)}; check address and port"
            )

    def ask(self, command: str) -> str:
        """The answer to a command. Raises MeterError where it reports an error."""
        answer = self.say(command)
        if answer.lower().startswith("error"):
            raise MeterError(f"{self._where}: {command} is answered {quoted(answer)}; see PTDaemon's own log")
        return answer

    def say(self, command: str) -> str:
        """The first line of the answer, errors included."""
        if self._socket is None:
            raise self._fault or MeterError(f"{self._where} is not connected")
        try:
            self._socket.sendall(command.encode("ascii") + b"\r\n")
        except OSError as error:
            raise self._failed(f"it hung up ({error.strerror or error}); is PTDaemon running?") from error
        return self.line(command)

    def line(self, command: str) -> str:
        """The next line of the answer to `command`."""
        assert self._socket is not None
        deadline_ns = monotonic_ns() + round(self._timeout_s * NS_PER_S)
        while b"\n" not in self._waiting:
            left_s = (deadline_ns - monotonic_ns()) / NS_PER_S
            try:
                self._socket.settimeout(max(left_s, 1e-3))
                received = self._socket.recv(65536) if left_s > 0 else None
            except socket.timeout:
                received = None
            except OSError as error:
                raise self._failed(f"it hung up ({error.strerror or error}); is PTDaemon running?") from error
            if received is None:
                raise self._failed(f"no whole answer to {command} within {self._timeout_s:g} s; see PTDaemon's own log")
            if not received:
                raise self._failed("it hung up; is PTDaemon running?")
            if len(self._waiting) > MOST_BYTES:
                raise self._failed(f"{command} is answered by a line without an end; check the address")
            self._waiting += received
        line, _, self._waiting = self._waiting.partition(b"\n")
        return line.rstrip(b"\r").decode("ascii", "replace")

    def samples(self, command: str) -> List[Sample]:
        """The samples that were not yet read. Raises MeterError, and hangs up, where they are not whole."""
        answer = self.ask(command)
        count = _COUNT.match(answer)
        if count is None:
            raise self._failed(f"{command} is answered {quoted(answer)}, which is no count of samples")
        lines = [self.line(command) for _ in range(int(count.group(1)))]
        try:
            return [sample_of(line) for line in lines]
        except MeterError as error:
            raise self._failed(str(error)) from error

    def pause(self, seconds: float) -> None:
        """Wait a little, unless it says something unasked."""
        if self._socket is not None:
            select.select([self._socket], [], [], seconds)

    def close(self) -> None:
        """Hang up; may be called at any time."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket, self._waiting = None, b""

    def _failed(self, why: str) -> MeterError:
        self.close()
        self._fault = MeterError(f"{self._where}: {why}")
        return self._fault


def sample_of(line: str) -> Sample:
    """One sample, ``Time,MM-DD-YYYY HH:MM:SS.mmm,Watts,w,Volts,v,Amps,a,PF,p...``. Raises MeterError where it is not that."""
    words = line.split(",")
    stamp = _STAMP.fullmatch(words[1]) if len(words) > 1 and words[0] == "Time" else None
    if stamp is None:
        raise MeterError(f"{quoted(line)} is no sample")
    found: Dict[str, str] = {}
    for name, value in zip(words[2::2], words[3::2]):
        found.setdefault(name, value)  # the sum comes before the channels
    month, day, year, hour, minute, second = (int(part) for part in stamp.groups()[:6])
    seconds = calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))
    fraction_ns = int(stamp.group(7).ljust(9, "0"))
    return Sample(
        seconds * NS_PER_S + fraction_ns, (_number(found, "Watts"), _number(found, "Volts"), _number(found, "Amps"))
    )


def _number(found: Dict[str, str], name: str) -> float:
    """A quantity of a sample; NaN where the daemon could not read it, or what it read cannot be. Raises MeterError without it."""
    try:
        value = float(found[name])
    except (KeyError, ValueError):
        raise MeterError(f"a sample has no number for {name} ({shown(','.join(found))})") from None
    return math.nan if value == NOT_READ or believable(name[0].lower(), value) is None else value
