"""Which images a network is fed with, and in which order."""

from __future__ import annotations

import pytest
import torch
from noise import write_noise

from ebbench.config import Recipe
from ebbench.training.feed import Feed
from ebbench.training.recipe_check import data_of

BATCH, IMAGES = 8, 20


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    dataset = write_noise(tmp_path_factory.mktemp("data"), train=IMAGES, test=5, seed=11)
    return Recipe(model="vgg16-small", dataset=dataset, batch_size=BATCH)


@pytest.fixture
def feed(recipe):
    return Feed(data_of(recipe), recipe, "cpu")


def labels_of(batches):
    return torch.cat([batch[-1] for batch in batches])


def test_an_epoch_is_all_training_images_once_and_goes_on_where_it_was_left(feed):
    whole = list(feed.epoch("train", 3))
    assert [step for step, _, _ in whole] == list(range(feed.steps)) == [0, 1, 2]
    assert labels_of(whole).sort().values.tolist() == feed.train.labels.sort().values.tolist()
    for (_, x, y), (_, again_x, again_y) in zip(whole[1:], feed.epoch("train", 3, start_step=1)):
        assert torch.equal(x, again_x) and torch.equal(y, again_y)


def test_what_is_held_out_is_in_no_batch_until_all_are_taken_again(feed):
    held = feed.hold_out(9)
    assert (len(held), feed.steps, len(labels_of(feed.epoch("train", 0)))) == (9, 2, 11)
    feed.take_all()
    assert (feed.steps, len(labels_of(feed.epoch("train", 0)))) == (3, IMAGES)


def test_some_are_as_many_as_were_asked_for_and_the_first_of_an_epoch(feed):
    some = list(feed.some(11, phase="look", number=2, batch_size=BATCH, augment=True))
    assert [len(y) for _, y in some] == [8, 3]
    assert torch.equal(labels_of(some), labels_of(feed.epoch("look", 2))[:11])


def test_every_batch_is_in_the_memory_layout_of_the_run(feed):
    feed.memory_format = torch.channels_last
    batches = [x for _, x, _ in feed.epoch("train", 0)]
    batches += [x for x, _ in feed.some(3, phase="look", number=0, batch_size=BATCH, augment=False)]
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in batches)
