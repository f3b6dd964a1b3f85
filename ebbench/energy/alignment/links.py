"""The laptop's clock in the board's: from the round trips that the laptop made while the run went on, and kept in its own log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ebbench.energy.alignment.line import ClockMap, RoundTrips, Trip
from ebbench.energy.phases import Event
from ebbench.energy.traces.trace import TraceReader
from ebbench.errors import InputError, MeterError
from ebbench.rundir import LAPTOP_PHASES

#: in the header of a trace: who wrote it, where it was not the machine that ran
HOST, LAPTOP = "host", "laptop"
#: the mark of round trips in the laptop's log: values boot_id (the board's) and trips [[sent, board, received], ...] (ns)
BOARD_CLOCK = "board-clock"
#: the boot that a trace without any round trip is of: none that a phase can be of
UNLINKED = "unknown"


@dataclass(frozen=True)
class Link:
    """From the laptop's times to those of one boot of the board."""

    map: ClockMap
    boot_id: str


def log_beside(path: Path) -> Optional[Path]:
    """The laptop's log, for a trace that the laptop wrote; None for one of the machine that ran (or without a header)."""
    try:
        host = TraceReader(path).metadata.get(HOST)
    except InputError:
        return None
    return path.with_name(LAPTOP_PHASES) if host == LAPTOP else None


def link_of(marks: Sequence[Event], ends_ns: Tuple[int, int]) -> Link:
    """The link over a trace that reaches from `ends_ns` to `ends_ns`, by the laptop's clock. `marks`: of the laptop's boot.

    Raises MeterError where no round trip was made meanwhile, or where a clock was stepped. A board that was started anew has
    another clock: the boot that answered most often within the trace is the one.
    """
    within = {
        boot: [trip for trip in made if ends_ns[0] <= trip[2] and trip[0] <= ends_ns[1]]
        for boot, made in trips_of(marks).items()
    }
    boot_id = max(within, key=lambda boot: len(within[boot]), default=UNLINKED)
    if not within.get(boot_id):
        raise MeterError(
            "the board's clock was not asked for while this trace was written, so its times mean nothing there"
        )
    found = RoundTrips()
    for sent_ns, board_ns, received_ns in within[boot_id]:
        found.add(sent_ns, board_ns, received_ns)
    return Link(found.clock_map().inverse(), boot_id)


def trips_of(marks: Sequence[Event]) -> Dict[str, List[Trip]]:
    """All round trips to the board, by the board's boot."""
    found: Dict[str, List[Trip]] = {}
    for mark in marks:
        if mark["name"] == BOARD_CLOCK:
            values: Dict[str, Any] = mark["values"]
            found.setdefault(str(values["boot_id"]), []).extend((t[0], t[1], t[2]) for t in values["trips"])
    return found
