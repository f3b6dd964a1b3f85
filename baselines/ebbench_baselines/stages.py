"""What methods have in common that train a network first and prune it then."""

from __future__ import annotations

from typing import ClassVar, Tuple

import numpy as np

from ebbench.config import Recipe
from ebbench.protocols import Outcome, RunContext
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.counting.tally import run_flops
from ebbench.training.draw_point import DrawPoint
from ebbench.training.draws import planned_epochs
from ebbench.training.loop import Trainer
from ebbench.training.pruning.masks import gamma_of, layer_sizes_of
from ebbench.training.pruning.physical import plan_of, prune
from ebbench.training.recipe_check import check_recipe
from ebbench.training.schedule import Schedule
from ebbench.training.stored import stored_bytes
from ebbench.training.ticket import channel_ticket, drawn_notes


def train_to_draw(trainer: Trainer, l1: float) -> None:
    """Train the dense network in the phase ``train`` until the draw; it is then the one of the ticket's epoch.

    The stage is ``draw`` after that; ``facts["drawn"]`` is what the ticket says of the draw.
    """
    state, point = trainer.state, DrawPoint(trainer)
    with trainer.context.phase("train"):
        while not point.is_over():
            trainer.train_epoch(l1)
            trainer.close_epoch()
            point.close_epoch()
            if not point.is_over():
                trainer.checkpoint_if_due()
        point.close()
    assumed, epoch = point.is_assumed(), point.go_back()
    state.facts["drawn"] = {
        "found": None if assumed else True,
        "epoch": epoch,
        "assumed": assumed,
        "searched_epochs": point.trained,
        "draw": point.named(),
        "prune_ratio": trainer.recipe.prune_ratio,
    }
    state.stage, state.epoch = "draw", epoch
    trainer.checkpoint()


class PrunesTrained:
    """Trains the dense network, draws a mask over its channels, removes them, and fine-tunes what is left.

    A method says how it draws (`_draw`), and how much L1 its trainings have (`_l1`).
    """

    #: phases that look at images without learning from them
    forward_only: ClassVar[Tuple[str, ...]] = ()

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self._finetuning = _finetuning(recipe)

    def check(self) -> None:
        """Refuse data and networks that do not fit, before anything is measured; know what will be stored."""
        self.stored_bytes = stored_bytes(self.recipe, *check_recipe(self.recipe))

    def run(self, context: RunContext) -> Outcome:
        """Train, draw, prune, fine-tune, evaluate; from the start or from the last checkpoint."""
        trainer = Trainer(self.recipe, context, "train")
        state = trainer.state
        trainer.total_epochs = planned_epochs(self.recipe) + self._finetuning.epochs
        if state.stage == "train":
            train_to_draw(trainer, self._l1())
        if state.stage == "draw":
            self._draw_and_prune(trainer)
        trainer.schedule = self._finetuning
        if state.epoch < self._finetuning.epochs:
            with context.phase("finetune"):
                trainer.train_until(self._finetuning.epochs, self._l1())
            trainer.checkpoint()
        trainer.evaluate()
        return self._outcome(trainer)

    def _draw_and_prune(self, trainer: Trainer) -> None:
        state, context = trainer.state, trainer.context
        gamma = gamma_of(trainer.model)
        with context.phase("draw"):
            mask = self._draw(trainer)
        ticket = channel_ticket(mask, layer_sizes_of(trainer.model), **state.facts["drawn"])
        state.facts["ticket"], state.arrays["mask"] = ticket, mask
        with context.phase("checkpoint"):  # writing files is not part of the method
            context.save_masks(mask[None], [ticket["epoch"]], gamma[None])
        context.mark("ticket", **{name: ticket[name] for name in ("found", "epoch", "kept_channels")})
        with context.phase("prune"):
            small = prune(trainer.model, mask, self.recipe.residual)
            live = plan_of(trainer.model, mask, self.recipe.residual).live
        held = None if self.recipe.regrow or live.all() else live
        trainer.open_stage("finetune", 0, small, held)

    def _l1(self) -> float:
        return 0.0

    def _draw(self, trainer: Trainer) -> np.ndarray:
        """The mask, bool [N] over the channels of all prunable BatchNorms; the network may be changed with it."""
        raise NotImplementedError

    def _outcome(self, trainer: Trainer) -> Outcome:
        state = trainer.state
        dense, pruned = forward_cost(trainer.dense_model()), forward_cost(trainer.model)
        ticket = state.facts["ticket"]
        return Outcome(
            accuracy=trainer.accuracy(),
            flops=run_flops(state.images, dense, pruned, self.forward_only),
            ticket=ticket,
            notes=[*trainer.notes(), *drawn_notes(ticket)],
        )


def _finetuning(recipe: Recipe) -> Schedule:
    """The epochs and rates of fine-tuning: the recipe's own, unless it says otherwise."""
    epochs = recipe.epochs if recipe.finetune_epochs is None else recipe.finetune_epochs
    rate = recipe.learning_rate if recipe.finetune_rate is None else recipe.finetune_rate
    return Schedule(epochs, rate, recipe.milestones)
