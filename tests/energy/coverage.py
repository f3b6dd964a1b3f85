"""How often stated intervals contain the truth, and how wide they are: Monte Carlo over waveforms, sensors and rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple

import numpy as np
import waveforms

from ebbench.energy.integration.integrate import integrate
from ebbench.energy.traces.pace import survey
from ebbench.energy.uncertainty import budget

RATES_HZ = (10.0, 100.0, 1000.0)
#: an actual error below this share of the energy is no yardstick for a half width (a constant has none at all)
FLOOR = 1e-3


@dataclass(frozen=True)
class Sample:
    """Random phases: error (J), half width (J) and true energy (J) of each."""

    error_j: np.ndarray
    half_width_j: np.ndarray
    truth_j: np.ndarray

    @property
    def coverage(self) -> float:
        """Share of the stated intervals that contain the truth."""
        return float(np.mean(np.abs(self.error_j) <= self.half_width_j + 1e-9 * self.truth_j))

    @property
    def p95_j(self) -> float:
        """95th percentile of the actual error."""
        return float(np.quantile(np.abs(self.error_j), 0.95))

    @property
    def width(self) -> float:
        """Median half width over the 95th percentile of the actual error."""
        return float(np.median(self.half_width_j)) / max(self.p95_j, FLOOR * float(np.median(self.truth_j)))


def together(samples: List[Sample]) -> Sample:
    return Sample(*(np.concatenate([getattr(s, n) for s in samples]) for n in ("error_j", "half_width_j", "truth_j")))


def sample(kind: str, sensor: waveforms.Sensor, rate_hz: float, rng: np.random.Generator, phases: int) -> Sample:
    """One random waveform of a class, read by a sensor, over random phases."""
    wave, series = waveforms.drawn(kind, rng), sensor.series()
    time_ns = np.unique(np.rint(waveforms.schedule_s(rate_hz, rng) * 1e9).astype(np.int64))
    chunk = waveforms.chunk_of(time_ns, X_w=sensor.read(wave, time_ns * 1e-9, rng))
    start_ns, end_ns = (np.rint(t * 1e9).astype(np.int64) for t in waveforms.phases_s(wave, rng, phases))
    found = integrate([chunk], [series], survey([chunk], [series]), start_ns, end_ns)[0]
    truth_j = wave.energy_j(end_ns * 1e-9) - wave.energy_j(start_ns * 1e-9)
    return Sample(found.energy_j - truth_j, budget(found, time_base=0.0).half_width_j, truth_j)


def table(traces: int, phases: int, seed: int) -> Dict[Tuple[str, str, float], Sample]:
    """All classes x sensors x rates."""
    found = {}
    for kind in waveforms.CLASSES:
        for name, sensor in waveforms.SENSORS.items():
            for rate_hz in RATES_HZ:
                rng = np.random.default_rng([seed, sum(map(ord, kind + name)), int(rate_hz)])
                found[kind, name, rate_hz] = together(
                    [sample(kind, sensor, rate_hz, rng, phases) for _ in range(traces)]
                )
    return found
