"""Run folders of trainings whose epochs' energies are stated, written by a clock that only we move; no training, no sleep."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from ebbench.energy.phases import PhaseLog
from ebbench.energy.traces.trace import TraceWriter
from ebbench.protocols import Column, MeterInfo, Rail
from ebbench.rundir import RunDir, write_json

S = 1_000_000_000
IDLE_W, DRAW_W, EVALUATE_W, BETWEEN_W = 2.0, 6.0, 5.0, 3.0
DRAW_S, EVALUATE_S, BETWEEN_S, PRUNE_S = 0.02, 0.3, 0.01, 0.5
RATE_HZ = 200.0
GAIN = 0.01


class Training:
    """A run folder: idle, then stages of epochs (power, seconds), then idle. Totals of what it did are kept as the truth."""

    def __init__(self, path: Path, *, simulated: bool = False, measure_epochs: Any = 5, **sensor: Any) -> None:
        rails = (Rail("VDD_IN", "module", None, GAIN, 0.0, 0.0, **sensor), Rail("GPU", "gpu", "VDD_IN"))
        self.info = MeterInfo(
            "ina3221", "module", simulated, rails, (Column("VDD_IN_w"), Column("GPU_w")), ("VDD_IN",), RATE_HZ
        )
        self.rundir = RunDir(path)
        self.rundir.create()
        recipe = {"measure_epochs": measure_epochs}
        meters = [{**self.info.to_json(), "reference": True}]
        write_json(self.rundir.manifest, {"run_id": path.name, "recipe": recipe, "meters": meters, "bench": {}})
        self.now_ns = 5 * S
        self.log = PhaseLog(self.rundir.phases, clock=lambda: self.now_ns)
        self.log.start()
        self.truth: Dict[str, float] = {"training_j": 0.0, "other_j": 0.0, "training_s": 0.0}
        self._steps: List[Tuple[int, float]] = [(0, IDLE_W)]
        self.spend("idle", IDLE_W, 1.0, training=False)

    @contextlib.contextmanager
    def phase(self, path: str) -> Iterator[None]:
        number = self.log.begin(path)
        yield
        self.log.end(number)

    def burn(self, power_w: float, seconds: float, training: bool = True) -> None:
        """This power for so long."""
        self._steps.append((self.now_ns, power_w))
        self.now_ns += round(seconds * S)
        self._steps.append((self.now_ns, IDLE_W))
        self.truth["training_j" if training else "other_j"] += power_w * seconds
        self.truth["training_s"] += seconds if training else 0.0

    def spend(self, path: str, power_w: float, seconds: float, training: bool = True) -> None:
        with self.phase(path):
            self.burn(power_w, seconds, training)

    def stage(
        self,
        path: str,
        epochs: Sequence[Tuple[float, float]],
        *,
        scheduled: int,
        first: int = 0,
        evaluate_every: int = 1,
    ) -> None:
        """Train `epochs` of the stage, of which so many are scheduled, with a draw in each of a search."""
        with self.phase(path):
            for number, (power_w, seconds) in enumerate(epochs, first + 1):
                with self.phase(f"{path}/epoch-{number}"):
                    self.burn(power_w, seconds)
                    if path == "search":
                        self.spend(f"{path}/epoch-{number}/draw", DRAW_W, DRAW_S)
                self.burn(BETWEEN_W, BETWEEN_S)
                if number % evaluate_every == 0:
                    self.spend(f"{path}/evaluate", EVALUATE_W, EVALUATE_S, training=False)
        self.log.mark(
            "stage",
            path=path,
            epochs=scheduled,
            trained=len(epochs),
            evaluations=scheduled // evaluate_every,
            first=first,
        )

    def end(self, status: str = "success", **outcome: Any) -> RunDir:
        self.spend("idle", IDLE_W, 1.0, training=False)
        self.log.mark(
            "outcome",
            accuracy={"final": 0.5, "best": 0.6, "top5_final": 0.9},
            flops={"total": 1e12, "forward_dense": 1e6, "forward_pruned": None},
            **outcome,
        )
        self.log.stop(status)
        time_ns = np.arange(4 * S, self.now_ns + S, round(S / RATE_HZ))
        starts = np.array([t for t, _ in self._steps])
        power_w = np.array([p for _, p in self._steps])[np.searchsorted(starts, time_ns, "right") - 1]
        writer = TraceWriter(self.rundir.trace(self.info.name, 0), self.info, {})
        writer.extend(time_ns, np.zeros_like(time_ns), np.arange(time_ns.size), np.outer(power_w, (1.0, 0.4)))
        writer.close()
        return self.rundir
