"""A TCP connection to a meter that speaks in lines, or to a serial server before one."""

from __future__ import annotations

import contextlib
import socket
from typing import Tuple

from ebbench.errors import ConfigError, MeterError

CONNECT_S = 3.0
READ_S = 0.1
WRITE_S = 1.0
MAX_READ_BYTES = 65_536


class TcpPort:
    """An open connection to HOST:PORT, and to nothing else. Raises MeterError where it cannot be had or is lost."""

    #: bytes come all at once, whatever their number
    byte_s = 0.0

    def __init__(self, meter: str, host: str, port: int) -> None:
        self._where = f"{meter}: {host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), CONNECT_S)
        except socket.gaierror as error:
            raise MeterError(f"{self._where}: no such host; check the address") from error
        except OSError as error:
            raise MeterError(
                f"{self._where} does not answer ({error.strerror or 'no answer in time'}); is it on, and is that its address?"
            ) from error
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def read(self) -> bytes:
        """What came, after waiting up to READ_S for it; empty when nothing did."""
        try:
            self._socket.settimeout(READ_S)
            came = self._socket.recv(MAX_READ_BYTES)
        except socket.timeout:
            return b""
        except OSError as error:
            raise MeterError(f"{self._where} is lost ({error.strerror})") from error
        if not came:
            raise MeterError(f"{self._where} closed the connection")
        return came

    def write(self, command: bytes) -> None:
        """Send a command."""
        try:
            self._socket.settimeout(WRITE_S)
            self._socket.sendall(command)
        except OSError as error:
            raise MeterError(f"{self._where} takes no command ({error.strerror or 'no answer in time'})") from error

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def parse_host_port(meter: str, address: str) -> Tuple[str, int]:
    """``HOST:PORT``, an IPv6 address in brackets. Raises ConfigError for anything else."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ConfigError(f"{meter}: {address!r} is no address; write {meter}:HOST:PORT")
    return host.strip("[]"), int(port)
