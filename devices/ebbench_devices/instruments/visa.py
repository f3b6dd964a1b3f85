"""One connection to one instrument through pyvisa: a question, an answer. The only module that knows that package.

The backend is pyvisa-py (``@py``) unless another is named. An exchange that fails closes the connection: an answer that comes
late, or the rest of a line, must never be taken for the answer to the next question.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any, Optional

from ebbench.clock import monotonic_ns
from ebbench.energy.sampler_process.source import reason_of
from ebbench.errors import MeterError
from ebbench_devices.meter.untrusted import quoted, shown

INSTALL = 'pip install "ebbench[visa,serial]"'
BACKEND = "@py"
#: kinds of VISA resources that an instrument may have
RESOURCE = re.compile(r"(TCPIP|USB|ASRL|GPIB|PXI|VXI)\S*::\S+", re.IGNORECASE | re.ASCII)
#: these are streams of bytes, where a line feed ends an answer; the others have an end of their own
STREAMS = re.compile(r"ASRL|.*::SOCKET$", re.IGNORECASE)
#: bytes; an answer is some hundred at most
LONGEST_ANSWER = 64 << 10

#: what the errors of pyvisa and its backends say, and what that means
_MEANINGS = (
    ("VI_ERROR_TMO", "{what} within {timeout_s:g} s; check the cable and the settings, or state a longer timeout_s="),
    ("TimeoutError", "{what} within {timeout_s:g} s; is it on, and is that its address?"),
    ("ConnectionRefusedError", "nothing listens there; check address and port, and that the instrument is on"),
    ("not known", "there is no such host; check the address"),
    ("Bad file descriptor", "there is no such host, or it does not answer; check the address"),  # pyvisa-py's VXI-11
    ("Wrapper not found", "there is no such backend; leave out backend=, or install its package"),
    ("linux-gpib", "GPIB instruments need linux-gpib or gpib-ctypes; pip install gpib-ctypes"),
    ("BrokenPipeError", "the instrument hung up; check that it is on, and that nobody else uses it"),
    ("ConnectionResetError", "the instrument hung up; check that it is on, and that nobody else uses it"),
    ("UnicodeDecodeError", "{what}, what came is not text; check baud=, and that it is a SCPI instrument"),
    ("PyUSB", "USB instruments need PyUSB; pip install pyusb"),
    ("PySerial", f"serial lines need pyserial; {INSTALL}"),
    ("No such file", "there is no such port; check the cable, and the name in /dev"),
    ("Permission denied", "no access to this port; sudo usermod -aG dialout $USER, then log in again"),
)


class Link:
    """Asks the instrument at `resource`, and knows when it was asked (`begun_ns`, `ended_ns`, CLOCK_MONOTONIC)."""

    def __init__(self, resource: str, backend: str, timeout_s: float, baud: Optional[int] = None) -> None:
        self._resource, self._backend, self._baud = resource, backend, baud
        self._timeout_s = timeout_s
        self._instrument: Any = None
        self._fault: Optional[MeterError] = None  # why it was closed
        self.begun_ns = self.ended_ns = 0
        #: an answer that takes longer is refused, since nobody knows when it was measured; None: any that is in time
        self.patience_ns: Optional[int] = None

    def open(self) -> None:
        """Connect. Raises MeterError where there is nobody, or not what it takes to get there."""
        pyvisa = _load()
        self.close()
        try:
            manager = pyvisa.ResourceManager(
                self._backend
            )  # one for the process: to close it would hang up every instrument
            self._instrument = manager.open_resource(self._resource, open_timeout=round(self._timeout_s * 1000))
            self._configure()
        except Exception as error:
            self.close()
            raise self._failure("it cannot be opened", error) from error

    def _configure(self) -> None:
        instrument = self._instrument
        instrument.timeout = self._timeout_s * 1000
        instrument.write_termination = "\n"
        if STREAMS.match(self._resource):
            instrument.read_termination = "\n"
        if self._baud is not None and self._resource.upper().startswith("ASRL"):
            instrument.baud_rate = self._baud

    @property
    def middle_ns(self) -> int:
        """The middle of the last round trip: the best guess of when the instrument answered."""
        return (self.begun_ns + self.ended_ns) // 2

    def tell(self, command: str) -> None:
        """Send a command that has no answer."""
        self._exchange(command, answers=False)

    def ask(self, question: str) -> str:
        """The answer, without its end. Raises MeterError, and hangs up, where it is not whole in time."""
        return self._exchange(question, answers=True)

    def close(self) -> None:
        """Hang up; may be called at any time."""
        instrument, self._instrument = self._instrument, None
        if instrument is not None:
            with contextlib.suppress(Exception):
                instrument.close()

    def _exchange(self, message: str, answers: bool) -> str:
        if self._instrument is None:
            raise self._fault or MeterError(f"scpi: {self._resource} is not connected")
        self.begun_ns = monotonic_ns()
        try:
            self._instrument.write(message)
            answer = self._answer() if answers else ""
        except Exception as error:
            self.close()
            self._fault = self._failure(f"no whole answer to {quoted(message, 40)}", error)
            raise self._fault from error
        self.ended_ns = monotonic_ns()
        took_ns = self.ended_ns - self.begun_ns
        if answers and self.patience_ns is not None and took_ns > self.patience_ns:
            raise MeterError(f"scpi: it answered after {took_ns * 1e-9:.2f} s; when it measured that is not known")
        return str(answer).strip()

    def _answer(self) -> str:
        """What comes up to the end of an answer; never more than an answer can be, of an instrument that goes on for ever."""
        came: bytes = self._instrument.read_bytes(LONGEST_ANSWER, break_on_termchar=True)
        if len(came) >= LONGEST_ANSWER:
            raise MeterError(f"over {LONGEST_ANSWER >> 10} KiB came")
        return came.decode("ascii")

    def _failure(self, what: str, error: Exception) -> MeterError:
        """What went wrong, in one line with what mends it."""
        text = shown(reason_of(error))
        for sign, meaning in _MEANINGS:
            if sign in text:
                return MeterError(f"scpi: {self._resource}: {meaning.format(what=what, timeout_s=self._timeout_s)}")
        return MeterError(f"scpi: {self._resource}: {what} ({text}); check the address")


def _load() -> Any:
    try:
        import pyvisa
    except ImportError as error:
        raise MeterError(f"scpi: pyvisa is not installed here ({error}); {INSTALL}") from error
    return pyvisa
