"""What a training is said to store, against the checkpoints and masks that it really writes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from ebbench import plugins
from ebbench.config import Recipe
from ebbench.context import write_checkpoint
from ebbench.errors import DiskError
from ebbench.room import Room
from ebbench.rundir import RunDir
from ebbench.testing import FakeContext
from ebbench.training.models import build_model
from ebbench.training.pruning.mask_file import save_masks
from ebbench.training.stored import stored_bytes

QUICK = {"train_images": 32, "test_images": 16, "batch_size": 16, "epochs": 2, "dataset": "synthetic"}


class Weighed(FakeContext):
    """A context whose largest checkpoint and masks are weighed on the disk."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.bytes, self.mask_bytes = folder, 0, 0

    def save_checkpoint(self, arrays, state):
        super().save_checkpoint(arrays, state)
        path = self.folder / "checkpoint" / "state.npz"
        write_checkpoint(path, arrays, dict(state))
        self.bytes = max(self.bytes, path.stat().st_size)

    def save_masks(self, masks, epochs, gamma):
        super().save_masks(masks, epochs, gamma)
        save_masks(self.folder / "masks.npz", np.asarray(masks), epochs, gamma)
        self.mask_bytes = max(self.mask_bytes, (self.folder / "masks.npz").stat().st_size)


@pytest.mark.parametrize(
    "method, more",
    [
        ("dense", {}),
        ("dense", {"model": "resnet18-small"}),
        ("eb-ff", {"epsilon": 0.9, "fifo_length": 2}),
        ("eb-ff", {"draw": "best-accuracy"}),
        ("eb-ff", {"epsilon": 0.9, "fifo_length": 1, "prune_ratio": "auto", "auto_epochs": 1, "auto_images": 10}),
        ("eb-ll", {"epsilon": 0.9, "fifo_length": 2, "average_from": 0.0}),
        ("lt", {}),
        ("snip", {}),
        ("sfp", {}),
        ("ns", {"finetune_epochs": 1}),
    ],
)
def test_no_checkpoint_is_larger_than_was_said_and_none_is_much_smaller(tmp_path, method, more):
    recipe = Recipe(**{"method": method, "model": "vgg16-small", **QUICK, **more})
    pipeline = plugins.load(plugins.PIPELINES, method)(recipe)
    pipeline.check()
    needs, context = pipeline.stored_bytes, Weighed(tmp_path)
    pipeline.run(context)
    assert 0.6 * needs["two checkpoints"] < 2 * context.bytes <= needs["two checkpoints"]
    assert 2 * context.mask_bytes <= needs["masks"] + 2 * 4096  # the archive's own


def needs_of(model, classes, images, **more):
    dataset = SimpleNamespace(train=range(images))
    return stored_bytes(Recipe(model=model, **more), dataset, build_model(model, classes))


def test_a_small_disk_takes_a_small_network_and_refuses_resnet50_on_imagenet(tmp_path, monkeypatch):
    monkeypatch.setattr("ebbench.room.shutil.disk_usage", lambda _: SimpleNamespace(free=300 << 20))
    room = Room(RunDir(tmp_path))
    room.check_before(needs_of("vgg16-small", 10, 50_000, method="eb-ff"))
    large = needs_of("resnet50", 1000, 1_281_167, method="eb-ff", dataset="imagenet", epochs=90)
    parameters = 25_557_032  # He et al. 2016, as torchvision counts them
    assert large["two checkpoints"] > 2 * 8 * parameters
    with pytest.raises(DiskError, match=r"MiB needed \(two checkpoints 4\d\d MiB, masks \d+ MiB; .*300 MiB free"):
        room.check_before(large)
