"""SNIP (Lee et al. 2019): mask the weights that matter least to the loss of one batch, before any training; then train."""

from __future__ import annotations

import copy
from typing import List

import torch
import torch.nn.functional as F
from torch import nn

from ebbench.config import Recipe
from ebbench.errors import ConfigError
from ebbench.protocols import Outcome, RunContext
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.counting.tally import run_flops
from ebbench.training.loop import Trainer
from ebbench.training.pruning.masks import layer_sizes_of
from ebbench.training.pruning.weight_masks import WeightMask, ranked_weights, refuse_weight_ratio
from ebbench.training.recipe_check import check_recipe
from ebbench.training.stored import stored_bytes
from ebbench.training.ticket import weight_ticket


class SnipPipeline:
    """``snip``: one mask at the start over the weights that are trained then, held through all epochs; dense arithmetic."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        #: images of the batch
        self.images = recipe.batch_size if recipe.snip_images is None else recipe.snip_images

    def check(self) -> None:
        """Refuse data, networks, batches and ratios that do not fit, before anything is measured."""
        dataset, model = check_recipe(self.recipe)
        self.stored_bytes = stored_bytes(self.recipe, dataset, model)
        refuse_weight_ratio(model, self.recipe.snip_layers, self.recipe.prune_ratio)
        if self.recipe.snip_images is not None and self.images > len(dataset.train):
            raise ConfigError(f"snip_images = {self.images}, but there are {len(dataset.train)} training images")

    def run(self, context: RunContext) -> Outcome:
        """Draw, train, evaluate; from the start or from the last checkpoint."""
        trainer = Trainer(self.recipe, context, "draw")
        state = trainer.state
        if state.stage == "draw":
            self._draw(trainer)
        mask = WeightMask.unpacked(trainer.model, self.recipe.snip_layers, state.arrays["mask"])
        trainer.held = mask.held()
        if state.epoch < self.recipe.epochs:
            with context.phase("train"):
                trainer.train_until(self.recipe.epochs, l1=0.0)
            trainer.checkpoint()
        trainer.evaluate()
        channels = sum(layer_sizes_of(trainer.model))
        ticket = weight_ticket(
            mask,
            channels,
            epoch=0,
            assumed=False,
            searched_epochs=0,
            draw="initial",
            prune_ratio=self.recipe.prune_ratio,
        )
        flops = run_flops(state.images, forward_cost(trainer.model))
        return Outcome(trainer.accuracy(), flops, ticket, notes=trainer.notes())

    def _draw(self, trainer: Trainer) -> None:
        state, layers = trainer.state, self.recipe.snip_layers
        with trainer.context.phase("draw"):
            (x_BCHW, y_B), *_ = trainer.looks(self.images, phase="snip", number=0, batch_size=self.images, augment=True)
            scores = sensitivities(trainer.model, layers, x_BCHW, y_B)
            mask = WeightMask.drawn(trainer.model, layers, scores, self.recipe.prune_ratio)
        mask.save(trainer.context, 0)
        state.arrays["mask"] = mask.packed()
        state.stage = "train"


def sensitivities(model: nn.Module, layers: str, x_BCHW: torch.Tensor, y_B: torch.Tensor) -> List[torch.Tensor]:
    """|dL/dc| at c = 1 of a factor c on every weight, which is |w dL/dw|; per layer, shaped as its weight.

    L is the mean cross-entropy of the batch, BatchNorm in training mode. The paper divides by the sum, which changes no rank.
    The network is left as it was, running statistics too.
    """
    probe = copy.deepcopy(model).train()
    weights = ranked_weights(probe, layers)
    gradients = torch.autograd.grad(F.cross_entropy(probe(x_BCHW), y_B), weights)
    return [(weight * gradient).abs().detach() for weight, gradient in zip(weights, gradients)]
