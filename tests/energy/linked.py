"""A board, a laptop beside it with a clock of its own, and everything that the two write; the truth is in closed form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from signed import played

from ebbench.energy.traces.trace import TraceWriter
from ebbench.protocols import Column, MeterInfo, Rail
from ebbench.rundir import RunDir, write_json

S = 1_000_000_000
#: phases of one boot of the board: path, seconds, power (W) of the whole machine meanwhile
PHASES = (("idle", 5.0, 3.0), ("search", 20.0, 9.0), ("retrain", 30.0, 12.0), ("idle", 5.0, 3.0))
TRUTH_J = {"search": 180.0, "retrain": 360.0, "idle": 30.0}
METER = MeterInfo(
    "wall", "wall", True, (Rail("AC", "wall", None, 0.0, 0.0, 0.0, 100.0),), (Column("AC_w"),), ("AC",), 100.0
)


class Pair:
    """`at_s` and `boot` are the board's; the laptop's clock is `ahead_s` further, and gains `drift` seconds per second."""

    def __init__(self, path: Path, ahead_s: float = 4321.5, drift: float = 40e-6, seed: int = 0) -> None:
        self.rundir = RunDir(path)
        path.mkdir(parents=True)
        self.ahead_s, self.drift = ahead_s, drift
        self.rng = np.random.default_rng(seed)
        self.at_s, self.boot = 100.0, "board-1"
        self.power = [(0.0, 3.0)]
        self._log = path / "phases.jsonl"
        self._laptop_log = path / "phases-laptop.jsonl"
        meter = {**METER.to_json(), "reference": True, "host": "laptop"}
        write_json(self.rundir.manifest, {"meters": [meter], "bench": {}})

    def laptop_ns(self, board_s):
        """The laptop's clock at a moment of the board's."""
        board_s = np.asarray(board_s, float)
        return np.rint((board_s + self.ahead_s + self.drift * (board_s - 100.0)) * S).astype(np.int64)

    def board_starts(self, segment: int = 0) -> None:
        self._board(event="start", segment=segment, boot_id=self.boot, pid=1, boottime_ns=0, restored=None)

    def phases(self, phases=PHASES, stops: bool = True) -> None:
        for number, (path, seconds, power_w) in enumerate(phases):
            identity = 1000 * number + round(self.at_s * 1000)
            self._board(event="begin", id=identity, path=path)
            self.power.append((self.at_s, power_w))
            self.at_s += seconds
            self._board(event="end", id=identity, path=path, failed=False)
            self.power.append((self.at_s, 3.0))
        if stops:
            self._board(event="stop", status="success", reason=None)

    def laptop_starts(self, boot: str = "laptop-1") -> None:
        self._write(self._laptop_log, event="start", segment=0, boot_id=boot, pid=1, t_ns=0, wall_ns=0)

    def trips(
        self, from_s: float, to_s: float, every_s: float = 2.0, out_s: float = 2e-3, back_s: float = 0.5e-3
    ) -> None:
        """Round trips whose ways are never equally long, each marked by itself."""
        for at_s in np.arange(from_s, to_s, every_s):
            out, back = self.rng.exponential(out_s) + 1e-4, self.rng.exponential(back_s) + 1e-4
            sent_ns, received_ns = int(self.laptop_ns(at_s - out)), int(self.laptop_ns(at_s + back))
            values = {"boot_id": self.boot, "trips": [[sent_ns, round(at_s * S), received_ns]]}
            self._write(self._laptop_log, event="mark", name="board-clock", values=values, t_ns=received_ns, wall_ns=0)

    def trace(
        self,
        from_s: float,
        to_s: float,
        number: int = 0,
        boot: str = "laptop-1",
        rate_hz: float = 100.0,
        fails_s=(),
        info=METER,
        own_s=0.0,
    ) -> Path:
        """What the laptop's meter reads, stamped by the laptop's clock (or one that is `own_s` ahead of it); nothing from one
        to the other of `fails_s`."""
        path = self.rundir.trace("wall", number)
        writer = TraceWriter(path, info, {"boot_id": boot, "host": "laptop", "segment": 0})
        times_s = np.arange(from_s, to_s, 1 / rate_hz)
        if fails_s:
            times_s = times_s[(times_s < fails_s[0]) | (times_s > fails_s[1])]
            writer.note(int(self.laptop_ns(sum(fails_s) / 2)), "the plug is out")
        starts_s, powers_w = np.array(self.power).T
        values = powers_w[np.searchsorted(starts_s, times_s, side="right") - 1]
        times_ns = self.laptop_ns(times_s) + round(own_s * S)
        writer.extend(times_ns, np.zeros_like(times_ns), np.arange(times_ns.size), values[:, None])
        writer.close()
        return path

    def sign(self, chip_s: float = 0.5) -> None:
        """The board plays a signature: its power goes up and down, and its own log says when."""
        one = played(self.at_s, chip_s)
        for number, edge_ns in enumerate(one.busy_ns.ravel()):
            self.power.append((edge_ns / S, 3.0 if number % 2 else 10.0))
        self.at_s = one.end_ns / S
        values = {"start_ns": one.start_ns, "end_ns": one.end_ns, "busy_ns": one.busy_ns.tolist(), "chip_s": chip_s}
        self._board(event="mark", name="signature", values=values)

    def _board(self, **event) -> None:
        self._write(self._log, **event, t_ns=round(self.at_s * S), wall_ns=round(self.at_s * S))

    @staticmethod
    def _write(file: Path, **event) -> None:
        with open(file, "a") as handle:
            handle.write(json.dumps(event) + "\n")
