"""Masks over single weights (unstructured pruning): which weights they rank, and the network that they keep sparse.

A mask saves no arithmetic: a dense product with zeros in it costs what a dense product costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple, Type

import numpy as np
import torch
from torch import nn

from ebbench.errors import ConfigError
from ebbench.protocols import RunContext
from ebbench.training.pruning.held import Held
from ebbench.training.pruning.masks import draw_mask, split

#: what the recipe calls them
LAYERS: Dict[str, Tuple[Type[nn.Module], ...]] = {"conv": (nn.Conv2d,), "conv+linear": (nn.Conv2d, nn.Linear)}


def ranked_weights(model: nn.Module, layers: str) -> List[nn.Parameter]:
    """The weights (never the biases) of the layers, "conv" or "conv+linear", in module order."""
    return [module.weight for module in model.modules() if isinstance(module, LAYERS[layers])]


@dataclass(frozen=True)
class WeightMask:
    """`kept`: bool [N] over `weights` of a network, layer after layer, each in the order of its indices; True = kept."""

    weights: List[nn.Parameter]
    kept: np.ndarray

    @classmethod
    def drawn(cls, model: nn.Module, layers: str, scores: Sequence[torch.Tensor], prune_ratio: float) -> WeightMask:
        """Prune the int(N p) weights of smallest (score, index) of all layers together, except the last one of a layer."""
        weights = ranked_weights(model, layers)
        flat = torch.cat([score.reshape(-1) for score in scores]).float().cpu().numpy()
        return cls(weights, draw_mask(flat, prune_ratio, [weight.numel() for weight in weights]))

    @classmethod
    def unpacked(cls, model: nn.Module, layers: str, packed: np.ndarray) -> WeightMask:
        """The mask that `packed` gave, over the weights of this network."""
        weights = ranked_weights(model, layers)
        return cls(weights, np.unpackbits(packed)[: sum(weight.numel() for weight in weights)].astype(bool))

    @property
    def layer_sizes(self) -> List[int]:
        """Weights of each layer."""
        return [weight.numel() for weight in self.weights]

    def packed(self) -> np.ndarray:
        """Eight weights to a byte, for checkpoints."""
        return np.packbits(self.kept)

    def held(self) -> Held:
        """What holds the pruned weights at zero; they are zero from now on."""
        masks = []
        for weight, layer in zip(self.weights, split(self.kept, self.layer_sizes)):
            mask = torch.from_numpy(layer.reshape(tuple(weight.shape)))
            masks.append(torch.empty_like(weight).detach().copy_(mask))  # in the weight's memory layout
        held = Held(self.weights, masks)
        held.hold()
        return held

    def save(self, context: RunContext, epoch: int) -> None:
        """Keep it in ``masks.npz``; writing files is not part of a method, so it has the phase ``checkpoint``."""
        with context.phase("checkpoint"):
            context.save_masks(self.kept[None], [epoch], np.empty((0, len(self.kept)), np.float32))


def refuse_weight_ratio(model: nn.Module, layers: str, prune_ratio: float) -> None:
    """Raise ConfigError where so many weights cannot go: each layer keeps one."""
    sizes = [weight.numel() for weight in ranked_weights(model, layers)]
    pruned, most = int(sum(sizes) * prune_ratio), sum(sizes) - len(sizes)
    if pruned > most:
        raise ConfigError(
            f"prune_ratio = {prune_ratio} prunes {pruned} of {sum(sizes)} weights of {model.name!r}, but each of its "
            f"{len(sizes)} layers keeps one; take at most {int(1e6 * most / sum(sizes)) / 1e6}"
        )
