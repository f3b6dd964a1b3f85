"""The training loop of all methods: SGD with momentum, weight decay and L1 on the BatchNorm scales, step by step.

Every step boundary can become a checkpoint. Every random draw is a pure function of (seed, phase, epoch, step), so a
training that goes on from a checkpoint ends with the same bits. Within an epoch nothing waits for the accelerator but a
look at the losses every 50 steps.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
import torch.nn.functional as F

from ebbench.config import Recipe
from ebbench.errors import RunFailed, UserError
from ebbench.protocols import RunContext
from ebbench.training import compat, excerpt, heap
from ebbench.training.accuracy import Accuracy, evaluate, right_at_first
from ebbench.training.averaging import estimate_norms, take_average
from ebbench.training.data.batches import Step, augmented_batches, steps_per_epoch
from ebbench.training.data.datasets import Images
from ebbench.training.data.hold_out import hold_out
from ebbench.training.kept import Keeper, Kept, forget, read_kept
from ebbench.training.layout import MEMORY_FORMATS, capability_of, layout_by_rule, layout_by_timing
from ebbench.training.models import Network, build_model
from ebbench.training.precision.full import FullPrecision
from ebbench.training.pruning.held import Held
from ebbench.training.pruning.physical import HeldMask
from ebbench.training.recipe_check import data_of, refuse_misfits
from ebbench.training.schedule import Schedule, learning_rate
from ebbench.training.state import TrainState, arithmetic, pack, refuse_other_arithmetic, restore, unpack

#: steps between two looks at the losses: seldom enough to leave an accelerator its queue
LOOK_EVERY_STEPS = 50


#: stages that see batches of their own; the first training of every method sees the same, so that one is comparable with another
SECOND_TRAININGS = ("retrain", "finetune")


def add_l1(gammas: Sequence[torch.Tensor], l1: float) -> None:
    """Add the subgradient of l1 |gamma|, with sign(0) = 0, to each gradient (Liu et al. 2017, equation 1)."""
    if l1:
        with torch.no_grad():
            torch._foreach_add_([gamma.grad for gamma in gammas], compat.foreach_sign(gammas), alpha=l1)


class Trainer:
    """A network, its optimiser and its data, moved on epoch by epoch; new, or where its last checkpoint left it.

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
        self._whole = self._train = self.dataset.train.to(context.device)
        self._test = self.dataset.test.to(context.device)
        self.steps = steps_per_epoch(len(self._train), recipe.batch_size)
        #: of all the work to come, for the progress; a method that trains longer says so
        self.total_epochs = recipe.epochs
        #: of the stage that is open; a method whose stages have different ones says so
        self.schedule: Union[Recipe, Schedule] = recipe
        self._losses = torch.zeros(self.steps, device=context.device)
        self._stretch = 1.0  # of the open stage: epochs scheduled for each that is trained
        stored = context.load_checkpoint()
        self._lending = getattr(context, "lending", None)  # a context of somebody's own need not know of it
        self._mean_loss = 0.0
        #: what this run takes of another one's training, while it takes it, and what it keeps of its own for others
        self.taken: Optional[Kept] = None
        self.keeper: Optional[Keeper] = None
        if stored is None:
            self.taken = self._take()
            self.state = TrainState(stage, self._choose_layout(model))
            self.place(model)
            if self.dataset.notes:
                print(*self.dataset.notes, sep="\n", file=sys.stderr)
                context.mark("images", notes=list(self.dataset.notes))
        else:
            self._reopen(*stored)
        self._keep_for_others(stage)

    def dense_model(self) -> Network:
        """The network with its initial weights, on the CPU."""
        return build_model(self.recipe.model, self.dataset.num_classes, seed=self.recipe.seed)

    def place(self, model: Network) -> None:
        """Train this network from now on, with a fresh optimiser and what is masked in it held."""
        layout = MEMORY_FORMATS[self.state.memory_format]
        self.model = model.to(self.context.device).to(memory_format=layout)
        self.precision = self._precision_of(self.state.stage)
        self.precision.attach(self.model)
        self._gammas = [norm.weight for norm in self.model.prunable_norms()]
        live = self.state.arrays.get("live")
        #: what stays zero while the network trains; a method that holds anything else says so, also when it is resumed
        self.held: Optional[Held] = None if live is None else HeldMask(self.model, live)
        self._optimizer = compat.sgd(
            self.model.parameters(),
            lr=self.recipe.learning_rate,
            momentum=self.recipe.momentum,
            weight_decay=self.recipe.weight_decay,
            nesterov=self.recipe.nesterov,
        )

    def open_stage(self, stage: str, epoch: int, model: Network, live: Optional[np.ndarray] = None) -> None:
        """Go on to the phase `stage` at that epoch of the schedule, with another network.

        `live`: bool, a mask over its BatchNorms that is held from now on.
        """
        self.state.stage, self.state.epoch, self.state.step = stage, epoch, 0
        self.state.arrays.pop("live", None)
        if live is not None:
            self.state.arrays["live"] = live
        self.place(model)

    def hold_out(self, count: int) -> Images:
        """Train without `count` of the training images from now on, and return those; to be said again when it is resumed."""
        self._train, held = hold_out(self._whole, count, self.recipe.seed)
        self.steps = steps_per_epoch(len(self._train), self.recipe.batch_size)
        return held

    def train_on_all(self) -> None:
        """Train on all training images from now on."""
        self._train, self.steps = self._whole, steps_per_epoch(len(self._whole), self.recipe.batch_size)

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
        last = min(epochs, first + excerpt.SETTLING + self.recipe.measure_epochs)
        self._stretch = (epochs - first) / max(last - first, 1)
        return last

    def close_stage(self, epochs: int, except_at: Optional[int] = None) -> None:
        """Where only some epochs of the open stage were trained, go on as after all `epochs` of its schedule; see `excerpt`."""
        if self.keeper is not None:
            self.keeper = None
            forget(self.state)
        if self.recipe.measure_epochs is None:
            return
        stage = excerpt.stage_of(self.state, epochs, evaluate_every=self.recipe.evaluate_every, except_at=except_at)
        if stage.is_cut and stage.evaluations and not excerpt.evaluated(self.state):
            self.evaluate(f"{stage.path}/evaluate")
        self._stretch = 1.0
        excerpt.carry_on(self.state, stage, train_images=len(self._train), test_images=len(self._test))
        self.context.mark(excerpt.MARK, **dataclasses.asdict(stage))

    def train_epoch(self, l1: float, at_end: Optional[Callable[[int], None]] = None) -> None:
        """Train the (rest of the) epoch that is open; `at_end(number)` is still part of it. Numbers count from 1.

        Of a training that is taken from another run, an epoch is gone through without training.
        """
        number = self.state.epoch + 1
        with self.context.phase(f"epoch-{number}"):
            if self._is_taking():
                mean_loss = self._enter_taken(number)
            else:
                self._train_steps(l1)
                mean_loss = self._look_at_losses()
            if at_end is not None:
                at_end(number)
        self.state.epoch, self.state.step = number, 0
        self._mean_loss = mean_loss
        self.context.metric("loss", mean_loss, epoch=number, stage=self.state.stage)

    def close_epoch(self, except_at: Optional[int] = None) -> None:
        """Accuracy after every `evaluate_every` epochs; not at `except_at`, the last one, which the end of the run evaluates.

        Then what other runs want of the epoch is kept.
        """
        epoch, books = self.state.epoch, f"{self.state.stage}/evaluate"
        if epoch % self.recipe.evaluate_every == 0 and epoch != except_at:
            found = None if self.taken is None else self.taken.accuracy_at(epoch)
            if found is None:
                self.evaluate(books)
            else:
                self._book(books, Accuracy(found["top1"], found["top5"], len(self._test)))
        if self.keeper is not None:
            with self.context.phase("checkpoint"):  # for others, and not part of the method
                self.keeper.close_epoch(self.model, self._mean_loss, self._provenance())
        if self.taken is not None and epoch >= self.taken.epochs:
            self.taken = None

    def evaluate(self, books: str = "evaluate") -> Accuracy:
        """Accuracy on the test part, now, in a phase of its own; its images go to `books`."""
        state, data = self.state, self.dataset
        self.precision.begin(f"{state.stage}/evaluate", state.epoch, 0)
        with self.context.phase("evaluate"):
            found = evaluate(
                self.model,
                self._test,
                batch_size=self.recipe.batch_size,
                mean=data.mean,
                std=data.std,
                memory_format=MEMORY_FORMATS[state.memory_format],
            )
        self._book(books, found)
        return found

    def _book(self, books: str, found: Accuracy) -> None:
        state = self.state
        state.images[books] = state.images.get(books, 0) + found.images
        state.accuracy.append({"stage": state.stage, "epoch": state.epoch, "top1": found.top1, "top5": found.top5})
        self.context.metric("accuracy", found.top1, epoch=state.epoch, stage=state.stage)

    def right_on(self, images: Images, books: str) -> np.ndarray:
        """Which of `images` the network gets right, bool [N]: no result of the run. Its images go to `books`, the open phase."""
        state, data = self.state, self.dataset
        found = right_at_first(
            self.model,
            images,
            batch_size=self.recipe.batch_size,
            mean=data.mean,
            std=data.std,
            memory_format=MEMORY_FORMATS[state.memory_format],
        )
        state.images[books] = state.images.get(books, 0) + len(images)
        return found

    def looks(
        self, images: int, *, phase: str, number: int, batch_size: int, augment: bool
    ) -> Iterator[Tuple[torch.Tensor, torch.Tensor]]:
        """Batches of `images` random training images, for a method that looks at data to draw; they are booked as `draw`.

        Which ones depends on (seed, phase, number) alone; the last batch may be short. (x, y) in the run's memory layout.
        """
        recipe, data, left = self.recipe, self.dataset, images
        batches = augmented_batches(
            self._train, batch_size, seed=recipe.seed, phase=phase, epoch=number, mean=data.mean, std=data.std, augment=augment
        )  # fmt: skip
        layout = MEMORY_FORMATS[self.state.memory_format]
        for _, x_BCHW, y_B in batches:
            count = min(left, len(y_B))
            yield x_BCHW[:count].contiguous(memory_format=layout), y_B[:count]
            self.state.images["draw"] = self.state.images.get("draw", 0) + count
            left -= count
            if left == 0:
                return

    def average_weights(self) -> None:
        """Put the average of the weights in their place, with running statistics of its own; its cost is one of evaluating."""
        state, layout = self.state, MEMORY_FORMATS[self.state.memory_format]
        with self.context.phase("evaluate"):
            self.precision.begin("average", state.epoch, 0)
            take_average(state, self.model)
            batches = self._batches("average", state.epoch)
            images = estimate_norms(self.model, (x_BCHW.contiguous(memory_format=layout) for _, x_BCHW, _ in batches))
        state.images[f"{state.stage}/average/evaluate"] = images

    def checkpoint_if_due(self) -> None:
        """Save the training at this step boundary when the context says that it is time; what is taken is taken whole."""
        if not self._is_taking() and self.context.checkpoint_due():
            self.checkpoint()

    def checkpoint(self) -> None:
        """Save the training as it is; call at a step boundary only."""
        arrays, document = pack(self.state, self.model, self._optimizer, self._losses)
        self.context.save_checkpoint(arrays, {**document, **self._provenance(), "precision": self.precision.state()})

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

    def _provenance(self) -> Dict[str, Any]:
        """What a training depends on beside its recipe."""
        return {"data": self.dataset.fingerprint, "decoder": self.dataset.decoder}

    def _take(self) -> Optional[Kept]:
        """The first training of another run, where this one takes it."""
        if self._lending is None or self._lending.taken is None:
            return None
        kept = read_kept(self._lending.taken)
        own = {"arithmetic": arithmetic(), **self._provenance()}
        differing = [name for name in own if kept.document[name] != own[name]]
        if differing:
            raise UserError(
                f"the first training kept in {self._lending.taken} is of another {' and '.join(differing)} than "
                "this run would have; give --no-share to train it here"
            )
        return kept

    def _is_taking(self) -> bool:
        return self.taken is not None and self.state.epoch < self.taken.epochs

    def _enter_taken(self, number: int) -> float:
        assert self.taken is not None
        self.state.images[self.state.stage] = self.state.images.get(self.state.stage, 0) + len(self._train)
        return self.taken.enter(self.model, number)

    def _keep_for_others(self, stage: str) -> None:
        """Follow the first training, `stage`, where other runs want it and it is under way."""
        lending, state = self._lending, self.state
        is_open = state.stage == stage and state.epoch < self.recipe.epochs
        if lending is not None and lending.wanted and is_open and Keeper.can_follow(state):
            self.keeper = Keeper(state, self.dense_model(), lending.folder, lending.wanted, self.recipe.method)
        else:
            forget(state)

    def _train_steps(self, l1: float) -> None:
        state = self.state
        self.model.train()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self.schedule, state.epoch)
        # the first training of every method sees the same batches, so that one is comparable with another
        batches = self._batches(state.stage if state.stage in SECOND_TRAININGS else "train", state.epoch, state.step)
        for step, x_BCHW, y_B in batches:
            self.precision.begin(state.stage, state.epoch, step)
            self._losses[step] = self._train_step(x_BCHW, y_B, l1)
            state.step = step + 1
            state.images[state.stage] = state.images.get(state.stage, 0) + len(y_B)
            if state.step % LOOK_EVERY_STEPS == 0:
                self._look_at_losses()
            self._show_progress()
            self.checkpoint_if_due()

    def _batches(self, phase: str, epoch: int, start_step: int = 0) -> Iterator[Step]:
        """One pass over the training images, in a random order that depends on the seed, `phase` and `epoch`."""
        return augmented_batches(
            self._train,
            self.recipe.batch_size,
            seed=self.recipe.seed,
            phase=phase,
            epoch=epoch,
            start_step=start_step,
            mean=self.dataset.mean,
            std=self.dataset.std,
        )

    def _train_step(self, x_BCHW: torch.Tensor, y_B: torch.Tensor, l1: float) -> torch.Tensor:
        """One step of SGD; the loss stays on the device."""
        self._optimizer.zero_grad(set_to_none=True)
        layout = MEMORY_FORMATS[self.state.memory_format]
        with self.precision.arithmetic():
            loss = F.cross_entropy(self.model(x_BCHW.contiguous(memory_format=layout)), y_B)
        self.precision.backward(loss, self._optimizer)
        add_l1(self._gammas, l1)
        self.precision.step(self._optimizer)
        if self.held is not None:
            self.held.hold(self._optimizer)
        return loss.detach()

    def _look_at_losses(self) -> float:
        """Their mean over the open epoch so far. Raises RunFailed, naming the first step whose loss is not finite."""
        losses = self._losses[: self.state.step].cpu()  # the one wait for the device
        broken = (~torch.isfinite(losses)).nonzero()
        if len(broken):
            raise RunFailed(
                f"the loss is {losses[broken[0, 0]].item()} at {self.state.stage} epoch {self.state.epoch + 1}, "
                f"step {broken[0, 0].item() + 1} of {self.steps}: the training diverged; lower learning_rate"
            )
        return float(losses.double().mean())

    def _show_progress(self) -> None:
        images = self.state.images
        trained = sum(c for name, c in images.items() if not name.endswith(("draw", "evaluate")))
        trained += (self._stretch - 1) * images.get(self.state.stage, 0)
        self.context.progress(trained / len(self._whole), self.total_epochs)

    def _choose_layout(self, model: Network) -> str:
        """The memory layout for this whole run; see `layout.py` for why a repeatable run goes by a rule."""
        if self.taken is not None:
            chosen = str(self.taken.document["memory_format"])
            self.context.mark("memory_format", chosen=chosen, by="the run whose training is taken")
            return chosen
        if self.recipe.deterministic:
            chosen = layout_by_rule(capability_of(self.context.device), torch.__version__)
            self.context.mark("memory_format", chosen=chosen, by="rule")
            return chosen
        with self.context.phase("warmup"):
            data = self.dataset
            batches = augmented_batches(
                self._train, self.recipe.batch_size, seed=0, phase="timing", epoch=0, mean=data.mean, std=data.std
            )
            _, x_BCHW, y_B = next(batches)
            chosen = layout_by_timing(model.to(self.context.device), x_BCHW, y_B)
        self.context.mark("memory_format", chosen=chosen, by="timing")
        return chosen

    def _reopen(self, arrays: Dict[str, Any], document: Dict[str, Any]) -> None:
        """Go on where a checkpoint was taken."""
        refuse_other_arithmetic(document["arithmetic"])
        if document["data"] != self.dataset.fingerprint:
            raise UserError(
                f"dataset {self.recipe.dataset!r} changed since the checkpoint was written: restore the old files, or start "
                "the run anew with another --out"
            )
        if document.get("decoder") != self.dataset.decoder:
            raise UserError(
                f"the checkpoint was written with {document.get('decoder')}, here is {self.dataset.decoder}: images would differ "
                "in their last bits; resume with the same, or start the run anew with another --out"
            )
        self.state = unpack(arrays, document)
        self.place(build_model(self.recipe.model, self.dataset.num_classes, document["widths"]))
        restore(arrays, self.model, self._optimizer, self._losses)
        self.precision.restore(document.get("precision", {}))
