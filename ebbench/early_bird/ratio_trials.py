"""The search of ``prune_ratio = "auto"``: one dense training for all candidates, then a short retraining of one after the other.

1. The dense network is trained as in any search, but without the images that are held out, until the masks of all candidates
   have settled (Algorithm 1, each with a queue of its own), or to the last epoch.
2. Trial 0: the dense network goes on for `auto_epochs` epochs as a pruned one would (fresh optimiser, the method's schedule).
3. Trials 1, 2, ...: a candidate is pruned and trained on the same batches; both are asked for the same held-out images. See
   `ratio_choice` for the order and the decision.

All of it lies in the phase ``search`` (``search/trial-2/retrain/epoch-9``) and so in the run's total. Asking for the held-out
images decides on the mask and is a part of ``draw``. The test part decides nothing.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from ebbench.config import Recipe
from ebbench.early_bird.ratio_choice import Descent, candidates, in_words, loss_against
from ebbench.training.counting.forward_cost import ForwardCost, forward_cost
from ebbench.training.data.hold_out import held_out_count
from ebbench.training.loop import Trainer
from ebbench.training.models import Network, empty_model
from ebbench.training.pruning.masks import EarlyBirdQueue, gamma_of, layer_sizes_of
from ebbench.training.pruning.ranking import Ranking
from ebbench.training.state import load_weights, weights_of
from ebbench.training.ticket import channel_ticket

#: the stage while no trial is open
BETWEEN = "search/trial"

#: from the dense network and a mask to the small network and the mask that is held in it (None: nothing is)
Pruned = Callable[[Network, np.ndarray], Tuple[Network, Optional[np.ndarray]]]


class RatioChecks:
    """One mask-distance check at all candidates: |gamma| once, then a mask, its distances and a queue for each."""

    def __init__(self, recipe: Recipe, model: Network) -> None:
        self.model = model
        self.ratios = recipe.ratios
        self.layer_sizes = layer_sizes_of(model)
        self._ranking = Ranking(model, recipe.masks)
        self._queues = [EarlyBirdQueue(recipe.epsilon, recipe.fifo_length, recipe.pairs) for _ in self.ratios]

    def push(self) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
        """|gamma| float32 [N], and what `EarlyBirdQueue.push` says of each candidate."""
        gamma = gamma_of(self.model)
        return gamma, self._push(gamma)

    def replay(self, gammas: np.ndarray) -> None:
        """Bring the queues to where they were after these epochs, |gamma| [e, N]."""
        for gamma in gammas:
            self._push(gamma)

    def mask_of(self, gamma: np.ndarray, ratio: float) -> np.ndarray:
        """The mask, bool [N]; ratio 0 keeps all."""
        return self._ranking.draw(gamma, ratio)

    def rounded(self, gamma: np.ndarray, ratio: float, multiple: int) -> np.ndarray:
        """The mask with which is pruned, bool [N]."""
        return self._ranking.round_up(self.mask_of(gamma, ratio), gamma, multiple)

    def _push(self, gamma: np.ndarray) -> List[Dict[str, Any]]:
        return [queue.push(self.mask_of(gamma, ratio)) for queue, ratio in zip(self._queues, self.ratios)]


def choose_ratio(trainer: Trainer, pruned: Pruned, first_epoch: Callable[[int], int]) -> None:
    """Search, try, and keep the ticket: ``facts["ticket"]``, ``arrays["mask"]``; the stage is ``prune`` after that.

    The network is then the dense one of the ticket's epoch. `first_epoch`: where a ticket's retraining begins in the schedule.
    """
    state, context = trainer.state, trainer.context
    trainer.total_epochs += trainer.recipe.auto_epochs * (1 + len(trainer.recipe.ratios))  # at most
    held = trainer.feed.hold_out(held_out_count(len(trainer.dataset.train), trainer.recipe.auto_images))
    with context.phase("search"):
        if state.stage == "search":
            _search(trainer)
            state.arrays.update({f"searched/{n}": value for n, value in weights_of(trainer.model).items()})
            state.facts.update(trials=[], searched=state.epoch)
            state.stage = BETWEEN
            trainer.checkpoint()
        trainer.schedule = trainer.recipe  # what follows a search may have other rates
        trials = _Trials(trainer, pruned, first_epoch(state.facts["searched"]), held)
        while trials.go_on():
            trainer.checkpoint_if_due()
        with context.phase("checkpoint"):  # writing files is not part of the method
            trials.save_masks()
    trials.take_ticket()
    trainer.feed.take_all()
    context.mark(
        "ticket", **{name: state.facts["ticket"][name] for name in ("found", "epoch", "kept_channels", "prune_ratio")}
    )
    trainer.checkpoint()


def _search(trainer: Trainer) -> None:
    """Train until the masks of all candidates have settled."""
    state, recipe = trainer.state, trainer.recipe
    checks = RatioChecks(recipe, trainer.model)
    if recipe.pairs == "reference":  # the public code compares with the untrained network's mask too
        checks.replay(gamma_of(trainer.dense_model())[None])
    if "gamma" not in state.arrays:
        state.arrays["gamma"] = np.empty((0, sum(checks.layer_sizes)), np.float32)
        state.facts.update(distances=[], settled=[False for _ in recipe.ratios])
    checks.replay(state.arrays["gamma"])

    def draw(number: int) -> None:
        """The check of epoch `number`, with its phase around nothing else."""
        with trainer.context.phase("draw"):
            gamma, verdicts = checks.push()
        state.arrays["gamma"] = np.concatenate([state.arrays["gamma"], gamma[None]])
        state.facts["distances"].append([verdict["distance"] for verdict in verdicts])
        state.facts["settled"] = [bool(verdict["found"]) for verdict in verdicts]
        for ratio, verdict in zip(recipe.ratios, verdicts):
            if verdict["distance"] is not None:
                trainer.context.metric("mask_distance", verdict["distance"], epoch=number, prune_ratio=ratio)

    while not all(state.facts["settled"]) and state.epoch < recipe.epochs:
        trainer.train_epoch(recipe.l1, at_end=draw)
        trainer.close_epoch()
        trainer.checkpoint_if_due()


class _Trials:
    """The trials of a search that is over; all they know is in the trainer's state."""

    def __init__(self, trainer: Trainer, pruned: Pruned, first_epoch: int, held: Any) -> None:
        self.trainer, self.recipe, self.state = trainer, trainer.recipe, trainer.state
        self.descent = Descent(self.recipe.ratios, tuple(self.state.facts["settled"]), self.recipe.auto_max_loss)
        self._pruned, self._first, self._held = pruned, first_epoch, held
        self._checks = RatioChecks(self.recipe, trainer.dense_model())

    def go_on(self) -> bool:
        """The next trial, or the rest of the open one, to its end; False where there is none."""
        number, ratio = len(self.state.facts["trials"]), self._ratio()
        if ratio is None:
            return False
        context, trainer = self.trainer.context, self.trainer
        with context.phase(f"trial-{number}"):
            if self.state.stage == BETWEEN:
                with context.phase("prune"):
                    small, live = self._pruned(self.dense(), self._mask(ratio))
                trainer.open_stage(f"{BETWEEN}-{number}/retrain", self._first, small, live)
            last = self._first + self.recipe.auto_epochs
            if self.state.epoch < last:
                with context.phase("retrain"):
                    while self.state.epoch < last:
                        trainer.train_epoch(self.recipe.l1)
                        trainer.checkpoint_if_due()
            with context.phase("draw"):
                right = trainer.right_on(self._held, f"{BETWEEN}-{number}/draw")
                found = self._compared(number, ratio, right)
        self.state.facts["trials"].append(found)
        self.state.stage = BETWEEN
        context.mark("trial", **{name: value for name, value in found.items() if name != "widths"})
        return True

    def dense(self) -> Network:
        """The dense network as the search left it, on the device."""
        stored = self.state.arrays.items()
        model = self.trainer.dense_model()
        load_weights(model, {n[len("searched/") :]: value for n, value in stored if n.startswith("searched/")})
        return model.to(self.trainer.context.device)

    def save_masks(self) -> None:
        """The masks of the chosen ratio after every epoch of the search."""
        gammas, ratio = self.state.arrays["gamma"], self.descent.chosen(self._losses())
        masks = np.array([self._checks.mask_of(gamma, ratio) for gamma in gammas])
        self.trainer.context.save_masks(masks, list(range(1, len(masks) + 1)), gammas)

    def take_ticket(self) -> None:
        """Fix the ratio and the ticket, and go back to the weights of the end of the search."""
        state, losses, descent = self.state, self._losses(), self.descent
        ratio, searched = descent.chosen(losses), state.facts["searched"]
        at = descent.ratios.index(ratio)
        model, mask = self.dense(), self._mask(ratio)
        auto = {
            "prune_ratio": ratio,
            "accepted": descent.is_accepted(losses),
            "max_loss": descent.max_loss,
            "epochs": self.recipe.auto_epochs,
            "images": len(self._held),
            "chance": 1 / self.trainer.dataset.num_classes,
            "dense_accuracy": state.facts["trials"][0]["accuracy"] if state.facts["trials"] else None,
            "candidates": candidates(descent, state.facts["distances"][-1], state.facts["trials"][1:]),
        }
        state.facts["ticket"] = channel_ticket(
            mask,
            self._checks.layer_sizes,
            found=descent.stable[at],
            epoch=searched,
            assumed=False,
            searched_epochs=searched,
            draw="early-bird",
            distances=[distances[at] for distances in state.facts["distances"]],
            prune_ratio=ratio,
            drawn_channels=int(self._checks.mask_of(state.arrays["gamma"][-1], ratio).sum()),
            auto={**auto, "how": in_words(auto)},
        )
        state.arrays = {n: value for n, value in state.arrays.items() if not n.startswith("searched/")}
        state.arrays.pop("dense_right", None)
        state.arrays["mask"] = mask
        self.trainer.open_stage("prune", searched, model)

    def _ratio(self) -> Optional[float]:
        """Of the trial to come, or of the open one: 0 of the dense network's, which is needed where there is any other."""
        if not self.state.facts["trials"]:
            return 0.0 if self.descent.order else None
        return self.descent.next(self._losses())

    def _losses(self) -> List[float]:
        return [trial["loss"] for trial in self.state.facts["trials"][1:]]

    def _mask(self, ratio: float) -> np.ndarray:
        return self._checks.rounded(self.state.arrays["gamma"][-1], ratio, self.recipe.width_multiple)

    def _compared(self, number: int, ratio: float, right: np.ndarray) -> Dict[str, Any]:
        """What is found of a trial from which held-out images its network got right."""
        if number == 0:
            self.state.arrays["dense_right"] = right
        loss, half_width = loss_against(self.state.arrays["dense_right"], right)
        return {
            "trial": number,
            "prune_ratio": ratio,
            "accuracy": float(np.mean(right)),
            "loss": loss,
            "loss_half_width": half_width,
            "accepted": None if number == 0 else self.descent.is_accepted([loss]),
            "kept_channels": int(self._mask(ratio).sum()),
            "widths": [int(width) for width in self.trainer.model.widths],
        }


def epochs_of_trials(trainer: Trainer) -> int:
    """How many epochs all trials took."""
    return trainer.recipe.auto_epochs * len(trainer.state.facts.get("trials", ()))


def trial_costs(trainer: Trainer) -> Dict[str, ForwardCost]:
    """One image's forward pass in each phase of each trial, by the path under which its images are booked."""
    costs = {}
    for trial in trainer.state.facts.get("trials", ()):
        cost = forward_cost(empty_model(trainer.recipe.model, trainer.dataset.num_classes, trial["widths"]))
        costs.update({f"{BETWEEN}-{trial['trial']}/{phase}": cost for phase in ("retrain", "draw")})
    return costs
