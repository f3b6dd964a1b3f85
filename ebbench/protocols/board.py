"""A board: its facts, the state it is in, and what can be changed on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Protocol


@dataclass(frozen=True)
class Board:
    """Facts of one kind of board, from its TOML; see devices/README.md for the keys."""

    name: str
    title: str
    facts: Mapping[str, Any]


class StateSource(Protocol):
    """Says what state the machine is in. Made and read only in the process of the state log, once a second.

    Registered under the entry point group ``ebbench.states``; all of them are asked, and what they say is put together.
    """

    def __init__(self, device_uuid: Optional[str], run_pid: int) -> None:
        """Find what there is to read. Raises where there is nothing. `run_pid`: the measured process; its children are too."""
        ...

    def read(self) -> Mapping[str, Any]:
        """JSON values by these keys, each left out where it cannot be read:

        ``power_mode`` (text); ``temperature_c``, ``clock_hz``, ``fan`` ({name: number}); ``settings`` ({name: text}: the limits
        within which clocks move); ``throttled`` (names of what is slowed down now); ``throttle_counts`` ({name: events so far});
        ``power_capped``, ``mig`` (bool); ``foreign_processes`` ([{"pid", "name"}] on the accelerator);
        ``processor`` ({"ran_s", "waited_s"}: how long the run's threads computed and waited for a processor so far).
        """
        ...


@dataclass(frozen=True)
class BoardChange:
    """What is to be changed on the board for a run, and by which `BoardControl` (its name and ``package.module:Class``)."""

    control: str
    factory: str
    power_mode: Optional[str] = None
    lock_clocks: bool = False
    device_uuid: Optional[str] = None


class BoardControl(Protocol):
    """Changes the power mode and the clocks of this machine, and puts them back.

    Registered under the entry point group ``ebbench.controls``. Used in the guardian's process (`ebbench.board.guardian_main`),
    which has no terminal: what needs root is done by ``sudo -n`` or not at all, and nothing waits for an answer.
    """

    def __init__(self, device_uuid: Optional[str]) -> None: ...

    @classmethod
    def probe(cls) -> bool:
        """Whether this machine is of its kind."""
        ...

    def check(self, power_mode: Optional[str], lock_clocks: bool) -> None:
        """Raise ConfigError for what this machine does not know or cannot do. Changes nothing and needs no root."""
        ...

    def store(self, power_mode: Optional[str], lock_clocks: bool, folder: Path) -> Dict[str, Any]:
        """All that `restore` will need, as JSON values; files may be left in `folder`. Nothing is changed yet."""
        ...

    def apply(self, power_mode: Optional[str], lock_clocks: bool) -> Dict[str, Any]:
        """Change what is asked for and say what was found afterwards. Raises DeviceError where it is not as asked."""
        ...

    def restore(self, before: Mapping[str, Any], same_boot: bool) -> Dict[str, Any]:
        """Put back what `store` found, and say what is there now; may be called again. Raises DeviceError where it is not back."""
        ...
