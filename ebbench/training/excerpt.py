"""What of a schedule is really trained when a few epochs of each stage are measured (`Recipe.measure_epochs`).

The first epoch of a stage settles, the next ones are measured. Then the training goes on as if the stage were complete: the epochs
of the schedule are counted, its images are put on the books (so that the FLOPs are those of the whole schedule), and a mark in the
phase log says what is to be extrapolated. No accuracy of such a training is a result.
"""

from __future__ import annotations

from ebbench.protocols import Stage
from ebbench.training.state import TrainState

#: the mark that tells the account what was scheduled (`Stage`)
MARK = "stage"


def first_epoch(state: TrainState) -> int:
    """The completed epochs of the schedule when the open stage began; kept from the first time that it is asked for."""
    firsts = state.facts.setdefault("first_epochs", {})
    return int(firsts.setdefault(state.stage, state.epoch))


def stage_of(state: TrainState, epochs: int, *, evaluate_every: int, except_at: object) -> Stage:
    """The open stage, trained as far as it will be, against its schedule that ends at `epochs`."""
    first = first_epoch(state)
    due = [epoch for epoch in range(first + 1, epochs + 1) if epoch % evaluate_every == 0 and epoch != except_at]
    return Stage(state.stage, epochs=epochs - first, trained=state.epoch - first, evaluations=len(due), first=first)


def evaluated(state: TrainState) -> int:
    """How many evaluations of the open stage there were."""
    return sum(entry["stage"] == state.stage for entry in state.accuracy)


def carry_on(state: TrainState, stage: Stage, *, train_images: int, test_images: int) -> None:
    """Count the epochs of the stage that were not trained, and the images of their training and evaluation."""
    if not stage.is_cut:
        return
    state.facts["is_cut"] = True
    books = f"{stage.path}/evaluate"
    state.book(stage.path, (stage.epochs - stage.trained) * train_images)
    state.book(books, (stage.evaluations - evaluated(state)) * test_images)
    if not state.images[books]:
        del state.images[books]
    state.epoch = stage.first + stage.epochs


def is_cut(state: TrainState) -> bool:
    """Whether epochs of any stage were left out so far."""
    return bool(state.facts.get("is_cut"))
