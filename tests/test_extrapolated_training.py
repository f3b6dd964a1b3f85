"""EB Train whole and cut short, really trained, its time counted in steps of the training: the interval contains the whole.

A step lasts a stated time that scatters from epoch to epoch, so that neither the machine's speed nor its load is in the result.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from noise import write_noise

from ebbench.config import Recipe
from ebbench.early_bird.search import EarlyBirdInherit
from ebbench.energy.phases import PhaseLog
from ebbench.energy.traces.trace import TraceWriter
from ebbench.protocols import Column, MeterInfo, Rail
from ebbench.rundir import RunDir, write_json
from ebbench.sealing.record import record_of
from ebbench.testing import FakeContext

EPOCHS, TICKET, MEASURED, SCATTER = 24, 8, 5, 0.02
#: seconds of one step, and of the phases in which there is none
STEP_S = {"search": 0.20, "retrain": 0.08}
PHASE_S = {"draw": 0.01, "evaluate": 0.15, "checkpoint": 0.02, "prune": 0.3}
POWER_W, RATE_HZ = 9.0, 200.0
RAIL = Rail("VDD_IN", "module", gain_ratio=0.0, offset_w=0.0, resolution_w=0.0)
INFO = MeterInfo("ina3221", "module", False, (RAIL,), (Column("VDD_IN_w"),), ("VDD_IN",), RATE_HZ)


class CountedContext(FakeContext):
    """A context whose time is that of the steps and phases so far."""

    def __init__(self, rundir: RunDir, noise_seed: int) -> None:
        super().__init__(due=False)
        self.now_ns, self.noise_seed = 10**9, noise_seed
        self.log = PhaseLog(rundir.phases, clock=lambda: self.now_ns)
        self.log.start()

    @contextlib.contextmanager
    def phase(self, name):
        with super().phase(name), self.log.phase("/".join(self._open)):
            yield
            self.now_ns += round(PHASE_S.get(name, 0.0) * 1e9)

    def progress(self, done, total):
        super().progress(done, total)
        stage, epoch = self._open[0], self._open[1]
        noise = np.random.default_rng([self.noise_seed, len(stage), int(epoch.rsplit("-", 1)[1])]).normal()
        self.now_ns += round(STEP_S[stage] * (1 + SCATTER * noise) * 1e9)

    def mark(self, name, **values):
        super().mark(name, **values)
        self.log.mark(name, **values)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    return write_noise(tmp_path_factory.mktemp("data"), train=20, test=10)


def train(path, dataset, noise_seed, **settings):
    """Train, write the trace of a constant power, and make the record."""
    recipe = Recipe(
        method="eb-ff", model="vgg16-small", dataset=dataset, batch_size=10, epochs=EPOCHS, evaluate_every=4, epsilon=1e-9,
        **settings,
    )  # fmt: skip
    rundir = RunDir(path)
    rundir.create()
    meters = [{**INFO.to_json(), "reference": True}]
    write_json(rundir.manifest, {"run_id": path.name, "recipe": recipe.settings(), "meters": meters, "bench": {}})
    context = CountedContext(rundir, noise_seed)
    outcome = EarlyBirdInherit(recipe).run(context)
    context.mark("outcome", accuracy=outcome.accuracy, flops=outcome.flops, ticket=outcome.ticket)
    context.log.stop("success")
    time_ns = np.arange(0, context.now_ns + 10**9, round(1e9 / RATE_HZ))
    writer = TraceWriter(rundir.trace("ina3221", 0), INFO, {})
    writer.extend(time_ns, np.zeros_like(time_ns), np.arange(time_ns.size), np.full((time_ns.size, 1), POWER_W))
    writer.close()
    return record_of(rundir)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, dataset):
    """For several seeds of the scatter: the record of the training cut short, and that of the whole one with its own scatter."""
    folder = tmp_path_factory.mktemp("pairs")
    found = []
    for seed in range(6):
        short = train(folder / f"short-{seed}", dataset, seed, measure_epochs=MEASURED, ticket_epoch=TICKET)
        whole = train(folder / f"whole-{seed}", dataset, 1000 + seed, draw=(TICKET,)) if seed < 2 else None
        found.append((short, whole))
    return found


def test_the_whole_runs_energy_and_time_lie_in_the_intervals(pairs):
    wholes = [whole for _, whole in pairs if whole is not None]
    told = [short for short, _ in pairs if short.status == "success"]
    assert len(told) >= 4
    for short in told:
        energy = short.energy
        for whole in wholes:
            assert whole.kind == "measured" and short.kind == "extrapolated"
            assert energy.total_j == pytest.approx(whole.energy.total_j, abs=energy.uncertainty_j)
            half_width_s = energy.extrapolation["duration_uncertainty_s"]
            assert energy.duration_s == pytest.approx(whole.energy.duration_s, abs=half_width_s)
        assert energy.uncertainty_j < 0.1 * energy.total_j


def test_all_that_is_counted_is_counted_as_the_whole_run_does(pairs):
    short, whole = pairs[0]
    images = [{path: part["images"] for path, part in r.flops["by_phase"].items()} for r in (short, whole)]
    assert images[0] == images[1]
    counts = [
        {path: phase.count for path, phase in r.energy.by_phase.items() if path != "checkpoint"} for r in (short, whole)
    ]
    assert counts[0] == counts[1]
    assert short.energy.other_j == pytest.approx(whole.energy.other_j, rel=0.02)
