"""Runs of which a few epochs were measured, against the same runs whole: both really trained, one after the other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from conductor import call, only_run, record, write_experiment

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

PAIRS, EPOCHS, TICKET = 10, 24, 8


def test_whole_runs_lie_in_the_intervals_of_the_extrapolated_ones(tmp_path):
    inside = told = 0
    print(
        f"\neb-ff, {EPOCHS} epochs, ticket at {TICKET}, five epochs of each phase measured; simulated power, real durations"
    )
    for seed in range(1, PAIRS + 1):
        path = write_experiment(tmp_path / str(seed), images=160, epochs=EPOCHS)
        path.write_text(path.read_text().replace("epsilon = 0.9", "epsilon = 1e-6"))
        short = _run(path, tmp_path / f"short-{seed}", "--seed", seed, "--measure-epochs", 5, "--ticket-epoch", TICKET)
        whole = _run(path, tmp_path / f"whole-{seed}", "--seed", seed, "--draw", TICKET)["energy"]
        energy = short["energy"]
        if energy["total_j"] is None:
            print(f"seed {seed}: {short['reason']}")
            continue
        told += 1
        inside += abs(energy["total_j"] - whole["total_j"]) <= energy["uncertainty_j"]
        print(
            f"seed {seed}: extrapolated {energy['total_j']:.1f} +- {energy['uncertainty_j']:.1f} J, whole {whole['total_j']:.1f} J"
        )
    print(f"{inside} of {told} inside, {PAIRS - told} refused")
    assert told >= PAIRS / 2 and inside >= 0.8 * told


def _run(path, out, *options):
    code, _, err = call("run", path, "--out", out, *options, cwd=path.parent)
    assert code in (0, 1), err
    return record(only_run(out))
