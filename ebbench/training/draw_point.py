"""When a training that is under way draws its ticket, and the weights of that moment."""

from __future__ import annotations

from typing import Any, Optional

from ebbench.training import excerpt
from ebbench.training.draws import planned_epochs
from ebbench.training.loop import Trainer
from ebbench.training.state import load_weights, weights_of


class DrawPoint:
    """The epoch at which a training that is under way draws its ticket (`recipe.draw`); all it knows is in the trainer's state.

    ``early-bird``: when the mask has settled (``facts["settled"]``), or at the last epoch; ``final``: at the last epoch;
    ``best-accuracy``: after it, of the first of the best epochs; given epochs: when the largest is trained, of the first that
    is listed. Where the training is cut short (`measure_epochs`), the ticket may be an assumption.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.recipe, self.state = trainer, trainer.recipe, trainer.state
        self.draw, self.planned = trainer.recipe.draw, planned_epochs(trainer.recipe)

    def is_over(self) -> bool:
        """Whether the training before the draw has nothing more to do."""
        return self._has_settled() or self.state.epoch >= self.trainer.last_epoch(self.planned)

    def close_epoch(self) -> None:
        """Keep the weights of the epoch that ended, where the ticket may be of it and the training goes on."""
        if self.state.epoch == self.epoch() and not self.is_over():
            self.state.arrays.update({f"kept/{n}": value for n, value in weights_of(self.trainer.model).items()})

    def close(self) -> None:
        """End the training; where only some of its epochs were trained, go on as after those until the draw."""
        self.trained = self.state.epoch
        self.trainer.close_stage(self.state.epoch if self._has_settled() else self.planned)

    def epoch(self) -> Optional[int]:
        """The epoch of the ticket as far as is known now; None while there is none."""
        if self.draw == "best-accuracy":
            if excerpt.is_cut(self.state):
                return self.recipe.ticket_epoch or self.planned
            seen = [entry for entry in self.state.accuracy if entry["stage"] == self.state.stage]
            return max(seen, key=lambda entry: entry["top1"])["epoch"] if seen else None  # the first of equals
        if not isinstance(self.draw, str):
            return self.draw[0]
        return self.state.epoch if self.is_over() else None

    def is_assumed(self) -> bool:
        """Whether the ticket, now that the training is closed, is of an epoch that was not trained, or that the recipe assumes."""
        by_recipe = self.draw == "early-bird" and self.recipe.ticket_epoch is not None and not self._has_settled()
        of_a_part = self.draw == "best-accuracy" and excerpt.is_cut(self.state)
        return by_recipe or of_a_part or (self.epoch() or 0) > self.trained

    def go_back(self) -> int:
        """Return the network to the ticket's epoch, if later ones were trained too, and forget what was kept; the epoch."""
        epoch, arrays = self.epoch(), self.state.arrays
        assert epoch is not None, "every kind of draw has an epoch by the end of the training before it"
        if epoch < self.trained and not self.is_assumed():
            kept = {n[len("kept/") :]: value for n, value in arrays.items() if n.startswith("kept/")}
            load_weights(self.trainer.model, kept)
        self.state.arrays = {n: value for n, value in arrays.items() if not n.startswith("kept/")}
        return epoch

    def named(self) -> Any:
        """`recipe.draw` as JSON."""
        return self.draw if isinstance(self.draw, str) else list(self.draw)

    def _has_settled(self) -> bool:
        return self.draw == "early-bird" and bool(self.state.facts["settled"])
