"""The training loop of all methods: epochs of steps, what is looked at between them, and where a killed one goes on.

Every step boundary can become a checkpoint. Every random draw is a pure function of (seed, phase, epoch, step), so a
training that goes on from a checkpoint ends with the same bits. Within an epoch nothing waits for the accelerator but a
look at the losses every 50 steps.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

import numpy as np
import torch

from ebbench.config import Recipe
from ebbench.protocols import RunContext
from ebbench.training import compat, excerpt, heap
from ebbench.training.accuracy import Accuracy
from ebbench.training.data.datasets import Images
from ebbench.training.feed import Feed
from ebbench.training.interrupt import AfterStep
from ebbench.training.layout import MEMORY_FORMATS, choose_layout
from ebbench.training.losses import mean_loss
from ebbench.training.models import Network, build_model
from ebbench.training.precision.full import FullPrecision
from ebbench.training.provenance import images_of, refuse_other_arithmetic, refuse_other_images
from ebbench.training.pruning.held import Held
from ebbench.training.pruning.physical import HeldMask
from ebbench.training.recipe_check import data_of, refuse_misfits
from ebbench.training.schedule import Schedule, learning_rate
from ebbench.training.sgd import Sgd
from ebbench.training.shared import SharedTraining
from ebbench.training.state import TrainState, pack, restore, unpack

#: steps between two looks at the losses: seldom enough to leave an accelerator its queue
LOOK_EVERY_STEPS = 50
#: stages that see batches of their own; the first training of every method sees the same, so that one is comparable with another
SECOND_TRAININGS = ("retrain", "finetune")


class Trainer:
    """A network and what it is trained with, moved on epoch by epoch; new, or where its last checkpoint left it.

    `stage` is the phase with which a new training begins, `precision_of` gives the arithmetic of each stage. Raises UserError,
    before any training, for everything that does not fit together.
    """

    def __init__(
        self,
        recipe: Recipe,
        context: RunContext,
        stage: str,
        precision_of: Callable[[str], FullPrecision] = lambda stage: FullPrecision(),
    ) -> None:
        torch.set_num_threads(recipe.threads)
        compat.set_arithmetic(recipe.deterministic, recipe.tf32)
        if context.device == "cpu":  # a GPU's memory has an allocator of its own, and a Jetson shares it with the CPU
            heap.keep_freed()
        self.recipe = recipe
        self.context = context
        self._precision_of = precision_of
        self.dataset = data_of(recipe)
        model = self.dense_model()
        refuse_misfits(recipe, self.dataset, model)
        #: the images; a method that is to do without some of them tells it so, also when it is resumed
        self.feed = Feed(self.dataset, recipe, context.device)
        #: of all the work to come, for the progress; a method that trains longer says so
        self.total_epochs = recipe.epochs
        #: of the stage that is open; a method whose stages have different ones says so
        self.schedule: Union[Recipe, Schedule] = recipe
        self._losses = torch.zeros(self.feed.steps, device=context.device)
        self._mean_loss = 0.0
        self._stretch = 1.0  # of the open stage: epochs scheduled for each that is trained
        lending = getattr(context, "lending", None)  # a context of somebody's own need not know of it
        self._shared = SharedTraining(lending, images_of(self.dataset))
        stored = context.load_checkpoint()
        if stored is None:
            self._begin(stage, model)
        else:
            self._reopen(*stored)
        self._shared.keep(self.state, stage, recipe, self.dense_model)

    def dense_model(self) -> Network:
        """The network with its initial weights, on the CPU."""
        return build_model(self.recipe.model, self.dataset.num_classes, seed=self.recipe.seed)

    def place(self, model: Network) -> None:
        """Train this network from now on, with a fresh optimiser and what is masked in it held."""
        self.feed.memory_format = layout = MEMORY_FORMATS[self.state.memory_format]
        self.model = model.to(self.context.device).to(memory_format=layout)
        self.precision = self._precision_of(self.state.stage)
        self.precision.attach(self.model)
        self._sgd = Sgd(self.model, self.precision, self.recipe)
        live = self.state.arrays.get("live")
        #: what stays zero while the network trains; a method that holds anything else says so, also when it is resumed
        self.held: Optional[Held] = None if live is None else HeldMask(self.model, live)

    def open_stage(self, stage: str, epoch: int, model: Network, live: Optional[np.ndarray] = None) -> None:
        """Go on to the phase `stage` at that epoch of the schedule, with another network.

        `live`: bool, a mask over its BatchNorms that is held from now on.
        """
        self.state.stage, self.state.epoch, self.state.step = stage, epoch, 0
        self.state.arrays.pop("live", None)
        if live is not None:
            self.state.arrays["live"] = live
        self.place(model)

    def train_until(self, epochs: int, l1: float, at_end: Optional[Callable[[int], None]] = None) -> None:
        """Train the open stage until `epochs` epochs of its schedule are complete; accuracies between, not after the last."""
        while self.state.epoch < self.last_epoch(epochs):
            self.train_epoch(l1, at_end)
            self.close_epoch(epochs)
            self.checkpoint_if_due()
        self.close_stage(epochs, except_at=epochs)

    def last_epoch(self, epochs: int) -> int:
        """Where the training of the open stage ends: at `epochs`, or earlier where only some of its epochs are measured."""
        if self.recipe.measure_epochs is None:
            return epochs
        first = excerpt.first_epoch(self.state)
        last = first + self.recipe.trained_of(epochs - first)
        self._stretch = (epochs - first) / max(last - first, 1)
        return last

    def close_stage(self, epochs: int, except_at: Optional[int] = None) -> None:
        """Where only some epochs of the open stage were trained, go on as after all `epochs` of its schedule; see `excerpt`."""
        self._shared.close(self.state)
        if self.recipe.measure_epochs is None:
            return
        stage = excerpt.stage_of(self.state, epochs, evaluate_every=self.recipe.evaluate_every, except_at=except_at)
        if stage.is_cut and stage.evaluations and not excerpt.evaluated(self.state):
            self.evaluate(f"{stage.path}/evaluate")
        self._stretch = 1.0
        excerpt.carry_on(self.state, stage, train_images=len(self.feed.train), test_images=len(self.feed.test))
        self.context.mark(excerpt.MARK, **dataclasses.asdict(stage))

    def train_epoch(self, l1: float, at_end: Optional[Callable[[int], None]] = None) -> None:
        """Train the (rest of the) epoch that is open; `at_end(number)` is still part of it. Numbers count from 1.

        Of a training that is taken from another run, an epoch is gone through without training.
        """
        number = self.state.epoch + 1
        with self.context.phase(f"epoch-{number}"):
            if self._shared.is_taken(self.state):
                self._mean_loss = self._enter_taken(number)
            else:
                self._train_steps(l1)
                self._mean_loss = self._look_at_losses()
            if at_end is not None:
                at_end(number)
        self.state.epoch, self.state.step = number, 0
        self.context.metric("loss", self._mean_loss, epoch=number, stage=self.state.stage)

    def close_epoch(self, except_at: Optional[int] = None) -> None:
        """Accuracy after every `evaluate_every` epochs; not at `except_at`, the last one, which the end of the run evaluates.

        Then what other runs want of the epoch is kept.
        """
        epoch, books = self.state.epoch, f"{self.state.stage}/evaluate"
        if epoch % self.recipe.evaluate_every == 0 and epoch != except_at:
            found = self._shared.accuracy_at(epoch)
            if found is None:
                self.evaluate(books)
            else:
                self._book(books, Accuracy(found["top1"], found["top5"], len(self.feed.test)))
        self._shared.close_epoch(self.context, self.model, self.state, self._mean_loss)

    def evaluate(self, books: str = "evaluate") -> Accuracy:
        """Accuracy on the test part, now, in a phase of its own; its images go to `books`."""
        self.precision.begin(f"{self.state.stage}/evaluate", self.state.epoch, 0)
        with self.context.phase("evaluate"):
            found = self.feed.accuracy_of(self.model)
        self._book(books, found)
        return found

    def _book(self, books: str, found: Accuracy) -> None:
        state = self.state
        state.book(books, found.images)
        state.accuracy.append({"stage": state.stage, "epoch": state.epoch, "top1": found.top1, "top5": found.top5})
        self.context.metric("accuracy", found.top1, epoch=state.epoch, stage=state.stage)

    def right_on(self, images: Images, books: str) -> np.ndarray:
        """Which of `images` the network gets right, bool [N]: no result of the run. Its images go to `books`, the open phase."""
        found = self.feed.right_of(self.model, images)
        self.state.book(books, len(images))
        return found

    def looks(
        self, images: int, *, phase: str, number: int, batch_size: int, augment: bool
    ) -> Iterator[Tuple[torch.Tensor, torch.Tensor]]:
        """Batches of `images` random training images, for a method that looks at data to draw; they are booked as `draw`.

        Which ones depends on (seed, phase, number) alone; the last batch may be short. (x, y) in the run's memory layout.
        """
        looked_at = self.feed.some(images, phase=phase, number=number, batch_size=batch_size, augment=augment)
        for x_BCHW, y_B in looked_at:
            yield x_BCHW, y_B
            self.state.book("draw", len(y_B))

    def checkpoint_if_due(self) -> None:
        """Save the training at this step boundary when the context says that it is time; what is taken is taken whole."""
        if not self._shared.is_taken(self.state) and self.context.checkpoint_due():
            self.checkpoint()

    def checkpoint(self) -> None:
        """Save the training as it is; call at a step boundary only."""
        arrays, document = pack(self.state, self.model, self._sgd.optimizer, self._losses)
        document = {**document, **images_of(self.dataset), "precision": self.precision.state()}
        self.context.save_checkpoint(arrays, document)

    def accuracy(self) -> Dict[str, Optional[float]]:
        """The last accuracy, and the best one of the stage that it belongs to; None where not all epochs were trained."""
        if excerpt.is_cut(self.state):
            return {"final": None, "best": None, "top5_final": None}
        last = self.state.accuracy[-1]
        return {"final": last["top1"], "best": self.state.best_top1(last["stage"]), "top5_final": last["top5"]}

    def notes(self) -> List[str]:
        """What a reader of the result should know about the training."""
        notes = [f"memory layout: {self.state.memory_format}", *self.dataset.notes]
        masked = np.count_nonzero(~self.state.arrays.get("live", np.ones(1, dtype=bool)))
        if masked:
            notes.append(
                f"{masked} masked channels of residual streams could not be removed exactly and stay, held at zero"
            )
        return notes

    def _enter_taken(self, number: int) -> float:
        self.state.book(self.state.stage, len(self.feed.train))
        return self._shared.enter(self.model, number)

    def _train_steps(self, l1: float) -> None:
        state = self.state
        self._sgd.begin_epoch(learning_rate(self.schedule, state.epoch))
        batches = self.feed.epoch(state.stage if state.stage in SECOND_TRAININGS else "train", state.epoch, state.step)
        with AfterStep() as interrupt:
            for step, x_BCHW, y_B in batches:
                self.precision.begin(state.stage, state.epoch, step)
                self._losses[step] = self._train_step(x_BCHW, y_B, l1)
                state.step = step + 1
                state.book(state.stage, len(y_B))
                if state.step % LOOK_EVERY_STEPS == 0:
                    self._look_at_losses()
                self._show_progress()
                if interrupt.is_noted:
                    self.checkpoint()
                    interrupt.follow()
                self.checkpoint_if_due()

    def _train_step(self, x_BCHW: torch.Tensor, y_B: torch.Tensor, l1: float) -> torch.Tensor:
        """One step of SGD, with what is held; the loss stays on the device."""
        loss = self._sgd.step(x_BCHW, y_B, l1)
        if self.held is not None:
            self.held.hold(self._sgd.optimizer)
        return loss

    def _look_at_losses(self) -> float:
        return mean_loss(self._losses, self.state, self.feed.steps)

    def _show_progress(self) -> None:
        images = self.state.images
        trained = sum(c for name, c in images.items() if not name.endswith(("draw", "evaluate")))
        trained += (self._stretch - 1) * images.get(self.state.stage, 0)
        self.context.progress(trained / len(self.feed.whole), self.total_epochs)

    def _begin(self, stage: str, model: Network) -> None:
        """Begin a training with this network, or take another run's."""
        self._shared.take()
        layout = choose_layout(
            self.context,
            model,
            lambda: next(self.feed.epoch("timing", 0))[1:],
            taken=self._shared.memory_format,
            is_repeatable=self.recipe.deterministic,
        )
        self.state = TrainState(stage, layout)
        self.place(model)
        if self.dataset.notes:
            print(*self.dataset.notes, sep="\n", file=sys.stderr)
            self.context.mark("images", notes=list(self.dataset.notes))

    def _reopen(self, arrays: Dict[str, Any], document: Dict[str, Any]) -> None:
        """Go on where a checkpoint was taken."""
        refuse_other_arithmetic(document["arithmetic"])
        refuse_other_images(document, self.dataset)
        self.state = unpack(arrays, document)
        self.place(build_model(self.recipe.model, self.dataset.num_classes, document["widths"]))
        restore(arrays, self.model, self._sgd.optimizer, self._losses)
        self.precision.restore(document.get("precision", {}))
