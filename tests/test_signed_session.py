"""A conducted run under a meter whose clock is off by 0.8 s and drifts: the signature is really played, and aligns it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import torch
from own_clock import AHEAD_S, DRIFT, S, TruePower, stamps_ns

from ebbench import plugins
from ebbench.config import Bench, Recipe
from ebbench.energy.alignment.signature import pattern
from ebbench.protocols import MeterRequest
from ebbench.rundir import RunDir
from ebbench.sealing.record import record_of
from ebbench.session import conduct
from ebbench.training.signature import play

RECIPE = Recipe(
    method="dense", model="vgg16-small", dataset="synthetic", train_images=128, test_images=16, epochs=2, batch_size=16
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("signed")
    meters = [("own", "own_clock:OwnClockMeter", MeterRequest())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "choose_meters", lambda *_: meters)
        record = conduct(RECIPE, Bench(meters=("own",), idle_s=0.5, signature_s=3.0, amplify_s=0.0, device="cpu"), out)
    return record, RunDir(out / record.run_id)


@pytest.mark.realtime
def test_the_meter_is_aligned_within_its_bound(run):
    record, _ = run
    (clock,) = record.energy.clocks
    assert clock["method"] == "signature" and clock["reason"] is None, clock
    origin_ns = record.meters[0]["identity"]["origin_ns"]
    times_ns = np.array([p[key] for p in record.energy.phases for key in ("start_ns", "end_ns")], np.int64)
    theirs_ns = stamps_ns(times_ns, origin_ns)
    ours_ns = theirs_ns - clock["offset_s"] * S - clock["drift"] * (theirs_ns - clock["at_ns"])
    assert np.abs(ours_ns - times_ns).max() / S <= clock["bound_s"] < 0.02
    assert clock["offset_s"] == pytest.approx(AHEAD_S, abs=0.02 + 60 * DRIFT)


@pytest.mark.realtime
def test_every_phase_holds_its_truth(run):
    record, rundir = run
    power = TruePower(rundir.phases)
    checked = [p for p in record.energy.phases if p["status"] == "ok" and p["duration_s"] > 0.2]
    assert {"idle", "train"} <= {p["path"] for p in checked}
    for phase in checked:
        truth_j = power.energy_j(phase["start_ns"], phase["end_ns"])
        assert abs(phase["energy_j"] - truth_j) <= phase["uncertainty_j"], phase
    assert [p["path"] for p in record.energy.phases if p["path"] == "warmup"] == ["warmup"] * 2
    assert record.energy.components_j["clock"] > 0


@pytest.mark.realtime
def test_integrating_again_gives_the_same_record(run):
    record, rundir = run
    assert record_of(rundir).to_json()["energy"] == record.to_json()["energy"]
    assert {c.name: c.verdict for c in record.checks}["clock"] in ("PASS", "WARN")


@pytest.mark.realtime
def test_a_played_pattern_works_and_rests_as_told_and_leaves_torch_as_it_was():
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    seen = []
    played = play(pattern(), 0.01, "cpu", seen.append)
    busy_ns = np.array(played["busy_ns"])
    assert len(busy_ns) == 16 and (np.diff(busy_ns.ravel()) >= 0).all()
    assert played["start_ns"] <= busy_ns.min() and busy_ns.max() <= played["end_ns"]
    assert played["end_ns"] - played["start_ns"] >= 64 * 0.01 * S
    assert seen[-1] == 1.0 and sorted(seen) == seen
    assert torch.get_num_threads() == threads and torch.equal(torch.random.get_rng_state(), state)
