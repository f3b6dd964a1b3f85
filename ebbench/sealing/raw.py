"""What the raw files of a run say beside its readings: the manifest, the phase log, what was taken, the board's log."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Dict, List, Mapping, Optional

from ebbench.board.state import board_state, facts
from ebbench.energy.phases import read_events
from ebbench.protocols import Stage
from ebbench.rundir import RunDir, read_json
from ebbench.sharing.taken import notes_of

Event = Mapping[str, Any]

#: the mark that a measured command ended, with its exit code (below 0: the number of the signal that ended it)
COMMAND_ENDED = "command-ended"


@dataclass(frozen=True)
class RawRun:
    """The raw files of a run, but for its traces.

    `taken`: the charge for a first training that another run did; `board_state`: the board during the run. None: there is none.
    """

    manifest: Dict[str, Any]
    events: List[Event]
    taken: Optional[Dict[str, Any]]
    board_state: Optional[Dict[str, Any]]

    @classmethod
    def read(cls, rundir: RunDir) -> RawRun:
        """From a run folder; nothing is written."""
        taken = read_json(rundir.taken) if rundir.taken.exists() else None
        return cls(read_json(rundir.manifest), read_events(rundir.phases), taken, board_state(rundir.board))

    @property
    def recipe(self) -> Dict[str, Any]:
        """Empty where a program was measured."""
        return self.manifest.get("recipe") or {}

    @property
    def bench(self) -> Dict[str, Any]:
        """Empty where a program was measured."""
        return self.manifest.get("bench") or {}

    @cached_property
    def outcome(self) -> Dict[str, Any]:
        """What the pipeline found; empty where it did not end."""
        return self.last_mark("outcome") or {}

    @property
    def stop(self) -> Event:
        """How the last start of the run ended; without a status where it never said."""
        return next((e for e in reversed(self.events) if e["event"] in ("stop", "start")), {})

    @property
    def status(self) -> str:
        """As the run said that it ended; ``aborted`` where it never did."""
        return str(self.stop.get("status", "aborted"))

    @cached_property
    def duration_s(self) -> float:
        """Time during which the run's process lived, summed over its starts (s)."""
        total_ns, start_ns, last_ns = 0, None, 0
        for event in self.events:
            if event["event"] == "start":
                total_ns += last_ns - start_ns if start_ns is not None else 0
                start_ns = event["t_ns"]
            last_ns = event["t_ns"]
        return (total_ns + (last_ns - start_ns if start_ns is not None else 0)) * 1e-9

    @property
    def stages(self) -> List[Stage]:
        """What the run said of its stages; of one that was closed twice, after a kill, the last word."""
        found = [Stage(**e["values"]) for e in self.events if e["event"] == "mark" and e["name"] == "stage"]
        return list({stage.path: stage for stage in found}.values())

    @property
    def notes(self) -> List[str]:
        """What the pipeline wants a reader to know, and what was taken."""
        return [*self.outcome.get("notes", []), *(notes_of(self.taken) if self.taken else [])]

    @property
    def flops(self) -> Optional[Dict[str, Any]]:
        """The FLOPs of the run; those of a training that was taken name the run that did it."""
        flops, taken = self.outcome.get("flops"), self.taken
        if flops is None or taken is None:
            return None if flops is None else dict(flops)
        by_phase = {
            path: {**entry, "measured_by": taken["from"]} if path.split("/")[0] == taken["stage"] else entry
            for path, entry in flops["by_phase"].items()
        }
        return {**flops, "by_phase": by_phase}

    @property
    def board_facts(self) -> Dict[str, Any]:
        """What is known of the board during the run, for the checks."""
        found: Dict[str, Any] = facts(self.board_state, self.duration_s)
        if self.bench.get("cooldown_c") is not None:
            found["start_limit_c"] = self.bench["cooldown_c"]
            found["start_c"] = (self.last_mark("start_temperature") or {}).get("celsius")
        return {**found, **(self.last_mark("bench_facts") or {})}

    def last_mark(self, name: str) -> Optional[Dict[str, Any]]:
        """The values of the last mark of this name; None where there is none."""
        found = [e["values"] for e in self.events if e["event"] == "mark" and e["name"] == name]
        return dict(found[-1]) if found else None
