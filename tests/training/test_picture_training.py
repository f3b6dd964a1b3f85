"""Training on a folder of pictures: it learns, ends with the same bits from every checkpoint, and refuses what does not fit."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from conductor import only_run, record, weights, write_experiment
from picture_tree import write_tree

from ebbench.config import Recipe
from ebbench.early_bird.search import EarlyBirdInherit
from ebbench.errors import ConfigError, UserError
from ebbench.testing import FakeContext, Killed
from ebbench.training import recipe_check
from ebbench.training.loop import Trainer
from ebbench.training.recipe_check import check_recipe


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("pictures") / "tree", train=14, val=5)


@pytest.fixture
def recipe(tree):
    return Recipe(
        method="eb-ff", model="vgg16-small", dataset=f"imagefolder:{tree}", image_size=32, workers=1, epochs=4, batch_size=8,
        epsilon=0.9, fifo_length=2, learning_rate=0.02,
    )  # fmt: skip


def test_from_every_checkpoint_and_with_any_number_of_readers_it_ends_with_the_same_bits(recipe):
    whole = FakeContext()
    outcome = EarlyBirdInherit(recipe).run(whole)
    context, deaths = FakeContext(die_at=71), 0
    while True:
        try:
            again = EarlyBirdInherit(dataclasses.replace(recipe, workers=1 + deaths % 3)).run(context)
            break
        except Killed:
            deaths += 1
            context = context.resumed(die_at=71)
    assert deaths > 1
    arrays, others = whole.checkpoint[0], context.checkpoint[0]
    assert set(arrays) == set(others)
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays)
    assert again.accuracy == outcome.accuracy
    assert again.flops == outcome.flops


def test_a_training_learns_the_colours(recipe):
    trainer = Trainer(dataclasses.replace(recipe, epochs=8), FakeContext(due=False), "train")
    trainer.train_until(8, l1=0.0)
    found = trainer.evaluate()
    assert found.images == 15
    assert found.top1 > 0.8  # chance is a third
    assert found.top5 is None


def test_what_was_left_out_is_in_the_notes_in_a_mark_and_said_once(recipe, tmp_path, capsys):
    tree = write_tree(tmp_path / "tree", train=6)
    (tree / "train/c0/list.txt").write_text("a stray")
    recipe = dataclasses.replace(recipe, dataset=f"imagefolder:{tree}")
    context, note = FakeContext(), "1 files or folders that are no images of a class were passed over"
    check_recipe(recipe)
    trainer = Trainer(recipe, context, "train")
    assert capsys.readouterr().err == note + "\n"
    assert note in trainer.notes()
    assert ("images", {"notes": [note]}) in context.marks


def test_a_size_that_the_network_does_not_take_is_refused_before_the_data_are_looked_at(recipe, monkeypatch):
    monkeypatch.setattr(recipe_check, "load_dataset", None)
    with pytest.raises(ConfigError, match="image_size = 64, but model 'vgg16-small' takes 32 x 32 pixels"):
        check_recipe(dataclasses.replace(recipe, image_size=64))


def test_without_a_size_it_is_the_networks(recipe):
    trainer = Trainer(dataclasses.replace(recipe, image_size=None), FakeContext(), "train")
    assert trainer.dataset.image_shape == (3, 32, 32)


def test_a_size_for_images_that_have_one_is_refused():
    with pytest.raises(
        ConfigError, match="image_size = 32 is for imagefolder:DIR and imagenet; 'cifar10' has images of one size"
    ):
        Recipe(dataset="cifar10", image_size=32)


def test_another_decoder_does_not_go_on(recipe):
    context = FakeContext()
    Trainer(recipe, context, "train").checkpoint()
    arrays, document = context.load_checkpoint()
    context.save_checkpoint(arrays, {**document, "decoder": "Pillow 7.0.0, libjpeg 6.2"})
    with pytest.raises(UserError, match=r"written with Pillow 7\.0\.0, libjpeg 6\.2, here is Pillow"):
        Trainer(recipe, context.resumed(), "train")


def test_other_images_do_not_go_on(recipe, tmp_path):
    tree = write_tree(tmp_path / "tree")
    recipe = dataclasses.replace(recipe, dataset=f"imagefolder:{tree}")
    context = FakeContext()
    Trainer(recipe, context, "train").checkpoint()
    (tree / "train/c0/0.jpg").write_bytes((tree / "train/c0/1.jpg").read_bytes())
    with pytest.raises(UserError, match="changed since the checkpoint was written"):
        Trainer(recipe, context.resumed(), "train")


def test_a_run_that_is_killed_within_an_epoch_ends_with_the_same_weights(tree, tmp_path, nursery):
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        path = write_experiment(folder, checkpoint_s=0.001)
        text = path.read_text().replace('"synthetic"', f'"imagefolder:{tree}"\nworkers = 2')
        path.write_text(text.replace("images = 96", "images = 40").replace("images = 32", "images = 12"))
    code, _, printed = nursery.call("run", "small.toml", "--out", "runs", cwd=folders[0])
    assert code == 0, printed
    moment = {"after": "begin search/epoch-2/checkpoint", "times": 2}
    code, _, printed = nursery.call("run", "small.toml", "--out", "runs", cwd=folders[1], moment=moment)
    assert code == -9, printed
    code, _, printed = nursery.call("run", "small.toml", "--out", "runs", "--resume", cwd=folders[1])
    assert code == 0, printed
    whole, killed = (only_run(folder / "runs") for folder in folders)
    assert weights(killed) == weights(whole)
    assert record(killed)["accuracy"] == record(whole)["accuracy"]
    assert record(killed)["energy"]["redone_j"] > 0
