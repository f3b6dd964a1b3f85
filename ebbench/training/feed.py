"""What a network is fed with while it is trained and looked at: the images of a run, on its device, batch by batch.

Which images come when is a pure function of (seed, phase, epoch), see `batches`.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator

import numpy as np
import torch

from ebbench.config import Recipe
from ebbench.training.accuracy import Accuracy, evaluate, right_at_first
from ebbench.training.data.batches import Batches, Step, augmented_batches, steps_per_epoch
from ebbench.training.data.datasets import Dataset, Images
from ebbench.training.data.hold_out import hold_out
from ebbench.training.models import Network


class Feed:
    """The training and the test part of a data set, in the batches of a recipe.

    Batches come in `memory_format`, which is set once the run has chosen it.
    """

    def __init__(self, dataset: Dataset, recipe: Recipe, device: str) -> None:
        self.whole = self.train = dataset.train.to(device)
        self.test = dataset.test.to(device)
        self.memory_format = torch.contiguous_format
        self._dataset, self._seed, self._batch_size = dataset, recipe.seed, recipe.batch_size

    @property
    def steps(self) -> int:
        """In one epoch."""
        return steps_per_epoch(len(self.train), self._batch_size)

    def hold_out(self, count: int) -> Images:
        """Leave `count` of the training images out of all batches from now on; those."""
        self.train, held = hold_out(self.whole, count, self._seed)
        return held

    def take_all(self) -> None:
        """Batches of all training images from now on."""
        self.train = self.whole

    def epoch(self, phase: str, epoch: int, start_step: int = 0) -> Iterator[Step]:
        """One pass over the training images in random order, from `start_step` on: (step, x, y)."""
        return self._batches(self._batch_size, phase, epoch, start_step)

    def some(self, images: int, *, phase: str, number: int, batch_size: int, augment: bool) -> Batches:
        """Batches of `images` random training images; which ones depends on (phase, number) too. The last may be short."""
        left = images
        for _, x_BCHW, y_B in self._batches(batch_size, phase, number, augment=augment):
            count = min(left, len(y_B))
            yield x_BCHW[:count], y_B[:count]
            left -= count
            if left == 0:
                return

    def accuracy_of(self, model: Network) -> Accuracy:
        """How often `model` is right on the test part."""
        return evaluate(model, self.test, **self._looked_at())

    def right_of(self, model: Network, images: Images) -> np.ndarray:
        """Which of `images` the network gets right, bool [N]."""
        return right_at_first(model, images, **self._looked_at())

    def _looked_at(self) -> Dict[str, Any]:
        """How images are shown to a network that does not learn from them."""
        data = self._dataset
        return {
            "batch_size": self._batch_size,
            "mean": data.mean,
            "std": data.std,
            "memory_format": self.memory_format,
        }

    def _batches(
        self, batch_size: int, phase: str, epoch: int, start_step: int = 0, augment: bool = True
    ) -> Iterator[Step]:
        batches = augmented_batches(
            self.train,
            batch_size,
            seed=self._seed,
            phase=phase,
            epoch=epoch,
            start_step=start_step,
            mean=self._dataset.mean,
            std=self._dataset.std,
            augment=augment,
        )
        for step, x_BCHW, y_B in batches:
            yield step, x_BCHW.contiguous(memory_format=self.memory_format), y_B
