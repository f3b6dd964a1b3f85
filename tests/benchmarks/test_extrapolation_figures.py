"""Trainings of which a few epochs were measured, against the same trainings whole: both really done, sealed as any run is.

The clock of both is the CPU time that the process has used, and the power is constant, so that an epoch's energy is the work
that it really took. What else the machine does still shows in it (caches, shared cores): between two runs by more than within one.
An interval is of the run that goes on as it began; how far whole runs lie apart is printed beside it, and counted both ways.
"""

from __future__ import annotations

import contextlib
import math
import time

import numpy as np
import pytest

from ebbench.config import Recipe
from ebbench.early_bird.search import EarlyBirdInherit
from ebbench.energy.phases import PhaseLog
from ebbench.energy.traces.trace import TraceWriter
from ebbench.protocols import Column, MeterInfo, Rail
from ebbench.rundir import RunDir, write_json
from ebbench.sealing.record import record_of
from ebbench.testing import FakeContext

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

PAIRS, EPOCHS, TICKET, MEASURED = 6, 30, 10, 5
POWER_W, RATE_HZ = 9.0, 200.0
INFO = MeterInfo("sim", "module", True, (Rail("VDD_IN", "module"),), (Column("VDD_IN_w"),), ("VDD_IN",), RATE_HZ)


class WorkClock(FakeContext):
    """A context that logs its phases by the CPU time that the process has used."""

    def __init__(self, log: PhaseLog) -> None:
        super().__init__(due=False)
        self.log = log

    @contextlib.contextmanager
    def phase(self, name):
        with super().phase(name), self.log.phase("/".join(self._open)):
            yield

    def mark(self, name, **values):
        self.log.mark(name, **values)


def test_whole_runs_lie_in_the_intervals_of_the_extrapolated_ones(tmp_path):
    print(f"\neb-ff, {EPOCHS} epochs, ticket at {TICKET}, {MEASURED} epochs of each phase measured; energy by CPU time")
    told, wholes_j = [], []
    for seed in range(1, PAIRS + 1):
        short = train(tmp_path / f"short-{seed}", seed, measure_epochs=MEASURED, ticket_epoch=TICKET)
        # the same mask as the short one's, so that both retrain the same network
        whole_j = of_the_schedule(train(tmp_path / f"whole-{seed}", seed, draw=(MEASURED + 1, TICKET)).energy)
        wholes_j.append(whole_j)
        energy = short.energy
        if energy.total_j is None:
            print(f"seed {seed}: whole {whole_j:.2f} J; {short.reason}")
            continue
        told.append((energy.total_j - whole_j, energy.uncertainty_j))
        print(f"seed {seed}: whole {whole_j:.2f} J, extrapolated {energy.total_j:.2f} +- {energy.uncertainty_j:.2f} J")
    scatter_j = np.std(wholes_j, ddof=1)
    alone = sum(abs(off_j) <= width_j for off_j, width_j in told)
    with_scatter = sum(abs(off_j) <= math.hypot(width_j, 2 * scatter_j) for off_j, width_j in told)
    print(f"whole runs scatter by {100 * scatter_j / np.mean(wholes_j):.2g} % (standard deviation of {PAIRS})")
    print(
        f"of {len(told)} extrapolated ({PAIRS - len(told)} refused) {alone} hold the whole run of their seed, ", end=""
    )
    print(f"{with_scatter} with the scatter of whole runs")
    assert told


def of_the_schedule(whole):
    """Energy (J) of a whole run, of its retraining only as many epochs as the schedule with the assumed ticket has."""
    share = (EPOCHS - TICKET) / (EPOCHS - MEASURED - 1)
    return whole.total_j - whole.by_phase["retrain"].energy_j * (1 - share)


def train(path, seed, **settings):
    """Train, write the trace of a constant power, and make the record."""
    recipe = Recipe(
        method="eb-ff", model="vgg16-small", dataset="synthetic", train_images=512, test_images=32, batch_size=32, epochs=EPOCHS,
        epsilon=1e-9, evaluate_every=5, seed=seed, **settings,
    )  # fmt: skip
    rundir = RunDir(path)
    rundir.create()
    meters = [{**INFO.to_json(), "reference": True}]
    write_json(rundir.manifest, {"run_id": path.name, "recipe": recipe.settings(), "meters": meters, "bench": {}})
    log = PhaseLog(rundir.phases, clock=lambda: time.process_time_ns())
    log.start()
    outcome = EarlyBirdInherit(recipe).run(WorkClock(log))
    log.mark("outcome", accuracy=outcome.accuracy, flops=outcome.flops, ticket=outcome.ticket, draw_cost=None)
    end_ns = log.stop("success")
    time_ns = np.arange(0, end_ns + 10**9, round(1e9 / RATE_HZ))
    writer = TraceWriter(rundir.trace("sim", 0), INFO, {})
    writer.extend(time_ns, np.zeros_like(time_ns), np.arange(time_ns.size), np.full((time_ns.size, 1), POWER_W))
    writer.close()
    return record_of(rundir)
