"""A serial port, also one that a USB adapter makes: the only module that knows pyserial."""

from __future__ import annotations

import errno
import importlib
from typing import Any

from ebbench.errors import MeterError

#: a start bit, eight data bits and a stop bit
BITS_PER_BYTE = 10
#: how long a read waits for something to come
READ_S = 0.1
WRITE_S = 1.0
MAX_READ_BYTES = 65_536


class SerialPort:
    """An open port, 8N1, taken for us alone. Raises MeterError, with what mends it, where it cannot be had or is lost."""

    def __init__(self, meter: str, path: str, baud: int) -> None:
        self._serial = serial = _load(meter)
        self._where = f"{meter}: {path}"
        #: how long one byte takes on the line (s)
        self.byte_s = BITS_PER_BYTE / baud
        try:
            self._port: Any = serial.Serial(path, baud, timeout=READ_S, write_timeout=WRITE_S, exclusive=True)
        except serial.SerialException as error:
            raise MeterError(_fault(self._where, error, baud)) from error
        except (ValueError, OSError) as error:
            raise MeterError(f"{self._where} cannot be set to {baud} baud ({error}); check baud=") from error

    def read(self) -> bytes:
        """What came, after waiting up to READ_S for it; empty when nothing did."""
        try:
            waiting = self._port.in_waiting
            return bytes(self._port.read(min(max(waiting, 1), MAX_READ_BYTES)))
        except (self._serial.SerialException, OSError, TypeError) as error:  # TypeError: pyserial, closed in mid-read
            raise MeterError(f"{self._where} is lost ({error}); is it still plugged in?") from error

    def write(self, command: bytes) -> None:
        """Send a command."""
        try:
            self._port.write(command)
        except (self._serial.SerialException, OSError) as error:
            raise MeterError(f"{self._where} takes no command ({error}); is it still plugged in?") from error

    def close(self) -> None:
        """Give it back."""
        self._port.close()


def _load(meter: str) -> Any:
    try:
        return importlib.import_module("serial")
    except ImportError as error:
        raise MeterError(f"{meter}: pyserial is not installed; pip install 'ebbench[serial]'") from error


def _fault(where: str, error: Any, baud: int) -> str:
    """Why a port does not open; pyserial says some of it only in its text."""
    number = getattr(error, "errno", None)
    if number == errno.ENOENT or "FileNotFoundError" in repr(error):
        return f"{where} is not there; is it plugged in? `ls /dev/serial/by-id` shows what is"
    if number in (errno.EACCES, errno.EPERM):
        return f"{where}: no permission; sudo usermod -aG dialout $USER, then log in again"
    if number in (errno.EBUSY, errno.EAGAIN) or "lock" in str(error):
        return f"{where} is in use by another program; end it (`fuser -v PORT` names it)"
    return f"{where} cannot be opened as a serial port ({error}); check the path and baud={baud}"
