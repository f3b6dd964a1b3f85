"""The first training of a run, as far as it is shared: what is taken of another run's, and what is kept of its own for others."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional

from ebbench.config import Recipe
from ebbench.errors import UserError
from ebbench.protocols import Lending, RunContext
from ebbench.training.kept import Keeper, Kept, forget, read_kept
from ebbench.training.models import Network
from ebbench.training.provenance import arithmetic
from ebbench.training.state import TrainState


class SharedTraining:
    """One training among runs that begin with the same one; without a `lending` it is nobody's but this run's.

    `images`: what decides them (`images_of`). What has to be remembered is in the trainer's state.
    """

    def __init__(self, lending: Optional[Lending], images: Mapping[str, Any]) -> None:
        self._lending, self._images = lending, images
        self._taken: Optional[Kept] = None
        self._keeper: Optional[Keeper] = None

    def take(self) -> None:
        """Take the training of another run, where this one is to. Raises UserError where it would not be this one's to the bit."""
        if self._lending is None or self._lending.taken is None:
            return
        kept = read_kept(self._lending.taken)
        own = {"arithmetic": arithmetic(), **self._images}
        differing = [name for name in own if kept.document[name] != own[name]]
        if differing:
            raise UserError(
                f"the first training kept in {self._lending.taken} is of another {' and '.join(differing)} than "
                "this run would have; give --no-share to train it here"
            )
        self._taken = kept

    @property
    def memory_format(self) -> Optional[str]:
        """That of the training which is taken."""
        return None if self._taken is None else str(self._taken.document["memory_format"])

    def is_taken(self, state: TrainState) -> bool:
        """Whether the open epoch is one of another run's training."""
        return self._taken is not None and state.epoch < self._taken.epochs

    def enter(self, model: Network, number: int) -> float:
        """Bring the network to where that run's epoch left it (`Kept.enter`); the mean loss of the epoch."""
        assert self._taken is not None
        return self._taken.enter(model, number)

    def accuracy_at(self, epoch: int) -> Optional[Dict[str, Any]]:
        """The accuracy that the other run had after this epoch; None where nothing is taken, or it did not look."""
        return None if self._taken is None else self._taken.accuracy_at(epoch)

    def keep(self, state: TrainState, stage: str, recipe: Recipe, dense_model: Callable[[], Network]) -> None:
        """Follow the first training, `stage`, where other runs want it and it is under way."""
        lending = self._lending
        is_open = state.stage == stage and state.epoch < recipe.epochs
        if lending is not None and lending.wanted and is_open and Keeper.can_follow(state):
            self._keeper = Keeper(state, dense_model(), lending.folder, lending.wanted, recipe.method)
        else:
            forget(state)

    def close_epoch(self, context: RunContext, model: Network, state: TrainState, loss: float) -> None:
        """Keep what other runs want of the epoch that ended; the last one that is taken ends the taking."""
        if self._keeper is not None:
            with context.phase("checkpoint"):  # for others, and not part of the method
                self._keeper.close_epoch(model, loss, self._images)
        if not self.is_taken(state):
            self._taken = None

    def close(self, state: TrainState) -> None:
        """The first training is over."""
        if self._keeper is not None:
            self._keeper = None
            forget(state)
