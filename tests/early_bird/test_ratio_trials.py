"""``prune_ratio = "auto"``: one search for all candidates, trials that are charged, and the same bits after any kill."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Tuple

import numpy as np
import pytest
import torch
from noise import write_noise
from same_end import assert_same_end, dying_again_and_again

from ebbench.config import Recipe
from ebbench.early_bird.ratio_trials import RatioChecks
from ebbench.early_bird.search import EarlyBirdInherit, EarlyBirdReinit
from ebbench.errors import ConfigError
from ebbench.protocols import Outcome
from ebbench.sharing.first_training import key_of
from ebbench.testing import FakeContext
from ebbench.training.accuracy import evaluate
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.data.batches import epoch_plan
from ebbench.training.data.datasets import ImageSet
from ebbench.training.data.hold_out import held_out_count, hold_out
from ebbench.training.data.pictures.picture_set import PictureSet
from ebbench.training.loop import Trainer
from ebbench.training.models import build_model
from ebbench.training.pruning.masks import EarlyBirdQueue, draw_mask, layer_sizes_of
from ebbench.training.pruning.physical import prune, reinit
from ebbench.training.schedule import learning_rate

TRAIN, TEST, HELD, BATCH, EPOCHS, TRIED = 40, 10, 12, 14, 5, 1
STEPS = 2  # of the 28 images that are left
METHODS = [("eb-ff", EarlyBirdInherit), ("eb-reinit", EarlyBirdReinit)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten classes of noise, as a file: reading it takes no time."""
    return write_noise(tmp_path_factory.mktemp("data"), train=TRAIN, test=TEST)


@pytest.fixture
def recipe(dataset: str) -> Recipe:
    """All masks settle after three of the five epochs; whatever is not better than the dense network is refused."""
    return Recipe(
        method="eb-ff", model="vgg16-small", dataset=dataset, epochs=EPOCHS, batch_size=BATCH, fifo_length=2, epsilon=0.9,
        prune_ratio="auto", auto_ratios=(0.3, 0.6, 0.8), auto_epochs=TRIED, auto_max_loss=0.0, auto_images=HELD,
    )  # fmt: skip


def vary(recipe: Recipe, **settings: Any) -> Recipe:
    return dataclasses.replace(recipe, **settings)


def run(recipe: Recipe, pipeline: Any = EarlyBirdInherit, **settings: Any) -> Tuple[Outcome, FakeContext]:
    context = FakeContext(**settings)
    return pipeline(recipe).run(context), context


@pytest.mark.parametrize(("method", "pipeline"), METHODS)
def test_from_a_checkpoint_in_each_stage_of_a_run_the_end_is_the_same_bit_for_bit(recipe, method, pipeline):
    varied = vary(recipe, method=method, auto_ratios=(0.3, 0.8), auto_max_loss=0.05)
    whole, whole_context = run(varied, pipeline)
    stages = [json.loads(state)["stage"] for _, state in whole_context.checkpoints]
    assert {"search", "search/trial", "search/trial-0/retrain", "search/trial-1/retrain", "prune", "retrain"} <= set(
        stages
    )
    # of each stage the first or the last
    edge = 0 if method == "eb-ff" else 1
    chosen = [n - edge for n in range(1, len(stages)) if stages[n] != stages[n - 1]]
    for number in chosen:
        outcome, context = run(varied, pipeline, checkpoint=whole_context.checkpoints[number])
        assert_same_end(outcome, context, whole, whole_context)
    assert all(np.array_equal(a, b) for a, b in zip(run(varied, pipeline)[1].masks, whole_context.masks))


def test_a_run_that_dies_again_and_again_ends_with_the_same_bits(recipe):
    whole, whole_context = run(recipe)
    outcome, context, deaths = dying_again_and_again(EarlyBirdInherit(recipe), 29)
    assert deaths > 5
    assert_same_end(outcome, context, whole, whole_context)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"model": "preresnet-small", "residual": "select"}, "the indices are part of the network"),
        ({"model": "resnet18-small"}, "masked channels stay and are held in a trial"),
        ({"model": "resnet50-small", "masks": "grouped"}, "the streams themselves are cut"),
        ({"pairs": "reference", "fifo_length": 3}, "the untrained network's masks are in the queues"),
    ],
)
def test_residual_networks_survive_a_kill_in_a_trial(recipe, settings, why):
    varied = (
        vary(recipe, epochs=2, fifo_length=1, milestones=(0.5,), auto_ratios=(0.5, 0.8))
        if "fifo_length" not in settings
        else recipe
    )
    varied = vary(varied, **settings)
    whole, whole_context = run(varied)
    in_trials = [c for c in whole_context.checkpoints if "search/trial" in json.loads(c[1])["stage"]]
    for checkpoint in in_trials[::3]:
        outcome, context = run(varied, checkpoint=checkpoint)
        assert_same_end(outcome, context, whole, whole_context)


def test_the_trials_lie_in_the_search_and_their_parts_have_the_names_of_what_is_done(recipe):
    outcome, context = run(vary(recipe, auto_max_loss=0.9), due=False)
    paths = [path for path in context.paths if "checkpoint" not in path]
    assert 0.5 < context.fractions[-1] == max(context.fractions) <= 1
    search = ["search"]
    for number in (1, 2, 3):
        search += [f"search/epoch-{number}", f"search/epoch-{number}/draw", "search/evaluate"]
    for number in (0, 1):  # the dense network, and the largest candidate, which is good enough
        trial = f"search/trial-{number}"
        search += [trial, f"{trial}/prune", f"{trial}/retrain", f"{trial}/retrain/epoch-4", f"{trial}/draw"]
    assert paths[: len(search)] == search
    assert paths[len(search)] == "prune"
    assert (outcome.ticket["prune_ratio"], outcome.ticket["auto"]["accepted"]) == (0.8, True)


@pytest.mark.parametrize(("method", "pipeline"), METHODS)
def test_the_search_is_that_of_every_candidate_on_its_own(recipe, method, pipeline):
    """Masks, distances and the end of the search against Algorithm 1 for each ratio on the scales that were kept."""
    outcome, context = run(vary(recipe, method=method, epsilon=0.3), pipeline, due=False)
    masks, epochs, gammas = context.masks
    sizes = layer_sizes_of(build_model(recipe.model, 10))
    found = {}
    for ratio in recipe.auto_ratios:
        queue = EarlyBirdQueue(0.3, 2)
        found[ratio] = [queue.push(draw_mask(gamma, ratio, sizes)) for gamma in gammas]
    assert epochs == list(range(1, len(gammas) + 1))
    assert not any(all(v[e]["found"] for v in found.values()) for e in range(len(epochs) - 1))
    assert all(v[-1]["found"] for v in found.values()) or len(epochs) == EPOCHS
    ticket = outcome.ticket
    for each in ticket["auto"]["candidates"]:
        last = found[each["prune_ratio"]][-1]
        assert (each["stable"], each["distance"]) == (last["found"], last["distance"])
    assert ticket["distances"] == [v["distance"] for v in found[ticket["prune_ratio"]]]
    assert all(np.array_equal(m, draw_mask(g, ticket["prune_ratio"], sizes)) for m, g in zip(masks, gammas))
    assert ticket["kept_channels"] == masks[-1].sum()


@pytest.mark.parametrize(("method", "pipeline"), METHODS)
def test_a_trial_gives_the_accuracy_of_a_training_done_by_hand(recipe, method, pipeline):
    """The dense network and the candidate, rebuilt, trained on the images that are left and asked for the others."""
    varied = vary(recipe, method=method, auto_ratios=(0.6,), auto_max_loss=0.9, auto_epochs=2)
    outcome, context = run(varied, pipeline, due=True)
    state = next(c for c in context.checkpoints if json.loads(c[1])["stage"] == "search/trial")
    searched = {n[len("method/searched/") :]: v for n, v in state[0].items() if n.startswith("method/searched/")}
    (candidate,) = outcome.ticket["auto"]["candidates"]
    for mask, accuracy in (
        (np.ones(528, dtype=bool), outcome.ticket["auto"]["dense_accuracy"]),
        (context.masks[0][-1], candidate["accuracy"]),
    ):
        trainer = Trainer(varied, FakeContext(due=False), "by-hand")
        held = trainer.feed.hold_out(HELD)
        dense = trainer.dense_model()
        dense.load_state_dict({name: torch.from_numpy(value) for name, value in searched.items()})
        first = 3 if method == "eb-ff" else 0
        small = prune(dense, mask) if method == "eb-ff" else reinit(dense, mask, varied.seed)
        trainer.open_stage("by-hand", first, small)
        for _ in range(2):
            trainer.train_epoch(varied.l1)
        data = trainer.dataset
        found = evaluate(trainer.model, held, batch_size=5, mean=data.mean, std=data.std)
        assert found.top1 == accuracy


def test_the_test_part_and_the_retraining_have_no_part_in_the_choice(recipe, dataset, tmp_path):
    """Other test labels, the same choice; and the ratio that was found, given as a number, retrains on all images."""
    first, _ = run(recipe, due=False)
    with np.load(dataset[len("npz:") :]) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["y_test"] = (arrays["y_test"] + 3) % 10
    np.savez(tmp_path / "other.npz", **arrays)
    second, _ = run(vary(recipe, dataset=f"npz:{tmp_path / 'other.npz'}"), due=False)
    assert second.ticket == first.ticket
    assert first.flops["by_phase"]["retrain"]["images"] == (EPOCHS - 3) * TRAIN


def test_images_are_counted_and_the_flops_of_each_trial_are_those_of_its_network(recipe):
    outcome, _ = run(recipe, due=False)
    books, dense = outcome.flops["by_phase"], forward_cost(build_model(recipe.model, 10))
    left, tried = TRAIN - HELD, [c for c in outcome.ticket["auto"]["candidates"] if c["trial"] is not None]
    assert books["search"]["images"] == 3 * left
    assert books["search/trial-0/retrain"] == {
        "images": TRIED * left, "forward_flops": dense.forward_flops(), "flops": TRIED * left * dense.training_flops(),
    }  # fmt: skip
    forwards = [books[f"search/trial-{c['trial']}/retrain"]["forward_flops"] for c in tried]
    assert forwards == sorted(forwards) and forwards[-1] < dense.forward_flops()
    for each in tried:
        looked = books[f"search/trial-{each['trial']}/draw"]
        assert looked["images"] == HELD and looked["flops"] == HELD * looked["forward_flops"]
    assert outcome.flops["total"] == sum(v["flops"] for p, v in books.items() if not p.endswith("evaluate"))
    if tried[-1]["accepted"]:
        assert forwards[-1] == outcome.flops["forward_pruned"]


def test_where_nothing_is_good_enough_the_smallest_stable_ratio_is_taken_and_it_says_so(recipe, monkeypatch):
    monkeypatch.setattr("ebbench.early_bird.ratio_trials.loss_against", lambda dense, small: (0.5, 0.1))
    outcome, context = run(recipe, due=False)
    auto = outcome.ticket["auto"]
    assert (outcome.ticket["prune_ratio"], auto["accepted"]) == (0.3, False)
    assert [each["accepted"] for each in auto["candidates"]] == [False, False, False]
    assert "none was good enough" in auto["how"] and auto["how"] in outcome.notes
    assert "search/trial-3/draw" in context.paths and "search/trial-4" not in context.paths


def test_where_no_mask_settles_nothing_is_tried_and_the_ticket_is_not_called_found(recipe):
    outcome, context = run(vary(recipe, epsilon=1e-9), due=False)
    ticket = outcome.ticket
    assert (ticket["found"], ticket["epoch"], ticket["prune_ratio"]) == (False, EPOCHS, 0.3)
    assert not any("trial" in path for path in context.paths)
    assert ticket["auto"]["dense_accuracy"] is None and "0.8 had not settled" in ticket["auto"]["how"]


def test_the_check_that_is_repeated_is_that_of_all_candidates(recipe, monkeypatch):
    pushed = []
    push = RatioChecks.push
    monkeypatch.setattr(RatioChecks, "push", lambda self: pushed.append(push(self)) or pushed[-1])
    outcome, context = run(recipe, due=False)
    in_search = len(pushed)
    outcome.repeat_draw()
    gamma, verdicts = pushed[-1]
    assert in_search == 3 and len(verdicts) == 3
    assert np.array_equal(gamma, context.masks[2][-1])
    assert verdicts[0]["distance"] == pushed[-2][1][0]["distance"]


def test_images_held_out_are_a_random_part_that_the_rest_does_not_have():
    images = ImageSet(torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1), torch.arange(50))
    rest, held = hold_out(images, 12, seed=1)
    assert (len(rest), len(held)) == (38, 12)
    assert sorted([*rest.labels.tolist(), *held.labels.tolist()]) == list(range(50))
    assert held.images.flatten().tolist() == held.labels.tolist() == sorted(held.labels.tolist())
    assert (
        held.labels.tolist()
        == hold_out(images, 12, seed=1)[1].labels.tolist()
        != hold_out(images, 12, seed=2)[1].labels.tolist()
    )
    assert set(held.labels.tolist()) == set(epoch_plan(50, seed=1, phase="hold-out", epoch=0)[0][:12].tolist())


def test_files_are_held_out_like_images(tmp_path):
    names = [f"{n}.png" for n in range(50)]
    files = PictureSet(tmp_path, names, torch.arange(50), 32, None)
    rest, held = hold_out(files, 12, seed=1)
    images = ImageSet(torch.zeros(50, 1, 1, 1), torch.arange(50))
    assert held.labels.tolist() == hold_out(images, 12, seed=1)[1].labels.tolist()
    assert held.names == [f"{n}.png" for n in held.labels] and rest.names == [f"{n}.png" for n in rest.labels]


@pytest.mark.parametrize(("images", "wanted", "count"), [(50_000, None, 5_000), (100, None, 10), (100, 50, 50)])
def test_a_tenth_is_held_out_unless_another_number_is_given(images, wanted, count):
    assert held_out_count(images, wanted) == count


def test_too_few_or_too_many_held_out_images_are_refused_before_any_training(recipe):
    with pytest.raises(ConfigError, match=r"a tenth of the 99 training images are 9.* 10 or more"):
        held_out_count(99, None)
    with pytest.raises(ConfigError, match="auto_images = 9 is below 10"):
        vary(recipe, auto_images=9)
    with pytest.raises(ConfigError, match="auto_images = 21 is more than half of the 40"):
        EarlyBirdInherit(vary(recipe, auto_images=21)).check()


def test_a_candidate_that_would_empty_the_layers_is_refused_before_any_training(recipe):
    with pytest.raises(ConfigError, match=r"candidate 0\.99 of auto_ratios prunes 522 of 528 .* take at most 0\.975"):
        EarlyBirdInherit(vary(recipe, auto_ratios=(0.5, 0.99))).check()


def test_a_candidate_is_tried_with_the_widths_that_it_would_be_retrained_with(recipe):
    ticket = run(vary(recipe, width_multiple=8, auto_max_loss=0.9), due=False)[0].ticket
    first = ticket["auto"]["candidates"][0]
    assert all(kept % 8 == 0 for kept in ticket["layer_kept"])
    assert first["kept_channels"] == ticket["kept_channels"] > ticket["drawn_channels"]


def test_a_search_that_does_without_the_held_out_images_is_shared_with_nobody():
    assert key_of(Recipe(prune_ratio=0.3)) == key_of(Recipe(prune_ratio=0.5)) is not None
    assert key_of(Recipe(prune_ratio="auto")) is None


def test_trials_have_the_rates_of_what_follows_a_search_and_not_those_of_the_search(recipe, monkeypatch):
    seen = []
    open_steps = Trainer._train_steps
    monkeypatch.setattr(
        Trainer,
        "_train_steps",
        lambda t, l1: (
            seen.append((t.state.stage.split("/")[-1], learning_rate(t.schedule, t.state.epoch))),
            open_steps(t, l1),
        ),
    )
    run(vary(recipe, search_rate=0.003, search_milestones=(0.99,), milestones=(0.99,)), due=False)
    assert set(seen) == {("search", 0.003), ("retrain", 0.1)}
