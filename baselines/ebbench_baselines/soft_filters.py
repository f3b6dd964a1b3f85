"""Soft filter pruning (He et al. 2018): after every epoch the filters of smallest L2 norm are zeroed, and may grow again."""

from __future__ import annotations

from typing import List

import numpy as np
import torch

from ebbench.config import Recipe
from ebbench.protocols import Outcome, RunContext
from ebbench.training import excerpt
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.counting.tally import run_flops
from ebbench.training.loop import Trainer
from ebbench.training.models import Network
from ebbench.training.models.routes import routes_of
from ebbench.training.pruning.masks import draw_mask, layer_sizes_of
from ebbench.training.pruning.physical import prune
from ebbench.training.recipe_check import check_recipe
from ebbench.training.stored import stored_bytes
from ebbench.training.ticket import channel_ticket


class SoftFilterPipeline:
    """``sfp``: one training of dense arithmetic, filters zeroed between its epochs; those zeroed last are removed."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def check(self) -> None:
        """Refuse data and networks that do not fit, before anything is measured; know what will be stored."""
        self.stored_bytes = stored_bytes(self.recipe, *check_recipe(self.recipe))

    def run(self, context: RunContext) -> Outcome:
        """Train, prune, evaluate; from the start or from the last checkpoint."""
        trainer = Trainer(self.recipe, context, "train")
        state = trainer.state
        if state.stage == "train":
            self._train(trainer)
        with context.phase("prune"):
            small = prune(trainer.model, state.arrays["masks"][-1])
        trainer.open_stage("prune", state.epoch, small)
        trainer.evaluate()
        flops = run_flops(state.images, forward_cost(trainer.dense_model()), forward_cost(trainer.model))
        return Outcome(trainer.accuracy(), flops, state.facts["ticket"], notes=[*trainer.notes(), *_cut_notes(trainer)])

    def _train(self, trainer: Trainer) -> None:
        state, context, epochs = trainer.state, trainer.context, self.recipe.epochs
        last = trainer.last_epoch(epochs)
        if "masks" not in state.arrays:
            state.arrays["masks"] = np.empty((0, sum(layer_sizes_of(trainer.model))), dtype=bool)
            state.facts["zeroed_after"] = []

        def zero(number: int) -> None:
            if number % self.recipe.sfp_every and number != last:
                return
            with context.phase("draw"):
                mask = zero_filters(trainer.model, self.recipe.prune_ratio)
            state.arrays["masks"] = np.concatenate([state.arrays["masks"], mask[None]])
            state.facts["zeroed_after"].append(number)

        with context.phase("train"):
            while state.epoch < last:
                trainer.train_epoch(0.0, at_end=zero)
                trainer.close_epoch()
                if state.epoch < last:
                    trainer.checkpoint_if_due()
            trainer.close_stage(epochs)
        self._take_ticket(trainer)

    def _take_ticket(self, trainer: Trainer) -> None:
        state, masks = trainer.state, trainer.state.arrays["masks"]
        state.facts["ticket"] = channel_ticket(
            masks[-1],
            layer_sizes_of(trainer.model),
            epoch=state.epoch,
            searched_epochs=state.facts["zeroed_after"][-1],
            found=None if excerpt.is_cut(state) else True,
            assumed=excerpt.is_cut(state),
            draw="final",
            prune_ratio=self.recipe.prune_ratio,
        )
        with trainer.context.phase("checkpoint"):  # writing files is not part of the method
            no_scales = np.empty((0, masks.shape[1]), np.float32)
            trainer.context.save_masks(masks, state.facts["zeroed_after"], no_scales)
        state.stage = "prune"
        trainer.checkpoint()


def zero_filters(model: Network, prune_ratio: float) -> np.ndarray:
    """Zero the int(C p) filters of smallest (L2 norm, index) in every convolution that can be pruned; bool [N], False = zeroed.

    The mask is over the channels of all prunable BatchNorms; where no single convolution makes them, all are kept.
    """
    makers = [route.producer for route in routes_of(model)]
    weights = [maker.weight for maker in makers if maker is not None]
    with torch.no_grad():
        norms = torch.cat([weight.flatten(1).norm(dim=1) for weight in weights]).float().cpu().numpy()
        kept = [draw_mask(part, prune_ratio, [len(part)]) for part in _parts(norms, [len(w) for w in weights])]
        for part, weight in zip(kept, weights):
            weight.mul_(torch.from_numpy(part).to(weight.device, weight.dtype).view(-1, 1, 1, 1))
    drawn = iter(kept)
    layers = zip(makers, layer_sizes_of(model))
    return np.concatenate([np.ones(size, dtype=bool) if maker is None else next(drawn) for maker, size in layers])


def _parts(values: np.ndarray, sizes: List[int]) -> List[np.ndarray]:
    return np.split(values, np.cumsum(sizes)[:-1])


def _cut_notes(trainer: Trainer) -> List[str]:
    """How much the last step cost, which no paper counts: a filter of zeros still passes its BatchNorm's shift on."""
    before = [e for e in trainer.state.accuracy if e["stage"] == "train" and e["epoch"] == trainer.recipe.epochs]
    if not before:
        return []
    after = trainer.state.accuracy[-1]["top1"]
    return [
        f"accuracy {before[-1]['top1']:.4f} with filters at zero, {after:.4f} once their BatchNorm shifts went with them"
    ]
