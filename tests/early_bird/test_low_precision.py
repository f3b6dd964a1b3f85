"""EB Train in fewer bits: that a killed run ends with the same bits, what is rounded in which phase, and which energy is whose."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any, Dict, Tuple

import numpy as np
import pytest
import torch
from noise import write_noise
from same_end import assert_same_end, dying_again_and_again

from ebbench.config import Recipe, make_recipe
from ebbench.early_bird.low_precision import EarlyBirdLow, EarlyBirdLowSearch, EarlyBirdMixed, EarlyBirdWage
from ebbench.early_bird.search import EarlyBirdInherit
from ebbench.errors import ConfigError
from ebbench.protocols import Outcome
from ebbench.testing import FakeContext
from ebbench.training import compat
from ebbench.training.models import build_model
from ebbench.training.precision.quantize import BlockRounding
from ebbench.training.pruning.masks import draw_mask, layer_sizes_of

EPOCHS, STEPS, TRAIN = 5, 3, 20
METHODS = {"eb-lf": EarlyBirdLowSearch, "eb-ll": EarlyBirdLow, "eb-wage": EarlyBirdWage, "eb-amp": EarlyBirdMixed}
SIMULATED = ("eb-lf", "eb-ll", "eb-wage")
q = BlockRounding(None).rounded

with_bfloat16 = pytest.mark.skipif(not compat.has_bfloat16("cpu"), reason="this CPU or torch has no bfloat16")
every_method = pytest.mark.parametrize(
    "method", [pytest.param(m, marks=with_bfloat16 if m == "eb-amp" else ()) for m in METHODS]
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    dataset = write_noise(tmp_path_factory.mktemp("data"), train=TRAIN, test=10)
    settings = {"epochs": EPOCHS, "batch_size": 8, "fifo_length": 2, "epsilon": 0.9, "average_from": 0.7}
    return Recipe(method="eb-ll", model="vgg16-small", dataset=dataset, **settings)


def run(recipe: Recipe, method: str, **settings: Any) -> Tuple[Outcome, FakeContext]:
    context = FakeContext(**settings)
    return METHODS[method](for_method(recipe, method)).run(context), context


def for_method(recipe: Recipe, method: str) -> Recipe:
    """The same for another method, which may not average."""
    return dataclasses.replace(recipe, method=method, average_from=recipe.average_from if method == "eb-ll" else 0.875)


@functools.lru_cache(maxsize=None)  # recipes are frozen, and no test changes what it gets
def quiet(recipe: Recipe, method: str) -> Tuple[Outcome, FakeContext]:
    """A run that nobody disturbs, with a checkpoint after each stage only."""
    return run(recipe, method, due=False)


def model_of(context: FakeContext, number: int) -> Dict[str, torch.Tensor]:
    """The parameters and running statistics of a checkpoint."""
    arrays, _ = context.checkpoints[number]
    return {name[len("model/") :]: torch.from_numpy(v) for name, v in arrays.items() if name.startswith("model/")}


def parameters(state: Dict[str, torch.Tensor]) -> Dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if "running" not in name and "batches" not in name}


class TestResuming:
    @every_method
    def test_a_run_that_dies_again_and_again_ends_with_the_same_bits(self, recipe: Recipe, method: str) -> None:
        whole, whole_context = run(recipe, method)
        pipeline = METHODS[method](for_method(recipe, method))
        outcome, context, deaths = dying_again_and_again(pipeline, 23)
        assert deaths > 4
        assert_same_end(outcome, context, whole, whole_context)
        assert outcome.work == whole.work

    def test_the_average_of_the_weights_goes_on_where_it_was(self, recipe: Recipe) -> None:
        whole, context = run(recipe, "eb-ll")
        averaging = [c for c in context.checkpoints if any(name.startswith("method/average/") for name in c[0])]
        assert len(averaging) > 1
        for checkpoint in averaging[::2]:
            assert run(recipe, "eb-ll", checkpoint=checkpoint)[0].accuracy == whole.accuracy


class TestWhatIsRounded:
    @pytest.mark.parametrize("method", SIMULATED)
    def test_two_runs_of_one_seed_are_equal_and_of_another_seed_are_not(self, recipe: Recipe, method: str) -> None:
        short = dataclasses.replace(recipe, draw=(1,), epochs=1)
        first, second = (run(short, method, due=False)[1] for _ in range(2))
        other = run(dataclasses.replace(short, seed=2), method, due=False)[1]
        assert np.array_equal(first.masks[2], second.masks[2]) and not np.array_equal(first.masks[2], other.masks[2])

    @pytest.mark.parametrize("method", ["eb-lf", "eb-ll"])
    def test_a_search_leaves_blocks_of_eight_bits_and_masks_of_their_scales(self, recipe: Recipe, method: str) -> None:
        _, context = quiet(recipe, method)
        searched = model_of(context, 0)
        assert all(torch.equal(q(value), value) for value in parameters(searched).values())
        masks, _, gammas = context.masks
        # a scale alone in its block has seven bits: 64 levels to the octave
        mantissas = np.frexp(gammas)[0] * 128
        assert np.array_equal(mantissas, np.round(mantissas))
        sizes = layer_sizes_of(build_model(recipe.model, 10))
        assert all(np.array_equal(m, draw_mask(g, recipe.prune_ratio, sizes)) for m, g in zip(masks, gammas))

    def test_retraining_is_in_eight_bits_for_ll_and_in_float32_for_lf(self, recipe: Recipe) -> None:
        for method, stays in (("eb-ll", True), ("eb-lf", False)):
            trained = parameters(model_of(quiet(recipe, method)[1], 1))
            assert all(torch.equal(q(value), value) for value in trained.values()) == stays, method

    def test_lf_retrains_as_ff_does_from_the_same_weights(self, recipe: Recipe) -> None:
        _, low = quiet(recipe, "eb-lf")
        full = FakeContext(due=False, checkpoint=low.checkpoints[0])
        EarlyBirdInherit(for_method(recipe, "eb-ff")).run(full)
        mine, ffs = model_of(low, 1), model_of(full, 0)
        assert all(torch.equal(mine[name], value) for name, value in ffs.items())

    def test_a_wage_search_leaves_multiples_of_a_128th(self, recipe: Recipe) -> None:
        _, context = quiet(recipe, "eb-wage")
        searched = parameters(model_of(context, 0))
        assert all(
            torch.equal((value * 128).round(), value * 128) and value.abs().max() < 1 for value in searched.values()
        )
        assert np.array_equal(context.masks[2] * 128, np.round(context.masks[2] * 128))

    def test_rounding_to_the_nearest_trains_something_else(self, recipe: Recipe) -> None:
        nearest = dataclasses.replace(recipe, rounding="nearest", draw=(1,), epochs=1)
        assert not np.array_equal(quiet(recipe, "eb-ll")[1].masks[2][0], quiet(nearest, "eb-ll")[1].masks[2][0])


class TestAveraging:
    def test_the_accuracy_is_of_the_mean_of_the_last_epochs_weights(self, recipe: Recipe) -> None:
        """Epochs 4 and 5 end beyond .7 of five: their weights are those of the checkpoints after their last steps."""
        outcome, context = run(recipe, "eb-ll")
        arrays, state = context.checkpoint
        assert json.loads(state)["facts"]["averaged"] == 2
        ends = [c for c in context.checkpoints if json.loads(c[1])["stage"] == "retrain"]
        ends = [
            next(c for c in ends if (json.loads(c[1])["epoch"], json.loads(c[1])["step"]) == (e, STEPS)) for e in (3, 4)
        ]
        for name, value in arrays.items():
            if name.startswith("method/average/"):
                weights = [c[0]["model/" + name[len("method/average/") :]] for c in ends]
                assert np.array_equal(value, weights[0] + weights[1]), name
        assert any("mean weights of 2 epochs" in note for note in outcome.notes)
        assert outcome.flops["by_phase"]["retrain/average/evaluate"]["images"] == TRAIN

    def test_it_is_taken_in_a_phase_that_is_no_training(self, recipe: Recipe) -> None:
        _, context = quiet(recipe, "eb-ll")
        assert context.paths[-4:] == ["checkpoint", "evaluate", "evaluate", "evaluate"]

    def test_without_an_epoch_to_average_the_result_is_the_last_weights(self, recipe: Recipe) -> None:
        outcome, _ = run(dataclasses.replace(recipe, draw="final"), "eb-ll", due=False)
        assert any("no epoch of retraining" in note for note in outcome.notes)


class TestWork:
    def test_the_work_is_of_the_images_really_trained_on_in_each_phases_precision(self, recipe: Recipe) -> None:
        for method, bits in (("eb-lf", (8, 32)), ("eb-ll", (8, 8)), ("eb-wage", (8, 32))):
            outcome, _ = quiet(recipe, method)
            assert (outcome.work["search"]["factor_bits"], outcome.work["retrain"]["factor_bits"]) == bits
            for stage in ("search", "retrain"):
                assert 2 * outcome.work[stage]["multiply_adds"] == outcome.flops["by_phase"][stage]["flops"]
            assert (outcome.work["retrain"]["bytes"] == outcome.work["retrain"]["float32_bytes"]) == (bits[1] == 32)

    @with_bfloat16
    def test_what_is_really_computed_is_not_estimated(self, recipe: Recipe) -> None:
        assert quiet(recipe, "eb-amp")[0].work is None and not hasattr(EarlyBirdMixed, "is_simulated")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rounding": "stochastik"}, "rounding = 'stochastik': did you mean 'stochastic'"),
        ({"amp_dtype": "half"}, "amp_dtype = 'half'"),
        ({"average_from": 1.0}, r"average_from = 1.0 is outside \[0, 1\)"),
    ],
)
def test_a_wrong_setting_is_refused(settings: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_recipe(settings)
