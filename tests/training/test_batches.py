import numpy as np
import pytest
import torch

from ebbench.training.data.batches import (
    PAD,
    augmented_batches,
    crop_and_mirror,
    epoch_plan,
    plain_batches,
    steps_per_epoch,
)
from ebbench.training.data.datasets import ImageSet

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)
PINNED = [[0, 2, 5, 1, 4, 3], [6, 7, 1, 8, 6, 1], [4, 5, 4, 4, 7, 3], [0, 0, 0, 1, 1, 0]]


def numbered(count=23, side=8):
    """Images whose every pixel differs, so that any wrong index shows."""
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 3, side, side), dtype=np.uint8))
    return ImageSet(images, torch.arange(count))


def batches(imageset, **changes):
    settings = dict(seed=1, phase="search", epoch=3, mean=MEAN, std=STD, augment=True)
    return list(augmented_batches(imageset, 5, **{**settings, **changes}))


def test_an_epoch_shows_every_image_once_and_the_last_batch_may_be_short():
    steps, images, labels = zip(*batches(numbered()))
    assert steps == (0, 1, 2, 3, 4)
    assert [len(y) for y in labels] == [5, 5, 5, 5, 3]
    assert sorted(torch.cat(labels).tolist()) == list(range(23))
    assert steps_per_epoch(23, 5) == 5
    assert all(x.dtype == torch.float32 and y.dtype == torch.int64 for x, y in zip(images, labels))


@pytest.mark.parametrize("start", range(6))
def test_an_epoch_can_be_resumed_at_any_step(start):
    whole = batches(numbered())
    rest = batches(numbered(), start_step=start)
    assert len(rest) == 5 - start
    for (s, x, y), (rs, rx, ry) in zip(whole[start:], rest):
        assert s == rs
        assert torch.equal(x, rx)
        assert torch.equal(y, ry)


@pytest.mark.parametrize("change", [{"seed": 2}, {"phase": "retrain"}, {"epoch": 4}])
def test_another_seed_phase_or_epoch_is_another_order(change):
    one, other = (torch.cat([y for _, _, y in found]) for found in (batches(numbered()), batches(numbered(), **change)))
    assert not torch.equal(one, other)


def test_batches_leave_the_global_generators_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    batches(numbered())
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)


def test_each_image_is_cropped_and_mirrored_as_the_plan_says():
    imageset = numbered()
    order, top, left, mirrored = epoch_plan(23, seed=1, phase="search", epoch=3)
    padded = np.pad(imageset.images.numpy(), ((0, 0), (0, 0), (PAD, PAD), (PAD, PAD)))
    mean, std = (np.array(v).reshape(3, 1, 1) for v in (MEAN, STD))
    place = 0
    for _, x, _ in batches(imageset):
        for image in x.numpy():
            wanted = padded[order[place], :, top[place] : top[place] + 8, left[place] : left[place] + 8]
            if mirrored[place]:
                wanted = wanted[:, :, ::-1]
            np.testing.assert_allclose(image, (wanted / 255 - mean) / std, rtol=1e-5, atol=1e-5)
            place += 1
    assert place == 23


def test_the_border_is_black_before_normalisation():
    white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    corner = crop_and_mirror(white, torch.tensor([0]), torch.tensor([0]), torch.tensor([0]))
    assert (corner[:, :, :PAD] == 0).all()
    assert (corner[:, :, :, :PAD] == 0).all()
    assert (corner[:, :, PAD:, PAD:] == 255).all()


def test_crops_and_mirrorings_are_evenly_spread():
    _, top, left, mirrored = epoch_plan(90_000, seed=1, phase="search", epoch=1)
    for offsets in (top, left):
        assert np.bincount(offsets, minlength=9).shape == (9,)
        assert abs(np.bincount(offsets) - 10_000).max() < 500  # five standard deviations
    assert abs(mirrored.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(np.stack([top, left, mirrored]))[np.triu_indices(3, 1)]).max() < 0.02


def test_the_plan_is_the_same_everywhere():
    plan = epoch_plan(6, seed=1, phase="search", epoch=1)
    assert plan.dtype == np.int64
    assert plan.tolist() == PINNED


def test_without_augmentation_only_the_order_changes():
    imageset = numbered()
    for _, x, y in batches(imageset, augment=False):
        assert torch.equal(x, next(plain_batches(ImageSet(imageset.images[y], y), 5, mean=MEAN, std=STD))[0])


def test_plain_batches_keep_the_order_and_normalise():
    imageset = numbered()
    images, labels = zip(*plain_batches(imageset, 5, mean=MEAN, std=STD))
    assert torch.equal(torch.cat(labels), imageset.labels)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    torch.testing.assert_close(torch.cat(images), (imageset.images.float() / 255 - mean) / std)
