"""Steps of a training as they are: a pattern of powers within each, rests or another path's phases between, and bursts in rests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Tuple

import numpy as np
import waveforms
from short_rows import integrated

from ebbench.energy.measured import Measured, Rows

IDLE_W, START_S = 3.0, 5.0
CLASSES = ("pattern", "burst", "interleaved")


@dataclass
class Load:
    """Powers one after the other, and the phases' edges among them (s)."""

    times_s: List[float] = field(default_factory=lambda: [-30.0])
    levels_w: List[float] = field(default_factory=lambda: [IDLE_W])
    phases_s: List[Tuple[float, float]] = field(default_factory=list)
    now_s: float = START_S

    def then(self, lengths_s: np.ndarray, levels_w: np.ndarray) -> Tuple[float, float]:
        """Go on with `levels_w`, each for its length; from when to when."""
        start_s = self.now_s
        for length_s, level_w in zip(lengths_s, levels_w):
            self.times_s.append(self.now_s)
            self.levels_w.append(level_w)
            self.now_s += length_s
        return start_s, self.now_s


def drawn(kind: str, phase_s: float, rng: np.random.Generator) -> Load:
    """Phases of about `phase_s` for 8 to 15 s: each the same four powers, nearly; what lies between them is of a class.

    pattern      rests of less power, from 0.003 to 0.5 times as long as a phase
    burst        the same, of 1.5 to 4 times the power for most of each
    interleaved  phases of another path, of 0.3 to 3 times the power, which take 10 to 80 % of the time
    """
    load, mean_w, until_s = Load(), rng.uniform(5, 20), START_S + rng.uniform(8, 15)
    shares, levels_w = rng.dirichlet(np.full(4, 2.0)), mean_w * np.exp(rng.normal(0, 0.4, 4))
    rest_s, rest_w = phase_s * 10 ** rng.uniform(-2.5, -0.3), mean_w * rng.uniform(0.2, 0.9)
    between_s, between_w = [rest_s], [rest_w]
    if kind == "burst":
        between_s, between_w = [0.6 * rest_s, 0.4 * rest_s], [mean_w * rng.uniform(1.5, 4), rest_w]
    elif kind == "interleaved":
        taken, other_w = rng.uniform(0.1, 0.8), mean_w * rng.uniform(0.3, 3)
        between_s, between_w = [0.5 * phase_s * taken / (1 - taken)] * 2, [1.2 * other_w, 0.8 * other_w]
    while load.now_s < until_s or len(load.phases_s) < 3:
        parts_s = phase_s * shares * np.exp(rng.normal(0, 0.1, 4)) * np.exp(rng.normal(0, 0.1))
        load.phases_s.append(load.then(parts_s, levels_w * np.exp(rng.normal(0, 0.03, 4))))
        load.then(np.multiply(between_s, rng.uniform(0.5, 1.5)), np.array(between_w))
    load.then(np.zeros(1), np.array([IDLE_W]))
    return load


def measured(
    load: Load, sensor: waveforms.Sensor, rate_hz: float, rng: np.random.Generator
) -> Tuple[Measured, Rows, float]:
    """What a sensor makes of a load, its phases as rows that are wanted together, and their true energy (J)."""
    wave = waveforms.steps(np.array(load.times_s), np.array(load.levels_w))
    edges_ns = np.rint(np.array(load.phases_s) * 1e9).astype(np.int64)
    found, rows = integrated(wave, sensor, rate_hz, edges_ns, rng)
    starts_s, ends_s = edges_ns.T / 1e9
    return found, rows, float(np.sum(wave.energy_j(ends_s) - wave.energy_j(starts_s)))
