"""A small device with an HTTP server in it, that answers in JSON: asked at one address, which is the only one contacted.

It is trusted with nothing: an answer has a limit in bytes and in time, a redirect is not followed, a number that is none
is no number, and what it says of itself appears in messages only in quotes and cut short.
"""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Mapping, Optional, Tuple
from urllib.parse import urlsplit

from ebbench.clock import monotonic_ns
from ebbench.errors import ConfigError, MeterError
from ebbench.units import NS_PER_S
from ebbench_devices.meter.untrusted import quoted, shown
from ebbench_devices.plugs.http_login import Login

#: far more than any of these devices says
MAX_BYTES = 1 << 20
TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Answer:
    """What a device said, and when (CLOCK_MONOTONIC): between sending the question and having all of the answer."""

    document: Mapping[str, Any]
    sent_ns: int
    received_ns: int

    @property
    def time_ns(self) -> int:
        """The middle of the round trip."""
        return (self.sent_ns + self.received_ns) // 2

    @property
    def trip_s(self) -> float:
        """How long the round trip took."""
        return (self.received_ns - self.sent_ns) / NS_PER_S


class HttpDevice:
    """A device at ``http://HOST[:PORT]``. The connection is kept where the device keeps it, and made anew where not."""

    def __init__(self, meter: str, address: str, login: Optional[Login] = None, timeout_s: float = TIMEOUT_S) -> None:
        self._meter, self._login, self._timeout_s = meter, login, timeout_s
        host, port = parse_address(meter, address)
        self.address = f"http://{host}:{port}" if port != 80 else f"http://{host}"
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout_s)

    def get(self, path: str, public: Optional[str] = None) -> Answer:
        """The JSON object at `path` (`public` in messages, where the path holds a password). Raises MeterError in one line."""
        public = path if public is None else public
        try:
            status, headers, body, sent_ns, received_ns = self._ask(path)
            if status == 401 and self._login is not None and self._login.accept(headers.get("WWW-Authenticate", "")):
                status, headers, body, sent_ns, received_ns = self._ask(path)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._fault(_words(error, self._timeout_s)) from error
        if status != 200:
            self.close()
            raise self._fault(self._refusal(status, headers, public))
        return Answer(self._object(body, public), sent_ns, received_ns)

    def close(self) -> None:
        """Hang up; the next question connects again."""
        self._connection.close()

    def _ask(self, path: str) -> Tuple[int, http.client.HTTPMessage, bytes, int, int]:
        """One question; a kept connection that the device has closed meanwhile is no failure, and made once more."""
        kept = self._connection.sock is not None
        try:
            return self._ask_once(path)
        except (ConnectionError, http.client.BadStatusLine):
            self.close()
            if not kept:
                raise
            return self._ask_once(path)

    def _ask_once(self, path: str) -> Tuple[int, http.client.HTTPMessage, bytes, int, int]:
        headers = {"Accept": "application/json"}
        authorization = self._login.header("GET", path) if self._login is not None else None
        if authorization is not None:
            headers["Authorization"] = authorization
        if self._connection.sock is None:
            self._connection.connect()  # before the clock is read: it is not part of the question
        sent_ns = monotonic_ns()
        self._connection.request("GET", path, headers=headers)
        response = self._connection.getresponse()
        body = self._body(response, sent_ns)
        return response.status, response.headers, body, sent_ns, monotonic_ns()

    def _body(self, response: http.client.HTTPResponse, sent_ns: int) -> bytes:
        """All of an answer, or an error: it may neither be too long, nor drip in for longer than the timeout."""
        body = b""
        while True:
            part = response.read1(65_536)
            if not part:
                break
            body += part
            if len(body) > MAX_BYTES:
                raise http.client.HTTPException(f"sends more than {MAX_BYTES >> 20} MiB")
            if monotonic_ns() - sent_ns > self._timeout_s * NS_PER_S:
                raise socket.timeout()
        if response.length:
            raise http.client.HTTPException("hung up in the middle of its answer")
        response.close()  # all is read: the connection is free for the next question
        return body

    def _refusal(self, status: int, headers: http.client.HTTPMessage, path: str) -> str:
        if status == 401 and self._login is None:
            return "asks for a password; put it in an environment variable and name that: password_env=NAME"
        if status in (401, 403):
            return "refuses the password; check user= and the variable that password_env names"
        if 300 <= status < 400:
            return f"redirects to {quoted(headers.get('Location', ''))}, which is not followed; name that address"
        return f"answers {path} with status {status}; is that the address of such a device?"

    def _object(self, body: bytes, path: str) -> Mapping[str, Any]:
        try:
            document = json.loads(
                body.decode("utf-8"), parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number
            )
        except (ValueError, RecursionError) as error:
            raise self._fault(f"answers {path} with {quoted(body)}, which is not JSON") from error
        if not isinstance(document, dict):
            raise self._fault(f"answers {path} with {quoted(body)}, which is no JSON object")
        return document

    def _fault(self, text: str) -> MeterError:
        return MeterError(f"{self._meter}: {self.address} {text}")


def parse_address(meter: str, address: str) -> Tuple[str, int]:
    """Host and port of ``http://HOST[:PORT]``. Raises ConfigError for anything more than that."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"{meter}: no user and password in the address; name an environment variable: password_env=NAME"
        )
    if parts.scheme != "http" or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError(f"{meter}: {quoted(address)} is no address; write {meter}:http://HOST[:PORT]?scope=wall")
    return host, port or 80


def _no_number(text: str) -> None:
    """NaN and infinity are not JSON, whatever a device prints: not read."""
    del text


def _words(error: BaseException, timeout_s: float) -> str:
    if isinstance(error, socket.timeout):
        return f"does not answer within {timeout_s:g} s; is it on, and is that its address?"
    if isinstance(error, socket.gaierror):
        return "is no known host; check the address"
    text = shown(getattr(error, "strerror", None) or str(error) or type(error).__name__, 80)
    return f"cannot be read ({text}); is it on, and is that its address?"
