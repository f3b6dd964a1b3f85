"""EB Train whole and cut short, really trained, its time counted in steps of the training: the interval contains the whole."""

from __future__ import annotations

import pytest
from counted import begin, train
from noise import write_noise

from ebbench.config import Recipe

EPOCHS, TICKET, MEASURED = 24, 8, 5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    return write_noise(tmp_path_factory.mktemp("data"), train=20, test=10)


def eb_train(path, dataset, noise_seed, **settings):
    """The record of such a training."""
    recipe = Recipe(
        method="eb-ff", model="vgg16-small", dataset=dataset, batch_size=10, epochs=EPOCHS, evaluate_every=4, epsilon=1e-9,
        **settings,
    )  # fmt: skip
    return train(begin(path, recipe), recipe, noise_seed)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, dataset):
    """For several seeds of the scatter: the record of the training cut short, and that of the whole one with its own scatter."""
    folder = tmp_path_factory.mktemp("pairs")
    found = []
    for seed in range(6):
        short = eb_train(folder / f"short-{seed}", dataset, seed, measure_epochs=MEASURED, ticket_epoch=TICKET)
        whole = eb_train(folder / f"whole-{seed}", dataset, 1000 + seed, draw=(TICKET,)) if seed < 2 else None
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
