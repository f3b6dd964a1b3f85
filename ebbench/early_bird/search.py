"""EB Train (You et al. 2020): search until the channel mask settles, prune, train on what is left.

Algorithm 1: after every epoch of dense training with L1 a mask is drawn from |gamma|; when the last five distances between
consecutive masks are below 0.1 the ticket has emerged, and the search ends.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import numpy as np
import torch

from ebbench.config import Recipe
from ebbench.config.method_settings import AUTO
from ebbench.early_bird.ratio_trials import RatioChecks, choose_ratio, epochs_of_trials, trial_costs
from ebbench.protocols import Outcome, RunContext
from ebbench.training.counting.forward_cost import ForwardCost, draw_cost, forward_cost
from ebbench.training.counting.tally import run_flops
from ebbench.training.data.hold_out import held_out_count
from ebbench.training.draw_point import DrawPoint
from ebbench.training.draws import planned_epochs
from ebbench.training.loop import Trainer
from ebbench.training.models import Network
from ebbench.training.precision.full import FullPrecision
from ebbench.training.pruning.masks import EarlyBirdQueue, gamma_of, layer_sizes_of, split
from ebbench.training.pruning.physical import plan_of, prune, reinit
from ebbench.training.pruning.ranking import Ranking
from ebbench.training.recipe_check import check_recipe
from ebbench.training.schedule import Schedule
from ebbench.training.stored import stored_bytes
from ebbench.training.ticket import channel_ticket, drawn_notes


class EarlyBirdInherit:
    """``eb-ff``: the pruned network goes on with the weights that it has, at the epoch where the search ended."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def check(self) -> None:
        """Refuse data and networks that do not fit, before anything is measured; know what will be stored."""
        dataset, model = check_recipe(self.recipe)
        if self.recipe.prune_ratio == AUTO:
            held_out_count(len(dataset.train), self.recipe.auto_images)
        self.stored_bytes = stored_bytes(self.recipe, dataset, model)

    def run(self, context: RunContext) -> Outcome:
        """Search, prune, retrain; from the start or from the last checkpoint."""
        trainer = Trainer(self.recipe, context, "search", lambda stage: self._precision(stage, context.device))
        state = trainer.state
        if state.stage.split("/")[0] == "search":
            trainer.total_epochs = self._epochs_in_all(planned_epochs(self.recipe))
            trainer.schedule = _searching(self.recipe)
            if self.recipe.prune_ratio == AUTO:
                choose_ratio(trainer, self._pruned, self._first_epoch)
            else:
                search(trainer)
            trainer.schedule = self.recipe
        ticket = state.facts["ticket"]
        if state.stage == "prune":
            with context.phase("prune"):
                small, held = self._pruned(trainer.model, state.arrays["mask"])
            trainer.open_stage("retrain", self._first_epoch(ticket["epoch"]), small, held)
        trainer.total_epochs = self._epochs_in_all(ticket["epoch"]) + epochs_of_trials(trainer)
        if state.epoch < self.recipe.epochs:
            with context.phase("retrain"):
                trainer.train_until(
                    self.recipe.epochs, self.recipe.l1, lambda number: self._after_epoch(trainer, number)
                )
            trainer.checkpoint()
        self._finish(trainer)
        return self._outcome(trainer)

    def _precision(self, stage: str, device: str) -> FullPrecision:
        """The arithmetic of a stage."""
        return FullPrecision()

    def _after_epoch(self, trainer: Trainer, number: int) -> None:
        """What is still part of epoch `number` of retraining."""

    def _finish(self, trainer: Trainer) -> None:
        """From the trained network to the accuracy of the run."""
        trainer.evaluate()

    def _outcome(self, trainer: Trainer) -> Outcome:
        return _outcome(trainer)

    def _pruned(self, model: Network, mask: np.ndarray) -> Tuple[Network, Optional[np.ndarray]]:
        """The small network, and the mask that is held in it, bool, where channels stay that are masked."""
        live = plan_of(model, mask, self.recipe.residual).live
        return self._small_network(model, mask), None if self.recipe.regrow or live.all() else live

    def _small_network(self, model: Network, mask: np.ndarray) -> Network:
        return prune(model, mask, self.recipe.residual)

    def _first_epoch(self, ticket_epoch: int) -> int:
        """Where in the schedule retraining begins: milestones that the search has passed stay passed."""
        return ticket_epoch if self.recipe.retrain_epochs == "remaining" else 0

    def _epochs_in_all(self, searched: int) -> int:
        return searched + self.recipe.epochs - self._first_epoch(searched)


class EarlyBirdReinit(EarlyBirdInherit):
    """``eb-reinit``: the pruned network starts anew, fresh weights and the whole schedule."""

    def _small_network(self, model: Network, mask: np.ndarray) -> Network:
        return reinit(model, mask, self.recipe.seed, self.recipe.residual)

    def _first_epoch(self, ticket_epoch: int) -> int:
        return 0


def _searching(recipe: Recipe) -> Schedule:
    """The epochs and rates of a search: the recipe's own, unless it says otherwise."""
    rate = recipe.learning_rate if recipe.search_rate is None else recipe.search_rate
    return Schedule(recipe.epochs, rate, recipe.search_milestones or recipe.milestones)


class Check:
    """One mask-distance check: |gamma| from the network, the mask, its distances, the queue's decision.

    `push()` is what the search does once per epoch, and what is repeated to measure its energy: nothing more, nothing less.
    """

    def __init__(self, recipe: Recipe, model: Network) -> None:
        self.model = model
        self.layer_sizes = layer_sizes_of(model)
        self._prune_ratio = recipe.prune_ratio
        self.ranking = Ranking(model, recipe.masks)
        self._queue = EarlyBirdQueue(recipe.epsilon, recipe.fifo_length, recipe.pairs)

    def push(self) -> Tuple[np.ndarray, np.ndarray, Dict[str, Any]]:
        """|gamma| float32 [N], mask bool [N], and what `EarlyBirdQueue.push` says of it."""
        gamma = gamma_of(self.model)
        mask = self.mask_of(gamma)
        return gamma, mask, self._queue.push(mask)

    def replay(self, gammas: np.ndarray) -> List[np.ndarray]:
        """Bring the queue to where it was after these epochs, |gamma| [e, N]; their masks."""
        masks = [self.mask_of(gamma) for gamma in gammas]
        for mask in masks:
            self._queue.push(mask)
        return masks

    def mask_of(self, gamma: np.ndarray) -> np.ndarray:
        """The mask, bool [N]."""
        return self.ranking.draw(gamma, self._prune_ratio)


def search(trainer: Trainer) -> None:
    """Train until the ticket is there, and keep it: ``facts["ticket"]``, ``arrays["mask"]``; the stage is ``prune`` after that.

    The network is then the one of the ticket's epoch.
    """
    state, context = trainer.state, trainer.context
    with context.phase("search"):
        finder = _Finder(trainer)
        while not finder.point.is_over():
            trainer.train_epoch(trainer.recipe.l1, at_end=finder.draw)
            trainer.close_epoch()
            finder.close_epoch()
            if not finder.point.is_over():
                trainer.checkpoint_if_due()
        finder.point.close()
    finder.take_ticket()
    context.mark("ticket", **{name: state.facts["ticket"][name] for name in ("found", "epoch", "kept_channels")})
    trainer.checkpoint()


class _Finder:
    """Draws the masks of a search, and takes the ticket; all it knows is in the trainer's state."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.recipe, self.state = trainer, trainer.recipe, trainer.state
        self.check = Check(self.recipe, trainer.model)
        if self.recipe.pairs == "reference":  # the public code compares with the untrained network's mask too
            self.check.replay(gamma_of(trainer.dense_model())[None])
        if "gamma" not in self.state.arrays:
            self.state.arrays["gamma"] = np.empty((0, sum(self.check.layer_sizes)), np.float32)
            self.state.facts.update(distances=[], settled=False)
        self.masks = self.check.replay(self.state.arrays["gamma"])
        self.point = DrawPoint(trainer)

    def draw(self, number: int) -> None:
        """The check of epoch `number`, with its phase around nothing else."""
        with self.trainer.context.phase("draw"):
            gamma, mask, verdict = self.check.push()
        self.masks.append(mask)
        self.state.arrays["gamma"] = np.concatenate([self.state.arrays["gamma"], gamma[None]])
        self.state.facts["distances"].append(verdict["distance"])
        self.state.facts["settled"] = bool(verdict["found"])
        if verdict["distance"] is not None:
            self.trainer.context.metric("mask_distance", verdict["distance"], epoch=number)

    def close_epoch(self) -> None:
        """Store the masks, and the weights where they may be the ticket's."""
        context, epoch = self.trainer.context, self.state.epoch
        with context.phase("checkpoint"):  # writing files is not part of the method
            context.save_masks(np.array(self.masks), list(range(1, epoch + 1)), self.state.arrays["gamma"])
        self.point.close_epoch()

    def take_ticket(self) -> None:
        """Fix the ticket and go back to its weights when later epochs were trained too."""
        assumed, epoch = self.point.is_assumed(), self.point.go_back()
        at = -1 if assumed else epoch - 1
        drawn, gamma = self.masks[at], self.state.arrays["gamma"][at]
        self.state.arrays["mask"] = mask = self.check.ranking.round_up(drawn, gamma, self.recipe.width_multiple)
        self.state.stage, self.state.epoch = "prune", epoch
        self.state.facts["ticket"] = channel_ticket(
            mask,
            self.check.layer_sizes,
            found=None if assumed else self.recipe.draw != "early-bird" or self.state.facts["settled"],
            epoch=epoch,
            assumed=assumed,
            searched_epochs=len(self.masks),
            draw=self.point.named(),
            distances=self.state.facts["distances"],
            prune_ratio=self.recipe.prune_ratio,
            drawn_channels=int(drawn.sum()),
        )


def _outcome(trainer: Trainer) -> Outcome:
    """What the run found; costs of the dense network are counted on one that is built anew, the trained one is pruned."""
    state, ticket = trainer.state, trainer.state.facts["ticket"]
    model = trainer.dense_model()
    dense, pruned = forward_cost(model), forward_cost(trainer.model)
    notes = [*trainer.notes(), *drawn_notes(ticket)]
    trials = trial_costs(trainer)
    if "auto" in ticket:
        notes.append(ticket["auto"]["how"])
    if "retrain" not in state.images:
        notes.append("no epoch was left to retrain the ticket; retrain_epochs = 'full' trains it for all of them")
    return Outcome(
        accuracy=trainer.accuracy(),
        flops=run_flops(state.images, dense, pruned, [path for path in trials if path.endswith("/draw")], trials),
        ticket=ticket,
        repeat_draw=_repeatable_check(trainer, model),
        draw_cost=_cost_of_a_check(ticket["channels"], dense, len(trainer.recipe.ratios)),
        notes=notes,
    )


def _repeatable_check(trainer: Trainer, model: Network) -> Callable[[], None]:
    """The check on the scales that the search's last epoch had, its queue as full as it was then; `model` is dense."""
    gammas = trainer.state.arrays["gamma"]
    with torch.no_grad():
        for norm, gamma in zip(model.prunable_norms(), split(gammas[-1], layer_sizes_of(model))):
            norm.weight.copy_(torch.from_numpy(gamma))
    kind = RatioChecks if trainer.recipe.prune_ratio == AUTO else Check
    check: Union[RatioChecks, Check] = kind(trainer.recipe, model.to(trainer.context.device))
    check.replay(gammas[:-1])

    def repeat() -> None:
        check.push()

    return repeat


def _cost_of_a_check(channels: int, dense: ForwardCost, ratios: int) -> Dict[str, Any]:
    return draw_cost(channels, dense.parameters, dense.counter_flops, ratios)
