"""Whether data, network and recipe fit together, looked at before anything is measured."""

from __future__ import annotations

from typing import Any, Iterator, Tuple

import torch

from ebbench.config import Recipe
from ebbench.config.method_settings import RANK_CHANNELS, is_one_of
from ebbench.errors import ConfigError, Faults
from ebbench.training.data.datasets import Dataset, load_dataset, refuse_unknown_dataset
from ebbench.training.models import SELECT, Network, build_model, input_shape_of, refuse_unknown_model
from ebbench.training.pruning.ranking import Ranking


def check_recipe(recipe: Recipe) -> Tuple[Dataset, Network]:
    """Load the data and build the network as a run would. Raises UserError with what is wrong, before anything is measured."""
    faults = Faults()
    for refuse_unknown, name in ((refuse_unknown_model, recipe.model), (refuse_unknown_dataset, recipe.dataset)):
        with faults.gathered():
            refuse_unknown(name)
    faults.refuse()
    dataset = data_of(recipe)
    model = build_model(recipe.model, dataset.num_classes, seed=recipe.seed)
    refuse_misfits(recipe, dataset, model)
    return dataset, model


def data_of(recipe: Recipe) -> Dataset:
    """The data set, images of a folder as large as the network takes them. Raises ConfigError where the recipe has another size."""
    side = input_shape_of(recipe.model)[1]
    if recipe.image_size not in (None, side):
        raise ConfigError(
            f"image_size = {recipe.image_size}, but model {recipe.model!r} takes {side} x {side} pixels; leave it out"
        )
    return load_dataset(
        recipe.dataset,
        recipe.data_dir,
        recipe.train_images,
        recipe.test_images,
        image_size=side,
        workers=recipe.workers,
    )


def refuse_misfits(recipe: Recipe, dataset: Dataset, model: Network) -> None:
    """Raise one UserError with everything in which data, network and recipe do not fit together."""
    faults = []
    labels = torch.cat([dataset.train.labels, dataset.test.labels])
    if int(labels.min()) < 0 or int(labels.max()) >= dataset.num_classes:
        faults.append(
            f"dataset {dataset.name!r} has labels {int(labels.min())}..{int(labels.max())}; "
            f"{dataset.num_classes} classes need 0..{dataset.num_classes - 1}"
        )
    if tuple(dataset.image_shape) != tuple(model.input_shape):
        faults.append(
            f"model {recipe.model!r} takes images of {_by(model.input_shape)}, "
            f"dataset {dataset.name!r} has {_by(dataset.image_shape)}"
        )
    if is_one_of(recipe.method, RANK_CHANNELS):
        faults += _pruning_faults(recipe, model)
    if faults:
        raise ConfigError(*faults)


def _pruning_faults(recipe: Recipe, model: Network) -> Iterator[str]:
    layers = Ranking(model, recipe.masks).sizes
    ratio = max(recipe.ratios)
    pruned = int(sum(layers) * ratio)
    most = sum(layers) - len(layers)
    if pruned > most:
        named = f"prune_ratio = {ratio}" if ratio == recipe.prune_ratio else f"candidate {ratio} of auto_ratios"
        yield (
            f"{named} prunes {pruned} of {sum(layers)} channels of {recipe.model!r}, but each of its "
            f"{len(layers)} layers keeps one; take at most {1000 * most // sum(layers) / 1000}"
        )
    if 1 < max(layers) <= recipe.width_multiple:
        yield (
            f"width_multiple = {recipe.width_multiple} leaves every layer of {recipe.model!r} whole (the widest has "
            f"{max(layers)} channels), so that nothing is pruned; take at most {max(layers) // 2}"
        )
    if recipe.residual == SELECT and all(entry.stream is None for entry in model.channels()):
        yield (
            f"residual = 'select': {recipe.model!r} has no BatchNorm that reads a residual stream, "
            "as a pre-activation network has; take 'keep'"
        )


def _by(shape: Any) -> str:
    return " x ".join(str(n) for n in shape)
