"""A meter on another machine, as far as its clock goes: it keeps its readings and their stamps, and hands them over at the end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ebbench.clock import monotonic_ns
from ebbench.protocols import AVERAGE, REMOTE, Block, Column, MeterInfo, Rail
from ebbench_devices.sim import SimulatedPower

AHEAD_S, DRIFT, RATE_HZ, AVERAGING_S, BUSY_W, QUIET_W = 0.8, 50e-6, 20.0, 0.05, 11.0, 2.5
S = 1_000_000_000


class TruePower:
    """The power of the simulated meter, and during a signature what its stretches of work say; energies in closed form."""

    def __init__(self, path: Path) -> None:
        events = [json.loads(line) for line in Path(path).read_text().splitlines()]
        self._phases = SimulatedPower(events, {"warmup": QUIET_W})
        marks = [e["values"] for e in events if e["event"] == "mark" and e["name"] == "signature"]
        self._edges_ns = np.array([m["busy_ns"] for m in marks], np.int64).ravel()
        self.stop_ns = next((e["t_ns"] for e in events if e["event"] == "stop"), None)

    def energy_j(self, start_ns, end_ns):
        return self._phases.energy_j(start_ns, end_ns) + self._worked_j(end_ns) - self._worked_j(start_ns)

    def _worked_j(self, times_ns):
        lengths_ns = np.diff(self._edges_ns)[::2]
        worked_ns = np.concatenate(([0], np.cumsum(lengths_ns))).repeat(2)[1:-1]
        base_ns = self._edges_ns[0]
        return (BUSY_W - QUIET_W) / S * np.interp(times_ns - base_ns, self._edges_ns - base_ns, worked_ns)


def stamps_ns(times_ns, origin_ns):
    """What the meter's clock shows at these times; it drifts from the moment at which it was opened."""
    return times_ns + round(AHEAD_S * S) + np.rint(DRIFT * (times_ns - origin_ns)).astype(np.int64)


class OwnClockMeter:
    """20 readings a second, each the mean over the 50 ms before it, known to be off by 2 s at most.

    Option `board`: the folder of a board whose run it measures from elsewhere.
    """

    def __init__(self, request) -> None:
        self._phases = Path(request.phases)
        self._board = request.options.get("board")

    def open(self) -> MeterInfo:
        self._origin_ns, self._done = monotonic_ns(), False
        self._greeted = False
        rail = Rail("DC_IN", "devkit", None, 0.0, 0.0, 0.0, 100.0, AVERAGE, None, AVERAGING_S)
        return MeterInfo(
            "own", "devkit", True, (rail,), (Column("DC_IN_w"),), ("DC_IN",), RATE_HZ,
            identity={"origin_ns": self._origin_ns}, time_bound_s=2.0, clock=REMOTE,
        )  # fmt: skip

    def drain(self, rate_hz) -> Block:
        if not self._greeted:  # the sampler waits for a first reading
            self._greeted = True
            return self._block(np.array([self._origin_ns - S]), np.array([QUIET_W]))
        phases = (
            self._phases if self._board is None else next(Path(self._board).glob("*/runs/*/phases.jsonl"), Path("-"))
        )
        power = TruePower(phases) if phases.exists() and not self._done else None
        if power is None or power.stop_ns is None:
            return self._block(np.zeros(0, np.int64), np.zeros(0))
        self._done = True
        step_ns = round(S / RATE_HZ)
        times_ns = np.arange(self._origin_ns - S + step_ns, monotonic_ns(), step_ns)
        power_w = power.energy_j(times_ns - round(AVERAGING_S * S), times_ns) / AVERAGING_S
        return self._block(times_ns, power_w)

    def close(self) -> None:
        pass

    def _block(self, times_ns, power_w) -> Block:
        return Block(stamps_ns(times_ns, self._origin_ns), power_w[:, None])
