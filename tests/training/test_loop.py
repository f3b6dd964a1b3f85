"""The loop against the textbook, and what stops it."""

from __future__ import annotations

import dataclasses
from typing import Any, List

import pytest
import torch
import torch.nn.functional as F
from noise import write_noise

from ebbench.config import Recipe
from ebbench.errors import ConfigError, RunFailed
from ebbench.testing import FakeContext
from ebbench.training import feed, layout, loop, recipe_check
from ebbench.training.data.batches import augmented_batches
from ebbench.training.layout import CHANNELS_LAST, CONTIGUOUS, MEMORY_FORMATS
from ebbench.training.loop import Trainer
from ebbench.training.models import MODELS, empty_model
from ebbench.training.recipe_check import refuse_misfits
from ebbench.training.schedule import learning_rate

BATCH, IMAGES = 8, 20


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    dataset = write_noise(tmp_path_factory.mktemp("data"), train=IMAGES, test=IMAGES, seed=11)
    return Recipe(model="vgg16-small", dataset=dataset, epochs=4, batch_size=BATCH, l1=1e-2)


def trainer_of(recipe: Recipe, **settings: Any) -> Trainer:
    return Trainer(recipe, FakeContext(**{"due": False, **settings}), "train")


def textbook_training(trainer: Trainer, epochs: int) -> torch.nn.Module:
    """v = m v + (grad + decay w + l1 sign(gamma)); w = w - rate v parameter by parameter."""
    recipe, data = trainer.recipe, trainer.dataset
    model = trainer.dense_model()
    gammas = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)}
    velocity = {p: torch.zeros_like(p) for p in model.parameters()}
    for epoch in range(epochs):
        rate = 0.1 if epoch < 2 else 0.01 if epoch < 3 else 0.001
        for _, x, y in augmented_batches(
            data.train, BATCH, seed=recipe.seed, phase="train", epoch=epoch, mean=data.mean, std=data.std
        ):
            gradients = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
            with torch.no_grad():
                for p, gradient in zip(model.parameters(), gradients):
                    pull = recipe.l1 * torch.sign(p) if id(p) in gammas else 0.0
                    velocity[p] = recipe.momentum * velocity[p] + gradient + recipe.weight_decay * p + pull
                    p -= rate * velocity[p]
    return model


def test_a_training_is_the_textbooks(recipe: Recipe):
    # one step an epoch: no time for chaos; a decay that shows
    few_steps = dataclasses.replace(recipe, train_images=BATCH, weight_decay=0.5)
    trainer = trainer_of(few_steps)
    trainer.train_until(4, l1=few_steps.l1)
    expected = textbook_training(trainer, 4).state_dict()
    for name, value in trainer.model.state_dict().items():
        scale = expected[name].double().abs().max() + 1e-12
        assert ((value.double() - expected[name].double()).abs().max() / scale) < 1e-2, name


def test_the_loss_that_is_told_is_the_mean_over_the_epochs_steps(recipe: Recipe, monkeypatch: pytest.MonkeyPatch):
    losses: List[float] = []
    cross_entropy = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", lambda x, y: (losses.append(cross_entropy(x, y)), losses[-1])[1])
    context = FakeContext(due=False)
    Trainer(recipe, context, "train").train_epoch(0.0)
    (_, value, where) = context.metrics[0]
    assert value == pytest.approx(float(torch.stack(losses).mean().detach()))
    assert where == {"epoch": 1, "stage": "train"}


def test_the_rate_falls_at_the_start_of_epochs_80_and_120_of_160():
    rates = [learning_rate(Recipe(), epoch) for epoch in (0, 79, 80, 119, 120, 159)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_thirds_of_ninety_epochs_are_thirty_and_sixty():
    recipe = Recipe(epochs=90, milestones=(1 / 3, 2 / 3))
    assert [learning_rate(recipe, epoch) for epoch in (29, 30, 59, 60)] == pytest.approx([0.1, 0.01, 0.01, 0.001])


def test_a_loss_that_is_not_a_number_ends_the_run_and_names_the_step(recipe: Recipe, monkeypatch: pytest.MonkeyPatch):
    trainer = trainer_of(recipe)
    plant_nan(trainer, monkeypatch, at_call=5)  # epochs have three steps
    trainer.train_epoch(0.0)
    with pytest.raises(RunFailed, match=r"^the loss is nan at train epoch 2, step 2 of 3: .*lower learning_rate$"):
        trainer.train_epoch(0.0)


def test_a_broken_loss_is_seen_within_fifty_steps_and_not_looked_for_at_every_step(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
):
    trainer = trainer_of(dataclasses.replace(recipe, batch_size=2))
    monkeypatch.setattr(loop, "LOOK_EVERY_STEPS", 4)
    calls = plant_nan(trainer, monkeypatch, at_call=2)
    with pytest.raises(RunFailed, match="step 2 of 10"):
        trainer.train_epoch(0.0)
    assert len(calls) == 4


def test_a_broken_loss_before_a_checkpoint_is_still_seen_after_resuming(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
):
    context = FakeContext()
    trainer = Trainer(recipe, context, "train")
    plant_nan(trainer, monkeypatch, at_call=1)
    with pytest.raises(RunFailed):
        trainer.train_epoch(0.0)
    with pytest.raises(RunFailed, match="epoch 1, step 1"):
        trainer_of(recipe, checkpoint=context.checkpoints[0]).train_epoch(0.0)


def plant_nan(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, at_call: int) -> List[int]:
    calls: List[int] = []
    step = trainer._train_step

    def planted(*args: Any) -> torch.Tensor:
        calls.append(1)
        loss = step(*args)
        return loss * float("nan") if len(calls) == at_call else loss

    monkeypatch.setattr(trainer, "_train_step", planted)
    return calls


def test_nothing_but_the_epoch_is_open_while_training_and_its_end_is_inside(recipe: Recipe):
    context = FakeContext(due=False)
    trainer = Trainer(recipe, context, "train")
    ended: List[Any] = []
    trainer.train_epoch(0.0, at_end=lambda number: ended.append((number, list(context.paths), list(context.ended))))
    assert ended == [(1, ["epoch-1"], [])]
    assert context.ended == ["epoch-1"]


def test_a_retrained_network_sees_other_batches_than_the_search_and_dense_the_same(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
):
    phases: List[str] = []
    monkeypatch.setattr(
        feed, "augmented_batches", lambda *a, **k: (phases.append(k["phase"]), augmented_batches(*a, **k))[1]
    )
    for stage in ("train", "search", "retrain"):
        Trainer(recipe, FakeContext(due=False), stage).train_epoch(0.0)
    assert phases == ["train", "train", "retrain"]


def test_the_layout_goes_by_a_rule_where_runs_are_to_repeat_and_by_a_stopwatch_where_not(recipe: Recipe):
    context = FakeContext(due=False)
    Trainer(recipe, context, "train")
    assert context.marks[0][1]["by"] == "rule" and context.paths == []
    context = FakeContext(due=False)
    Trainer(dataclasses.replace(recipe, deterministic=False), context, "train")
    assert context.marks[0][1]["by"] == "timing" and context.paths == ["warmup"]


@pytest.mark.parametrize("order", [CONTIGUOUS, CHANNELS_LAST])
def test_timing_the_layouts_leaves_no_trace_in_the_weights(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, order: str):
    monkeypatch.setattr(layout, "layout_by_rule", lambda *a: order)
    timed, ruled = (trainer_of(dataclasses.replace(recipe, deterministic=flag)) for flag in (False, True))
    for name, value in timed.model.state_dict().items():
        assert torch.equal(value, ruled.model.state_dict()[name]), name
    assert ruled.model.features[0].weight.is_contiguous(memory_format=MEMORY_FORMATS[order])


@pytest.mark.parametrize("order", [CONTIGUOUS, CHANNELS_LAST])
def test_resuming_in_either_layout_gives_the_same_bits(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, order: str):
    monkeypatch.setattr(layout, "layout_by_rule", lambda *a: order)
    whole = FakeContext()
    Trainer(recipe, whole, "train").train_until(2, l1=recipe.l1)
    monkeypatch.setattr(layout, "layout_by_rule", lambda *a: "not asked again")
    for checkpoint in whole.checkpoints[:-1]:
        context = FakeContext(checkpoint=checkpoint)
        Trainer(recipe, context, "train").train_until(2, l1=recipe.l1)
        for name, value in whole.checkpoint[0].items():
            assert context.checkpoint[0][name].tobytes() == value.tobytes(), name


def test_images_that_do_not_fit_the_network_are_refused_before_any_training(tmp_path: Any, recipe: Recipe):
    wide = write_noise(tmp_path, side=28)
    context = FakeContext()
    with pytest.raises(ConfigError, match=r"takes images of 3 x 32 x 32, dataset .* has 3 x 28 x 28"):
        Trainer(dataclasses.replace(recipe, dataset=wide), context, "train")
    assert context.calls == 0


def test_labels_outside_the_classes_are_refused(recipe: Recipe):
    trainer = trainer_of(recipe)
    few = dataclasses.replace(trainer.dataset, num_classes=5)
    with pytest.raises(ConfigError, match=r"has labels 0\.\.9; 5 classes need 0\.\.4"):
        refuse_misfits(recipe, few, trainer.model)


def test_a_ratio_that_leaves_a_layer_nothing_is_refused_with_the_largest_that_does_not(recipe: Recipe):
    trainer = trainer_of(recipe)
    for ratio, fits in ((515 / 528, True), (516.5 / 528, False)):
        changed = dataclasses.replace(recipe, method="eb-ff", prune_ratio=ratio)
        if fits:
            refuse_misfits(changed, trainer.dataset, trainer.model)
        else:
            with pytest.raises(ConfigError, match=r"take at most 0\.975"):
                refuse_misfits(changed, trainer.dataset, trainer.model)


@pytest.mark.parametrize("masks", ["per-layer", "grouped"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_largest_ratio_that_is_named_would_be_accepted(recipe: Recipe, name: str, masks: str):
    model = empty_model(name, 10)
    too_much = dataclasses.replace(recipe, method="eb-ff", model=name, masks=masks, prune_ratio=0.9999)
    (fault,) = recipe_check._pruning_faults(too_much, model)
    named = float(fault.rpartition(" ")[2])
    assert 0.9 < named < 1
    assert not list(recipe_check._pruning_faults(dataclasses.replace(too_much, prune_ratio=named), model))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # it says that it may overlook some
def test_on_a_gpu_no_step_waits_for_it_and_two_runs_are_equal(recipe: Recipe, monkeypatch: pytest.MonkeyPatch):
    step = Trainer._train_step

    def watched(*args: Any) -> torch.Tensor:
        try:
            torch.cuda.set_sync_debug_mode("error")
            return step(*args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(FakeContext, "device", "cuda:0")
    monkeypatch.setattr(Trainer, "_train_step", watched)
    weights = []
    for _ in range(2):
        trainer = trainer_of(recipe)
        trainer.train_until(2, l1=recipe.l1)
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
