"""Trainings of which a few epochs are measured: what is trained, what is counted, what is claimed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from noise import write_noise

from ebbench.config import Recipe
from ebbench.early_bird.search import EarlyBirdInherit, EarlyBirdReinit
from ebbench.testing import FakeContext
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.models import build_model
from ebbench_baselines.dense import DensePipeline

TRAIN, TEST, BATCH, EPOCHS, TICKET = 20, 10, 10, 12, 6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> str:
    return write_noise(tmp_path_factory.mktemp("data"), train=TRAIN, test=TEST)


@pytest.fixture
def recipe(dataset) -> Recipe:
    return Recipe(
        method="eb-ff",
        model="vgg16-small",
        dataset=dataset,
        epochs=EPOCHS,
        batch_size=BATCH,
        fifo_length=5,
        epsilon=1e-9,  # the mask never settles
        evaluate_every=3,
        measure_epochs=3,
        ticket_epoch=TICKET,
    )


def densely(recipe: Recipe, **settings) -> Recipe:
    """The same schedule, with none of a search's settings."""
    own = {"method": "dense", "ticket_epoch": None, "epsilon": Recipe.epsilon}
    return dataclasses.replace(recipe, **{**own, **settings})


def run(pipeline, recipe, **options):
    context = FakeContext(**options)
    return pipeline(recipe).run(context), context


def epochs_of(context, stage):
    return [int(p.rsplit("-", 1)[1]) for p in context.paths if p.startswith(f"{stage}/epoch-") and p.count("/") == 1]


def stages_of(context):
    return {values["path"]: values for name, values in context.marks if name == "stage"}


def test_of_each_stage_one_epoch_settles_and_the_asked_number_is_measured(recipe):
    _, context = run(EarlyBirdInherit, dataclasses.replace(recipe, epochs=30))
    assert epochs_of(context, "search") == [1, 2, 3, 4]
    assert epochs_of(context, "retrain") == [
        TICKET + 1,
        TICKET + 2,
        TICKET + 3,
        TICKET + 4,
    ]  # where the schedule has them
    stages = stages_of(context)
    assert stages["search"] == {"path": "search", "epochs": TICKET, "trained": 4, "evaluations": 2, "first": 0}
    # evaluations after epochs 9, 12 .. 27 of the retraining; the one after epoch 30 is the run's last, in no stage
    assert stages["retrain"] == {"path": "retrain", "epochs": 24, "trained": 4, "evaluations": 7, "first": TICKET}


def test_dense_training_counts_the_flops_of_its_whole_schedule(recipe):
    dense = densely(recipe)
    cut, _ = run(DensePipeline, dense)
    whole, _ = run(DensePipeline, dataclasses.replace(dense, measure_epochs=None))
    assert cut.flops == whole.flops
    assert cut.flops["total"] == EPOCHS * TRAIN * forward_cost(build_model("vgg16-small", 10)).training_flops()


@pytest.mark.parametrize("pipeline", [EarlyBirdInherit, EarlyBirdReinit])
def test_early_bird_training_counts_the_images_that_a_whole_run_processes(recipe, pipeline):
    cut, _ = run(pipeline, recipe)
    whole, _ = run(pipeline, dataclasses.replace(recipe, measure_epochs=None, ticket_epoch=None, draw=(TICKET,)))
    counted = [{path: part["images"] for path, part in outcome.flops["by_phase"].items()} for outcome in (cut, whole)]
    assert counted[0] == counted[1]


def test_no_accuracy_of_a_training_cut_short_is_given(recipe):
    outcome, _ = run(EarlyBirdInherit, recipe)
    assert outcome.accuracy == {"final": None, "best": None, "top5_final": None}


def test_the_ticket_says_that_its_epoch_is_assumed(recipe):
    outcome, context = run(EarlyBirdInherit, recipe)
    ticket = outcome.ticket
    assert (ticket["epoch"], ticket["found"], ticket["assumed"], ticket["searched_epochs"]) == (TICKET, None, True, 4)
    assert len(ticket["distances"]) == 4
    assert ticket["kept_channels"] == context.masks[0][-1].sum()  # the mask after the last epoch that was searched
    assert any("is an assumption" in note for note in outcome.notes)


def test_a_search_that_settles_by_itself_needs_no_assumption(recipe):
    settling = dataclasses.replace(recipe, epsilon=0.99, fifo_length=2)
    outcome, context = run(EarlyBirdInherit, settling)
    assert (outcome.ticket["epoch"], outcome.ticket["found"], outcome.ticket["assumed"]) == (3, True, False)
    assert stages_of(context)["search"]["epochs"] == stages_of(context)["search"]["trained"] == 3


@pytest.mark.parametrize(
    ("draw", "epoch", "assumed"),
    [((2, 9), 2, False), ((9,), 9, True), ("final", EPOCHS, True), ("best-accuracy", TICKET, True)],
)
def test_other_draws_have_the_epochs_that_their_schedule_says(recipe, draw, epoch, assumed):
    ticket_epoch = TICKET if draw == "best-accuracy" else None
    outcome, context = run(EarlyBirdReinit, dataclasses.replace(recipe, draw=draw, ticket_epoch=ticket_epoch))
    assert (outcome.ticket["epoch"], outcome.ticket["assumed"]) == (epoch, assumed)
    assert stages_of(context)["search"]["epochs"] == (9 if isinstance(draw, tuple) else EPOCHS)


def test_a_stage_whose_evaluations_lie_beyond_the_measured_epochs_is_evaluated_once(recipe):
    _, context = run(DensePipeline, densely(recipe, evaluate_every=5))
    assert context.paths.count("train/evaluate") == 1
    assert stages_of(context)["train"]["evaluations"] == 2


def test_a_schedule_no_longer_than_what_is_measured_is_trained_whole(recipe):
    outcome, context = run(DensePipeline, densely(recipe, epochs=4))
    assert epochs_of(context, "train") == [1, 2, 3, 4] and outcome.accuracy["final"] is not None


@pytest.mark.parametrize("pipeline", [DensePipeline, EarlyBirdInherit, EarlyBirdReinit])
def test_from_every_checkpoint_the_end_is_the_same(recipe, pipeline):
    whole, whole_context = run(pipeline, recipe)
    for checkpoint in whole_context.checkpoints[::3]:
        outcome, context = run(pipeline, recipe, checkpoint=checkpoint)
        assert (outcome.flops, outcome.ticket, outcome.accuracy) == (whole.flops, whole.ticket, whole.accuracy)
        assert stages_of(context).items() <= stages_of(whole_context).items()


def test_the_fraction_that_is_shown_grows_to_one(recipe):
    _, context = run(EarlyBirdInherit, dataclasses.replace(recipe, epochs=60))
    assert context.fractions == sorted(context.fractions)
    assert context.fractions[-1] == pytest.approx(1.0)
    assert np.diff([0.0, *context.fractions]).max() < 0.3
