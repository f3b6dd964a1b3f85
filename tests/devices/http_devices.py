"""Plugs with an HTTP server in them, on 127.0.0.1: the power is a stated function of time, shown as such devices show it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

from waves import constant


class Device(ThreadingHTTPServer):
    """A device that renews its mean power and its counter every `update_s`. `fault` is what is wrong with it at the moment."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answers, wave=None, update_s=1.0, first_j=1e5, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.answers = answers  # from (device, path, query) to a JSON document, or None
        self.wave, self.update_s, self.first_j = wave or constant(10.0), update_s, first_j
        self.begun_s = time.monotonic()
        self.fault = None
        self.password, self.scheme = None, None
        self.connections, self.requests, self._sockets = 0, [], []
        self.released = threading.Event()
        self.counts = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def shown(self):
        """Power (W) and counter (J) as of the last renewal."""
        now_s = self.begun_s + (time.monotonic() - self.begun_s) // self.update_s * self.update_s
        power_w = self.wave.energy_j(now_s - self.update_s, now_s) / self.update_s
        return power_w, self.first_j + self.wave.energy_j(self.begun_s, now_s)

    def reboot(self):
        """Its counter begins anew."""
        self.first_j = -self.wave.energy_j(self.begun_s, time.monotonic())

    def get_request(self):
        self.connections += 1
        connection, client = super().get_request()
        self._sockets.append(connection)
        return connection, client

    def handle_error(self, request, client_address):
        """A client that hangs up in the middle is what some tests are about."""

    def stop(self):
        self.released.set()
        self.shutdown()
        self.server_close()
        self._thread.join()
        for connection in self._sockets:  # those that are kept open
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_GET(self):
        device = self.server
        device.requests.append(self.path)
        parts = urlsplit(self.path)
        if parts.path != "/shelly" and device.scheme is not None and not self._is_known():
            return self._send(401, b"", {"WWW-Authenticate": challenge(device.scheme)})
        if callable(device.fault):
            return device.fault(self)
        document = device.answers(device, parts.path, parse_qs(parts.query))
        if document is None:
            return self._send(404, b"Not Found", {})
        return self._send(200, dumps(document), {"Content-Type": "application/json"})

    def _send(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _is_known(self):
        """Whether the request carries the password, worked out by the server's side of the RFCs."""
        given = self.headers.get("Authorization", "")
        if self.server.scheme == "basic":
            return given == "Basic " + base64.b64encode(f"admin:{self.server.password}".encode()).decode()
        if not given.startswith("Digest "):
            return False
        field = parse_keqv_list(parse_http_list(given[7:]))
        hashing = hashlib.sha256 if self.server.scheme == "digest" else hashlib.md5

        def h(*parts):
            return hashing(":".join(parts).encode()).hexdigest()

        if field["uri"] != self.path or field["nonce"] != "60b1a6c9" or field["nc"] in self.server.counts:
            return False
        self.server.counts.add(field["nc"])
        who, what = h("admin", "shellyplug-1", self.server.password), h("GET", self.path)
        return field["response"] == h(who, field["nonce"], field["nc"], field["cnonce"], "auth", what)


def challenge(scheme):
    if scheme == "basic":
        return 'Basic realm="shellyplug-1"'
    algorithm = "SHA-256" if scheme == "digest" else "MD5"
    return f'Digest qop="auth", realm="shellyplug-1", nonce="60b1a6c9", algorithm={algorithm}'


# what is wrong with a device


def error_500(handler):
    handler._send(500, b"<html>Internal <b>error</b></html>", {})


def hangs(handler):
    """Until the test lets it go, or two seconds have passed; then it hangs up."""
    handler.server.released.wait(2.0)
    handler.close_connection = True


def drips(handler):
    """Promises much, and sends a byte now and then."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        if handler.server.released.wait(0.02):
            break
    handler.close_connection = True


def half_a_document(handler):
    handler._send(200, b'{"apower": 12.5, "volt', {})


def cut_off(handler):
    """Says that more comes, and hangs up."""
    handler.send_response(200)
    handler.send_header("Content-Length", "500")
    handler.end_headers()
    handler.wfile.write(b'{"apower": 12.5')
    handler.close_connection = True


def endless(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(8 << 20))
    handler.end_headers()
    for _ in range(128):
        handler.wfile.write(b" " * 65_536)


def redirects_to(address):
    def fault(handler):
        handler._send(302, b"", {"Location": address + "/rpc/Switch.GetStatus?id=0"})

    return fault


def says(document):
    """Answers everything with this document (or these bytes)."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return lambda handler: handler._send(200, body, {})


# what each kind answers


def shelly_gen2(component="switch", at=0, others=()):
    key = "act_power" if component == "em1" else "apower"
    method = {"switch": "Switch", "pm1": "PM1", "em1": "EM1"}[component]

    def status(device):
        power_w, counter_j = device.shown()
        document = {"id": at, key: round(power_w, 1), "voltage": 230.1, "current": 0.11}
        if component != "em1":
            document["aenergy"] = {"total": round(counter_j / 3600, 3), "by_minute": [0.0, 1.5, 1.5], "minute_ts": 1}
        return document

    def answers(device, path, query):
        if path == "/shelly":
            return {
                "id": "shellyplug-1",
                "mac": "A8032ABE54DC",
                "model": "SNPL-00112EU",
                "gen": 2,
                "app": "PlusPlugS",
                "ver": "1.4.4",
            }
        if path == "/rpc/Shelly.GetStatus":
            return {"sys": {}, f"{component}:{at}": status(device), **{name: status(device) for name in others}}
        if path == f"/rpc/{method}.GetStatus" and query.get("id") == [str(at)]:
            return status(device)
        return None

    return answers


def shelly_gen1(kind="meters"):
    def answers(device, path, query):
        power_w, counter_j = device.shown()
        if path == "/shelly":
            return {"type": "SHPLG-S", "mac": "A8032ABE54DC", "auth": False, "fw": "20230913-113610/v1.14.0"}
        if path == "/status" and kind == "meters":
            entry = {
                "power": round(power_w, 2),
                "is_valid": True,
                "timestamp": 1,
                "counters": [1.0],
                "total": int(counter_j / 60),
            }
            return {"relays": [{"ison": True}], "meters": [entry]}
        if path == "/status" and kind == "emeters":
            entry = {
                "power": round(power_w, 2),
                "voltage": 231.5,
                "is_valid": True,
                "total": round(counter_j / 3600, 1),
            }
            return {"emeters": [entry]}
        return {"relays": [{"ison": True}], "meters": [{"power": 0.0, "is_valid": True}]}  # a Shelly 1: it has none

    return answers


def printed(value, decimals):
    """A number that is printed with all its decimals, as the firmware does; `dumps` takes the marks off."""
    return f"<<{value:.{decimals}f}>>"


def dumps(document):
    return re.sub('"<<(.*?)>>"', r"\1", json.dumps(document)).encode()


def tasmota(name="StatusSNS", status="Status 10", watt_decimals=1, energy_decimals=5):
    def answers(device, path, query):
        if path != "/cm":
            return None
        if device.password is not None and query.get("password") != [device.password]:
            return {"WARNING": "Need user=<username>&password=<password>"}
        if query.get("cmnd") != [status]:
            return {"Command": "Unknown"}
        power_w, counter_j = device.shown()
        energy = {
            "Total": printed(counter_j / 3.6e6, energy_decimals),
            "Today": 0.1,
            "Power": printed(power_w, watt_decimals),
            "Voltage": 229,
            "Current": printed(0.05, 3),
        }
        return {name: {"Time": "2024-01-01T00:00:00", "ENERGY": energy} if name == "StatusSNS" else energy}

    return answers
