"""A Jetson's power as jtop.service of jetson-stats reads it; needs the group ``jtop``, no root.

The service samples on its own schedule, slowly (each sample forks several programs); its only stamp is the uptime at the start
of a sample, and that is the time of the reading. Three of its habits are guarded against:

* a rail that does not answer is left out of a sample, and where that is the module's input its ``tot`` silently becomes the sum
  of the others. So ``tot`` is taken for a rail of its name or not at all, and the total is made of named rails only.
* when its timer dies the last sample is delivered for ever. Only an uptime that advances is a reading.
* ``avg`` is a recursive filter, not an average of any time; it is not used.
"""

from __future__ import annotations

import importlib.util
import os
import re
from typing import Any, Dict, Mapping, Sequence

from ebbench.environment import below_root, is_jetson, is_simulated_root, package_version
from ebbench.errors import MeterError
from ebbench.protocols import Availability, MeterRequest
from ebbench_devices.nvidia.jtop_connection import INSTALL, PACKAGE, SOCKET, JtopConnection, Sample, check_socket
from ebbench_devices.nvidia.named_rails import NamedRails, Rails

#: jetson-stats' names of a rail's power, volts and amperes
KEYS = ("power", "volt", "curr")

#: no rail: not connected, and USB-C ports (7.x leaves them out, 4.x names them after their I2C address, ``1-00081``)
_NO_RAIL = re.compile(r"NC|ucsi.*|\d+-[0-9a-f]+", re.IGNORECASE)


class JtopMeter(NamedRails):
    """All rails of the service."""

    NAME = "jtop"
    UNITS = ("w", "v", "a")

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Whether the package is here and somebody listens at the socket; it does not connect to the service."""
        scope = str((request.board or {}).get("scope", "module"))
        installed = importlib.util.find_spec("jtop") is not None
        there = os.path.exists(below_root(SOCKET))  # a folder that may not be entered is no error here
        present = there or (installed and is_jetson())
        if not there and not is_jetson():
            return Availability(
                False, False, f"no {SOCKET}; a Jetson with jetson-stats has it", scope, is_simulated_root()
            )
        try:
            if not installed:
                raise MeterError(f"{PACKAGE} is not installed here; {INSTALL}")
            check_socket()
        except MeterError as error:
            return Availability(False, present, str(error), scope, is_simulated_root())
        reason = f"jtop.service answers, {PACKAGE} {package_version(PACKAGE)} here"
        return Availability(True, True, reason, scope, is_simulated_root())

    def connect(self) -> JtopConnection:
        """Begin to connect: how that ends shows when samples are taken."""
        return JtopConnection(self.interval_s)

    def rails_in(self, sample: Sample) -> Rails:
        """Power, volts and amperes, by rail."""
        return {name: [entry.get(key) for key in KEYS] for name, entry in rails_of(sample.power).items()}

    def lack(self, sample: Sample, missing: Sequence[str]) -> str:
        """That the service left rails out."""
        return f"{', '.join(missing) or 'every rail'} did not answer, so the total is missing"

    def identity(self) -> Dict[str, Any]:
        """The board as the service knows it, and how often it samples."""
        return {
            "jetson_stats": package_version(PACKAGE),
            "board": self._feed.connection.identity(),
            "interval_s": self._feed.connection.interval_s,
            "asked_interval_s": self.interval_s,
            "time": "uptime at the start of the service's sample, in steps of 10 ms",
        }


def rails_of(power: Mapping[str, Any]) -> Dict[str, Mapping[str, Any]]:
    """The measured rails of one sample of jetson-stats by name; ``tot`` is one of them where it has a rail's name.

    Left out: what is not connected (``NC``) and power supplies (batteries, and USB-C ports that only say what was negotiated).
    """
    entries = dict(power.get("rail", {}))
    total = power.get("tot", {})
    if total.get("name"):
        entries[total["name"]] = total
    return {
        re.sub(r"\W+", "_", label, flags=re.ASCII).strip("_"): entry
        for label, entry in entries.items()
        if not _NO_RAIL.fullmatch(label) and "status" not in entry
    }
