"""Many short phases and the time between them, as a sensor sees them: sums whose true energy is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np
import waveforms

from ebbench.energy.account.rows import RowTable, Together
from ebbench.energy.integration.integrate import integrate
from ebbench.energy.measured import Measured, Rows
from ebbench.energy.traces.pace import look_s, survey
from ebbench.energy.uncertainty import budget


@dataclass(frozen=True)
class Load:
    """`count` phases of about `phase_s` at `phase_w`, each followed by a rest of about `rest_s` at `rest_w`."""

    count: int
    phase_s: float
    rest_s: float
    phase_w: float
    rest_w: float


def drawn(rng: np.random.Generator, shortest_s: float, longest_s: float) -> Load:
    """A load of 5 to 25 s whose phases are so long and whose rests are from 0.003 to 3 times as long."""
    phase_s = np.exp(rng.uniform(np.log(shortest_s), np.log(longest_s)))
    rest_s = phase_s * 10 ** rng.uniform(-2.5, 0.5)
    count = max(3, int(rng.uniform(5, 25) / (phase_s + rest_s)))
    return Load(count, phase_s, rest_s, rng.uniform(5, 20), rng.uniform(2, 12))


def measured(
    load: Load, sensor: waveforms.Sensor, rate_hz: float, rng: np.random.Generator, until_s: float = np.inf
) -> Tuple[Measured, Rows, float]:
    """What a sensor makes of a load, its phases as rows that are wanted together, and their true energy (J); read `until_s`."""
    phases_s = load.phase_s * rng.uniform(0.8, 1.2, load.count)
    rests_s = load.rest_s * rng.uniform(0.5, 1.5, load.count)
    edges_s = 5.0 + np.concatenate(([0.0], np.cumsum(np.stack((phases_s, rests_s), 1))))
    levels_w = np.concatenate(([3.0], np.tile([load.phase_w, load.rest_w], load.count), [3.0]))
    wave = waveforms.steps(np.concatenate(([-10.0], edges_s)), levels_w)
    edges_ns = np.rint(edges_s * 1e9).astype(np.int64)
    found, rows = integrated(wave, sensor, rate_hz, np.stack((edges_ns[:-1:2], edges_ns[1::2]), 1), rng, until_s)
    return found, rows, float(load.phase_w * np.sum(np.diff(edges_ns)[::2]) / 1e9)


def integrated(
    wave: waveforms.Waveform,
    sensor: waveforms.Sensor,
    rate_hz: float,
    phases_ns: np.ndarray,
    rng: np.random.Generator,
    until_s: float = np.inf,
) -> Tuple[Measured, Rows]:
    """What a sensor that is read `until_s` makes of a waveform over phases (start, end) and as their sum."""
    series = sensor.series()
    time_ns = np.unique(np.rint(waveforms.schedule_s(rate_hz, rng) * 1e9).astype(np.int64))
    time_ns = time_ns[time_ns < until_s * 1e9]
    chunk = waveforms.chunk_of(time_ns, X_w=sensor.read(wave, time_ns * 1e-9, rng))
    pace = survey([chunk], [series])
    table = RowTable()
    together = Together(table, look_s(series, pace[0]))
    together.add(table.add((int(s), int(e), "boot") for s, e in phases_ns))
    starts_ns, ends_ns, _ = table.arrays()
    one = integrate([chunk], [series], pace, starts_ns, ends_ns)[0]
    duration_s = (ends_ns - starts_ns) / 1e9
    reasons = [None] * duration_s.size
    found = Measured(
        series, one.energy_j, duration_s, one.covered_s, one.readings, one.longest_s, budget(one, 0.0), reasons
    )
    return found, together.rows()
