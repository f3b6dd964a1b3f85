"""EB Train: Algorithm 1's search, what follows it, and that a killed run ends with the bits of one that was not."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, List, Tuple

import numpy as np
import pytest
import torch
from noise import write_noise
from same_end import assert_same_end, dying_again_and_again

from ebbench.config import Recipe
from ebbench.early_bird.search import Check, EarlyBirdInherit, EarlyBirdReinit
from ebbench.errors import ConfigError, UserError
from ebbench.protocols import Outcome
from ebbench.testing import FakeContext
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.loop import Trainer
from ebbench.training.models import build_model
from ebbench.training.pruning.masks import draw_mask, hamming, layer_sizes_of

TRAIN, TEST, BATCH, EPOCHS = 20, 10, 8, 5
STEPS = 3  # the last batch of an epoch is short


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten classes of noise, as a file: reading it takes no time."""
    return write_noise(tmp_path_factory.mktemp("data"), train=TRAIN, test=TEST)


@pytest.fixture
def recipe(dataset: str) -> Recipe:
    """With two distances below .9, as any are at p = .5 or nearly, the ticket is there after three of the five epochs."""
    return Recipe(
        method="eb-ff",
        model="vgg16-small",
        dataset=dataset,
        epochs=EPOCHS,
        batch_size=BATCH,
        fifo_length=2,
        epsilon=0.9,
        milestones=(0.5, 0.75),
    )


def vary(recipe: Recipe, **settings: Any) -> Recipe:
    return dataclasses.replace(recipe, **settings)


def run(recipe: Recipe, pipeline: Any = EarlyBirdInherit, **settings: Any) -> Tuple[Outcome, FakeContext]:
    context = FakeContext(**settings)
    return pipeline(recipe).run(context), context


class TestResuming:
    @pytest.mark.parametrize("pipeline", [EarlyBirdInherit, EarlyBirdReinit])
    def test_from_every_checkpoint_of_a_run_the_end_is_the_same_bit_for_bit(
        self, recipe: Recipe, pipeline: Any
    ) -> None:
        whole, whole_context = run(recipe, pipeline)
        stages = {state.split('"stage": ')[1].split(",")[0] for _, state in whole_context.checkpoints}
        assert stages == {'"search"', '"prune"', '"retrain"'}
        for checkpoint in whole_context.checkpoints:
            outcome, context = run(recipe, pipeline, checkpoint=checkpoint)
            assert_same_end(outcome, context, whole, whole_context)

    def test_a_run_that_dies_again_and_again_ends_with_the_same_bits(self, recipe: Recipe) -> None:
        whole, whole_context = run(recipe)
        outcome, context, deaths = dying_again_and_again(EarlyBirdInherit(recipe), 19)
        assert deaths > 5
        assert_same_end(outcome, context, whole, whole_context)

    @pytest.mark.parametrize(
        ("settings", "why"),
        [
            ({"draw": "best-accuracy"}, "the weights of the best epoch so far are kept"),
            ({"draw": (2, 4)}, "the weights of the ticket's epoch are kept while the search goes on"),
            ({"pairs": "reference", "fifo_length": 3}, "the untrained network's mask is in the queue"),
            ({"deterministic": False}, "the layout that was timed is kept"),
        ],
    )
    def test_what_a_draw_remembers_survives_a_kill(self, recipe: Recipe, settings: Any, why: str) -> None:
        varied = vary(recipe, **settings)
        whole, whole_context = run(varied)
        for checkpoint in whole_context.checkpoints[1::4]:
            outcome, context = run(varied, checkpoint=checkpoint)
            assert_same_end(outcome, context, whole, whole_context)

    @pytest.mark.parametrize(
        ("settings", "why"),
        [
            ({"model": "preresnet-small"}, "masked channels stay in the residual stream"),
            ({"model": "preresnet-small", "residual": "select"}, "the indices are part of the network"),
            ({"model": "resnet18-small"}, "masked channels are held through the residual sum"),
            ({"model": "resnet50-small", "masks": "grouped"}, "the streams themselves are cut"),
            ({"model": "resnet18-small", "regrow": True}, "nothing is held"),
        ],
    )
    def test_residual_networks_survive_a_kill(self, recipe: Recipe, settings: Any, why: str) -> None:
        varied = vary(recipe, epochs=3, draw=(1,), **settings)
        whole, whole_context = run(varied)
        for checkpoint in whole_context.checkpoints[2::5]:  # in the search, before pruning, in retraining
            outcome, context = run(varied, checkpoint=checkpoint)
            assert_same_end(outcome, context, whole, whole_context)

    def test_the_phase_that_was_open_is_opened_again(self, recipe: Recipe) -> None:
        _, whole = run(recipe)
        _, context = run(recipe, checkpoint=whole.checkpoints[STEPS + 1])  # in the first step of epoch 2
        assert context.paths[:2] == ["search", "search/epoch-2"]
        _, context = run(recipe, checkpoint=whole.checkpoints[-3])
        assert context.paths[:2] == ["retrain", f"retrain/epoch-{EPOCHS}"]

    def test_a_checkpoint_taken_after_the_last_epoch_does_not_open_a_stage_again(self, recipe: Recipe) -> None:
        _, whole = run(recipe)
        _, context = run(recipe, checkpoint=whole.checkpoints[-1])
        assert context.paths == ["evaluate"]

    def test_another_torch_or_number_of_threads_is_refused_in_one_line(self, recipe: Recipe) -> None:
        _, whole = run(recipe)
        arrays, state = whole.checkpoints[3]
        changed = state.replace(f'"torch": "{torch.__version__}"', '"torch": "1.2.3"')
        with pytest.raises(UserError, match=r"torch 1\.2\.3, here [^\n]*$"):
            run(recipe, checkpoint=(arrays, changed))
        with pytest.raises(UserError, match="CPU threads 1, here 2"):
            run(vary(recipe, threads=2), checkpoint=(arrays, state))

    def test_other_images_under_the_same_name_are_refused(self, recipe: Recipe) -> None:
        _, whole = run(recipe)
        with pytest.raises(UserError, match="changed since the checkpoint"):
            run(vary(recipe, train_images=16), checkpoint=whole.checkpoints[3])


def top_level(context: FakeContext) -> List[str]:
    return [path for path, _ in itertools.groupby(p.split("/")[0] for p in context.paths)]


class TestSearch:
    def test_two_runs_of_one_recipe_are_equal_and_of_another_seed_are_not(self, recipe: Recipe) -> None:
        first, second, other = (run(r)[1] for r in (recipe, recipe, vary(recipe, seed=2)))
        assert first.checkpoint[1] == second.checkpoint[1]
        assert all(np.array_equal(v, second.checkpoint[0][n]) for n, v in first.checkpoint[0].items())
        assert not np.array_equal(first.masks[2], other.masks[2])

    def test_the_ticket_is_drawn_when_the_queue_is_full_and_the_search_ends_there(self, recipe: Recipe) -> None:
        outcome, context = run(recipe, due=False)
        assert outcome.ticket["found"] and outcome.ticket["epoch"] == 3
        assert context.paths.count("search/epoch-3/draw") == 1 and "search/epoch-4" not in context.paths
        assert [p for p in context.paths if p.startswith("retrain/epoch")] == ["retrain/epoch-4", "retrain/epoch-5"]
        assert top_level(context) == ["search", "checkpoint", "prune", "retrain", "checkpoint", "evaluate"]

    def test_a_mask_that_never_settles_gives_a_ticket_of_the_last_epoch_that_is_not_called_found(
        self, recipe: Recipe
    ) -> None:
        outcome, context = run(vary(recipe, epsilon=1e-9), due=False)
        assert (outcome.ticket["found"], outcome.ticket["epoch"]) == (False, EPOCHS)
        assert any("not settled" in note for note in outcome.notes)
        assert top_level(context) == ["search", "checkpoint", "prune", "evaluate"]  # no epoch remains to retrain
        assert any("retrain_epochs = 'full'" in note for note in outcome.notes)

    def test_distances_are_those_between_the_masks_of_consecutive_epochs(self, recipe: Recipe) -> None:
        outcome, context = run(recipe, due=False)
        masks, epochs, gammas = context.masks
        assert epochs == [1, 2, 3]
        expected = [hamming(a, b) / masks.shape[1] for a, b in zip(masks, masks[1:])]
        assert outcome.ticket["distances"] == [None, *expected]
        sizes = layer_sizes_of(build_model(recipe.model, 10))
        assert all(np.array_equal(m, draw_mask(g, recipe.prune_ratio, sizes)) for m, g in zip(masks, gammas))

    def test_the_draw_holds_the_check_and_nothing_else(self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        context = FakeContext(due=False)
        seen: List[Tuple[str, int, int]] = []
        push = Check.push

        def spied(check: Check) -> Any:
            before = context.calls
            result = push(check)
            seen.append((context.paths[-1], context.calls - before, len(context.ended)))
            return result

        monkeypatch.setattr(Check, "push", spied)
        EarlyBirdInherit(recipe).run(context)
        assert [(path, calls) for path, calls, _ in seen] == [(f"search/epoch-{n}/draw", 0) for n in (1, 2, 3)]
        assert [context.ended[ended] for *_, ended in seen] == [
            path for path, *_ in seen
        ]  # it ends before anything else

    def test_the_ticket_says_how_much_of_each_layer_is_kept(self, recipe: Recipe) -> None:
        ticket = run(vary(recipe, prune_ratio=0.3), due=False)[0].ticket
        assert ticket["channels"] == 528
        assert ticket["kept_channels"] == 528 - int(528 * 0.3) == sum(ticket["layer_kept"])
        assert min(ticket["layer_kept"]) >= 1

    @pytest.mark.parametrize(
        ("draw", "epoch", "searched"), [("final", EPOCHS, EPOCHS), ((2,), 2, 2), ((2, 4), 2, 4), ((4, 2), 4, 4)]
    )
    def test_a_draw_at_given_epochs_takes_the_first_one_listed(
        self, recipe: Recipe, draw: Any, epoch: int, searched: int
    ) -> None:
        outcome, context = run(vary(recipe, draw=draw), due=False)
        assert outcome.ticket["found"] and outcome.ticket["epoch"] == epoch
        assert context.masks[1] == list(range(1, searched + 1))

    def test_a_ticket_of_an_earlier_epoch_has_the_weights_of_that_epoch(self, recipe: Recipe) -> None:
        early = run(vary(recipe, draw=(2,)), due=False)[1].checkpoints[0]
        late = run(vary(recipe, draw=(2, 4)), due=False)[1].checkpoints[0]
        for name in (n for n in early[0] if n.startswith("model/")):
            assert np.array_equal(early[0][name], late[0][name]), name
        assert np.array_equal(early[0]["method/mask"], late[0]["method/mask"])

    def test_best_accuracy_draws_at_the_first_of_the_best_epochs(self, recipe: Recipe) -> None:
        outcome, context = run(vary(recipe, draw="best-accuracy"), due=False)
        seen = [value for name, value, where in context.metrics if name == "accuracy" and where["stage"] == "search"]
        assert len(seen) == EPOCHS
        assert outcome.ticket["epoch"] == 1 + int(np.argmax(seen))
        assert any("was chosen by the accuracy on the test images" in note for note in outcome.notes)

    def test_best_accuracy_without_an_accuracy_is_refused(self, recipe: Recipe) -> None:
        with pytest.raises(ConfigError, match="evaluate_every"):
            EarlyBirdInherit(vary(recipe, draw="best-accuracy", evaluate_every=EPOCHS + 1))

    def test_the_reference_pairs_include_the_untrained_mask(self, recipe: Recipe) -> None:
        outcome, _ = run(vary(recipe, pairs="reference", fifo_length=3), due=False)
        assert outcome.ticket["epoch"] == 2  # three masks: untrained, epoch 1, epoch 2
        assert None not in outcome.ticket["distances"]


class TestRetraining:
    def test_inheriting_goes_on_where_the_schedule_was_and_reinitialising_starts_anew(self, recipe: Recipe) -> None:
        _, inherit = run(recipe, EarlyBirdInherit, due=False)
        _, anew = run(recipe, EarlyBirdReinit, due=False)
        assert sum(p.startswith("retrain/epoch") for p in inherit.paths) == EPOCHS - 3
        assert [p for p in anew.paths if p.startswith("retrain/epoch")] == [
            f"retrain/epoch-{n + 1}" for n in range(EPOCHS)
        ]

    def test_full_retraining_of_an_inherited_ticket_takes_all_epochs(self, recipe: Recipe) -> None:
        _, context = run(vary(recipe, retrain_epochs="full"), due=False)
        assert sum(p.startswith("retrain/epoch") for p in context.paths) == EPOCHS

    def test_milestones_already_passed_are_applied_to_a_late_ticket(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rates: List[float] = []
        step = torch.optim.SGD.step
        monkeypatch.setattr(
            torch.optim.SGD,
            "step",
            lambda self, *a, **k: (rates.append(self.param_groups[0]["lr"]), step(self, *a, **k))[1],
        )
        run(recipe, due=False)
        # epochs 1 to 5; 2.5 and 3.75 of five are passed from the fourth and the fifth on
        assert rates[::STEPS] == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.001])

    @pytest.mark.parametrize(("pipeline", "inherits"), [(EarlyBirdInherit, True), (EarlyBirdReinit, False)])
    def test_retraining_begins_with_inherited_or_with_fresh_weights(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, pipeline: Any, inherits: bool
    ) -> None:
        begun: List[np.ndarray] = []
        open_stage = Trainer.open_stage

        def spied(trainer: Trainer, stage: str, epoch: int, model: torch.nn.Module, live: Any) -> None:
            begun.append(model.state_dict()["features.0.weight"].clone().numpy())
            open_stage(trainer, stage, epoch, model, live)

        monkeypatch.setattr(Trainer, "open_stage", spied)
        searched = run(recipe, pipeline, due=False)[1].checkpoints[0][0]
        kept = searched["model/features.0.weight"][searched["method/mask"][:8]]
        assert begun[0].shape == kept.shape
        assert np.array_equal(begun[0], kept) == inherits

    def test_l1_pulls_the_scales_down_in_retraining_too(self, recipe: Recipe) -> None:
        weak, strong = (run(vary(recipe, l1=l1, draw=(1,), learning_rate=0.01))[1].checkpoint[0] for l1 in (0.0, 1.0))
        names = [n for n in weak if n.startswith("model/features.1.weight")]
        assert all(np.abs(strong[n]).mean() < np.abs(weak[n]).mean() for n in names)


class TestResidualNetworks:
    def gamma_at_the_end(self, context: FakeContext) -> np.ndarray:
        names = build_model("resnet18-small", 10).norm_names()
        return np.concatenate([context.checkpoint[0][f"model/{name}.weight"] for name in names])

    @pytest.mark.parametrize("pipeline", [EarlyBirdInherit, EarlyBirdReinit])
    def test_what_is_masked_and_stays_is_zero_to_the_end(self, recipe: Recipe, pipeline: Any) -> None:
        outcome, context = run(vary(recipe, model="resnet18-small", draw=(1,)), pipeline)
        live = context.checkpoint[0]["method/live"]
        assert np.array_equal(self.gamma_at_the_end(context) != 0, live) and not live.all()
        assert any(note.startswith(f"{(~live).sum()} masked channels") for note in outcome.notes)

    def test_regrowing_lets_it_come_back_to_life(self, recipe: Recipe) -> None:
        _, held = run(vary(recipe, model="resnet18-small", draw=(1,)))
        _, context = run(vary(recipe, model="resnet18-small", draw=(1,), regrow=True))
        assert "method/live" not in context.checkpoint[0]
        masked = ~held.checkpoint[0]["method/live"]
        assert np.count_nonzero(self.gamma_at_the_end(context)[masked]) > masked.sum() / 2

    def test_grouped_masks_leave_nothing_behind_in_a_resnet(self, recipe: Recipe) -> None:
        grouped, context = run(vary(recipe, model="resnet50-small", draw=(1,), masks="grouped"))
        assert "method/live" not in context.checkpoint[0]
        per_layer, _ = run(vary(recipe, model="resnet50-small", draw=(1,)))
        assert grouped.flops["forward_pruned"] < per_layer.flops["forward_pruned"]

    def test_selecting_saves_arithmetic_in_a_preresnet(self, recipe: Recipe) -> None:
        keep, select = (
            run(vary(recipe, model="preresnet-small", draw=(1,), residual=residual))[0].flops["forward_pruned"]
            for residual in ("keep", "select")
        )
        assert select < keep

    def test_select_where_nothing_reads_a_stream_is_refused_before_any_training(self, recipe: Recipe) -> None:
        for model in ("vgg16-small", "resnet18-small"):
            with pytest.raises(ConfigError, match="no BatchNorm that reads a residual stream"):
                EarlyBirdInherit(vary(recipe, model=model, residual="select")).check()


class TestOutcome:
    def test_flops_are_those_of_the_images_really_processed(self, recipe: Recipe) -> None:
        outcome, _ = run(recipe, due=False)
        dense = forward_cost(build_model(recipe.model, 10))
        small = forward_cost(build_model(recipe.model, 10, outcome.ticket["layer_kept"]))
        flops = outcome.flops
        assert flops["forward_dense"] == 2 * dense.macs and flops["forward_pruned"] == 2 * small.macs
        assert flops["by_phase"]["search"]["flops"] == 3 * TRAIN * (6 * dense.macs - 2 * dense.first_layer_macs)
        assert flops["by_phase"]["retrain"]["flops"] == 2 * TRAIN * (6 * small.macs - 2 * small.first_layer_macs)
        assert flops["by_phase"]["evaluate"] == {
            "images": TEST,
            "forward_flops": 2 * small.macs,
            "flops": TEST * 2 * small.macs,
        }
        assert flops["total"] == flops["by_phase"]["search"]["flops"] + flops["by_phase"]["retrain"]["flops"]

    def test_repeating_the_draw_does_one_whole_check_on_the_scales_of_the_search(
        self, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outcome, context = run(recipe, due=False)
        seen: List[Any] = []
        push = Check.push
        monkeypatch.setattr(Check, "push", lambda self: seen.append(push(self)) or seen[-1])
        assert outcome.repeat_draw() is None
        (gamma, mask, verdict), last = seen[0], -1
        assert np.array_equal(gamma, context.masks[2][last]) and np.array_equal(mask, context.masks[0][last])
        assert verdict["distance"] == outcome.ticket["distances"][last]
        assert verdict["found"] == outcome.ticket["found"]

    def test_the_cost_of_a_check_knows_the_dense_network(self, recipe: Recipe) -> None:
        outcome, _ = run(recipe, due=False)
        assert outcome.draw_cost["parameters"] == sum(p.numel() for p in build_model(recipe.model, 10).parameters())
        assert set(outcome.draw_cost["paper_convention"]) == {"memory_fraction", "flops_fraction"}

    def test_the_best_accuracy_is_of_the_pruned_network_and_at_least_the_final_one(self, recipe: Recipe) -> None:
        outcome, context = run(recipe, due=False)
        retrained = [v for name, v, where in context.metrics if name == "accuracy" and where["stage"] == "retrain"]
        assert outcome.accuracy["best"] == max(retrained) >= outcome.accuracy["final"] == retrained[-1]
        assert outcome.accuracy["top5_final"] >= outcome.accuracy["final"]

    def test_progress_rises_to_the_whole(self, recipe: Recipe) -> None:
        for pipeline in (EarlyBirdInherit, EarlyBirdReinit):
            _, context = run(recipe, pipeline, due=False)
            assert context.fractions[-1] == pytest.approx(1.0)
            assert all(0 < fraction <= 1 for fraction in context.fractions)

    def test_a_ratio_that_empties_layers_is_refused_before_any_training(self, recipe: Recipe) -> None:
        context = FakeContext()
        with pytest.raises(ConfigError, match="each of its 13 layers keeps one"):
            EarlyBirdInherit(vary(recipe, prune_ratio=0.99)).run(context)
        assert context.paths == []


class TestRoundedWidths:
    def test_the_ticket_is_rounded_up_and_the_search_is_the_one_without(self, recipe: Recipe) -> None:
        plain, plain_context = run(recipe, due=False)
        outcome, context = run(vary(recipe, width_multiple=8), due=False)
        ticket = outcome.ticket
        assert (ticket["distances"], ticket["epoch"]) == (plain.ticket["distances"], plain.ticket["epoch"])
        assert all(np.array_equal(a, b) for a, b in zip(context.masks, plain_context.masks))
        assert ticket["layer_kept"] == [-(-kept // 8) * 8 for kept in plain.ticket["layer_kept"]]
        assert (
            ticket["drawn_channels"]
            == plain.ticket["kept_channels"]
            < ticket["kept_channels"]
            == sum(ticket["layer_kept"])
        )
        assert outcome.flops["forward_pruned"] > plain.flops["forward_pruned"]
        more = ticket["kept_channels"] - ticket["drawn_channels"]
        assert any(note.startswith(f"{more} masked channels came back") for note in outcome.notes)

    def test_a_killed_run_ends_with_the_same_bits(self, recipe: Recipe) -> None:
        varied = vary(recipe, width_multiple=8)
        whole, whole_context = run(varied)
        for checkpoint in whole_context.checkpoints[2::7]:
            outcome, context = run(varied, checkpoint=checkpoint)
            assert_same_end(outcome, context, whole, whole_context)
