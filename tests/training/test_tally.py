"""FLOPs of a run, from the images that it processed."""

from __future__ import annotations

from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.counting.tally import run_flops
from ebbench.training.models import build_model

DENSE = forward_cost(build_model("vgg16-small", 10))
SMALL = forward_cost(build_model("vgg16-small", 10, [4] * 13))


def test_evaluations_are_counted_beside_the_total_and_each_phase_by_its_own_network():
    flops = run_flops(
        {"search": 10, "search/evaluate": 5, "retrain": 7, "retrain/evaluate": 5, "evaluate": 5}, DENSE, SMALL
    )
    by_phase = {path: entry["flops"] for path, entry in flops["by_phase"].items()}
    assert by_phase == {
        "search": 10 * DENSE.training_flops(),
        "search/evaluate": 5 * DENSE.forward_flops(),
        "retrain": 7 * SMALL.training_flops(),
        "retrain/evaluate": 5 * SMALL.forward_flops(),
        "evaluate": 5 * SMALL.forward_flops(),
    }
    assert flops["total"] == by_phase["search"] + by_phase["retrain"]
    assert (flops["forward_dense"], flops["forward_pruned"]) == (DENSE.forward_flops(), SMALL.forward_flops())


def test_a_phase_that_only_looks_has_no_gradients_and_fine_tuning_is_of_the_pruned_network():
    flops = run_flops({"train": 4, "draw": 6, "finetune": 2}, DENSE, SMALL, forward_only=("draw",))
    by_phase = {path: entry["flops"] for path, entry in flops["by_phase"].items()}
    assert by_phase["draw"] == 6 * DENSE.forward_flops()
    assert by_phase["finetune"] == 2 * SMALL.training_flops()
    assert flops["total"] == sum(by_phase.values())


def test_a_run_without_a_pruned_network_has_no_pruned_forward():
    flops = run_flops({"train": 3, "evaluate": 2}, DENSE)
    assert flops["forward_pruned"] is None
    assert flops["by_phase"]["evaluate"]["flops"] == 2 * DENSE.forward_flops()
    assert flops["total"] == 3 * DENSE.training_flops()
