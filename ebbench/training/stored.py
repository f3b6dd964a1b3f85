"""What a training keeps on the disk, known before there is any: an upper bound that a test compares with real checkpoints."""

from __future__ import annotations

from typing import Dict

from ebbench.config import Recipe
from ebbench.config.method_settings import AUTO, reads
from ebbench.training.data.batches import steps_per_epoch
from ebbench.training.data.datasets import Dataset
from ebbench.training.models import Network
from ebbench.training.pruning.masks import layer_sizes_of

#: what an array takes beside its values: its header, and its two entries in the archive (zipfile pads nothing, numpy to 64 bytes)
ARRAY_BYTES = 512
#: an evaluation in the checkpoint's JSON, and a mean loss of an epoch's step
EVALUATION_BYTES, LOSS_BYTES = 100, 4
#: settings that only methods with a mask over weights read
_OVER_WEIGHTS = ("lt_layers", "snip_layers")


def stored_bytes(recipe: Recipe, dataset: Dataset, model: Network) -> Dict[str, int]:
    """Bytes by what they are for; `model` is the dense network.

    A checkpoint takes the place of the one before it only when it is whole, and so does the file of masks: there are two of each.
    """
    state = model.state_dict()
    weights = sum(value.numel() * value.element_size() for value in state.values())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    copies = 1 + _keeps_weights(recipe)
    checkpoint = copies * weights + 4 * parameters  # and a momentum for each parameter
    if reads(recipe.method, "average_from"):
        checkpoint += 4 * parameters
    masks = 0
    if any(reads(recipe.method, name) for name in _OVER_WEIGHTS):
        masks = parameters // 8 + 1
    elif reads(recipe.method, "prune_ratio"):
        masks = recipe.epochs * sum(layer_sizes_of(model)) * 5  # of every epoch |gamma| as float32, and the mask
    checkpoint += (
        masks
        + 2 * ARRAY_BYTES * (copies + 1) * len(state)
        + LOSS_BYTES * steps_per_epoch(len(dataset.train), recipe.batch_size)
        + EVALUATION_BYTES * 2 * recipe.epochs
    )
    return {"two checkpoints": 2 * checkpoint, "masks": 2 * masks}


def _keeps_weights(recipe: Recipe) -> bool:
    """Whether the weights of an earlier epoch are kept until the draw, or those of the search while ratios are tried."""
    return recipe.prune_ratio == AUTO or (reads(recipe.method, "draw") and recipe.draw not in ("early-bird", "final"))
