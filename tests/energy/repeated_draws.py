"""Amplified blocks of a draw whose power is known in closed form, read by a meter, and what is stated about them.

A draw is on for a part of its time and off for the rest, again and again: the worst that a meter with a clock of its own can
meet. The blocks run as a session runs them, with the times that it loses, and the real chain makes the estimate: plan,
integrate, budget, estimate.
"""

from __future__ import annotations

import dataclasses
import math
import random
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

import numpy as np
import waveforms

from ebbench.energy.amplify import AmplifiedDraw, MeasuredBlock, estimate
from ebbench.energy.blocks import DRAW, Block, plan
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.traces.pace import survey
from ebbench.energy.uncertainty import budget

#: what a phase of the log costs (s), and how much later than asked a sleep ends on average (s)
LOG_S, LATE_S = 1e-4, 8e-5
#: rest before the blocks and after them (s)
AROUND_S = 2.0


@dataclass(frozen=True)
class Meter:
    """How the power is read: a sensor, its rate, and whether each reading falls at a random moment of its slot."""

    sensor: waveforms.Sensor
    rate_hz: float
    jitter: float

    @property
    def period_s(self) -> float:
        """What a repeated draw may fall in step with: the update period, else the time between readings."""
        return self.sensor.update_s or 1 / self.rate_hz

    def times_ns(self, length_s: float, rng: np.random.Generator) -> np.ndarray:
        slots = np.arange(int(length_s * self.rate_hz)) + rng.uniform()
        times_s = (slots + self.jitter * rng.uniform(0, 1, slots.size)) / self.rate_hz
        return np.unique(
            np.rint((times_s + np.minimum(rng.exponential(3e-5, slots.size), 1e-3)) * 1e9).astype(np.int64)
        )


Sensor = waveforms.Sensor
METERS: Dict[str, Meter] = {
    "100 Hz instant": Meter(Sensor(resolution_w=0.004, noise_w=0.01), 100.0, 0.0),
    "100 Hz average of 10 ms": Meter(Sensor(averaging_s=0.01, resolution_w=0.004, noise_w=0.01), 100.0, 0.0),
    "20 Hz instant": Meter(Sensor(resolution_w=0.04, noise_w=0.02), 20.0, 1.0),
    "20 Hz average of 50 ms": Meter(Sensor(averaging_s=0.05, resolution_w=0.04, noise_w=0.02), 20.0, 1.0),
    "20 Hz average of 1 s": Meter(Sensor(averaging_s=1.0, resolution_w=0.001, noise_w=0.02), 20.0, 1.0),
    "20 Hz held 100 ms, average of 25 ms": Meter(Sensor(0.025, 0.1, resolution_w=0.02, noise_w=0.02), 20.0, 1.0),
    "20 Hz held 100 ms": Meter(Sensor(update_s=0.1, resolution_w=0.02, noise_w=0.02), 20.0, 1.0),
    "10 Hz instant": Meter(Sensor(resolution_w=0.01, noise_w=0.02), 10.0, 1.0),
    "2 Hz instant": Meter(Sensor(resolution_w=0.01, noise_w=0.02), 2.0, 1.0),
    "2 Hz held 500 ms": Meter(Sensor(update_s=0.5, resolution_w=0.01, noise_w=0.02), 4.0, 1.0),
}  # fmt: skip


@dataclass(frozen=True)
class Draw:
    """One draw: how long, how much of it at `on_w` (after a first part at `off_w`), and how much its length scatters."""

    seconds: float
    duty: float
    on_w: float
    off_w: float
    scatter: float


PERIODS = ("any", "near", "exact")


def drawn(period: str, meter: Meter, rng: np.random.Generator) -> Draw:
    """A random draw: of any length, near a harmonic of the meter's period, or exactly at one."""
    seconds = float(np.exp(rng.uniform(math.log(3e-4), math.log(0.12))))
    if period != "any":
        ratios = [p / q for p in range(1, 13) for q in range(1, 9) if 3e-4 <= p / q * meter.period_s <= 0.12]
        seconds = meter.period_s * float(rng.choice(ratios))
        if period == "near":
            seconds *= 1 + 10 ** rng.uniform(-5, -2) * rng.choice([-1, 1])
    scatter = 0.0 if period == "exact" else float(rng.choice([0.0, 0.003, 0.03]))
    off_w = rng.uniform(2.5, 6)
    return Draw(seconds, rng.uniform(0.15, 0.85), off_w + rng.uniform(1, 8), off_w, scatter)


@dataclass(frozen=True)
class Outcome:
    """What was stated, and the true energy (J, gross) of a draw."""

    stated: AmplifiedDraw
    draw_j: float


class _Timeline:
    """Power as it is spent: steps on top of a drift."""

    def __init__(self, rest_w: float) -> None:
        self.rest_w, self.now_s = rest_w, 0.0
        self._times: List[np.ndarray] = [np.array([-20.0])]
        self._levels: List[np.ndarray] = [np.array([rest_w])]

    def rest(self, seconds: float, power_w: Optional[float] = None) -> None:
        """Nothing for `seconds`, at a power of its own while the device is not asleep yet."""
        if power_w is not None and seconds > 0:
            self._times += [np.array([self.now_s, self.now_s + seconds])]
            self._levels += [np.array([power_w, self.rest_w])]
        self.now_s += seconds

    def draws(self, draw: Draw, count: int, rng: np.random.Generator) -> None:
        if not count:
            return
        lengths_s = draw.seconds * np.maximum(1 + draw.scatter * rng.normal(size=count), 0.2)
        starts_s = self.now_s + np.concatenate(([0.0], np.cumsum(lengths_s)[:-1]))
        on_s = starts_s + lengths_s * (1 - draw.duty)
        self.now_s += float(lengths_s.sum())
        self._times += [np.stack((starts_s, on_s), 1).ravel(), np.array([self.now_s])]
        self._levels += [np.tile([draw.off_w, draw.on_w], count), np.array([self.rest_w])]

    def wave(self, drift_w_s: float) -> waveforms.Waveform:
        steps = waveforms.steps(np.concatenate(self._times), np.concatenate(self._levels))
        return waveforms.Waveform(
            lambda t: steps.power_w(t) + drift_w_s * t, lambda t: steps.energy_j(t) + drift_w_s * t * t / 2
        )


def amplified(
    draw: Draw,
    meter: Meter,
    seconds: float,
    rng: np.random.Generator,
    *,
    drift_w_s: float = 0.0,
    in_step: bool = False,
) -> Outcome:
    """Run the plan for `draw`, read it, estimate. `in_step`: without the rests that take the draws out of step."""
    line = _Timeline(rng.uniform(1.5, 2.5))
    draw_w = draw.duty * draw.on_w + (1 - draw.duty) * draw.off_w
    pause_w = line.rest_w + rng.choice([0.0, rng.uniform(0, 1)]) * (draw_w - line.rest_w)
    line.rest(AROUND_S + rng.uniform())
    blocks = plan(draw.seconds * (1 + 0.1 * abs(rng.normal())), seconds, random.Random(int(rng.integers(1 << 30))))
    if in_step:
        blocks = [_in_step(block, meter.period_s) for block in blocks]
    done = [_run(line, block, draw, pause_w, rng) for block in blocks]
    line.rest(AROUND_S)
    wave = line.wave(drift_w_s)
    measured = _measured(wave, meter, np.array([d.edges_s for d in done]), line.now_s, rng)
    stated = estimate(
        [
            MeasuredBlock(b.kind, b.repeats, s, e - s, *m, d.rested_s if b.kind == DRAW else 0.0)
            for b, d, (s, e), m in zip(blocks, done, (d.edges_s for d in done), measured)
        ]
    )
    assert stated is not None
    runs_s = np.array([run for b, d in zip(blocks, done) if b.kind == DRAW for run in d.runs_s])
    total_j = float(np.sum(wave.energy_j(runs_s[:, 1]) - wave.energy_j(runs_s[:, 0])))
    return Outcome(stated, total_j / sum(b.repeats for b in blocks if b.kind == DRAW))


def _in_step(block: Block, period_s: float) -> Block:
    """The block without random rests, a whole number of the meter's periods long."""
    seconds = max(round(block.seconds / period_s), 1) * period_s
    return dataclasses.replace(block, seconds=seconds, rests_s=(0.0,) if block.repeats else ())


@dataclass(frozen=True)
class _Done:
    """When a block was measured, and its runs of draws; how long was rested between them."""

    edges_s: Tuple[float, float]
    runs_s: List[Tuple[float, float]]
    rested_s: float


def _run(line: _Timeline, block: Block, draw: Draw, pause_w: float, rng: np.random.Generator) -> _Done:
    line.rest(2 * LOG_S)
    begun_s = line.now_s
    if block.kind == DRAW:
        line.draws(draw, block.around, rng)
        line.rest(LOG_S, pause_w)
    start_s, runs_s = line.now_s, []
    for rest_s, count in block.runs:
        line.rest(rest_s + (rng.exponential(LATE_S) if rest_s else 0.0), pause_w if block.kind == DRAW else None)
        run_s = line.now_s
        line.draws(draw, count, rng)
        runs_s.append((run_s, line.now_s))
    if block.kind != DRAW:
        line.rest(max(0.0, begun_s + block.seconds - line.now_s) + rng.exponential(LATE_S))
    end_s = line.now_s
    if block.kind == DRAW:
        line.rest(LOG_S, pause_w)
        line.draws(draw, block.around, rng)
    return _Done((start_s, end_s), runs_s, end_s - start_s - sum(e - s for s, e in runs_s))


def _measured(
    wave: waveforms.Waveform, meter: Meter, edges_s: np.ndarray, end_s: float, rng: np.random.Generator
) -> List[Tuple[float, float, float]]:
    series, times_ns = meter.sensor.series(), meter.times_ns(end_s, rng)
    chunk = waveforms.chunk_of(times_ns, X_w=meter.sensor.read(wave, times_ns * 1e-9, rng))
    starts_ns, ends_ns = np.rint(edges_s.T * 1e9).astype(np.int64)
    found = integrate([chunk], [series], survey([chunk], [series]), starts_ns, ends_ns)[0]
    stated = budget(found, time_base=0.0)
    return list(zip(found.energy_j, stated.half_width_j, stated.common_half_width_j))
