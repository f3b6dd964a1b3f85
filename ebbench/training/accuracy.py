"""How often a network is right: per image, not per batch (a mean over batches would weigh a short last one too much)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Optional, Sequence

import numpy as np
import torch
from torch import nn

from ebbench.training.data.batches import plain_batches
from ebbench.training.data.datasets import Images


@dataclass(frozen=True)
class Accuracy:
    """The fraction of `images` whose class is the first guess, and is among the first five (None up to five classes)."""

    top1: float
    top5: Optional[float]
    images: int


def evaluate(
    model: nn.Module,
    imageset: Images,
    *,
    batch_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Accuracy:
    """Accuracy over all images; running statistics and the mode of `model` stay as they are. Waits for the device once."""
    hits = torch.zeros(2, dtype=torch.int64, device=imageset.labels.device)
    for is_guess_B5 in _guesses(model, imageset, batch_size, mean, std, memory_format):
        hits += torch.stack([is_guess_B5[:, 0].sum(), is_guess_B5.sum()])
    first, among_five = (int(count) / len(imageset) for count in hits.tolist())
    return Accuracy(first, among_five if model.num_classes > 5 else None, len(imageset))


def right_at_first(
    model: nn.Module,
    imageset: Images,
    *,
    batch_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    memory_format: torch.memory_format = torch.contiguous_format,
) -> np.ndarray:
    """Of which images the first guess is right, bool [N] in their order; `model` stays as it is. Waits for the device once."""
    found = [is_guess_B5[:, 0] for is_guess_B5 in _guesses(model, imageset, batch_size, mean, std, memory_format)]
    return torch.cat(found).cpu().numpy()


def _guesses(
    model: nn.Module,
    imageset: Images,
    batch_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    memory_format: torch.memory_format,
) -> Iterator[torch.Tensor]:
    """Which of the first five guesses are right, bool [B, 5] for each batch."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for x_BCHW, y_B in plain_batches(imageset, batch_size, mean=mean, std=std):
                logits_BK = model(x_BCHW.contiguous(memory_format=memory_format))
                yield logits_BK.topk(min(5, logits_BK.shape[1]), dim=1).indices == y_B[:, None]
    finally:
        model.train(was_training)
