"""Meters outside of the board: each is only where the user says that it is, and is never looked for."""

from __future__ import annotations

from ebbench.environment import is_simulated_root
from ebbench.errors import ConfigError
from ebbench.protocols import STATED, Availability, MeterRequest
from ebbench_devices.meter.untrusted import shown


def unnamed(example: str) -> Availability:
    """What `probe` finds as long as nobody named one."""
    return Availability(False, False, f"external; name it: {example}", STATED, is_simulated_root())


def named(request: MeterRequest) -> Availability:
    """What `probe` finds of one that was named and whose options are right: whether it is there shows when it is opened."""
    scope, simulated = str(request.options.get("scope", STATED)), is_simulated_root()
    return Availability(True, True, f"{shown(request.address)}; not contacted before it is opened", scope, simulated)


def address_of(meter: str, request: MeterRequest, example: str) -> str:
    """The address that the user gave. Raises ConfigError with an example where there is none."""
    if not request.address:
        raise ConfigError(f"{meter}: name it, as in {example}")
    return request.address
