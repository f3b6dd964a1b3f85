"""What a first training leaves for runs that begin with the same one, and what such a run takes of it.

One file for each way to draw: the weights of the ticket's epoch, and |gamma|, loss and accuracy of every epoch up to the end of the
training before that draw. A run that takes it goes through the same epochs without training: it draws its masks from the scales,
and has the weights when it needs them. Everything else of it is the same code, so that it ends with the same bits.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
import torch

from ebbench.config import Recipe
from ebbench.errors import UserError
from ebbench.training.draws import draw_of, is_cut, kept_name, trained_epochs
from ebbench.training.models import Network
from ebbench.training.provenance import arithmetic
from ebbench.training.pruning.masks import EarlyBirdQueue, gamma_of, layer_sizes_of, split
from ebbench.training.pruning.ranking import Ranking
from ebbench.training.state import Arrays, TrainState, load_weights, weights_of
from ebbench.whole_file import write_whole

_GAMMA, _HELD = "lent/gamma", "lent/best/"
_LOSSES, _EPOCHS = "lent_losses", "lent_epochs"


@dataclass(frozen=True)
class Kept:
    """The first `epochs` epochs of another run's training; `weights` are those of `ticket_epoch`.

    `gamma`: |gamma|, float32 [epochs, N]; `losses` by epoch; `accuracy` the entries of `TrainState`, without their stage.
    """

    epochs: int
    ticket_epoch: int
    weights: Arrays
    gamma: np.ndarray
    losses: List[float]
    accuracy: List[Dict[str, Any]]
    document: Dict[str, Any]

    def enter(self, model: Network, number: int) -> float:
        """Bring the network to where the epoch left it, as far as a draw looks at it; the mean loss of that epoch."""
        if number == self.ticket_epoch:
            load_weights(model, self.weights)
        else:
            with torch.no_grad():
                for norm, gamma in zip(model.prunable_norms(), split(self.gamma[number - 1], layer_sizes_of(model))):
                    norm.weight.copy_(torch.from_numpy(gamma))
        return self.losses[number - 1]

    def accuracy_at(self, epoch: int) -> Optional[Dict[str, Any]]:
        """The accuracy after this epoch; None where it was not looked at."""
        return next((entry for entry in self.accuracy if entry["epoch"] == epoch), None)


def read_kept(path: Path) -> Kept:
    """Read what a run left. Raises UserError where the file is missing or damaged."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            document = json.loads(stored["document"].tobytes())
            weights = {n[len("weights/") :]: stored[n] for n in stored.files if n.startswith("weights/")}
            names = ("epochs", "ticket_epoch", "losses", "accuracy")
            return Kept(weights=weights, gamma=stored["gamma"], document=document, **{n: document[n] for n in names})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"the first training kept in {path} cannot be read ({error}); give --no-share to train it here"
        ) from error


def forget(state: TrainState) -> None:
    """Take out of the state what a `Keeper` remembers in it: the first training is over, or nobody wants it."""
    state.arrays = {name: value for name, value in state.arrays.items() if not name.startswith("lent/")}
    for name in (_LOSSES, _EPOCHS):
        state.facts.pop(name, None)


class Keeper:
    """Follows a first training on behalf of the runs that will take it, and keeps what each of them takes.

    All it has to remember is in the trainer's state. `model`: the network with its initial weights; `method`: that of this run.
    """

    @staticmethod
    def can_follow(state: TrainState) -> bool:
        """Whether all epochs so far were followed: a training that went on without is not picked up in its middle."""
        return len(state.arrays.get(_GAMMA, ())) == state.epoch

    def __init__(self, state: TrainState, model: Network, folder: Path, wanted: Sequence[Recipe], method: str) -> None:
        self.state, self.folder = state, folder
        ways = {kept_name(recipe): recipe for recipe in wanted}
        # the last accuracy of a dense training is taken after the training
        self.followers = [
            _Follower(name, recipe, model)
            for name, recipe in ways.items()
            if not (method == "dense" and draw_of(recipe)["draw"] == "best-accuracy" and not is_cut(recipe))
        ]
        if _GAMMA not in state.arrays:
            state.arrays[_GAMMA] = np.empty((0, sum(layer_sizes_of(model))), np.float32)
            state.facts.update({_LOSSES: [], _EPOCHS: {}})
        for epoch, gamma in enumerate(state.arrays[_GAMMA], 1):
            for follower in self.followers:
                follower.push(epoch, gamma)

    def close_epoch(self, model: Network, loss: float, facts: Mapping[str, Any]) -> None:
        """Keep what the epoch that ended is wanted for; `facts`: what the taker compares with its own."""
        state = self.state
        gamma = gamma_of(model)
        state.arrays[_GAMMA] = np.concatenate([state.arrays[_GAMMA], gamma[None]])
        state.facts[_LOSSES].append(loss)
        entries = [entry for entry in state.accuracy if entry["stage"] == state.stage]
        for follower in self.followers:
            if follower.is_over:
                continue
            follower.push(state.epoch, gamma)
            if follower.holds(state.epoch, entries):
                self._hold(follower, model)
            if follower.is_over:
                self._write(follower, model, entries, facts)

    def _hold(self, follower: _Follower, model: Network) -> None:
        prefix = f"{_HELD}{follower.name}/"
        self.state.arrays.update({prefix + name: value for name, value in weights_of(model).items()})
        self.state.facts[_EPOCHS][follower.name] = self.state.epoch

    def _write(
        self, follower: _Follower, model: Network, entries: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]
    ) -> None:
        prefix = f"{_HELD}{follower.name}/"
        held = {name[len(prefix) :]: value for name, value in self.state.arrays.items() if name.startswith(prefix)}
        ticket_epoch = follower.ticket_epoch(self.state.epoch, entries)
        if self.state.facts[_EPOCHS].pop(follower.name, self.state.epoch) != ticket_epoch:
            return  # nobody asked for this way to draw yet when that epoch ended
        self.state.arrays = {name: v for name, v in self.state.arrays.items() if not name.startswith(prefix)}
        document = {
            "draw": draw_of(follower.recipe),
            "stage": self.state.stage,
            "epochs": self.state.epoch,
            "ticket_epoch": ticket_epoch,
            "losses": self.state.facts[_LOSSES],
            "accuracy": [{name: value for name, value in entry.items() if name != "stage"} for entry in entries],
            "memory_format": self.state.memory_format,
            "arithmetic": arithmetic(),
            **facts,
        }
        _save(self.folder / follower.name, held or weights_of(model), self.state.arrays[_GAMMA], document)


class _Follower:
    """Says, epoch by epoch, when one way to draw would end the training before it, and which epoch its ticket would be of."""

    def __init__(self, name: str, recipe: Recipe, model: Network) -> None:
        self.name, self.recipe, self.is_over = name, recipe, False
        self.draw = draw_of(recipe)["draw"]
        self.last, self.is_cut = trained_epochs(recipe), is_cut(recipe)
        self._queue: Optional[EarlyBirdQueue] = None
        if self.draw == "early-bird":
            self._ranking = Ranking(model, recipe.masks)
            self._queue = EarlyBirdQueue(recipe.epsilon, recipe.fifo_length, recipe.pairs)
            if recipe.pairs == "reference":  # the public code compares with the untrained network's mask too
                self._push(gamma_of(model))

    def push(self, epoch: int, gamma: np.ndarray) -> None:
        """The scales after the next epoch, |gamma| [N]."""
        if not self.is_over:
            settled = self._queue is not None and self._push(gamma)
            self.is_over = settled or epoch >= self.last

    def holds(self, epoch: int, entries: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the ticket may be of this epoch although the training goes on."""
        may_be_earlier = not self.is_cut and (self.draw == "best-accuracy" or not isinstance(self.draw, str))
        return may_be_earlier and epoch == self.ticket_epoch(epoch, entries)

    def ticket_epoch(self, epoch: int, entries: Sequence[Mapping[str, Any]]) -> int:
        """The epoch of the ticket as far as is known at the end of `epoch`; 0 while there is none.

        Of a training that is cut short the last weights stand for those of the ticket.
        """
        if self.is_cut:
            return epoch
        if self.draw == "best-accuracy":
            best = max(entries, key=lambda entry: entry["top1"], default={"epoch": 0})  # the first of equals
            return int(best["epoch"])
        return epoch if isinstance(self.draw, str) else int(self.draw[0])

    def _push(self, gamma: np.ndarray) -> bool:
        assert self._queue is not None
        return bool(self._queue.push(self._ranking.draw(gamma, self.recipe.prune_ratio))["found"])


def _save(path: Path, weights: Arrays, gamma: np.ndarray, document: Mapping[str, Any]) -> None:
    """Replace `path`, whole or not at all."""
    packed = {f"weights/{name}": value for name, value in weights.items()}
    packed["gamma"] = gamma
    packed["document"] = np.frombuffer(json.dumps(document, allow_nan=False).encode(), np.uint8)
    write_whole(
        path,
        lambda file: np.savez(file, **packed),
        make_folder=True,
        what="the first training",
        advice="make room, or give --no-share",
    )
