"""How fast the images of a folder are read and augmented, beside torchvision's folder with a worker of its own."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ebbench.training.compat import import_torchvision_datasets
from ebbench.training.data.batches import augmented_batches
from ebbench.training.data.pictures.read import read_pictures

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]


def write_photographs(folder, classes=2, each=60):
    """JPEG files of 500 x 375 and about 80 kB, as ImageNet's are on average 110 kB; smooth with some noise."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:375, 0:500]
    for part in ("train", "val"):
        for label in range(classes):
            path = folder / part / f"c{label}"
            path.mkdir(parents=True)
            for k in range(each if part == "train" else 1):
                smooth = 128 + 90 * np.sin(x / rng.uniform(20, 90) + y / rng.uniform(20, 90))[..., None]
                noisy = smooth + rng.integers(-25, 26, (375, 500, 3))
                Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path / f"{k}.jpg", quality=88)
    return folder


class Collated:
    """torchvision's folder data set, its random cuts, and a DataLoader's collating of batches."""

    def __init__(self, folder, side, batch):
        datasets = import_torchvision_datasets()
        transforms = importlib.import_module("torchvision.transforms")
        steps = [transforms.RandomResizedCrop(side), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        steps.append(transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        images = datasets.ImageFolder(str(folder / "train"), transforms.Compose(steps))
        self.images = len(images)
        self._loader = torch.utils.data.DataLoader(images, batch, shuffle=True, num_workers=1, persistent_workers=True)

    def epoch(self):
        for _ in self._loader:
            pass


class Read:
    """Our reader with that many processes."""

    def __init__(self, folder, side, batch, workers):
        self._train, self._batch, self._epoch = read_pictures(folder, side, workers=workers).train, batch, 0
        self.images = len(self._train)

    def epoch(self):
        self._epoch += 1
        moments = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        for _ in augmented_batches(self._train, self._batch, seed=1, phase="train", epoch=self._epoch, **moments):
            pass


@pytest.mark.parametrize(("what", "side"), [("100 x 100 hands to 32", 32), ("500 x 375 photographs to 224", 224)])
def test_images_of_a_folder(capsys, tmp_path, monkeypatch, what, side):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    hands = Path(os.environ.get("EBBENCH_HANDS", ""))
    if side == 32 and not (hands / "train").is_dir():
        pytest.skip("EBBENCH_HANDS names no folder of 100 x 100 images")
    folder = hands if side == 32 else write_photographs(tmp_path / "photographs")
    ways = {"peer": Collated(folder, side, 64), "1": Read(folder, side, 64, 1), "2": Read(folder, side, 64, 2)}
    most = dict.fromkeys(ways, 0.0)
    for _ in range(10):
        for name, way in ways.items():
            start_s = time.perf_counter()
            way.epoch()
            most[name] = max(most[name], way.images / (time.perf_counter() - start_s))
    with capsys.disabled():
        print(
            f"\n{what}: {most['1']:,.0f} images/s with one reader, {most['2']:,.0f} with two; torchvision's folder with one worker "
            f"{most['peer']:,.0f} ({most['1'] / most['peer']:.2f}x, {most['2'] / most['peer']:.2f}x)"
        )
    assert most["2"] > most["peer"]
