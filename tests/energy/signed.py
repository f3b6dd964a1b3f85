"""Runs that begin and end with a signature, read by a meter with a clock of its own; the power is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import waveforms

from ebbench.energy.alignment.signature import Played, pattern
from ebbench.energy.phases import PhaseLog
from ebbench.energy.traces.trace import TraceWriter
from ebbench.protocols import AVERAGE, INSTANT, REMOTE, Column, MeterInfo, Rail
from ebbench.rundir import RunDir, write_json

S = 1_000_000_000
IDLE_W, BUSY_W = 3.0, 10.0
POWER_W = {"idle": 3.0, "search": 9.0, "retrain": 12.0, "warmup": 3.0}


def stretches(chips: Sequence[int], start_ns: int, chip_ns: int) -> np.ndarray:
    """The stretches of work of a pattern, int64 [n, 2]."""
    steps = np.flatnonzero(np.diff([0, *chips, 0]))
    return (start_ns + steps * chip_ns).reshape(-1, 2)


def played(start_s: float, chip_s: float, chips: Sequence[int] = pattern()) -> Played:
    """A pattern played without any delay."""
    start_ns, chip_ns = round(start_s * S), round(chip_s * S)
    return Played(start_ns, start_ns + len(chips) * chip_ns, stretches(chips, start_ns, chip_ns), chip_s)


def power_of(steps: Sequence[Tuple[int, float]]) -> waveforms.Waveform:
    """The power that steps to each level (W) at each time (ns)."""
    times_s, levels_w = (np.array(column, float) for column in zip((-1000 * S, IDLE_W), *steps))
    return waveforms.steps(times_s / S, levels_w)


@dataclass(frozen=True)
class OwnClock:
    """A meter that averages, and stamps by a clock that is ahead by `ahead_s` at 0 and gains `drift`."""

    ahead_s: float = 0.8
    drift: float = 50e-6
    rate_hz: float = 10.0
    averaging_s: float = 0.1
    noise_w: float = 0.0
    bound_s: float = 2.0

    def info(self, **changes: Any) -> MeterInfo:
        kind = AVERAGE if self.averaging_s else INSTANT
        rail = Rail("IN", "devkit", None, 0.0, 0.0, 0.0, 100.0, kind, None, self.averaging_s)
        fields: Dict[str, Any] = {"time_bound_s": self.bound_s, "clock": REMOTE, **changes}
        return MeterInfo("own", "devkit", True, (rail,), (Column("IN_w"),), ("IN",), self.rate_hz, **fields)

    def ahead_at_s(self, time_s: np.ndarray) -> np.ndarray:
        return self.ahead_s + self.drift * np.asarray(time_s)

    def read(self, wave: waveforms.Waveform, times_s: np.ndarray, seed: int = 0) -> Tuple[np.ndarray, np.ndarray]:
        """Stamps (ns) and powers (W) of readings that end at `times_s`."""
        if self.averaging_s:
            power_w = (wave.energy_j(times_s) - wave.energy_j(times_s - self.averaging_s)) / self.averaging_s
        else:
            power_w = wave.power_w(times_s)
        power_w = (
            power_w + np.random.default_rng(seed).normal(0, self.noise_w, times_s.size) if self.noise_w else power_w
        )
        return np.rint((times_s + self.ahead_at_s(times_s)) * S).astype(np.int64), power_w


class SignedRun:
    """A run folder: warmup with a signature, idle, search, retrain, idle, warmup with a signature."""

    def __init__(self, path: Any, meter: OwnClock, info: Optional[MeterInfo] = None, chip_s: float = 0.15) -> None:
        self.rundir, self.meter, self.info, self.chip_s = RunDir(path), meter, info or meter.info(), chip_s
        self.rundir.create()
        write_json(
            self.rundir.manifest,
            {"run_id": "signed", "meters": [{**self.info.to_json(), "reference": True}], "bench": {}},
        )
        self.now_ns = 20 * S
        self.log = PhaseLog(self.rundir.phases, clock=lambda: self.now_ns)
        self.steps: List[Tuple[int, float]] = []
        self.log.start()

    def phase(self, path: str, seconds: float) -> None:
        self.steps.append((self.now_ns, POWER_W[path]))
        number = self.log.begin(path)
        self.now_ns += round(seconds * S)
        self.log.end(number)
        self.steps.append((self.now_ns, IDLE_W))

    def sign(self, shown: Sequence[int] = pattern()) -> None:
        """Play the pattern in ``warmup``; the power shows `shown`, whatever the mark says."""
        number = self.log.begin("warmup")
        one = played(self.now_ns / S, self.chip_s)
        for begin_ns, end_ns in stretches(shown, one.start_ns, round(self.chip_s * S)):
            self.steps += [(begin_ns, BUSY_W), (end_ns, IDLE_W)]
        self.now_ns = one.end_ns
        self.log.mark(
            "signature", start_ns=one.start_ns, end_ns=one.end_ns, busy_ns=one.busy_ns.tolist(), chip_s=one.chip_s
        )
        self.log.end(number)

    def work(self, scale: float = 1.0) -> None:
        for path, seconds in (("idle", 4.0), ("search", 20.0), ("retrain", 35.0), ("idle", 4.0)):
            self.phase(path, seconds * scale)

    def finish(self, seed: int = 0) -> RunDir:
        """Stop, and write what the meter read from 5 s before the start to 5 s after the end."""
        self.log.stop("success")
        rng = np.random.default_rng(seed)
        times_s = 15 + rng.uniform() + np.arange(0, self.now_ns / S - 10, 1 / self.meter.rate_hz)
        time_ns, power_w = self.meter.read(power_of(self.steps), times_s, seed)
        writer = TraceWriter(self.rundir.trace("own", 0), self.info, {})
        writer.extend(time_ns, np.zeros_like(time_ns), np.arange(time_ns.size), power_w[:, None])
        writer.close()
        return self.rundir


def signed(path: Any, meter: OwnClock, seed: int = 0, **more: Any) -> RunDir:
    """A whole run."""
    run = SignedRun(path, meter, **more)
    run.sign()
    run.work()
    run.sign()
    return run.finish(seed)
