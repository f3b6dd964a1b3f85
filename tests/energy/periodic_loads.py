"""Short phases of a load that repeats itself, read by a meter whose period may be in step with the load's."""

from __future__ import annotations

import math
from typing import Tuple

import numpy as np
import waveforms
from coverage import Sample

from ebbench.energy.integration.integrate import integrate
from ebbench.energy.traces.pace import survey
from ebbench.energy.uncertainty import budget

#: any period, one near a harmonic of the meter's, one exactly there, and one there whose cycles scatter by 1 %
KINDS = ("any", "near", "exact", "scattered")
PERIODS_S = (0.005, 0.2)


def period_s(kind: str, meter_s: float, within_s: Tuple[float, float], rng: np.random.Generator) -> float:
    """A random period of the load."""
    low_s, high_s = within_s
    if kind == "any":
        return float(np.exp(rng.uniform(math.log(low_s), math.log(high_s))))
    ratios = [p / q for p in range(1, 201) for q in range(1, 11) if low_s <= p / q * meter_s <= high_s]
    away = 10 ** rng.uniform(-5, -2) * rng.choice([-1, 1]) if kind == "near" else 0.0
    return meter_s * float(rng.choice(ratios)) * (1 + away)


def square(period: float, scatter: float, rng: np.random.Generator) -> waveforms.Waveform:
    """5 W and more in turn; the lengths of the cycles scatter."""
    lengths_s = period * np.maximum(1 + scatter * rng.normal(size=int(60 / period)), 0.2)
    starts_s = np.cumsum(lengths_s) - 10 - rng.uniform(0, period)
    times_s = np.stack((starts_s, starts_s + lengths_s / 2), 1).ravel()
    return waveforms.steps(times_s, np.tile([rng.uniform(8, 20), 5.0], starts_s.size))


def sample(
    kind: str,
    sensor: waveforms.Sensor,
    rate_hz: float,
    jitter: float,
    rng: np.random.Generator,
    *,
    loads_s: Tuple[float, float] = PERIODS_S,
    phases_s: Tuple[float, float] = (0.05, 2.0),
    phases: int = 40,
) -> Sample:
    """Random phases of one random load. `jitter`: 1 for readings at random moments of their slots, 0 for equal intervals."""
    wave = square(period_s(kind, 1 / rate_hz, loads_s, rng), 0.01 if kind == "scattered" else 0.0, rng)
    time_ns = np.unique(np.rint((waveforms.schedule_s(rate_hz, rng, jitter) + rng.uniform()) * 1e9).astype(np.int64))
    series = sensor.series()
    chunk = waveforms.chunk_of(time_ns, X_w=sensor.read(wave, time_ns * 1e-9, rng))
    lengths_s = np.exp(rng.uniform(*np.log(phases_s), phases))
    starts_s = rng.uniform(1, 38 - lengths_s)
    start_ns, end_ns = (np.rint(t * 1e9).astype(np.int64) for t in (starts_s, starts_s + lengths_s))
    found = integrate([chunk], [series], survey([chunk], [series]), start_ns, end_ns)[0]
    truth_j = wave.energy_j(end_ns * 1e-9) - wave.energy_j(start_ns * 1e-9)
    return Sample(found.energy_j - truth_j, budget(found, time_base=0.0).half_width_j, truth_j)
