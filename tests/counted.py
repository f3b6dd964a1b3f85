"""Trainings that are really done and whose time is counted in steps: neither the machine's speed nor its load is in the result.

A step lasts a stated time that scatters from epoch to epoch; the power is constant.
"""

from __future__ import annotations

import contextlib

import numpy as np

from ebbench import plugins
from ebbench.energy.phases import PhaseLog, read_events
from ebbench.energy.traces.trace import TraceWriter
from ebbench.protocols import Column, MeterInfo, Rail
from ebbench.rundir import RunDir, write_json
from ebbench.sealing.record import record_of
from ebbench.testing import FakeContext

SCATTER = 0.02
#: seconds of one step, and of the phases in which there is none
STEP_S = {"search": 0.20, "train": 0.20, "retrain": 0.08, "finetune": 0.08}
PHASE_S = {"draw": 0.01, "evaluate": 0.15, "checkpoint": 0.02, "prune": 0.3}
POWER_W, RATE_HZ = 9.0, 200.0
RAIL = Rail("VDD_IN", "module", gain_ratio=0.0, offset_w=0.0, resolution_w=0.0)
INFO = MeterInfo("ina3221", "module", False, (RAIL,), (Column("VDD_IN_w"),), ("VDD_IN",), RATE_HZ)


class CountedContext(FakeContext):
    """A context whose time is that of the steps and phases so far. `noise_seed`: of the scatter, first trainings alike."""

    def __init__(self, rundir: RunDir, noise_seed: int, lending=None) -> None:
        super().__init__(due=False, lending=lending)
        before = read_events(rundir.phases)  # of a process of this run that died
        self.now_ns, self.noise_seed = 10**9 + (before[-1]["t_ns"] if before else 0), noise_seed
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
        is_first = stage in ("search", "train")
        noise = np.random.default_rng([self.noise_seed, is_first, int(epoch.rsplit("-", 1)[1])]).normal()
        self.now_ns += round(STEP_S[stage] * (1 + SCATTER * noise) * 1e9)

    def mark(self, name, **values):
        super().mark(name, **values)
        self.log.mark(name, **values)


def begin(path, recipe):
    """The folder of a run that is about to begin."""
    rundir = RunDir(path)
    rundir.create()
    meters = [{**INFO.to_json(), "reference": True}]
    write_json(rundir.manifest, {"run_id": path.name, "recipe": recipe.settings(), "meters": meters, "bench": {}})
    return rundir


def train(rundir, recipe, noise_seed, lending=None):
    """Train, write the trace of a constant power, and make the record."""
    context = CountedContext(rundir, noise_seed, lending)
    outcome = plugins.load(plugins.PIPELINES, recipe.method)(recipe).run(context)
    context.mark("outcome", accuracy=outcome.accuracy, flops=outcome.flops, ticket=outcome.ticket)
    context.log.stop("success")
    time_ns = np.arange(0, context.now_ns + 10**9, round(1e9 / RATE_HZ))
    writer = TraceWriter(rundir.trace("ina3221", 0), INFO, {})
    writer.extend(time_ns, np.zeros_like(time_ns), np.arange(time_ns.size), np.full((time_ns.size, 1), POWER_W))
    writer.close()
    record = record_of(rundir)
    write_json(rundir.record, record.to_json())
    return record
