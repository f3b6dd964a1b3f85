"""Powers over time whose energy is known in closed form, and sensors that look at them. Times in seconds from 0."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Dict, Iterator, Mapping, Optional, Sequence, Tuple

import numpy as np

from ebbench.clock import ClockReading
from ebbench.energy.traces.batches import Chunk
from ebbench.energy.traces.series import Series
from ebbench.protocols import AVERAGE, HOLD, INSTANT, Rail

LENGTH_S = 40.0


@dataclass(frozen=True)
class Waveform:
    """`power_w(t)` and its integral from 0, `energy_j(t)`; `edges_s` are where it steps on purpose (phase edges)."""

    power_w: Callable[[np.ndarray], np.ndarray]
    energy_j: Callable[[np.ndarray], np.ndarray]
    edges_s: np.ndarray = field(default_factory=lambda: np.zeros(0))


def steps(times_s: np.ndarray, levels_w: np.ndarray, edges_s: Sequence[float] = ()) -> Waveform:
    """`levels_w[i]` from `times_s[i]` on; the first time is far before 0."""
    total_j = np.concatenate(([0.0], np.cumsum(np.diff(times_s) * levels_w[:-1])))

    def at(t: np.ndarray) -> np.ndarray:
        return np.searchsorted(times_s, t, "right") - 1

    return Waveform(
        lambda t: levels_w[at(t)],
        lambda t: total_j[at(t)] + (t - times_s[at(t)]) * levels_w[at(t)],
        np.asarray(edges_s),
    )


def constant(power_w: float) -> Waveform:
    return Waveform(lambda t: np.full(np.shape(t), power_w), lambda t: power_w * np.asarray(t))


def ramp(start_w: float, slope_w_s: float) -> Waveform:
    return Waveform(lambda t: start_w + slope_w_s * t, lambda t: start_w * t + slope_w_s * t * t / 2)


def sine(mean_w: float, amplitude_w: float, period_s: float, phase: float) -> Waveform:
    w = 2 * np.pi / period_s
    return Waveform(
        lambda t: mean_w + amplitude_w * np.sin(w * t + phase),
        lambda t: mean_w * t - amplitude_w / w * np.cos(w * t + phase),
    )


def square(low_w: float, high_w: float, period_s: float, shift_s: float = 0.0) -> Waveform:
    times_s = np.arange(-10.0, LENGTH_S + 10, period_s / 2) - shift_s
    return steps(times_s, np.where(np.arange(times_s.size) % 2 == 0, high_w, low_w))


def drawn(kind: str, rng: np.random.Generator) -> Waveform:
    """A random waveform of one class."""
    if kind == "constant":
        return constant(rng.uniform(2, 20))
    if kind == "ramp":
        return ramp(rng.uniform(3, 10), rng.uniform(-0.05, 0.3))
    if kind == "sine":
        return sine(10, rng.uniform(1, 5), 10 ** rng.uniform(-2, 1), rng.uniform(0, 6))
    if kind == "square":
        return square(5, rng.uniform(8, 20), 10 ** rng.uniform(-2, 1), rng.uniform(0, 1))
    if kind == "noise":
        times_s = np.arange(-10.0, LENGTH_S + 10, 1e-3)
        return steps(times_s, np.maximum(rng.normal(10, rng.uniform(0.2, 2), times_s.size), 0.1))
    if kind == "steps at edges":
        edges_s = np.cumsum(rng.uniform(0.05, 3.0, 60))
        edges_s = edges_s[edges_s < LENGTH_S]
        return steps(
            np.concatenate(([-10.0], edges_s)), rng.choice([3.0, 8.0, 9.0, 15.0, 20.0], edges_s.size + 1), edges_s
        )
    if kind == "bursts":
        starts_s = np.cumsum(rng.exponential(0.4, 200) + 0.1)
        width_s = 10 ** rng.uniform(-3, -1)
        times_s = np.stack(
            (starts_s, starts_s + width_s), 1
        ).ravel()  # bursts last at most 100 ms, and begin later apart
        return steps(np.concatenate(([-10.0], times_s)), np.concatenate(([5.0], np.tile([20.0, 5.0], starts_s.size))))
    raise AssertionError(kind)


CLASSES = ("constant", "ramp", "square", "steps at edges", "bursts", "noise", "sine")


@dataclass(frozen=True)
class Sensor:
    """Reads a waveform at jittered times: mean over `averaging_s`, kept for `update_s`, in steps of `resolution_w`."""

    averaging_s: float = 0.0
    update_s: float = 0.0
    resolution_w: float = 0.0
    noise_w: float = 0.0

    def series(self) -> Series:
        kind = HOLD if self.update_s else AVERAGE if self.averaging_s else INSTANT
        rail = Rail(
            "X", "module", None, 0.0, 0.0, self.resolution_w, None, kind, self.update_s or None, self.averaging_s
        )
        return Series("X", (("X_w",),), rail)

    def read(self, wave: Waveform, times_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.update_s:
            shift_s = rng.uniform(0, self.update_s)
            times_s = np.floor((times_s - shift_s) / self.update_s) * self.update_s + shift_s
        if self.averaging_s:
            value = (wave.energy_j(times_s) - wave.energy_j(times_s - self.averaging_s)) / self.averaging_s
        else:
            value = wave.power_w(times_s)
        if self.noise_w:
            _, same = np.unique(times_s, return_inverse=True)
            value = value + rng.normal(0, self.noise_w, same.max() + 1)[same]
        return np.rint(value / self.resolution_w) * self.resolution_w if self.resolution_w else value


@dataclass(frozen=True)
class Counter:
    """Counts the energy of a waveform averaged over `averaging_s` and later by `late_s`, turning every `update_s`.

    It counts in steps of `count_j`. `says`: what its rail says of that.
    """

    late_s: float = 0.0
    averaging_s: float = 0.0
    update_s: float = 0.0
    count_j: float = 0.0
    says: Mapping[str, Optional[float]] = field(default_factory=dict)

    def series(self) -> Series:
        rail = Rail("X", "module", gain_ratio=0.0, offset_w=0.0, averaging_s=None, **self.says)
        return Series("X", (("X_j",),), rail, is_counter=True, step_j=self.count_j)

    def read(self, wave: Waveform, times_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.update_s:
            shift_s = rng.uniform(0, self.update_s)
            times_s = np.floor((times_s - shift_s) / self.update_s) * self.update_s + shift_s
        ago_s = self.late_s + self.averaging_s * ((np.arange(64) + 0.5) / 64 - 0.5)
        energy_j = np.mean([wave.energy_j(times_s - ago) for ago in ago_s], axis=0)
        return np.floor(energy_j / self.count_j) * self.count_j if self.count_j else energy_j


SENSORS: Dict[str, Sensor] = {
    "instant": Sensor(),
    "averaging": Sensor(averaging_s=0.1),
    "hold": Sensor(update_s=0.1),
    "quantised": Sensor(resolution_w=0.25),
}


def schedule_s(rate_hz: float, rng: np.random.Generator, jitter: float = 1.0) -> np.ndarray:
    """One reading at a random place of each period."""
    cells = np.arange(-int(2 * rate_hz), int((LENGTH_S + 2) * rate_hz))
    return (cells + jitter * rng.uniform(0, 1, cells.size)) / rate_hz


def chunk_of(times_ns: np.ndarray, **columns: np.ndarray) -> Chunk:
    """Readings as one chunk."""
    times_ns = np.asarray(times_ns, np.int64)
    last_ns = int(times_ns[-1]) if times_ns.size else 0
    values = {k: np.asarray(v, np.float64) for k, v in columns.items()}
    zeros = np.zeros_like(times_ns)
    return Chunk(times_ns, zeros, np.arange(times_ns.size), values, ClockReading(last_ns, last_ns, last_ns), (), {})


def phases_s(wave: Waveform, rng: np.random.Generator, count: int) -> Tuple[np.ndarray, np.ndarray]:
    """Random phases of 20 ms to 10 s; between the waveform's own edges where it has such."""
    if wave.edges_s.size:
        first = rng.integers(0, wave.edges_s.size - 1, count)
        last = np.minimum(first + 1 + rng.geometric(0.7, count) - 1, wave.edges_s.size - 1)
        return wave.edges_s[first], wave.edges_s[last]
    length_s = 10 ** rng.uniform(np.log10(0.02), 1, count)
    start_s = rng.uniform(0, LENGTH_S - length_s)
    return start_s, start_s + length_s


def pieces(chunk: Chunk, sizes: Iterator[int]) -> Iterator[Chunk]:
    """The same readings in chunks of the given sizes."""
    at = 0
    while at < chunk.time_ns.size:
        rows = slice(at, at + next(sizes))
        at = rows.stop
        yield Chunk(
            chunk.time_ns[rows], chunk.read_ns[rows], chunk.seq[rows], {k: v[rows] for k, v in chunk.values.items()},
            chunk.clocks, (), chunk.offsets_ns,
        )  # fmt: skip
