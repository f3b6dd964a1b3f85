"""A board that is not there: power as a stated function of the stamped phases, seen through a model of a sensor.

The truth is exact: readings are made only for times before which no edge can be added any more, and `SimulatedPower` gives
the energy of any interval in closed form. Everything made from this meter is labelled simulated.

Options, as in ``sim?train_w=12&noise_w=0.05``: ``<phase>_w`` (power while the phase is the deepest open one, `POWERS_W`) and
the fields of `Sensor`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

import numpy as np

from ebbench.clock import Clock, monotonic_ns
from ebbench.energy.phases import PhaseTail
from ebbench.errors import ConfigError, MeterError
from ebbench.protocols import AVERAGE, HOLD, INSTANT, Availability, Block, Column, MeterInfo, MeterRequest, Rail
from ebbench.units import NS_PER_S
from ebbench_devices.meter.options import Options

#: power (W) by the last part of a phase's path that is a name in here, about what a TX2 draws at its module's input;
#: `other` is for phases of any other name, and with no phase open it is `idle`
POWERS_W: Mapping[str, float] = {
    "idle": 2.5, "warmup": 9.0, "search": 9.0, "train": 9.0, "retrain": 9.0, "finetune": 9.0, "draw": 6.0, "prune": 5.0,
    "rewind": 4.0, "evaluate": 8.0, "checkpoint": 4.0, "amplify": 2.5, "other": 9.0,
}  # fmt: skip
_NOISE_BLOCK = 1024  # readings per seeded block of random numbers


@dataclass(frozen=True)
class Sensor:
    """How the true power becomes a reading: mean over `averaging_s`, kept for `update_period_s`, then gain, offset, noise, steps.

    `gain_error` (1) and `offset_w` are the errors that it really makes, `gain_u` and `offset_u_w` the standard uncertainties
    that it states (None: the size of the error). `drop_ratio` of the readings are lost, one by one, and all of those from
    `gap_start_s` on for `gap_s`; from `fail_after_s` on it raises. `gpu_ratio` of the power flows through the rail VDD_GPU.
    """

    rate_hz: float = 100.0
    jitter: float = 0.0
    averaging_s: float = 0.0
    update_period_s: float = 0.0
    gain_error: float = 0.0
    offset_w: float = 0.0
    gain_u: Optional[float] = None
    offset_u_w: Optional[float] = None
    noise_w: float = 0.0
    resolution_w: float = 0.0
    range_w: Optional[float] = None
    drop_ratio: float = 0.0
    gap_start_s: float = 0.0
    gap_s: float = 0.0
    fail_after_s: Optional[float] = None
    ripple_w: float = 0.0
    ripple_hz: float = 1.0
    gpu_ratio: float = 0.4
    seed: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rate_hz", "ripple_hz", "range_w", "fail_after_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"sim: {name} = {value:g} is not above 0")
        for name in (
            "averaging_s",
            "update_period_s",
            "noise_w",
            "resolution_w",
            "gap_start_s",
            "gap_s",
            "ripple_w",
            "seed",
        ):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"sim: {name} = {getattr(self, name):g} is below 0")
        for name in ("jitter", "drop_ratio", "gpu_ratio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"sim: {name} = {getattr(self, name):g} is outside [0, 1]")

    def rail(self, name: str, inside_of: Optional[str]) -> Rail:
        """What the sensor says about its rail. A known error of zero is 0.0; unknown would be None."""
        held = self.update_period_s > 0
        return Rail(
            name,
            "rail" if inside_of else "module",
            inside_of,
            gain_ratio=abs(self.gain_error) if self.gain_u is None else self.gain_u,
            offset_w=abs(self.offset_w) if self.offset_u_w is None else self.offset_u_w,
            resolution_w=self.resolution_w,
            range_w=self.range_w,
            kind=HOLD if held else AVERAGE if self.averaging_s > 0 else INSTANT,
            update_period_s=self.update_period_s if held else None,
            averaging_s=self.averaging_s,
        )


class SimulatedPower:
    """The true power: constant between the stamped edges, by the deepest phase that is open, plus a sine over CLOCK_MONOTONIC."""

    def __init__(
        self,
        events: Iterable[Mapping[str, Any]] = (),
        powers_w: Optional[Mapping[str, float]] = None,
        ripple_w: float = 0.0,
        ripple_hz: float = 1.0,
    ) -> None:
        self._table = {**POWERS_W, **(powers_w or {})}
        self._ripple_w, self._omega = ripple_w, 2 * np.pi * ripple_hz
        self._open: Dict[int, str] = {}
        self._edges_ns: List[int] = []
        self._after_w: List[float] = []
        self.extend(events)

    def extend(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take further events of the phase log, in their order."""
        for event in events:
            kind = event["event"]
            if kind == "begin":
                self._open[event["id"]] = event["path"]
            elif kind == "end":
                self._open.pop(event["id"], None)
            elif kind in ("start", "stop"):  # what a killed process left open runs no more
                self._open.clear()
            else:
                continue
            if self._edges_ns and event["t_ns"] < self._edges_ns[-1]:  # the clock began anew: another boot
                self._edges_ns, self._after_w = [], []
            self._edges_ns.append(int(event["t_ns"]))
            self._after_w.append(self._now_w())

    def _now_w(self) -> float:
        if not self._open:
            return self._table["idle"]
        deepest = max(self._open.items(), key=lambda item: (item[1].count("/"), item[0]))[1]
        return self.phase_w(deepest)

    def phase_w(self, path: str) -> float:
        """The power of a phase, without ripple: ``amplify/block-1/draw`` draws what ``draw`` does."""
        return next(
            (self._table[part] for part in reversed(path.split("/")) if part in self._table), self._table["other"]
        )

    def power_w(self, times_ns: np.ndarray) -> np.ndarray:
        """The power (W) at each of `times_ns` (int64); at an edge it is already the new phase's."""
        times_ns = np.asarray(times_ns, dtype=np.int64)
        after_w = np.array([self._table["idle"], *self._after_w])
        steps_w = after_w[np.searchsorted(np.array(self._edges_ns, dtype=np.int64), times_ns, side="right")]
        return steps_w + self._ripple_w * np.sin(self._omega * (times_ns / NS_PER_S))

    def energy_j(self, start_ns: np.ndarray, end_ns: np.ndarray) -> np.ndarray:
        """The energy (J) in [start, end), in closed form; arrays or single times."""
        start_ns, end_ns = np.asarray(start_ns, dtype=np.int64), np.asarray(end_ns, dtype=np.int64)
        edges_ns = np.array(self._edges_ns or [int(start_ns.min())], dtype=np.int64)
        after_w = np.array(self._after_w or [self._table["idle"]])
        before_j = np.concatenate(([0.0], np.cumsum(after_w[:-1] * np.diff(edges_ns) / NS_PER_S)))

        def steps_j(times_ns: np.ndarray) -> np.ndarray:
            i = np.searchsorted(edges_ns, times_ns, side="right") - 1
            power_w = np.where(i < 0, self._table["idle"], after_w[i])
            i = np.maximum(i, 0)
            return before_j[i] + power_w * ((times_ns - edges_ns[i]) / NS_PER_S)

        ripple_j = self._ripple_w / self._omega * (self._cosine(start_ns) - self._cosine(end_ns))
        return steps_j(end_ns) - steps_j(start_ns) + ripple_j

    def _cosine(self, times_ns: np.ndarray) -> np.ndarray:
        return np.cos(self._omega * (times_ns / NS_PER_S))

    def forget(self, before_ns: int) -> None:
        """Drop the edges that no time from `before_ns` on needs, so that a long run takes no more memory than a short one."""
        unneeded = int(np.searchsorted(np.array(self._edges_ns, dtype=np.int64), before_ns, side="right")) - 1
        if unneeded > 0:
            del self._edges_ns[:unneeded], self._after_w[:unneeded]


class SimMeter:
    """The simulated meter; reads ``phases.jsonl`` to know what is running and is idle where there is none."""

    def __init__(self, request: MeterRequest, clock: Clock = monotonic_ns) -> None:
        self.sensor, powers_w = _parse(request)
        if request.address:
            raise ConfigError(f"sim has no address ({request.address!r}); write sim?noise_w=0.1")
        self._power = SimulatedPower((), powers_w, self.sensor.ripple_w, self.sensor.ripple_hz)
        self._clock = clock
        self._tail = PhaseTail(Path(request.phases), clock) if request.phases else None
        self._origin_ns = self._begun_ns = 0
        self._rate_hz = self.sensor.rate_hz
        self._next = 0  # index of the next reading

    @classmethod
    def probe(cls, request: MeterRequest) -> Availability:
        """Always here, and never a measurement."""
        return Availability(
            True, True, "simulated: power follows the phases, nothing is measured", "module", simulated=True
        )

    def open(self) -> MeterInfo:
        """Begin now; readings lie on a grid of the rate from here on."""
        self._origin_ns = self._begun_ns = self._clock()
        rails = (self.sensor.rail("VDD_IN", None), self.sensor.rail("VDD_GPU", "VDD_IN"))
        columns = tuple(Column(f"{rail.name}_w") for rail in rails)
        identity = {"sensor": dataclasses.asdict(self.sensor), "powers_w": dict(self._power._table)}
        return MeterInfo("sim", "module", True, rails, columns, ("VDD_IN",), self.sensor.rate_hz, None, identity)

    def drain(self, rate_hz: float) -> Block:
        """All readings up to the time before which no edge can come any more; call again for the one beyond an edge."""
        if self._next == 0:
            self._rate_hz = rate_hz
        safe_until_ns = self._poll()
        limit_s = self.sensor.fail_after_s
        if limit_s is not None and self._clock() - self._begun_ns > limit_s * NS_PER_S:
            raise MeterError(f"sim: told to fail after {limit_s:g} s; take fail_after_s out of its options")
        return Block(*self._take(safe_until_ns))

    def close(self) -> None:
        """Stop following the phase log."""
        if self._tail is not None:
            self._tail.close()

    def _poll(self) -> int:
        """The time (ns) up to which the power is known for good."""
        if self._tail is None:
            return self._clock()
        events, safe_until_ns = self._tail.poll()
        self._power.extend(events)
        # a meter that failed is opened again: it goes on failing, because its time runs from the start of the run
        self._begun_ns = next((e["t_ns"] for e in reversed(events) if e["event"] == "start"), self._begun_ns)
        return safe_until_ns

    def _time_ns(self, index: np.ndarray) -> np.ndarray:
        """When the readings `index` are due; each at a seeded place of its own cell when jitter is 1."""
        shift = self.sensor.jitter * self._random(index, 0, uniform=True) if self.sensor.jitter else 0.0
        return self._origin_ns + np.rint((index + shift) * (NS_PER_S / self._rate_hz)).astype(np.int64)

    def _take(self, safe_until_ns: int) -> Tuple[np.ndarray, np.ndarray]:
        """The readings due before `safe_until_ns`: times int64 [n] and values (W) [n, 2]; what is older is forgotten."""
        cells = int((safe_until_ns - self._origin_ns) * self._rate_hz / NS_PER_S) + 1
        index = np.arange(self._next, max(cells, self._next))
        times_ns = self._time_ns(index)
        index = index[times_ns < safe_until_ns]  # an edge may still come at safe_until_ns itself
        times_ns = times_ns[: len(index)]
        values_w = self._read(index, times_ns)
        kept = self._kept(index, times_ns)
        self._next += len(index)
        back_s = self.sensor.averaging_s + self.sensor.update_period_s + 1.0
        self._power.forget(safe_until_ns - int(back_s * NS_PER_S) - int(NS_PER_S / self._rate_hz))
        return times_ns[kept], values_w[kept]

    def _read(self, index: np.ndarray, times_ns: np.ndarray) -> np.ndarray:
        """What the sensor shows for the readings `index` (W) [n, 2]."""
        sensor = self.sensor
        if sensor.update_period_s > 0:  # the register keeps its value: the same noise too
            index = np.floor((times_ns - self._origin_ns) / (sensor.update_period_s * NS_PER_S)).astype(np.int64)
            times_ns = self._origin_ns + np.rint(index * (sensor.update_period_s * NS_PER_S)).astype(np.int64)
        if sensor.averaging_s > 0 and len(times_ns):
            window_ns = max(int(sensor.averaging_s * NS_PER_S), 1)
            true_w = self._power.energy_j(times_ns - window_ns, times_ns) / (window_ns / NS_PER_S)
        else:
            true_w = self._power.power_w(times_ns)
        values_w = np.stack((true_w, sensor.gpu_ratio * true_w), axis=1) * (1 + sensor.gain_error) + sensor.offset_w
        if sensor.noise_w:
            values_w = values_w + sensor.noise_w * np.stack((self._random(index, 1), self._random(index, 2)), axis=1)
        if sensor.resolution_w:
            values_w = np.rint(values_w / sensor.resolution_w) * sensor.resolution_w
        return values_w if sensor.range_w is None else np.minimum(values_w, sensor.range_w)

    def _kept(self, index: np.ndarray, times_ns: np.ndarray) -> np.ndarray:
        """Which readings are not lost."""
        since_s = (times_ns - self._origin_ns) / NS_PER_S - self.sensor.gap_start_s
        kept = ~((since_s >= 0) & (since_s < self.sensor.gap_s))
        return (
            kept & (self._random(index, 3, uniform=True) >= self.sensor.drop_ratio) if self.sensor.drop_ratio else kept
        )

    def _random(self, index: np.ndarray, stream: int, uniform: bool = False) -> np.ndarray:
        """One number per reading, the same however the readings are grouped: uniform in [0, 1) or standard normal."""
        drawn = np.empty(len(index))
        blocks = np.floor_divide(index, _NOISE_BLOCK)
        for block in np.unique(blocks):
            here = blocks == block
            generator = np.random.default_rng([int(self.sensor.seed), stream, int(block)])
            numbers = generator.random(_NOISE_BLOCK) if uniform else generator.standard_normal(_NOISE_BLOCK)
            drawn[here] = numbers[index[here] - block * _NOISE_BLOCK]
        return drawn


def _parse(request: MeterRequest) -> Tuple[Sensor, Dict[str, float]]:
    """The sensor and the powers (W) by phase name; an unknown option is an error that names the nearest."""
    fields = [f.name for f in dataclasses.fields(Sensor)]
    phases = {f"{name}_w": name for name in POWERS_W}
    options = Options("sim", request, [*fields, *phases])
    given = {key: options.number(key) for key in request.options if key in fields}
    powers_w = {name: options.number(key, at_least=0.0) for key, name in phases.items() if key in request.options}
    return Sensor(**{k: v for k, v in given.items() if v is not None}), {
        k: v for k, v in powers_w.items() if v is not None
    }
