"""One trace of a run, looked through once before it is integrated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ebbench.energy.alignment.clocks import SAME, TraceClock
from ebbench.energy.integration.integrals import Integrals
from ebbench.energy.traces.batches import Chunk
from ebbench.energy.traces.pace import Pace, survey
from ebbench.energy.traces.series import Series
from ebbench.energy.traces.trace import TraceReader
from ebbench.errors import InputError


@dataclass
class TraceFile:
    """How each series was read, and what the checks want to know.

    Where not even the header can be read, `metadata` are empty and there are no `paces`.
    """

    path: Path
    metadata: Dict[str, Any]
    paces: List[Pace]
    first_ns: Optional[int] = None
    last_ns: Optional[int] = None
    readings: int = 0
    missed: int = 0
    damage: Optional[str] = None
    bytes_lost: int = 0
    integrals: List[Integrals] = field(default_factory=list)
    clock: TraceClock = field(default_factory=lambda: TraceClock(SAME, 0.0))

    @property
    def boot_id(self) -> str:
        """The boot whose clock its times are of, as they are integrated."""
        return str(self.clock.boot_id or self.metadata.get("boot_id", "unknown"))


def look_through(path: Path, series: Sequence[Series], clock: TraceClock) -> TraceFile:
    """Survey one trace on the phases' clock; a damaged one as far as it is whole."""
    columns = sorted({c for s in series for group in s.columns for c in group})
    try:
        reader = TraceReader(path, columns=columns)
    except InputError as error:  # a power cut at its very start leaves an empty file; the other traces still count
        return TraceFile(path, {}, [], damage=str(error), bytes_lost=path.stat().st_size, clock=clock)
    lacking = set(columns) - {column.name for column in reader.info.columns}
    if lacking:  # its meter came back as another one
        return TraceFile(
            path, reader.metadata, [], damage=f"{path.name} lacks {', '.join(sorted(lacking))}", clock=clock
        )
    found = TraceFile(path, reader.metadata, [], clock=clock)
    last_seq: Optional[int] = None

    def watched() -> Any:
        nonlocal last_seq
        for chunk in clock.applied(reader):
            if chunk.time_ns.size:
                last_seq = _watch(found, chunk, last_seq)
            yield chunk

    found.paces = survey(watched(), series)
    found.damage, found.bytes_lost = reader.damage, reader.bytes_lost
    return found


def _watch(found: TraceFile, chunk: Chunk, last_seq: Optional[int]) -> int:
    found.first_ns = int(chunk.time_ns[0]) if found.first_ns is None else found.first_ns
    found.last_ns = int(chunk.time_ns[-1])
    found.readings += chunk.time_ns.size
    first_seq, seq = int(chunk.seq[0]), int(chunk.seq[-1])
    expected = first_seq if last_seq is None else last_seq + 1
    found.missed += max(seq - expected + 1 - chunk.time_ns.size, 0)
    return seq
