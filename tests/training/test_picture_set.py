"""Batches of pictures: the same bits from any number of readers and from any step on, and readers that end when they should."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from picture_tree import write_tree

from ebbench.errors import DeviceError, DiskError
from ebbench.training.data.batches import augmented_batches, epoch_plan, plain_batches
from ebbench.training.data.pictures.read import IMAGENET_MEAN, IMAGENET_STD, read_pictures
from ebbench.training.data.pictures.views import draw_key, evaluation_view, training_view

MOMENTS = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
EPOCH = {"seed": 1, "phase": "train", "epoch": 3, **MOMENTS}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("pictures") / "tree", train=9)


@pytest.fixture(scope="module")
def pictures(tree):
    found = read_pictures(tree, 32, workers=2)
    yield found
    found.train.readers.close()


def normalised(squares):
    x = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return ((x - mean) / std).float()


def test_each_picture_is_seen_as_the_plan_and_the_key_say(tree, pictures):
    order = epoch_plan(27, seed=1, phase="train", epoch=3)[0]
    key = draw_key(1, "train", 3)
    steps, images, labels = zip(*augmented_batches(pictures.train, 5, **EPOCH))
    assert steps == (0, 1, 2, 3, 4, 5)
    assert [len(y) for y in labels] == [5, 5, 5, 5, 5, 2]
    files = [pictures.train.names[n] for n in order]
    assert [f"c{y}" for y in torch.cat(labels).tolist()] == [name.split("/")[1] for name in files]
    squares = [training_view((tree / name).read_bytes(), 32, key, int(n)) for n, name in zip(order, files)]
    torch.testing.assert_close(torch.cat(images), normalised(squares), rtol=1e-5, atol=1e-5)


def test_an_evaluation_sees_the_middles_in_order(tree, pictures):
    images, labels = zip(*plain_batches(pictures.val, 4, **MOMENTS))
    assert torch.cat(labels).tolist() == [0] * 3 + [1] * 3 + [2] * 3
    squares = [evaluation_view((tree / name).read_bytes(), 32) for name in pictures.val.names]
    torch.testing.assert_close(torch.cat(images), normalised(squares), rtol=1e-5, atol=1e-5)


def test_without_augmentation_the_middles_come_in_random_order(tree, pictures):
    order = epoch_plan(27, seed=1, phase="train", epoch=3)[0]
    squares = [evaluation_view((tree / pictures.train.names[n]).read_bytes(), 32) for n in order]
    seen = torch.cat([x for _, x, _ in augmented_batches(pictures.train, 5, augment=False, **EPOCH)])
    torch.testing.assert_close(seen, normalised(squares), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_readers_changes_no_bit(tree, pictures, workers):
    others = read_pictures(tree, 32, workers=workers)
    whole, again = (list(augmented_batches(part.train, 10, **EPOCH)) for part in (pictures, others))
    others.train.readers.close()
    assert all(torch.equal(x, x2) and torch.equal(y, y2) for (_, x, y), (_, x2, y2) in zip(whole, again))


@pytest.mark.parametrize("start", range(7))
def test_an_epoch_goes_on_from_any_step(pictures, start):
    whole = list(augmented_batches(pictures.train, 5, **EPOCH))
    rest = list(augmented_batches(pictures.train, 5, start_step=start, **EPOCH))
    assert [step for step, _, _ in rest] == list(range(start, 6))
    assert all(torch.equal(x, x2) and torch.equal(y, y2) for (_, x, y), (_, x2, y2) in zip(whole[start:], rest))


def test_an_epoch_that_is_left_early_spoils_none_after_it(pictures):
    whole = list(augmented_batches(pictures.train, 5, **EPOCH))
    for _ in range(3):
        left = augmented_batches(pictures.train, 5, **{**EPOCH, "epoch": 9})
        next(left)
        left.close()
        again = list(augmented_batches(pictures.train, 5, **EPOCH))
        assert all(torch.equal(x, x2) for (_, x, _), (_, x2, _) in zip(whole, again))


def test_memory_is_that_of_three_batches_and_the_readers_know_no_torch(pictures):
    list(augmented_batches(pictures.train, 9, **EPOCH))
    readers = pictures.train.readers
    assert len(readers.memory) == 3 * 9 * 32 * 32 * 3
    assert len(readers.pids) == 2
    for pid in readers.pids:
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()


def test_a_picture_that_vanishes_stops_the_run_with_its_name_and_the_way_on(tmp_path):
    tree = write_tree(tmp_path / "tree")
    found = read_pictures(tree, 32)
    (tree / "train/c1/3.jpg").unlink()
    with pytest.raises(DiskError, match=r"cannot be read now: .*c1/3\.jpg: .*No such file.* --resume") as fault:
        list(augmented_batches(found.train, 5, **EPOCH))
    assert "\n" not in str(fault.value)
    assert found.train.readers.pids == []


def test_a_reader_that_is_killed_is_said_and_the_next_epoch_has_new_ones(pictures):
    batches = augmented_batches(pictures.train, 2, **EPOCH)
    next(batches)
    for pid in pictures.train.readers.pids:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(DeviceError, match=r"a process that reads images ended \(signal 9\)"):
        list(batches)
    assert len(list(augmented_batches(pictures.train, 5, **EPOCH))) == 6


def test_readers_end_when_nobody_has_them_any_more(tree):
    found = read_pictures(tree, 32)
    next(augmented_batches(found.train, 5, **EPOCH))
    list(augmented_batches(found.train, 5, **EPOCH))
    (pid,) = found.train.readers.pids
    del found
    assert not Path(f"/proc/{pid}").exists()


PARENT = """
import os, signal, sys
from pathlib import Path
from ebbench.training.data.pictures.read import read_pictures
from ebbench.training.data.batches import augmented_batches
train = read_pictures(Path(sys.argv[1]), 32, workers=3).train
next(augmented_batches(train, 2, seed=1, phase="train", epoch=1, mean=(0, 0, 0), std=(1, 1, 1)))
rest = augmented_batches(train, 2, seed=1, phase="train", epoch=2, mean=(0, 0, 0), std=(1, 1, 1))
next(rest)
print(*train.readers.pids, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_readers_end_with_a_parent_that_is_killed(tree):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", PARENT, str(tree)], env=environment, stdout=subprocess.PIPE, text=True
    )
    pids = [int(pid) for pid in found.stdout.split()]
    assert (found.returncode, len(pids)) == (-9, 3)
    until_s = time.monotonic() + 30
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < until_s
        time.sleep(0.01)


def _lives(pid):
    """A process that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
