"""ThiNet (Luo et al. 2017): layer by layer, remove the channels whose sum the next layer would miss least, and rescale the rest."""

from __future__ import annotations

import zlib
from typing import Any, List, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebbench.errors import ConfigError, RunFailed
from ebbench.training.loop import Trainer
from ebbench.training.models.routes import Route, routes_of
from ebbench.training.pruning.masks import layer_sizes_of, split
from ebbench.training.pruning.physical import apply_mask
from ebbench.training.pruning.widths import fewer
from ebbench.training.recipe_check import check_recipe
from ebbench.training.stored import stored_bytes
from ebbench_baselines.stages import PrunesTrained

#: images that the contributions are sampled from, where the recipe does not say
IMAGES = 1000
#: fewer samples than this for each channel of a layer do not determine its scales
ROWS_PER_CHANNEL = 10


class ThiNetPipeline(PrunesTrained):
    """``thinet``: every layer keeps int(C (1 - p)) channels, chosen greedily from the outputs of the layer that reads them."""

    forward_only = ("draw",)

    def check(self) -> None:
        """Refuse data, networks and samples that do not fit, before anything is measured."""
        dataset, model = check_recipe(self.recipe)
        self.stored_bytes = stored_bytes(self.recipe, dataset, model)
        images, available = self._images(len(dataset.train)), len(dataset.train)
        if images > available:
            raise ConfigError(
                f"thinet_images = {images}, but there are {available} training images; take at most as many"
            )
        open_layers = [size for size, route in zip(layer_sizes_of(model), routes_of(model)) if _is_open(route)]
        narrowest, widest = min(open_layers), max(open_layers)
        if round(narrowest * (1 - self.recipe.prune_ratio), 9) < 1:
            raise ConfigError(
                f"prune_ratio = {self.recipe.prune_ratio} prunes all of a layer of {narrowest} channels of {model.name!r}, "
                f"but each layer keeps one; take at most {1000 * (narrowest - 1) // narrowest / 1000}"
            )
        if images * self.recipe.thinet_positions < ROWS_PER_CHANNEL * widest:
            raise ConfigError(
                f"thinet_positions = {self.recipe.thinet_positions} of each of {images} images are too few samples for a layer "
                f"of {widest} channels; take {-(-ROWS_PER_CHANNEL * widest // images)} or more"
            )

    def _images(self, available: int) -> int:
        return min(IMAGES, available) if self.recipe.thinet_images is None else self.recipe.thinet_images

    def _draw(self, trainer: Trainer) -> np.ndarray:
        model, sizes = trainer.model.eval(), layer_sizes_of(trainer.model)
        mask = np.ones(sum(sizes), dtype=bool)
        for number, (route, layer) in enumerate(zip(routes_of(model), split(mask, sizes))):
            width = fewer(len(layer), self.recipe.prune_ratio)
            if not _is_open(route) or width == len(layer):
                continue
            assert route.reader is not None
            x_RC = self._sample(trainer, route.reader, number)
            layer[:] = choose(x_RC, width)
            if self.recipe.thinet_rescale:
                rescale(route.reader, layer, scales(x_RC, layer))
            apply_mask(model, mask)  # the layers after it see what is left
        return mask

    def _sample(self, trainer: Trainer, reader: nn.Module, number: int) -> np.ndarray:
        """What each channel contributes to random outputs of `reader`: float64 [samples, channels]."""
        recipe, images = self.recipe, self._images(len(trainer.dataset.train))
        words = _random_words((images, recipe.thinet_positions), recipe.seed, number)
        rows: List[Tensor] = []
        seen = 0

        def look(module: nn.Module, inputs: Tuple[Tensor, ...]) -> None:
            nonlocal seen
            part = words[seen : seen + len(inputs[0])]
            rows.append(contributions(module, inputs[0], part).double().cpu())
            seen += len(part)

        hook = reader.register_forward_pre_hook(look)
        try:
            with torch.no_grad():
                for x_BCHW, _ in trainer.looks(
                    images, phase="thinet", number=number, batch_size=recipe.batch_size, augment=False
                ):
                    trainer.model(x_BCHW)
        finally:
            hook.remove()
        x_RC = torch.cat(rows).numpy()
        if not np.isfinite(x_RC).all():
            raise RunFailed(
                "no channels can be chosen: an activation is not finite, the training diverged; lower learning_rate"
            )
        return x_RC


def contributions(reader: nn.Module, inputs: Tensor, words: np.ndarray) -> Tensor:
    """What each input channel adds to some outputs of `reader`, which are their sum and the bias: [B x positions, C].

    `inputs`: [B, C, H, W] of a convolution or [B, C] of a linear layer; `words`, uint64 [B, positions], choose the outputs
    (channel, row, column) of each image.
    """
    conv = reader if isinstance(reader, nn.Conv2d) else None
    if conv is None:
        inputs = inputs[:, :, None, None]
    weight = reader.weight if conv is not None else reader.weight[:, :, None, None]
    (kernel_h, kernel_w), (pad_h, pad_w), (stride_h, stride_w) = (
        weight.shape[2:], conv.padding if conv else (0, 0), conv.stride if conv else (1, 1)
    )  # fmt: skip
    padded = F.pad(inputs, (pad_w, pad_w, pad_h, pad_h))
    height = (padded.shape[2] - kernel_h) // stride_h + 1
    width = (padded.shape[3] - kernel_w) // stride_w + 1
    chosen = (words.reshape(-1) % np.uint64(len(weight) * height * width)).astype(np.int64)
    channel, row, column = (
        torch.from_numpy(index).to(inputs.device) for index in np.unravel_index(chosen, (len(weight), height, width))
    )
    image = torch.arange(len(inputs), device=inputs.device).repeat_interleave(words.shape[1])
    rows = row[:, None] * stride_h + torch.arange(kernel_h, device=inputs.device)
    columns = column[:, None] * stride_w + torch.arange(kernel_w, device=inputs.device)
    windows = padded.permute(0, 2, 3, 1)[image[:, None, None], rows[:, :, None], columns[:, None, :]]  # [R, kh, kw, C]
    return (windows * weight[channel].permute(0, 2, 3, 1)).sum((1, 2))


def choose(x_RC: np.ndarray, kept: int) -> np.ndarray:
    """Bool [C], `kept` of them True: greedily remove the channel that leaves the sum of all removed ones smallest (in L2).

    The squared norm of that sum grows by G[c, c] + 2 (G r)[c] with channel c, G = X'X and r the removed ones: no pass over the
    samples is needed. Of equals the first goes.
    """
    gram = x_RC.T @ x_RC
    growth = gram.diagonal().copy()
    is_kept = np.ones(len(gram), dtype=bool)
    for _ in range(len(gram) - kept):
        channel = int(np.argmin(np.where(is_kept, growth, np.inf)))
        is_kept[channel] = False
        growth += 2 * gram[:, channel]
    return is_kept


def scales(x_RC: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """One factor per kept channel: with them their sum is nearest (least squares) to the sum of all."""
    found: Any = np.linalg.lstsq(x_RC[:, kept], x_RC.sum(axis=1), rcond=None)
    return found[0]


def rescale(reader: nn.Module, kept: np.ndarray, factors: np.ndarray) -> None:
    """Multiply what `reader` makes of each kept channel."""
    every = np.ones(len(kept))
    every[kept] = factors
    shape = (1, -1) + (1,) * (reader.weight.dim() - 2)
    with torch.no_grad():
        reader.weight.mul_(torch.from_numpy(every).to(reader.weight.device, reader.weight.dtype).view(shape))


def _is_open(route: Route) -> bool:
    """Whether one layer makes the channels and one reads them, so that they can be removed."""
    return route.producer is not None and route.reader is not None


def _random_words(shape: Tuple[int, int], seed: int, number: int) -> np.ndarray:
    """Raw 64-bit words; a pure function of (seed, number), the same for every version of numpy."""
    source = np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(b"thinet/outputs"), number]))
    return source.random_raw(shape[0] * shape[1]).reshape(shape)
