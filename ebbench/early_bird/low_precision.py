"""EB Train in fewer bits: the search alone (LF), search and retraining (LL), Figure 2's 8-bit search, and mixed precision.

Everything but the arithmetic is `early_bird`'s. Eight bits are simulated in float32, sixteen are really computed.
"""

from __future__ import annotations

from ebbench.early_bird.search import EarlyBirdInherit
from ebbench.protocols import Outcome
from ebbench.training.averaging import add_to_average, averaged, estimate_norms, take_average
from ebbench.training.counting.forward_cost import forward_cost
from ebbench.training.counting.work import work_of
from ebbench.training.data.batches import steps_per_epoch
from ebbench.training.loop import Trainer
from ebbench.training.precision.block import BlockPrecision
from ebbench.training.precision.full import FullPrecision
from ebbench.training.precision.mixed import MixedPrecision, dtype_of
from ebbench.training.precision.noise import Noise
from ebbench.training.precision.wage import WagePrecision


class _EightBit(EarlyBirdInherit):
    """What is common to trainings whose 8-bit arithmetic is simulated."""

    is_simulated = True

    def _precision(self, stage: str, device: str) -> FullPrecision:
        return FullPrecision() if stage == "retrain" else self._eight_bit(device)

    def _eight_bit(self, device: str) -> FullPrecision:
        return BlockPrecision(Noise(self.recipe.seed, device), self.recipe.rounding)

    def _outcome(self, trainer: Trainer) -> Outcome:
        outcome = super()._outcome(trainer)
        searched, retrained = (self._precision(stage, "cpu") for stage in ("search", "retrain"))
        costs = {
            "search": (forward_cost(trainer.dense_model()), searched),
            "retrain": (forward_cost(trainer.model), retrained),
        }
        outcome.work = {
            stage: work_of(*costs[stage], images, _steps(trainer, images))
            for stage, images in trainer.state.images.items()
            if stage in costs
        }
        outcome.notes += [f"{stage}: {work['precision']}" for stage, work in outcome.work.items()]
        outcome.notes.append("mask_distance_overhead: against the training as it was simulated")
        return outcome


def _steps(trainer: Trainer, images: int) -> int:
    """How many steps these images were: of whole epochs."""
    in_epoch = len(trainer.dataset.train)
    return images // in_epoch * steps_per_epoch(in_epoch, trainer.recipe.batch_size)


class EarlyBirdLowSearch(_EightBit):
    """``eb-lf``: the search in 8-bit block floating point, retraining in float32 with the weights that it left."""


class EarlyBirdLow(_EightBit):
    """``eb-ll``: everything in 8-bit block floating point; the result is the average of the last epochs' weights (SWALP)."""

    def _precision(self, stage: str, device: str) -> FullPrecision:
        return self._eight_bit(device)

    def _after_epoch(self, trainer: Trainer, number: int) -> None:
        if number > self.recipe.average_from * self.recipe.epochs:
            add_to_average(trainer.state, trainer.model)

    def _finish(self, trainer: Trainer) -> None:
        if averaged(trainer.state):
            trainer.evaluate("retrain/evaluate")
            _average_weights(trainer)
        trainer.evaluate()

    def _outcome(self, trainer: Trainer) -> Outcome:
        outcome = super()._outcome(trainer)
        count = averaged(trainer.state)
        if count:
            last = trainer.state.accuracy[-2]["top1"]
            outcome.notes.append(f"accuracy: of the mean weights of {count} epochs; the last 8-bit weights: {last:.4f}")
        else:
            outcome.notes.append("accuracy: of the last 8-bit weights, no epoch of retraining is beyond average_from")
        return outcome


def _average_weights(trainer: Trainer) -> None:
    """Put the average of the weights in their place, with running statistics of its own; its cost is one of evaluating."""
    state = trainer.state
    with trainer.context.phase("evaluate"):
        trainer.precision.begin("average", state.epoch, 0)
        take_average(state, trainer.model)
        batches = trainer.feed.epoch("average", state.epoch)
        images = estimate_norms(trainer.model, (x_BCHW for _, x_BCHW, _ in batches))
    state.book(f"{state.stage}/average/evaluate", images)


class EarlyBirdWage(_EightBit):
    """``eb-wage``: the search in the 8-bit integers of the paper's Figure 2, retraining in float32."""

    def _eight_bit(self, device: str) -> FullPrecision:
        return WagePrecision(Noise(self.recipe.seed, device))


class EarlyBirdMixed(EarlyBirdInherit):
    """``eb-amp``: search and retraining in mixed precision, really computed and really measured."""

    def check_device(self, device: str) -> None:
        """Refuse a device that cannot do it, before anything is measured."""
        dtype_of(device, self.recipe.amp_dtype)

    def _precision(self, stage: str, device: str) -> FullPrecision:
        return MixedPrecision(device, self.recipe.amp_dtype)

    def _outcome(self, trainer: Trainer) -> Outcome:
        outcome = super()._outcome(trainer)
        outcome.notes.append(f"arithmetic: {trainer.precision.name}; evaluations in float32")
        return outcome
