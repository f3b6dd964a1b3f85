"""The unpruned network, trained in full: what every other method is compared with."""

from __future__ import annotations

from ebbench.config import Recipe
from ebbench.protocols import Outcome, RunContext
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.counting.tally import run_flops
from ebbench.training.loop import Trainer
from ebbench.training.recipe_check import check_recipe
from ebbench.training.stored import stored_bytes


class DensePipeline:
    """All epochs of the recipe, without L1: the paper's "Unpruned"."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def check(self) -> None:
        """Refuse data and networks that do not fit, before anything is measured; know what will be stored."""
        self.stored_bytes = stored_bytes(self.recipe, *check_recipe(self.recipe))

    def run(self, context: RunContext) -> Outcome:
        """Train from the start or the last checkpoint to the end, then evaluate."""
        trainer = Trainer(self.recipe, context, "train")
        if trainer.state.epoch < self.recipe.epochs:
            with context.phase("train"):
                trainer.train_until(self.recipe.epochs, l1=0.0)
            trainer.checkpoint()
        trainer.evaluate()
        flops = run_flops(trainer.state.images, forward_cost(trainer.model))
        return Outcome(trainer.accuracy(), flops, notes=trainer.notes())
