"""What holds for every method that prunes: repeatable, resumable at any call, exactly accounted, no layer emptied."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any, List

import numpy as np
import pytest
from same_end import assert_same_end, dying_again_and_again

from ebbench import plugins
from ebbench.errors import ConfigError
from ebbench.testing import FakeContext, Killed
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.models import build_model
from ebbench.training.pruning.masks import split

METHODS = ("lt", "snip", "ns", "thinet", "sfp")
IMAGES, WIDTHS = 20, (4, 5, 6, 7, 8)


def pipeline(recipe: Any) -> Any:
    return plugins.load(plugins.PIPELINES, recipe.method)(recipe)


def run(recipe: Any, **settings: Any) -> Any:
    context = FakeContext(**settings)
    return pipeline(recipe).run(context), context


@pytest.mark.parametrize("method", METHODS)
def test_from_every_checkpoint_and_from_none_the_end_is_the_same_bit_for_bit(recipe_of, method):
    """A killed run knows its last checkpoint and nothing else, so this is every call at which it can die."""
    recipe = recipe_of(method)
    whole, whole_context = run(recipe)
    for checkpoint in (None, *whole_context.checkpoints):
        outcome, context = run(recipe, checkpoint=checkpoint)
        assert_same_end(outcome, context, whole, whole_context)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_dies_again_and_again_ends_with_the_same_bits(recipe_of, method):
    recipe = recipe_of(method)
    whole, whole_context = run(recipe)
    outcome, context, deaths = dying_again_and_again(pipeline(recipe), 18)
    assert deaths >= 2
    assert_same_end(outcome, context, whole, whole_context)


@pytest.mark.parametrize("method", METHODS)
def test_death_is_not_caught(recipe_of, method):
    recipe = recipe_of(
        method, epochs=1, train_images=12, **({"finetune_epochs": 1} if method in ("ns", "thinet") else {})
    )
    _, whole = run(recipe, due=False)
    for call in range(1, whole.calls + 1, 4):
        with pytest.raises(Killed):
            run(recipe, due=False, die_at=call)


@pytest.mark.parametrize(
    ("method", "draw"),
    [(method, draw) for method in ("lt", "ns", "thinet") for draw in ("best-accuracy", (1, 2), (2, 1))],
)
def test_what_a_draw_remembers_survives_a_kill(recipe_of, method, draw):
    recipe = recipe_of(method, draw=draw)
    whole, whole_context = run(recipe)
    for checkpoint in whole_context.checkpoints[1::3]:
        outcome, context = run(recipe, checkpoint=checkpoint)
        assert_same_end(outcome, context, whole, whole_context)


def test_another_seed_gives_another_mask(recipe_of):
    for method in METHODS:
        one, other = (run(recipe_of(method, seed=seed), due=False)[1].masks[0] for seed in (1, 2))
        assert one.shape == other.shape and not np.array_equal(one, other), method


@pytest.mark.parametrize(
    ("method", "phases"),
    [
        ("lt", ["train", "checkpoint", "draw", "checkpoint", "rewind", "retrain", "checkpoint", "evaluate"]),
        ("snip", ["draw", "checkpoint", "train", "checkpoint", "evaluate"]),
        ("ns", ["train", "checkpoint", "draw", "checkpoint", "prune", "finetune", "checkpoint", "evaluate"]),
        ("thinet", ["train", "checkpoint", "draw", "checkpoint", "prune", "finetune", "checkpoint", "evaluate"]),
        ("sfp", ["train", "checkpoint", "prune", "evaluate"]),
    ],
)
def test_the_phases_are_those_of_the_method(recipe_of, method, phases):
    _, context = run(recipe_of(method), due=False)
    assert [path for path, _ in groupby(p.split("/")[0] for p in context.paths)] == phases
    epochs = [p for p in context.paths if p.split("/")[-1].startswith("epoch-")]
    assert len(epochs) == (2 if method in ("snip", "sfp") else 4)
    assert len(context.paths) == len(context.ended)


def test_flops_are_those_of_the_images_and_the_network_of_each_phase(recipe_of):
    dense = forward_cost(build_model("tiny", 10))
    trained, evaluated = 2 * IMAGES * dense.training_flops(), IMAGES * dense.forward_flops()
    for method in METHODS:
        outcome, _ = run(recipe_of(method), due=False)
        kept = outcome.ticket.get("layer_kept")
        small = forward_cost(build_model("tiny", 10, kept)) if kept else dense
        found = {path: entry["flops"] for path, entry in outcome.flops["by_phase"].items()}
        assert found["train"] == trained
        assert found["evaluate"] == IMAGES * small.forward_flops()
        more = {
            "lt": {"retrain": trained, "retrain/evaluate": evaluated},
            "snip": {"draw": 12 * dense.training_flops()},  # one batch, forwards and backwards
            "ns": {"finetune": 2 * IMAGES * small.training_flops(), "finetune/evaluate": found["evaluate"]},
            # forward passes of all images for each of the five layers
            "thinet": {"finetune": 2 * IMAGES * small.training_flops(), "draw": 5 * evaluated},
            "sfp": {},
        }[method]
        assert {path: found[path] for path in more} == more, method
        assert outcome.flops["total"] == sum(v for path, v in found.items() if not path.endswith("evaluate"))
        assert outcome.flops["forward_pruned"] == (small.forward_flops() if kept else None)


def test_progress_rises_to_the_whole(recipe_of):
    for method in METHODS:
        for draw in ({"draw": (1,)}, {}) if method in ("lt", "ns", "thinet") else ({},):
            _, context = run(recipe_of(method, **draw), due=False)
            assert context.fractions[-1] == pytest.approx(1.0), method
            assert all(0 < fraction <= 1 for fraction in context.fractions)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.8])
def test_no_mask_empties_a_layer_and_the_count_is_exact(recipe_of, method, ratio):
    outcome, context = run(recipe_of(method, prune_ratio=ratio), due=False)
    mask = context.masks[0][-1]
    ticket = outcome.ticket
    over_weights = method in ("lt", "snip")
    layers = split(mask, ticket["layer_weights" if over_weights else "layer_channels"])
    kept = [int(layer.sum()) for layer in layers]
    assert kept == ticket["layer_kept_weights" if over_weights else "layer_kept"] and min(kept) >= 1
    if method in ("thinet", "sfp"):  # the ratio is each layer's
        cut = {"thinet": lambda c: max(1, int(c * (1 - ratio) + 1e-9)), "sfp": lambda c: c - int(c * ratio)}[method]
        assert kept == [cut(width) for width in WIDTHS]
    else:
        assert sum(kept) == len(mask) - int(len(mask) * ratio)


@pytest.mark.parametrize(
    ("method", "ratio", "words"),
    [("ns", 0.9, "its 5 layers keeps one"), ("lt", 0.999, "its 5 layers keeps one"), ("snip", 0.999, "its 6 layers")],
)
def test_a_ratio_that_leaves_a_layer_nothing_is_refused_before_any_training(recipe_of, method, ratio, words):
    with pytest.raises(ConfigError, match=words) as caught:
        pipeline(recipe_of(method, prune_ratio=ratio)).check()
    most = float(str(caught.value).rpartition(" ")[2])
    pipeline(recipe_of(method, prune_ratio=most)).check()  # what it recommends passes


@pytest.mark.parametrize("method", ["lt", "ns", "thinet"])
def test_a_ticket_of_an_earlier_epoch_has_the_weights_of_that_epoch(recipe_of, method):
    def at_draw(draw: Any) -> Any:
        outcome, context = run(recipe_of(method, draw=draw), due=False)
        drawn = next(c for c in context.checkpoints if json.loads(c[1])["stage"] == "draw")
        return outcome.ticket, drawn[0], context.masks[0]

    (early, weights, mask), (late, same_weights, same_mask) = at_draw((1,)), at_draw((1, 2))
    assert (early["epoch"], early["searched_epochs"], late["epoch"], late["searched_epochs"]) == (1, 1, 1, 2)
    assert np.array_equal(mask, same_mask)
    for name in (n for n in weights if n.startswith("model/")):
        assert np.array_equal(weights[name], same_weights[name]), name


def test_best_accuracy_draws_at_the_first_of_the_best_epochs(recipe_of):
    for method in ("lt", "ns", "thinet"):
        outcome, context = run(recipe_of(method, draw="best-accuracy", epochs=4, learning_rate=0.01), due=False)
        seen: List[float] = [v for n, v, where in context.metrics if n == "accuracy" and where["stage"] == "train"]
        assert len(seen) == 4 and outcome.ticket["epoch"] == 1 + int(np.argmax(seen))


RESIDUAL = ("preresnet-small", "resnet18-small", "resnet50-small")


@pytest.mark.parametrize("model", RESIDUAL)
@pytest.mark.parametrize("method", METHODS)
def test_residual_networks_are_pruned_and_survive_a_kill(recipe_of, method, model):
    recipe = recipe_of(method, model=model, epochs=1, batch_size=20, thinet_positions=64 if method == "thinet" else 10)
    pipeline(recipe).check()
    whole, whole_context = run(recipe)
    outcome, context = run(recipe, checkpoint=whole_context.checkpoints[0])
    assert_same_end(outcome, context, whole, whole_context)
    if method not in ("lt", "snip"):
        assert whole.flops["forward_pruned"] < 0.9 * whole.flops["forward_dense"]


@pytest.mark.parametrize("model", RESIDUAL)
@pytest.mark.parametrize("method", ["thinet", "sfp"])
def test_of_a_residual_network_only_what_can_be_removed_for_itself_is_chosen(recipe_of, method, model):
    outcome, _ = run(recipe_of(method, model=model, epochs=1, batch_size=20), due=False)
    chosen = [kept < width for kept, width in zip(outcome.ticket["layer_kept"], outcome.ticket["layer_channels"])]
    network = build_model(model, 10)
    entry_of = {name: entry for entry in network.channels() for name in entry.norms}
    inner = [
        entry_of[n].stream is None and len(entry_of[n].norms) == len(entry_of[n].writers) == 1
        for n in network.norm_names()
    ]
    with_one_reader = [len(entry_of[n].readers) == 1 for n in network.norm_names()]
    assert chosen == [a and (b or method == "sfp") for a, b in zip(inner, with_one_reader)]
    assert not any("could not be removed" in note for note in outcome.notes)


def test_slimming_holds_what_it_masks_and_cannot_remove_unless_it_may_regrow(recipe_of):
    held, regrown = (
        run(recipe_of("ns", model="resnet18-small", regrow=regrow, batch_size=20))[0] for regrow in (False, True)
    )
    assert any("stay, held at zero" in note for note in held.notes)
    assert not any("held at zero" in note for note in regrown.notes)


def test_slimming_may_select_from_a_stream_and_share_masks(recipe_of):
    def forward(**settings):
        return run(recipe_of("ns", epochs=1, batch_size=20, **settings), due=False)[0].flops["forward_pruned"]

    assert forward(model="preresnet-small", residual="select") < forward(model="preresnet-small")
    assert forward(model="resnet18-small", masks="grouped") < forward(model="resnet18-small")


@pytest.mark.parametrize("method", METHODS)
def test_of_a_training_that_is_cut_short_the_flops_are_those_of_the_whole_and_no_accuracy_is_a_result(
    recipe_of, method
):
    whole, _ = run(recipe_of(method, epochs=6, prune_ratio=0.5), due=False)
    cut, context = run(recipe_of(method, epochs=6, prune_ratio=0.5, measure_epochs=3), due=False)
    assert {path: entry["images"] for path, entry in cut.flops["by_phase"].items()} == {
        path: entry["images"] for path, entry in whole.flops["by_phase"].items()
    }
    assert cut.accuracy["final"] is None
    stages = 1 if method in ("snip", "sfp") else 2
    assert (
        sum(p.split("/")[-1].startswith("epoch-") for p in context.paths) == stages * 4
    )  # one settles, three are measured
    assert cut.ticket["assumed"] == (method != "snip")
    if method != "snip":
        assert (cut.ticket["found"], cut.ticket["epoch"], cut.ticket["searched_epochs"]) == (None, 6, 4)


def test_a_cut_run_ends_with_the_same_bits_from_every_checkpoint(recipe_of):
    for method in METHODS:
        recipe = recipe_of(method, epochs=6, measure_epochs=3)
        whole, whole_context = run(recipe)
        for checkpoint in whole_context.checkpoints[3::9]:
            outcome, context = run(recipe, checkpoint=checkpoint)
            assert_same_end(outcome, context, whole, whole_context)
