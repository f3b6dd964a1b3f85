"""Answers to an HTTP server that asks who we are: Digest (RFC 7616, SHA-256 and MD5) and Basic (RFC 7617).

The password is in an environment variable that an option names: it is never in a URI, a manifest, a message or a log.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from typing import Mapping, Optional
from urllib.request import parse_http_list, parse_keqv_list

from ebbench.errors import ConfigError

_HASHES = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}


def password_from(meter: str, variable: Optional[str]) -> Optional[str]:
    """The password in the environment variable `variable`; None without one. Raises ConfigError where it is not set."""
    if variable is None:
        return None
    password = os.environ.get(variable)
    if not password:
        raise ConfigError(
            f"{meter}: the environment variable {variable} is not set; export {variable}=... before the run"
        )
    return password


class Login:
    """Makes the header ``Authorization``, once a server has asked for it."""

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password
        self._challenge: Mapping[str, str] = {}
        self._scheme = ""
        self._count = 0

    def accept(self, challenge: str) -> bool:
        """Take what the server asked (its ``WWW-Authenticate``); False where we have no answer to it."""
        scheme, _, rest = challenge.strip().partition(" ")
        self._scheme, self._count = scheme.lower(), 0
        try:
            self._challenge = parse_keqv_list(parse_http_list(rest))
        except (ValueError, IndexError):
            self._challenge = {}
        if self._scheme == "digest":
            return "nonce" in self._challenge and self._algorithm() in _HASHES
        return self._scheme == "basic"

    def header(self, method: str, path: str) -> Optional[str]:
        """The answer for one request; None as long as nothing was asked."""
        if self._scheme == "basic":
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        return self._digest(method, path) if self._scheme == "digest" else None

    def _algorithm(self) -> str:
        return self._challenge.get("algorithm", "MD5").upper()

    def _digest(self, method: str, path: str) -> str:
        """RFC 7616 section 3.4, with the quality of protection ``auth``, or as RFC 2069 where the server offers none."""
        given, algorithm = self._challenge, self._algorithm()
        self._count += 1
        count, own = f"{self._count:08x}", secrets.token_hex(8)
        realm, nonce = given.get("realm", ""), given["nonce"]

        def h(text: str) -> str:
            return _HASHES[algorithm](text.encode()).hexdigest()

        who, what = h(f"{self._user}:{realm}:{self._password}"), h(f"{method}:{path}")
        fields = {"username": self._user, "realm": realm, "nonce": nonce, "uri": path}
        tail = f", algorithm={algorithm}"
        if "qop" in given:
            response = h(f"{who}:{nonce}:{count}:{own}:auth:{what}")
            tail += f', qop=auth, nc={count}, cnonce="{own}"'
        else:
            response = h(f"{who}:{nonce}:{what}")
        if "opaque" in given:
            fields["opaque"] = given["opaque"]
        quoted = ", ".join(f'{name}="{value}"' for name, value in fields.items())
        return f'Digest {quoted}, response="{response}"{tail}'
