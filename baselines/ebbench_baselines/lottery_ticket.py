"""One-shot lottery ticket (Frankle and Carbin 2019, as Liu et al. 2019 run it): train, mask the small weights, rewind, train."""

from __future__ import annotations

from ebbench.config import Recipe
from ebbench.protocols import Outcome, RunContext
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.counting.tally import run_flops
from ebbench.training.draws import planned_epochs
from ebbench.training.loop import Trainer
from ebbench.training.pruning.masks import layer_sizes_of
from ebbench.training.pruning.weight_masks import WeightMask, ranked_weights, refuse_weight_ratio
from ebbench.training.recipe_check import check_recipe
from ebbench.training.stored import stored_bytes
from ebbench.training.ticket import drawn_notes, weight_ticket
from ebbench_baselines.stages import train_to_draw


class LotteryTicketPipeline:
    """``lt``: a global threshold on |w|; the kept weights go back to their initial values and train again, the others stay 0.

    The mask has no structure, so both trainings are dense arithmetic.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def check(self) -> None:
        """Refuse data, networks and ratios that do not fit, before anything is measured."""
        dataset, model = check_recipe(self.recipe)
        self.stored_bytes = stored_bytes(self.recipe, dataset, model)
        refuse_weight_ratio(model, self.recipe.lt_layers, self.recipe.prune_ratio)

    def run(self, context: RunContext) -> Outcome:
        """Train, draw, rewind, retrain, evaluate; from the start or from the last checkpoint."""
        trainer = Trainer(self.recipe, context, "train")
        state, epochs = trainer.state, self.recipe.epochs
        trainer.total_epochs = planned_epochs(self.recipe) + epochs
        if state.stage == "train":
            train_to_draw(trainer, l1=0.0)
        if state.stage == "draw":
            self._draw_and_rewind(trainer)
        mask = WeightMask.unpacked(trainer.model, self.recipe.lt_layers, state.arrays["mask"])
        trainer.held = mask.held()
        if state.epoch < epochs:
            with context.phase("retrain"):
                trainer.train_until(epochs, l1=0.0)
            trainer.checkpoint()
        trainer.evaluate()
        ticket = weight_ticket(mask, sum(layer_sizes_of(trainer.model)), **state.facts["drawn"])
        flops = run_flops(state.images, forward_cost(trainer.model))
        return Outcome(trainer.accuracy(), flops, ticket, notes=[*trainer.notes(), *drawn_notes(ticket)])

    def _draw_and_rewind(self, trainer: Trainer) -> None:
        state, context, layers = trainer.state, trainer.context, self.recipe.lt_layers
        with context.phase("draw"):
            scores = [weight.detach().abs() for weight in ranked_weights(trainer.model, layers)]
            mask = WeightMask.drawn(trainer.model, layers, scores, self.recipe.prune_ratio)
        mask.save(context, state.epoch)
        state.arrays["mask"] = mask.packed()
        with context.phase("rewind"):
            # the initial weights are a function of the seed alone: nothing had to be stored
            trainer.open_stage("retrain", 0, trainer.dense_model())
            WeightMask.unpacked(trainer.model, layers, state.arrays["mask"]).held()
